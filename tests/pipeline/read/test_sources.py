"""Sources side by side: keys, fields, types and places."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tamis.pipeline.errors import SourceError, StoreError
from tamis.pipeline.read import kept_types
from tests_support import BASIC, Runner, write_jsonl

RANDOM = [{"random": {"budget": 5}}]


def test_a_targets_repeats_count_and_its_sources_may_number_alike(run_in: Runner, workplace: Path) -> None:
    write_jsonl(workplace / "a.jsonl", [{"id": 1, "text": "same words"}, {"id": 2, "text": "same words"}])
    write_jsonl(workplace / "b.jsonl", [{"id": 1, "text": "other words"}])
    write_jsonl(workplace / "c.jsonl", [{"text": "again"}, {"text": "again"}])
    sources = [{"format": "jsonl", "path": name, "key": "id"} for name in ("a.jsonl", "b.jsonl")]
    outcome = run_in(workplace, target=[*sources, {"format": "jsonl", "path": "c.jsonl"}])
    assert (outcome.manifest["target"]["samples"], outcome.manifest["target"]["rejects"]) == (5, {})


def test_maps_are_kept_whole(run_in: Runner, workplace: Path) -> None:
    records = [{"id": "1", "text": "x", "meta": {"a": 1}}, {"id": "2", "text": "y", "meta": {"a": 1, "b": 2}}]
    write_jsonl(workplace / "m.jsonl", [*records, {"id": "3", "text": "z", "meta": {}}])
    pq.write_table(pa.Table.from_pylist(records), workplace / "m.parquet")
    for kind in ("jsonl", "parquet"):
        source = {"format": kind, "path": f"m.{kind}", "key": "id", "keep": ["meta"]}
        outcome = run_in(workplace, name=kind, store=kind, pool=[source], target=[], steps=[])
        kept = pq.read_table(outcome.folder / "selection.parquet")["meta"].to_pylist()
        assert (json.loads(kept[1]) if kind == "jsonl" else kept[1]) == {"a": 1, "b": 2}


def test_one_value_that_does_not_fit_costs_its_row_not_its_file(
    run_in: Runner, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_types, "SNIFF_SCHEMAS", 1)  # the second file's is not looked at
    pq.write_table(pa.table({"text": ["a", "b"], "y": [1, 2]}), workplace / "p1.parquet")
    pq.write_table(pa.table({"text": ["c", "d"], "y": [1.0, 2.5]}), workplace / "p2.parquet")
    source = {"format": "parquet", "path": "p*.parquet", "keep": ["y"]}
    outcome = run_in(workplace, pool=[source], target=[], steps=[])
    assert (outcome.selected, outcome.manifest["pool"]["rejects"]) == (3, {"wrong_type": 1})


def test_strict_also_holds_for_what_is_already_in_the_store(run_in: Runner, workplace: Path) -> None:
    with (workplace / "pool.jsonl").open("a") as out:
        out.write("{bad\n")
    run_in(workplace)
    with pytest.raises(SourceError, match="strict"):
        run_in(workplace, name="again", strict=True)


def test_a_mended_recipe_may_use_the_store_in_which_nothing_was_read(run_in: Runner, workplace: Path) -> None:
    (workplace / "pool.jsonl").rename(workplace / "good.jsonl")
    (workplace / "pool.jsonl").write_text('{"id": "a", "text": null, "part": "x"}\n')
    with pytest.raises(SourceError, match=r"not one usable sample \(1 missing_field: field 'text' is absent or null\)"):
        run_in(workplace)
    (workplace / "good.jsonl").rename(workplace / "pool.jsonl")
    assert run_in(workplace).selected == 100


def test_a_new_source_with_a_new_field_needs_a_new_store(run_in: Runner, workplace: Path) -> None:
    run_in(workplace)
    write_jsonl(workplace / "more.jsonl", [{"id": "m", "text": "x", "lang": "en"}])
    with pytest.raises(StoreError, match="no field lang"):
        run_in(workplace, name="b", pool=[*BASIC["pool"], {"format": "jsonl", "path": "more.jsonl", "keep": ["lang"]}])


def test_a_store_below_its_own_pool_is_not_read(run_in: Runner, workplace: Path) -> None:
    (workplace / "target.jsonl").rename(workplace.parent / "target-elsewhere.jsonl")
    changes: dict[str, Any] = {"pool": [{"format": "jsonl", "path": "."}], "target": [], "steps": RANDOM}
    first = run_in(workplace, **changes)
    assert run_in(workplace, **changes).fresh is False
    assert set(first.manifest["pool"]["rejects"]) <= {"exact_duplicate"}, "nothing of the store was taken for a source"


def test_paths_with_brackets_are_paths(run_in: Runner, workplace: Path) -> None:
    (workplace / "d[1]").mkdir()
    (workplace / "pool.jsonl").rename(workplace / "d[1]" / "pool.jsonl")
    source = {**BASIC["pool"][0], "path": "d[1]/pool.jsonl"}
    assert run_in(workplace, pool=[source]).selected == 100
