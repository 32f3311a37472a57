"""Whole runs with the plain loop: the issue's recipe, reuse, refusal, kills, two at once, golden ids."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tamis.pipeline.errors import CodeNotAllowed, QueryError, RecipeError, RunError, RunFailed, SourceError, StoreError
from tamis.pipeline.files import atomic
from tamis.pipeline.store.manifest import verify
from tamis.pipeline.store.runs import open_complete
from tests_support import BASIC, Runner, result_bytes, write_jsonl

GOLDEN = Path(__file__).parent / "golden_selection.json"


def test_the_first_recipe_of_the_docs_runs_as_written(run_in: Runner, workplace: Path) -> None:
    outcome = run_in(
        workplace,
        name="medical",
        steps=[{"importance_resampling": {"features": "ngrams", "form": "published", "min_length": 0, "budget": 500}}],
    )
    assert outcome.selected == 500
    assert sorted(path.name for path in (outcome.folder / "exports").iterdir()) == [
        "selection.jsonl",
        "selection.parquet",
    ]
    lines = (outcome.folder / "exports" / "selection.jsonl").read_text().splitlines()
    first = json.loads(lines[0])
    assert (len(lines), first["rank"], len(first["sample_id"])) == (500, 1, 16)
    assert {"key", "text", "part", "weight", "score"} <= set(first)


def test_chosen_ids_are_the_golden_ones(run_in: Runner, workplace: Path, request: pytest.FixtureRequest) -> None:
    """Docstrings of a pinned package: these ids change only together with CHANGELOG's 'Changes selections'."""
    found = {}
    for form in ("tamis", "published"):
        step = {"importance_resampling": {"form": form, "min_length": 0, "budget": 25}}
        outcome = run_in(workplace, name=form, steps=[{"exact_dedup": {}}, step])
        found[form] = pq.read_table(outcome.folder / "selection.parquet")["key"].to_pylist()
    if request.config.getoption("--regen"):
        GOLDEN.write_text(json.dumps(found, indent=1) + "\n")
    assert found == json.loads(GOLDEN.read_text())


def test_the_same_again_writes_nothing(run_in: Runner, workplace: Path) -> None:
    first = run_in(workplace)
    times = {path: path.stat().st_mtime_ns for path in first.folder.rglob("*") if path.is_file()}
    again = run_in(workplace)
    assert (first.fresh, again.fresh) == (True, False)
    assert {path: path.stat().st_mtime_ns for path in first.folder.rglob("*") if path.is_file()} == times


def test_another_recipe_under_the_name_is_refused(run_in: Runner, workplace: Path) -> None:
    run_in(workplace)
    with pytest.raises(RunError, match=r"differs in: seed.*--run NAME"):
        run_in(workplace, seed=1)


def test_a_complete_run_whose_pool_changed_wants_a_new_name(run_in: Runner, workplace: Path) -> None:
    run_in(workplace)
    with (workplace / "pool.jsonl").open("a") as out:
        out.write('{"id": "new", "part": "x", "text": "one more"}\n')
    with pytest.raises(RunError, match=r"has changed since \(pool.jsonl"):
        run_in(workplace)
    assert run_in(workplace, name="second").manifest["pool"]["samples"] > 0


def test_columns_and_models_are_reused_by_other_runs(run_in: Runner, workplace: Path) -> None:
    run_in(workplace)
    column = next((workplace / "store" / "columns" / "ngrams").glob("part-*"))
    stamp = column.stat().st_mtime_ns
    run_in(workplace, name="other", steps=[{"exact_dedup": {}}, {"importance_resampling": {"budget": 7}}])
    assert column.stat().st_mtime_ns == stamp
    run_in(workplace, name="third", steps=[{"importance_resampling": {"budget": 7, "ngrams": 1}}])
    assert len(list((workplace / "store" / "columns").iterdir())) == 2


def test_k_above_what_survives_is_clamped_and_said(run_in: Runner, workplace: Path) -> None:
    from tamis.pipeline.explain.show import notes

    step = {"importance_resampling": {"form": "published", "min_length": 60, "budget": 100_000}}
    outcome = run_in(workplace, steps=[step])
    said = outcome.manifest["steps"][0]
    assert 0 < outcome.selected == said["eligible"] < said["candidates"]
    assert "there were" in notes(said)[0]


