"""`tamis compact`: shards of many small additions merged, with columns, rejects and counts; the same decisions."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from nights import Nights, chosen, texts

from tamis.pipeline.errors import StoreError
from tamis.pipeline.starting import run_recipe
from tamis.pipeline.store.compact import compact
from tamis.pipeline.store.garbage import collect
from tamis.pipeline.store.manifest import verify
from tamis.pipeline.store.old_runs import Old
from tamis.pipeline.store.runs import open_complete
from tamis.pipeline.store.whereabouts import where
from tests_support import Runner, write_jsonl

STEPS = [{"exact_dedup": {}}, {"importance_resampling": {"budget": 60}}, {"k_center": {"column": "look", "budget": 20}}]


@pytest.fixture
def grown(run_in: Runner, workplace: Path, doc_records: list[dict[str, str]]) -> Path:
    """A store to which seven files were added one after another; two rows of the last are rejects."""
    (workplace / "new").mkdir()
    records = [record for record in doc_records if record["part"] != "tokenize"][:700]
    for number in range(7):
        rows: list[Any] = records[100 * number : 100 * number + 100]
        rows += [{"id": "bad"}, rows[3]] if number == 6 else []
        write_jsonl(workplace / "new" / f"{number}.jsonl", rows)
        vectors = np.random.default_rng(0).normal(size=(700, 8)).astype("f4")
        np.savez(workplace / "v.npz", key=np.array([r["id"] for r in records]), vector=vectors)
        run_in(workplace, name=f"run-{number}", **asked())
    return workplace


def asked(**changes: Any) -> dict[str, Any]:
    return {
        "pool": [{"format": "jsonl", "path": "new/*.jsonl", "key": "id", "keep": ["part"]}], "emit": [], "steps": STEPS,
        "columns": {"look": {"embed": "precomputed", "path": "v.npz"}}, **changes,
    }  # fmt: skip


def decisions(folder: Path) -> dict[str, Any]:
    run = open_complete(folder)
    keys = {r["sample_id"]: r["key"] for p in run.pool.parts for r in pq.read_table(p.path).to_pylist()}
    told = {}
    for step in range(len(run.recipe.steps)):
        for part in run.pool.parts:
            for row in pq.read_table(run.ledger(step) / part.name).to_pylist():
                told[f"{step} {keys[row['sample_id']]}"] = (
                    row["kept"],
                    row["rank"],
                    row["reason"],
                    row["related_id"],
                    str(row["score"]),
                )
    return told


def test_merged_shards_give_the_same_decisions_and_nothing_is_made_again(run_in: Runner, grown: Path) -> None:
    store = grown / "store"
    last = store / "runs" / "run-6"
    assert "7 small shards became 1" in compact(store)
    assert "no small shards" in compact(store)
    merged = store / "pool" / "part-00007.parquet"
    made = {path: path.stat().st_mtime_ns for path in (store / "columns").rglob("part-00007.parquet")}
    assert len(made) == 2, "n-grams and vectors"
    after = run_in(grown, name="after", **asked())
    assert [part.path for part in open_complete(after.folder).pool.parts] == [merged]
    assert {path: path.stat().st_mtime_ns for path in made} == made
    assert decisions(after.folder) == decisions(last)
    assert (
        after.manifest["pool"]["rejects"] == {"missing_text": 1, "exact_duplicate": 1}
        or after.manifest["pool"]["rejects"]["exact_duplicate"] == 1
    )
    assert verify(open_complete(after.folder)) == verify(open_complete(last)) == []
    key = pq.read_table(after.folder / "selection.parquet")["key"][0].as_py()
    assert where(store, key).count("from ") == 1, "in two shards, and one sample"


@pytest.mark.thorough
def test_what_comes_later_and_what_changes(run_in: Runner, grown: Path, doc_records: list[dict[str, str]]) -> None:
    store = grown / "store"
    compact(store)
    write_jsonl(grown / "new" / "8.jsonl", [doc_records[3], *doc_records[-20:]])
    later = run_in(grown, name="later", **asked(steps=STEPS[:2]))
    assert len(open_complete(later.folder).pool.parts) == 2
    changed = (grown / "new" / "2.jsonl").read_text().splitlines()[:50]
    (grown / "new" / "2.jsonl").write_text("\n".join(changed))
    third = run_in(grown, name="third", **asked(steps=STEPS[:2]))
    keys = [key for p in open_complete(third.folder).pool.parts for key in pq.read_table(p.path)["key"].to_pylist()]
    assert len(keys) == len(set(keys)) == third.manifest["pool"]["samples"]
    assert third.manifest["pool"]["rows"] == sum(
        len(path.read_text().splitlines()) for path in (grown / "new").glob("*.jsonl")
    )
    assert verify(open_complete(third.folder)) == []


@pytest.mark.thorough
def test_the_old_shards_go_when_no_run_needs_them(run_in: Runner, grown: Path) -> None:
    store = grown / "store"
    compact(store)
    after = run_in(grown, name="after", **asked())
    for number in range(7):
        shutil.rmtree(store / "runs" / f"run-{number}")
    collect(store, delete=True)
    assert [path.name for path in sorted((store / "pool").glob("part-*.parquet"))] == ["part-00007.parquet"]
    assert verify(open_complete(after.folder)) == []
    again = run_in(grown, name="again", **asked())
    assert decisions(again.folder) == decisions(after.folder)


@pytest.mark.thorough
def test_history_knows_merged_shards(run_in: Runner, grown: Path) -> None:
    run_in(grown, name="kept", **asked(against="kept", steps=STEPS[1:2]))
    compact(grown / "store")
    write_jsonl(grown / "new" / "9.jsonl", [{"id": f"n{n}", "text": f"new text {n}"} for n in range(30)])
    told = run_in(grown, name="kept-2", **asked(against="kept", steps=STEPS[1:2])).manifest["history"]
    assert (told["new_rows"], told["earlier_rows"]) == (30, 700)


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no store"):
        compact(tmp_path)


def test_a_schedule_merges_by_tiers(tmp_path: Path) -> None:
    """So that each night's texts are written anew once for each power of the tier, and not with every merge."""
    nights, parts = Nights(tmp_path, publish={}), []
    for number in range(1, 14):
        nights.comes(f"n{number:02d}", texts(f"n{number:02d}x", 6))
        outcome = nights.night()
        parts.append(len(outcome.manifest["pool"]["parts"]))
        assert outcome.manifest["pool"]["samples"] == 6 * number
        compact(nights.store, tier=3)
        collect(nights.store, delete=True, old=Old(keep_runs=1, fate="remove"))
    assert parts == [1, 2, 3, 2, 3, 4, 3, 4, 5, 4, 5, 6, 2], "three new ones, then four of those"
    fresh = run_recipe(nights.parsed(publish=None), tmp_path, tmp_path / "fresh", "fresh")
    assert chosen(fresh.folder) == chosen(nights.store / "runs" / "nightly-0013")
    assert verify(open_complete(nights.store / "runs" / "nightly-0013")) == []
    lists = {path.name[:6] for path in (nights.store / "publications" / "current").glob("*.parquet")}
    assert lists == {"000012", "000013"}, "of runs that are gone nobody asks what changed"
    assert len(nights.records()) == 13
