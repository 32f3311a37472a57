"""Settings by what they are worth: the better one is found and told with its interval, chance is told as chance."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from planted import planted

from tamis.pipeline.cli.app import app
from tamis.pipeline.comparing.measures import by_ngrams
from tamis.pipeline.comparing.members import held_of, selected, times_of
from tamis.pipeline.comparing.selections import judges_of
from tamis.pipeline.comparing.tuning import tuned
from tamis.pipeline.comparing.tuning_told import as_yaml, table
from tamis.pipeline.comparing.variants import AS_IT_STANDS
from tamis.pipeline.errors import RecipeError
from tamis.pipeline.recipe.recipe import load_recipe
from tamis.pipeline.store.runs import open_complete
from tests_support import Runner, write_jsonl


@pytest.fixture
def place(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)

    def text(kind: str) -> str:
        return planted(draw, kind, 40)

    rows = [{"id": f"{kind}{n:03d}", "part": kind, "text": text(kind)} for kind in ("sea", "law") for n in range(100)]
    write_jsonl(tmp_path / "pool.jsonl", rows)
    write_jsonl(tmp_path / "target.jsonl", [{"id": f"t{n}", "text": text("sea")} for n in range(60)])
    return tmp_path


def recipe(place: Path, name: str, step: dict[str, Any], **more: Any) -> Path:
    source = {"format": "jsonl", "key": "id"}
    asked = {
        "pool": [{**source, "path": "pool.jsonl", "keep": ["part"]}],
        "target": [{**source, "path": "target.jsonl"}],
        "steps": [step],
        "emit": ["keys"],
        **more,
    }
    path = place / f"{name}.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in asked.items() if value is not None}))
    return path


def test_the_better_recipe_is_found_and_written(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = recipe(place, "mine", {"random": {"budget": 30}})
    other = recipe(place, "other", {"importance_resampling": {"budget": 30}})
    out = place / "tuned.yaml"
    app(["tune", str(mine), str(other), "--store", str(place / "store"), "-o", str(out)])
    told = capsys.readouterr().out
    assert "other is better than the recipe as it stands by +" in told and "Judged by 15 samples" in told
    assert load_recipe(out).steps == load_recipe(other).steps and out.read_text().startswith("# other.yaml, with what")
    found = json.loads(out.with_suffix(".json").read_text())
    assert found["better"] and found["tried"][0]["name"] == "other" and found["gain"] > found["half"] > 0
    runs = sorted((place / "store" / "runs").iterdir())
    again = tuned(mine, place / "store", [], [other])
    assert again["gain"] == found["gain"] and sorted((place / "store" / "runs").iterdir()) == runs, (
        "nothing is done twice"
    )


def test_where_nothing_is_better_it_says_so(place: Path) -> None:
    mine = recipe(place, "mine", {"importance_resampling": {"budget": 30}})
    found = tuned(mine, place / "store", ["steps.0.importance_resampling.buckets=262144, 131072", "seed=0,1"], [])
    assert not found["better"] and found["changes"] == {} and len(found["tried"]) == 5
    assert "othing that was tried is better" in table(found) or "can't be told from" in table(found)
    assert load_recipe_text(place, as_yaml(found)) == load_recipe(mine).steps
    with pytest.raises(RecipeError, match="all that was asked for is as it stands"):
        tuned(mine, place / "store", ["steps.0.importance_resampling.ngrams=2"], [])


def load_recipe_text(place: Path, text: str) -> Any:
    path = place / "read.yaml"
    path.write_text(text)
    return load_recipe(path).steps


def test_values_of_several_places_are_combined_and_a_worse_one_is_last(place: Path) -> None:
    mine = recipe(place, "mine", {"importance_resampling": {"budget": 30}})
    over = ["steps.0.importance_resampling.ngrams=1,2", "steps.0.importance_resampling.smoothing=0.25,100000.0"]
    found = tuned(mine, place / "store", over, [])
    names = [one["name"] for one in found["tried"]]
    assert len(names) == 5 and AS_IT_STANDS in names and "smoothing 100000.0" in names[-1] + names[-2]
    gains = [one["gain"][0] for one in found["tried"] if one["gain"]]
    assert gains == sorted(gains, reverse=True)


def test_the_last_are_trained_on_and_judged_by_that(place: Path) -> None:
    mine = recipe(place, "mine", {"random": {"budget": 30}})
    others = [recipe(place, f"other{n}", {"importance_resampling": {"budget": 30, "ngrams": n}}) for n in (1, 2)]
    others.append(recipe(place, "worst", {"importance_resampling": {"budget": 30}}, target=None, seed=4))
    with pytest.raises(RecipeError, match="target"):
        tuned(mine, place / "store", [], others)
    found = tuned(mine, place / "store", [], others[:2], train="tiny", seeds=2)
    by = {one["name"]: one for one in found["tried"]}
    assert len(by[AS_IT_STANDS]["losses"]) == 2 == len(found["tried"][0]["losses"])
    assert found["train"] == "tiny" and "loss of tiny models" in table(found)
    losses = [np.mean(one["losses"]) for one in found["tried"] if len(one["losses"] or []) == 2]
    assert losses == sorted(losses)
    kept = sorted((place / "store" / "compare" / "losses").iterdir())
    assert tuned(mine, place / "store", [], others[:2], train="tiny", seeds=2) == found
    assert sorted((place / "store" / "compare" / "losses").iterdir()) == kept


@pytest.mark.parametrize(
    ("over", "told"),
    [
        (["steps.0.random.budget=10,20"], "of different sizes"),
        (["steps.0.random"], "wanted KEY=VALUE,VALUE"),
        (["steps.0.random.sed=1"], "tune: sed 1: .*unknown"),
        (["hold_out=0.1,0.2"], "tries steps, columns, seed"),
        (["steps.0.random.where=part in ('sea','law')"], "into double quotes"),
        (["seed=" + ",".join(map(str, range(100)))], "100 variants; at most 64"),
        ([], "nothing to try"),
        (["seed=0"], "nothing to try"),
    ],
)
def test_what_can_not_be_tried_is_told(place: Path, over: list[str], told: str) -> None:
    mine = recipe(place, "mine", {"random": {"budget": 30}})
    with pytest.raises(RecipeError, match=told):
        tuned(mine, place / "store", over, [])


def test_vectors_judge_where_a_column_is_named(place: Path) -> None:
    keys = [f"{kind}{n:03d}" for kind in ("sea", "law") for n in range(100)] + [f"t{n}" for n in range(60)]
    kinds = [0 if key[0] in "st" else 1 for key in keys]
    vectors = np.eye(8)[kinds] + 0.3 * np.random.default_rng(0).normal(size=(len(keys), 8))
    np.savez(place / "v.npz", key=np.array(keys), vector=vectors)
    columns = {"v": {"embed": "precomputed", "path": "v.npz"}}
    mine = recipe(place, "mine", {"random": {"budget": 30}}, columns=columns)
    other = recipe(place, "other", {"target_coverage": {"column": "v", "budget": 30}}, columns=columns)
    found = tuned(mine, place / "store", [], [other], column="v")
    assert found["better"] and found["best"] == "other" and found["measure"] == "nearness"
    assert 0 < found["tried"][1]["value"] < found["tried"][0]["value"] <= 1
    with pytest.raises(RecipeError, match="--column w: the recipe as it stands has no such column"):
        tuned(mine, place / "new", [], [other], column="w")
    with pytest.raises(RecipeError, match="--train huge: wanted tiny"):
        tuned(mine, place / "new", [], [other], train="huge")
    assert not (place / "new").exists(), "checked before anything runs"


def test_the_recipe_may_be_changed_and_tried_again(place: Path) -> None:
    for budget in (30, 31):
        mine = recipe(place, "mine", {"importance_resampling": {"budget": budget}})
        tuned(mine, place / "store", ["seed=1"], [])


def test_selections_of_different_sizes_are_refused(place: Path) -> None:
    mine, other = (recipe(place, name, {"random": {"budget": size}}) for name, size in (("mine", 30), ("other", 50)))
    with pytest.raises(RecipeError, match="other has a budget of 50 rows, the recipe as it stands 30 rows"):
        tuned(mine, place / "store", [], [other])


def test_no_recipe_is_written_over(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = recipe(place, "mine", {"random": {"budget": 30}})
    before = mine.read_text()
    for out, told in ((mine, "would be written over"), (place / "x.html", "a recipe is YAML"), (place / "a" / "x.yaml", "put it there")):  # fmt: skip
        with pytest.raises(RecipeError, match=told):
            app(["tune", str(mine), "--store", str(place / "store"), "--over", "seed=1", "-o", str(out)])
    assert mine.read_text() == before


def test_without_a_target_or_with_a_small_one_nothing_judges(place: Path) -> None:
    without = recipe(place, "without", {"random": {"budget": 30}}, target=None)
    with pytest.raises(RecipeError, match="nothing says what a setting is worth"):
        tuned(without, place / "store", ["seed=1"], [])
    write_jsonl(place / "target.jsonl", [{"id": f"t{n}", "text": f"salt wave {n}"} for n in range(12)])
    mine = recipe(place, "mine", {"random": {"budget": 30}})
    with pytest.raises(RecipeError, match=r"3 contents are held out to judge by, .*; wanted 10 or more"):
        tuned(mine, place / "store", ["seed=1"], [])


def test_repeats_count_in_what_the_target_costs(run_in: Runner, place: Path) -> None:
    source = {"format": "jsonl", "key": "id"}
    asked = {"pool": [{**source, "path": "pool.jsonl"}], "target": [{**source, "path": "target.jsonl"}], "emit": []}
    step = {"set_selection": {"budget": {"tokens": 3000}, "max_epochs": 5}}
    run = open_complete(run_in(place, **asked, steps=[step]).folder)
    judge = judges_of(run, held_of(run)[0])[""]
    times = times_of(run)
    assert times.max() == 5 and len(times) == len(selected(run))
    weights = dict(pq.read_table(run.folder / "selection.parquet").select(["sample_id", "weight"]).to_pydict().items())
    assert sorted(times) == sorted(round(one) for one in weights["weight"])
    once = np.ones_like(times)
    nats = {
        name: by_ngrams(run, judge, {"it": selected(run)}, np.zeros(0, np.uint64), {"it": some})["it"]["target_nats"]
        for name, some in (("as they count", times), ("once", once), ("twice each", 2 * once))
    }
    assert nats["twice each"] < nats["once"], "more of the same is smoothed less"
    assert len(set(nats.values())) == 3


def test_weights_are_searched_round_after_round(place: Path) -> None:
    """One score knows the target's kind, one its opposite, one nothing."""
    rows = [json.loads(line) for line in (place / "pool.jsonl").read_text().splitlines()]
    draw = np.random.default_rng(3)
    for row in rows:
        good = float(row["part"] == "sea")
        row |= {"good": good + 0.5 * draw.random(), "bad": 0.5 * draw.random() - good, "none": draw.random()}
    write_jsonl(place / "pool.jsonl", rows)
    with (place / "target.jsonl").open("a") as file:
        file.writelines(json.dumps({"id": f"more{n}", "text": planted(draw, "sea", 40)}) + "\n" for n in range(40))
    pool = [{"format": "jsonl", "key": "id", "path": "pool.jsonl", "keep": ["part", "good", "bad", "none"]}]
    step = {"combine": {"scores": ["bad", "none", "good"], "budget": 30}}
    mine = recipe(place, "mine", step, pool=pool)
    found = tuned(mine, place / "store", ["steps.0.combine.weights=search"], [])
    assert len(found["tried"]) > 30 and found["better"]
    weights = found["changes"]["steps.0.combine.weights"]
    assert found["held_out"]["contents"] >= 20
    assert weights[2] > max(weights[:2]) and weights[2] - weights[0] > 0.3
    assert tuned(mine, place / "store", ["steps.0.combine.weights=search"], []) == found
    with pytest.raises(RecipeError, match=r"steps\.0\.combine\.weights=search"):
        tuned(mine, place / "store", ["steps.0.combine.by=search"], [])
    with pytest.raises(RecipeError, match="a command of its own"):
        tuned(mine, place / "store", ["steps.0.combine.weights=search", "seed=1,2"], [])
    plain = recipe(place, "plain", {"random": {"budget": 30}})
    with pytest.raises(RecipeError, match="step 0 is random, not combine"):
        tuned(plain, place / "store", ["steps.0.combine.weights=search"], [])