def test_budgets_in_tokens_and_bytes_are_never_exceeded(run_in: Runner, workplace: Path) -> None:
    for name, budget in (("tokens", {"tokens": 2000}), ("bytes", {"bytes": 10_000})):
        outcome = run_in(workplace, name=name, steps=[{"importance_resampling": {"budget": budget}}])
        step = outcome.manifest["steps"][0]
        assert step["spent"] <= step["budget"] < step["spent"] + step["next_cost"]
    texts = pq.read_table(outcome.folder / "selection.parquet")["text"].to_pylist()
    assert sum(len(text.encode()) for text in texts) == step["spent"]


def test_quota_gives_the_mixture_with_repeats_as_weights(run_in: Runner, workplace: Path) -> None:
    quota = {"by": "part", "shares": {"tokenize": 0.5, "corpus": 0.5}, "budget": 400, "max_epochs": 4}
    outcome = run_in(workplace, steps=[{"quota": quota}], target=[])
    table = pq.read_table(outcome.folder / "selection.parquet", columns=["part", "weight"]).to_pylist()
    weights = {part: sum(row["weight"] for row in table if row["part"] == part) for part in ("tokenize", "corpus")}
    assert weights["tokenize"] == weights["corpus"] == 200


def test_without_steps_everything_is_kept_in_the_pools_order(run_in: Runner, workplace: Path) -> None:
    outcome = run_in(workplace, steps=[], target=[])
    keys = pq.read_table(outcome.folder / "selection.parquet")["key"].to_pylist()
    assert keys == [json.loads(line)["id"] for line in (workplace / "pool.jsonl").open()]


def test_separate_targets_share_the_budget(run_in: Runner, workplace: Path) -> None:
    write_jsonl(workplace / "other.jsonl", [{"text": "parse a chart grammar with productions and nonterminals"}])
    targets = [*BASIC["target"], {"format": "jsonl", "path": "other.jsonl"}]
    outcome = run_in(
        workplace, target=targets, steps=[{"importance_resampling": {"targets": [0.75, 0.25], "budget": 41}}]
    )
    ledger = pq.read_table(outcome.folder / "ledger" / "step-00").to_pylist()
    taken = [row["detail"] for row in ledger if row["kept"]]
    assert (taken.count("target 0"), taken.count("target 1")) == (30, 11)
    assert len({row["sample_id"] for row in ledger}) == len(ledger) == outcome.manifest["pool"]["samples"]
    assert verify(open_complete(outcome.folder)) == []


