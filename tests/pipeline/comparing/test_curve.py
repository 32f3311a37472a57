"""Worth by budget: each size beside random of that size, found again, in a table and a page that is inert."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from planted import planted

from tamis.pipeline.cli.app import app
from tamis.pipeline.errors import RecipeError
from tests_support import write_jsonl


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)

    def text(kind: str) -> str:
        return planted(draw, kind, 40)

    rows = [{"id": f"{kind}{n:03d}", "text": text(kind)} for kind in ("sea", "law") for n in range(60)]
    write_jsonl(tmp_path / "pool.jsonl", rows)
    write_jsonl(tmp_path / "target.jsonl", [{"id": f"t{n}", "text": text("sea")} for n in range(40)])
    source = {"format": "jsonl", "key": "id"}
    asked = {
        "name": "r<b>",  # "random" begins with it, but for the rest
        "pool": [{**source, "path": "pool.jsonl"}],
        "target": [{**source, "path": "target.jsonl"}],
        "steps": [{"exact_dedup": {}}, {"importance_resampling": {"budget": {"tokens": 800}}}],
        "emit": [],
    }
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump(asked))
    return path


def test_each_budget_stands_beside_random_of_its_size(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, store = recipe.parent / "curve.html", recipe.parent / "store"
    asked = ["compare", str(recipe), "--store", str(store), "--budgets", "0.5,2,1", "-o", str(out)]
    app(asked)
    told = capsys.readouterr().out
    found = json.loads(out.with_suffix(".json").read_text())
    assert [one["times"] for one in found["curve"]] == [0.5, 1, 2]
    sizes = [one["members"][0]["chosen"] for one in found["curve"]]
    assert sizes == [10, 20, 40]
    for one in found["curve"]:
        mine, random = one["members"][:2]
        assert random["name"] == "random" and random["chosen"] == mine["chosen"]
        assert f"{mine['target_nats']:.3f}" in told and mine["target_nats"] < random["target_nats"]
    page = out.read_text()
    assert "r&lt;b&gt;" in page and "<b>" not in page.replace("<b>random</b>", "") and "x0.5</text>" in page
    assert page.count("<polyline") == 2 * page.count("<svg class") and "http" not in page.split("<main")[-1]
    runs = sorted((store / "runs").iterdir())
    app(asked)
    assert capsys.readouterr().out == told and sorted((store / "runs").iterdir()) == runs


@pytest.mark.parametrize(
    ("budgets", "told"), [("0,1", "above 0"), ("a", "above 0"), ("", "above 0"), ("inf", "above 0"), ("nan", "above 0")]
)
def test_wrong_budgets_are_told(recipe: Path, budgets: str, told: str) -> None:
    from tamis.pipeline.comparing.curve import by_budget

    with pytest.raises(RecipeError, match=told):
        by_budget(recipe, recipe.parent / "store", budgets)


def test_a_recipe_without_a_budget_is_told(recipe: Path) -> None:
    from tamis.pipeline.comparing.curve import by_budget

    asked = yaml.safe_load(recipe.read_text())
    recipe.write_text(yaml.safe_dump({**asked, "steps": [{"exact_dedup": {}}]}))
    with pytest.raises(RecipeError, match="no step of the recipe has a budget"):
        by_budget(recipe, recipe.parent / "store", "1,2")
    recipe.write_text(yaml.safe_dump({**asked, "steps": [{"importance_resampling": {"budget": "auto"}}]}))
    with pytest.raises(RecipeError, match="'auto' is no number"):
        by_budget(recipe, recipe.parent / "store", "1,2")
