"""What a hard review found, each once: names, scopes, users' code, damage, and errors of one line."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tamis.pipeline.errors import DamageFound, QueryError, RecipeError, SourceError, StoreError, TamisError
from tamis.pipeline.explain.why import why
from tamis.pipeline.progress import hushed
from tamis.pipeline.quick import pick
from tamis.pipeline.recipe.recipe import parse_recipe
from tamis.pipeline.starting import run_recipe
from tamis.pipeline.store.manifest import verify
from tamis.pipeline.store.query import ask
from tamis.pipeline.store.runs import open_complete
from tests_support import BASIC, Runner, write_jsonl

RANDOM = [{"random": {"budget": 5}}]


@pytest.mark.parametrize("name", [".", "..", "a/b", ".hidden"])
def test_a_runs_name_never_leaves_the_runs(workplace: Path, name: str) -> None:
    recipe = parse_recipe({**BASIC, "name": "ok"}, workplace)
    with pytest.raises(RecipeError, match="can't name a folder"):
        run_recipe(recipe, workplace, workplace / "store", name)
    assert not (workplace / "store" / "runs").exists()


@pytest.mark.parametrize("column", ["../../evil", "pool", "text", "part", "a b"])
def test_columns_have_plain_names_of_their_own(workplace: Path, column: str) -> None:
    with pytest.raises(RecipeError, match="column"):
        parse_recipe({**BASIC, "name": "x", "columns": {column: {"python": "m.py:f"}}}, workplace)


@pytest.mark.parametrize("name", ["score", "Text", "n_tokens", "filename", "new\nline", "$field", 'a"b'])
def test_kept_fields_that_would_collide_are_refused(workplace: Path, name: str) -> None:
    source = {**BASIC["pool"][0], "keep": [name]}
    with pytest.raises(RecipeError, match=r"another one|rename"):
        parse_recipe({**BASIC, "name": "x", "pool": [source]}, workplace)


CODE = "from pathlib import Path\nPath({mark!r}).touch()\n\n\ndef taste(batch):\n    return [1.0] * batch.num_rows\n"


def test_looking_at_a_run_runs_no_users_code(run_in: Runner, workplace: Path) -> None:
    mark = workplace / "mark"
    (workplace / "mine.py").write_text(CODE.format(mark=str(mark)))
    columns = {"taste": {"python": "mine.py:taste"}}
    outcome = run_in(workplace, columns=columns, allow_code=True, steps=[*BASIC["steps"], *RANDOM])
    mark.unlink()
    (workplace / "mine.py").write_text("raise SystemExit('ran')\n")
    run = open_complete(outcome.folder)
    assert len(list(ask(run, "select taste from taste limit 1"))) == 1
    key = pq.read_table(outcome.folder / "selection.parquet")["key"][0].as_py()
    assert "n-grams" in why(run, key)
    assert verify(run) == []
    assert not mark.exists()


def test_edited_code_is_another_column(run_in: Runner, workplace: Path) -> None:
    for value in (1.0, 2.0):
        (workplace / "mine.py").write_text(f"def taste(batch):\n    return [{value}] * batch.num_rows\n")
        columns = {"taste": {"python": "mine.py:taste"}}
        outcome = run_in(workplace, name=f"v{value:.0f}", columns=columns, allow_code=True, steps=RANDOM)
        folder = outcome.manifest["columns"][0]["folder"]
        part = next((workplace / "store" / folder).glob("part-*"))
        assert pq.read_table(part)["taste"][0].as_py() == value


def test_facts_speak_of_what_was_chosen_in_scope(run_in: Runner, workplace: Path) -> None:
    step = {"importance_resampling": {"budget": 5, "where": "part = 'corpus'"}}
    outcome = run_in(workplace, steps=[step])
    record = outcome.manifest["steps"][0]
    tokens = record["facts"]["tokens"]
    assert (tokens["selection"]["texts"], tokens["random"]["texts"]) == (5, 5)
    assert tokens["pool"]["texts"] == record["eligible"] < record["candidates"]


@pytest.mark.parametrize("where", ["random() < 0.5", "n_bytes > (select avg(n_bytes) from pool)"])
def test_where_must_give_the_same_answer_for_every_shard_and_time(run_in: Runner, workplace: Path, where: str) -> None:
    with pytest.raises(QueryError, match="where"):
        run_in(workplace, steps=[{"random": {"budget": 5, "where": where}}])


def test_a_targets_repeats_count_and_its_sources_may_number_alike(run_in: Runner, workplace: Path) -> None:
    write_jsonl(workplace / "a.jsonl", [{"id": 1, "text": "same words"}, {"id": 2, "text": "same words"}])
    write_jsonl(workplace / "b.jsonl", [{"id": 1, "text": "other words"}])
    write_jsonl(workplace / "c.jsonl", [{"text": "again"}, {"text": "again"}])
    sources = [{"format": "jsonl", "path": name, "key": "id"} for name in ("a.jsonl", "b.jsonl")]
    outcome = run_in(workplace, target=[*sources, {"format": "jsonl", "path": "c.jsonl"}])
    assert (outcome.manifest["target"]["samples"], outcome.manifest["target"]["rejects"]) == (5, {})


def test_maps_are_kept_whole_as_json_text(run_in: Runner, workplace: Path) -> None:
    records = [{"id": "1", "text": "x", "meta": {"a": 1}}, {"id": "2", "text": "y", "meta": {"a": 1, "b": 2}}]
    write_jsonl(workplace / "m.jsonl", [*records, {"id": "3", "text": "z", "meta": {}}])
    pq.write_table(pa.Table.from_pylist(records), workplace / "m.parquet")
    for kind in ("jsonl", "parquet"):
        source = {"format": kind, "path": f"m.{kind}", "key": "id", "keep": ["meta"]}
        outcome = run_in(workplace, name=kind, store=kind, pool=[source], target=[], steps=[])
        kept = pq.read_table(outcome.folder / "selection.parquet")["meta"].to_pylist()
        assert json.loads(kept[1]) in ({"a": 1, "b": 2}, {"b": 2, "a": 1})


def test_one_value_that_does_not_fit_costs_its_row_not_its_file(run_in: Runner, workplace: Path) -> None:
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
    with pytest.raises(SourceError, match="not one usable sample"):
        run_in(workplace, pool=[{**BASIC["pool"][0], "text": "txet"}])
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


def test_pick_again_after_the_pool_changed_and_from_elsewhere(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments: dict[str, Any] = {"like": workplace / "target.jsonl", "n": 3, "out": workplace / "o.jsonl"}
    with hushed():
        first = pick(workplace / "pool.jsonl", **arguments)
        monkeypatch.chdir(workplace)
        assert pick(workplace / "pool.jsonl", **arguments).outcome.fresh is False
        with (workplace / "pool.jsonl").open("a") as out:
            out.write('{"id": "new", "text": "one more text"}\n')
        assert pick(workplace / "pool.jsonl", **arguments).run != first.run


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": 5},
        {"steps": [{"importance_resampling": {"budget": {"tokens": 5, "by": "nope"}}}]},
        {"steps": [{"random": {"budget": {"tokens": 5, "by": "part"}}}]},
        {"steps": [{"importance_resampling": {"targets": [0.5, 0.3, 0.2], "budget": 5}}]},
        {"steps": [{"quota": {"by": "part", "shares": {"a": float("nan")}, "budget": 5}}]},
        {"columns": {"x": {"python": 3}}},
        {"steps": [{"own.py:function": {"budget": 5}}]},
    ],
)
def test_plausible_mistakes_end_in_one_line(run_in: Runner, workplace: Path, changes: dict[str, Any]) -> None:
    (workplace / "own.py").write_text("def function():\n    pass\n")
    with pytest.raises(TamisError) as caught:
        run_in(workplace, allow_code=True, **changes)
    assert "\n" not in str(caught.value)


def test_missing_and_damaged_files_of_a_store_are_named(run_in: Runner, workplace: Path) -> None:
    outcome = run_in(workplace)
    column = next((workplace / "store" / "columns" / "ngrams").glob("part-*"))
    column.write_bytes(column.read_bytes()[:-1] + b"x")
    assert any(str(column) in line for line in verify(open_complete(outcome.folder)))
    part = next((workplace / "store" / "pool").glob("part-*"))
    part.unlink()
    with pytest.raises(DamageFound, match=r"part-00000\.parquet"):
        run_in(workplace, name="other", steps=[{"importance_resampling": {"budget": 3, "ngrams": 1}}])
    with pytest.raises(DamageFound):
        why(open_complete(outcome.folder), "anything")
    (outcome.folder / "request.json").write_text("{")
    with pytest.raises(DamageFound, match=r"request\.json"):
        open_complete(outcome.folder)


def test_a_fraction_is_exact(run_in: Runner, workplace: Path) -> None:
    write_jsonl(workplace / "pool.jsonl", [{"id": str(i), "part": "x", "text": f"t{i}"} for i in range(100)])
    assert run_in(workplace, steps=[{"random": {"fraction": 0.29}}], target=[]).selected == 29


def test_control_characters_do_not_reach_a_terminal(run_in: Runner, workplace: Path) -> None:
    write_jsonl(workplace / "pool.jsonl", [{"id": "k", "part": "x", "text": "red \x1b[31m alert"}])
    outcome = run_in(workplace, steps=[], target=[])
    assert "\x1b" not in why(open_complete(outcome.folder), "k")