def test_users_code_runs_only_when_allowed_and_its_column_can_be_used(run_in: Runner, workplace: Path) -> None:
    (workplace / "mine.py").write_text(
        "import pyarrow.compute as pc\n\n\ndef taste(batch):\n    return pc.utf8_length(batch['text'])\n"
    )
    changes: dict[str, Any] = {
        "columns": {"taste": {"python": "mine.py:taste"}},
        "steps": [{"random": {"budget": 10, "where": "taste > 200 and part = 'corpus'"}}],
        "target": [],
    }
    with pytest.raises(CodeNotAllowed, match="--allow-code"):
        run_in(workplace, **changes)
    outcome = run_in(workplace, allow_code=True, **changes)
    rows = pq.read_table(outcome.folder / "selection.parquet").to_pylist()
    inside = [row for row in rows if len(row["text"]) > 200 and row["part"] == "corpus"]
    assert len(inside) == len(rows) == 10 and outcome.manifest["steps"][0]["reasons"]["not_in_scope"]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"stpes": []}, RecipeError, "stpes: unknown key, did you mean 'steps'"),
        ({"pool": []}, RecipeError, "pool: List should have at least 1 item"),
        ({"pool": [{"format": "jsonl", "path": "none.jsonl"}]}, SourceError, "no such file"),
        ({"pool": [{"format": "jsonl", "path": "none*.jsonl"}]}, SourceError, "the glob finds no file"),
        ({"pool": [{"format": "jsonl", "path": "empty.jsonl"}]}, SourceError, "not one usable sample"),
        ({"target": [{"format": "jsonl", "path": "empty.jsonl"}]}, SourceError, "target: not one usable sample"),
        ({"pool": [{"format": "jsonl", "path": "pool.jsonl", "txt": "x"}]}, RecipeError, "did you mean 'text'"),
        ({"seed": "one"}, RecipeError, "seed: Input should be a valid integer, found 'one'"),
        ({"steps": [{"random": {"budget": -5}}]}, RecipeError, "budget must be 0 or more, found -5"),
        ({"steps": [{"random": {}}]}, RecipeError, "how much may it choose"),
        ({"steps": [{"exact_dedup": {"budget": 3}}]}, RecipeError, "takes no budget"),
        ({"steps": ["random"]}, RecipeError, "must be a map with one key"),
        (
            {"steps": [{"quota": {"by": "nofield", "shares": {"a": 1}, "budget": 1}}]},
            RecipeError,
            "no field or column 'nofield'",
        ),
        ({"target": []}, RecipeError, "needs a target"),
        ({"emit": ["webdatasets"]}, RecipeError, "no output 'webdatasets', did you mean 'webdataset'"),
    ],
)
def test_bad_recipes_are_refused_before_anything_starts(
    run_in: Runner, workplace: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    (workplace / "empty.jsonl").write_text("")
    with pytest.raises(error, match=message) as caught:
        run_in(workplace, **changes)
    assert "\n" not in str(caught.value)


def test_names_that_leave_the_store_are_refused(workplace: Path) -> None:
    from tamis.pipeline.recipe.recipe import parse_recipe

    for name in ("../evil", ".hidden", "a/b", ""):
        with pytest.raises(RecipeError, match="can't name a folder"):
            parse_recipe({**BASIC, "name": name}, workplace)


def test_a_recipe_mended_after_it_failed_keeps_its_name(run_in: Runner, workplace: Path) -> None:
    with pytest.raises(QueryError, match="nofield"):
        run_in(workplace, steps=[{"random": {"budget": 1, "where": "nofield = 1"}}])
    assert run_in(workplace, steps=[{"random": {"budget": 1, "where": "part <> 'x'"}}]).fresh


@pytest.mark.fault("YAML that would build objects: refused")
def test_yaml_that_builds_objects_is_refused(workplace: Path) -> None:
    from tamis.pipeline.recipe.recipe import load_recipe

    path = workplace / "evil.yaml"
    path.write_text("pool: !!python/object/apply:os.system ['touch pwned']\n")
    with pytest.raises(RecipeError, match="not plain YAML"):
        load_recipe(path)
    assert not (workplace / "pwned").exists()


def test_an_unwritable_store_is_said(run_in: Runner, workplace: Path) -> None:
    (workplace / "file").write_text("")
    with pytest.raises(StoreError, match="can't be written"):
        run_in(workplace, store="file/store")


def test_no_space_left_is_a_failed_run_that_goes_on(
    run_in: Runner, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(atomic.pq.ParquetWriter, "write_table", full)
        with pytest.raises(RunFailed, match=r"no space left.*goes on from here"):
            run_in(workplace)
    assert run_in(workplace).selected == 100


def test_thread_counts_do_not_change_the_bytes(
    run_in: Runner, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = result_bytes(run_in(workplace, store="many").folder)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0}, raising=False)
    assert result_bytes(run_in(workplace, store="one").folder) == wanted


def test_bytes_do_not_depend_on_where_a_stream_was_cut(tmp_path: Path) -> None:
    """Texts of up to 9,000 bytes: several pages in each row group, of which there are two."""
    draw = np.random.default_rng(0)
    texts = ["".join(map(chr, draw.integers(97, 122, int(size)))) for size in draw.integers(50, 9000, 400)]
    table = pa.table({"text": texts * 42, "number": np.arange(42 * 400)})
    assert table.num_rows > atomic.ROW_GROUP_ROWS
    written = set()
    for rows in (37, 1000, 1024, 20_000):
        atomic.write_batches(tmp_path / "t.parquet", table.schema, table.to_batches(max_chunksize=rows))
        written.add((tmp_path / "t.parquet").read_bytes())
    atomic.write_parquet(tmp_path / "t.parquet", table)
    assert len(written | {(tmp_path / "t.parquet").read_bytes()}) == 1
