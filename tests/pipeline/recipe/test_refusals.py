"""What a recipe may not say: names that would collide or lead out, scopes, plausible mistakes in one line."""

from pathlib import Path
from typing import Any

import pytest

from tamis.pipeline.errors import QueryError, RecipeError, TamisError
from tamis.pipeline.recipe.recipe import parse_recipe
from tamis.pipeline.starting import run_recipe
from tests_support import BASIC, Runner


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


@pytest.mark.parametrize("where", ["random() < 0.5", "n_bytes > (select avg(n_bytes) from pool)"])
def test_where_must_give_the_same_answer_for_every_shard_and_time(run_in: Runner, workplace: Path, where: str) -> None:
    with pytest.raises(QueryError, match="where"):
        run_in(workplace, steps=[{"random": {"budget": 5, "where": where}}])


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
