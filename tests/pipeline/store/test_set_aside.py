"""What no step may choose: forgotten keys, and what earlier runs of a recipe chose."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tamis.pipeline.errors import RunError, StoreError
from tamis.pipeline.files.atomic import read_json
from tamis.pipeline.store.manifest import verify
from tamis.pipeline.store.runs import open_complete
from tamis.pipeline.store.whereabouts import forget, where
from tests_support import Runner, write_jsonl


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write_jsonl(tmp_path / "pool.jsonl", [row(n) for n in range(60)])
    return tmp_path


def row(n: int) -> dict[str, Any]:
    return {"id": f"k{n:02d}", "part": "ab"[n % 2], "text": f"text number {n % 50}"}  # ten contents come twice


POOL: dict[str, Any] = {
    "pool": [{"format": "jsonl", "path": "pool.jsonl", "key": "id", "keep": ["part"]}],
    "target": [],
    "emit": [],
}
RANDOM = [{"random": {"budget": 20}}]


def chosen(folder: Path) -> set[str]:
    return set(pq.read_table(folder / "selection.parquet")["key"].to_pylist())


def reasons(folder: Path) -> dict[str, str]:
    run = open_complete(folder)
    keys = {r["sample_id"]: r["key"] for p in run.pool.parts for r in pq.read_table(p.path).to_pylist()}
    ledger = [r for p in run.pool.parts for r in pq.read_table(run.ledger(0) / p.name).to_pylist()]
    return {keys[r["sample_id"]]: r["reason"] for r in ledger}


@pytest.mark.parametrize(
    "steps",
    [
        RANDOM, [{"quota": {"by": "part", "shares": {"a": 1, "b": 1}, "budget": 20}}], [{"exact_dedup": {}}], [],
        [{"random": {"budget": 10, "where": "part = 'a'"}}],
    ],
)  # fmt: skip
def test_no_later_run_chooses_what_was_forgotten_and_the_ledger_says_so(
    run_in: Runner, place: Path, steps: list[Any]
) -> None:
    first = run_in(place, name="first", **POOL, steps=steps).folder
    some = sorted(chosen(first))[:3]
    told = forget(place / "store", [*some, "never-seen"])
    assert "run first holds 3 of them" in told and "never-seen: not in the pool" in told
    with pytest.raises(RunError, match="3 of its samples were forgotten since"):
        run_in(place, name="first", **POOL, steps=steps)
    later = run_in(place, name="later", **POOL, steps=steps).folder
    assert not chosen(later) & set(some) and chosen(later)
    assert verify(open_complete(later)) == []
    if steps:
        assert {key for key, reason in reasons(later).items() if reason == "forgotten"} == set(some)
    told = where(place / "store", some[0])
    assert "run       first: SELECTED" in told and "forgotten: no run from then on" in told
    assert "later: not selected, step 0" in told or not steps


def test_a_key_that_comes_later_is_not_chosen_either(run_in: Runner, place: Path) -> None:
    run_in(place, name="first", **POOL, steps=RANDOM)
    forget(place / "store", ["k60", "k61"])
    write_jsonl(place / "pool.jsonl", [row(n) for n in range(64)])
    later = run_in(place, name="later", **POOL, steps=[{"random": {"budget": 64}}]).folder
    assert {"k62", "k63"} <= chosen(later) and not chosen(later) & {"k60", "k61"}


def test_the_same_content_under_another_key_is_named(run_in: Runner, place: Path) -> None:
    run_in(place, name="first", **POOL, steps=RANDOM)
    assert "k00: k50 has the same content and is not forgotten" in forget(place / "store", ["k00"])
    assert "same as   k50, by content" in where(place / "store", "k00")
    with pytest.raises(StoreError, match="no sample of the pool and no reject has the key"):
        where(place / "store", "nobody")
    with pytest.raises(StoreError, match="no store"):
        forget(place / "elsewhere", ["k00"])


def test_against_kept_a_growing_pool_is_curated_run_by_run(run_in: Runner, place: Path) -> None:
    recipe = {**POOL, "against": "kept", "steps": [{"random": {"budget": 15}}]}
    taken: set[str] = set()
    for number in range(4):
        folder = run_in(place, name=f"r{number}", **recipe).folder
        mine = chosen(folder)
        assert len(mine) == 15 and not mine & taken
        assert {key for key, reason in reasons(folder).items() if reason == "kept_earlier"} == taken
        assert verify(open_complete(folder)) == []
        taken |= mine
    assert len(taken) == 60
    write_jsonl(place / "pool.jsonl", [row(n) for n in range(70)])
    fresh = chosen(run_in(place, name="grown", **recipe).folder)
    assert fresh == {f"k{n}" for n in range(60, 70)}, "the budget is for the new part"
    other = {**recipe, "steps": [{"random": {"budget": 10}}]}
    assert chosen(run_in(place, name="other", **other).folder) & taken, "another recipe has a history of its own"


def test_what_was_kept_earlier_stands_for_its_content(run_in: Runner, place: Path) -> None:
    recipe = {**POOL, "against": "kept", "steps": [{"exact_dedup": {}}]}
    first = chosen(run_in(place, name="first", **recipe).folder)
    assert len(first) == 50
    later = run_in(place, name="later", **recipe).folder
    assert chosen(later) == set(), "each content that is left was chosen before"
    told = reasons(later)
    assert set(told.values()) == {"kept_earlier", "duplicate"} and told["k50"] == "duplicate"


def test_what_was_kept_earlier_seeds_coverage_and_a_later_deduplication(run_in: Runner, tmp_path: Path) -> None:
    """Points on a quarter circle: with both ends kept earlier, k-center takes the middle first."""
    (tmp_path / "new").mkdir()
    places: dict[str, float] = {}

    def add(name: str, some: list[float]) -> None:
        places.update({f"{name}{n}": place for n, place in enumerate(some)})
        rows = [{"id": f"{name}{n}", "text": f"at {place}"} for n, place in enumerate(some)]
        write_jsonl(tmp_path / "new" / f"{name}.jsonl", rows)
        angles = np.array(list(places.values())) * np.pi / 20
        vectors = np.stack([np.cos(angles), np.sin(angles)], 1).astype("f4")
        np.savez(tmp_path / f"v-{name}.npz", key=np.array([row["id"] for row in rows]), vector=vectors[-len(some) :])

    asked: dict[str, Any] = {
        "pool": [{"format": "jsonl", "path": "new/*.jsonl", "key": "id"}], "target": [], "emit": [], "against": "kept",
        "columns": {"look": {"embed": "precomputed", "path": "v-*.npz"}},
        "steps": [{"random": {"fraction": 1.0}}, {"exact_dedup": {}}, {"k_center": {"column": "look", "budget": 2}}],
    }  # fmt: skip
    add("a", [0, 10])
    assert chosen(run_in(tmp_path, name="first", **asked).folder) == {"a0", "a1"}
    add("b", [0, 1, 5, 9, 10])
    second = run_in(tmp_path, name="second", **asked)
    picks = pq.read_table(second.folder / "selection.parquet").to_pylist()
    assert picks[0]["key"] == "b2", "the middle, where earlier picks leave most room"
    run = open_complete(second.folder)
    rows = {r["sample_id"]: r for p in run.pool.parts for r in pq.read_table(run.ledger(1) / p.name).to_pylist()}
    keys = {r["sample_id"]: r["key"] for p in run.pool.parts for r in pq.read_table(p.path).to_pylist()}
    dropped = {keys[i]: keys[r["related_id"]] for i, r in rows.items() if r["reason"] == "duplicate"}
    assert dropped == {"b0": "a0", "b4": "a1"}, "contents that were kept earlier are known to a later step"


def test_a_run_tells_how_the_new_differs_from_the_history(run_in: Runner, workplace: Path) -> None:
    lines = (workplace / "pool.jsonl").read_text().splitlines()
    (workplace / "new").mkdir()
    (workplace / "new" / "a.jsonl").write_text("\n".join(lines[:600]))
    asked: dict[str, Any] = {
        "pool": [{"format": "jsonl", "path": "new/*.jsonl", "key": "id", "keep": ["part"]}],
        "steps": [{"importance_resampling": {"budget": 50}}], "emit": [], "against": "kept",
    }  # fmt: skip
    first = run_in(workplace, name="first", **asked)
    assert first.manifest["history"] is None
    (workplace / "new" / "b.jsonl").write_text("\n".join(lines[600:900]))
    second = run_in(workplace, name="second", **asked)
    told = second.manifest["history"]
    assert (told["new_rows"], told["earlier_rows"], told["earlier_kept"]) == (300, 600, 50)
    assert told["new_kept"] + told["kept_of_earlier"] == 50 and told["new_shards"] == 1
    parts = [json.loads(line)["part"] for line in lines]
    new, old = Counter(parts[600:900]), Counter(parts[:600])
    names = sorted({*new, *old})
    p, q = (np.array([c[n] for n in names]) / sum(c.values()) for c in (new, old))
    assert told["kl"]["part"] == pytest.approx(float(np.sum(p * (np.log(p + 1e-10) - np.log(q + 1e-10)))))
    assert told["kl"]["n-grams"] > 0 and "history: 300 new samples" in (second.folder / "report.html").read_text()
    assert read_json(second.folder / "history.json") == told and verify(open_complete(second.folder)) == []
