"""How much of the target's kind is found, how many there are, and budgets that hang on it: whole runs on small pools."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tamis.pipeline.choose import spikes as of_spikes
from tamis.pipeline.comparing.selections import comparison
from tamis.pipeline.errors import RecipeError
from tamis.pipeline.explain.report.page import contents
from tamis.pipeline.explain.show import found_lines, summary
from tamis.pipeline.explain.why import why
from tamis.pipeline.files.atomic import read_json
from tamis.pipeline.store.garbage import collect
from tamis.pipeline.store.manifest import verify
from tamis.pipeline.store.query import ask
from tamis.pipeline.store.runs import open_complete
from tests_support import Runner, result_bytes, write_jsonl

KINDS = {
    "sea": "wave salt boat harbour tide sail anchor gull storm deck rope mast",
    "law": "court judge appeal statute clause party brief motion verdict bench writ plea",
    "kitchen": "oven flour butter simmer onion pan knead dough salt stir bowl spoon",
    "sport": "goal team match score league coach pitch referee win season fans ball",
}
TRUE = 60


def text(draw: np.random.Generator, kind: str) -> str:
    return " ".join([*draw.choice(KINDS[kind].split(), 12), *draw.choice(["the", "of", "and", "a"], 6)])


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A pool of 60 of the sea among 600 others, and 50 of the sea as the target."""
    draw = np.random.default_rng(5)
    sea = [{"id": f"sea{n}", "part": "sea", "text": text(draw, "sea")} for n in range(TRUE)]
    others = [
        {"id": f"{kind}{n}", "part": kind, "text": text(draw, kind)} for kind in ("law", "kitchen") for n in range(300)
    ]
    write_jsonl(tmp_path / "pool.jsonl", [*others[:300], *sea, *others[300:]])
    write_jsonl(tmp_path / "none.jsonl", others)
    target = [{"id": f"t{n}", "part": "sea", "text": text(draw, "sea")} for n in range(50)]
    write_jsonl(tmp_path / "target.jsonl", target)
    write_jsonl(tmp_path / "few.jsonl", target[:12])
    sport = [{"id": f"s{n}", "part": "sport", "text": text(draw, "sport")} for n in range(25)]
    write_jsonl(tmp_path / "sport.jsonl", sport)
    return tmp_path


def source(name: str, **more: Any) -> dict[str, Any]:
    return {"format": "jsonl", "path": name, "key": "id", "keep": ["part"], **more}


def like(budget: Any, **more: Any) -> dict[str, Any]:
    return {"importance_resampling": {"budget": budget, **more}}


def asked(budget: Any, pool: str = "pool.jsonl", target: str = "target.jsonl", **more: Any) -> dict[str, Any]:
    given = {"pool": [source(pool)], "target": [source(target)], "steps": [like(budget)], "emit": []}
    return {**given, **more}


def facts_of(folder: Path, step: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = open_complete(folder).summary(step)["facts"]["found"]
    return found


def test_as_many_are_taken_as_there_are_of_the_kind_and_the_figures_say_so(run_in: Runner, place: Path) -> None:
    run = open_complete(run_in(place, **asked("auto")).folder)
    found = facts_of(run.folder)
    number = found["number"]
    chosen = pq.read_table(run.folder / "selection.parquet")["part"].to_pylist()
    assert number["low"] <= TRUE <= number["high"] and abs(number["value"] - TRUE) <= 12 and not number["none"]
    assert len(chosen) == round(number["value"]) and chosen.count("sea") / len(chosen) > 0.9
    true_recall = chosen.count("sea") / TRUE
    assert found["recall"]["low"] - 0.03 <= true_recall <= found["recall"]["high"] + 0.03
    assert found["spikes"] == 50 and not found["held_out"] and not number["at_most"]
    assert found["curve"][0][0] == 1 and found["curve"][-1][:2] == [660, 1.0]
    assert sorted(reach for _, reach in found["reach"]) == [reach for _, reach in found["reach"]]
    said = summary(read_json(run.folder / "manifest.json"))
    assert f"there are about {number['value']:,.0f} of it" in said and "judged by 50 samples of it" in said
    assert verify(run) == []
    story = why(run, "sea0")
    assert "the step finds" in story and "50% of the kind among the best" in story
    page = contents(run)["steps"][0]["found"]
    assert "<svg" in page["drawn"] and "chosen" in page["drawn"]
    missed = [
        row for batch in ask(run, "select key, above, taken from spikes order by above") for row in batch.to_pylist()
    ]
    assert len(missed) == 50 and {row["key"] for row in missed} == {f"t{n}" for n in range(50)}
    assert [row["taken"] for row in missed] == [row["above"] < len(chosen) for row in missed]


def test_what_was_found_hangs_neither_on_shards_nor_on_order(run_in: Runner, place: Path) -> None:
    first = run_in(place, **asked("auto")).folder
    rows = (place / "pool.jsonl").read_text().splitlines(keepends=True)
    (place / "halves").mkdir()
    (place / "halves" / "a.jsonl").write_text("".join(reversed(rows[:200])))
    (place / "halves" / "b.jsonl").write_text("".join(rows[200:]))
    again = run_in(place, store="other", **asked("auto", pool="halves/*.jsonl")).folder
    assert facts_of(first) == facts_of(again)
    third = run_in(place, name="again", **asked("auto")).folder
    assert result_bytes(first) == result_bytes(third)


def test_where_nothing_is_of_the_kind_nothing_is_taken_and_what_is_nearest_is_shown(
    run_in: Runner, place: Path
) -> None:
    run = open_complete(run_in(place, **asked("auto", pool="none.jsonl")).folder)
    found = facts_of(run.folder)
    assert found["number"]["none"] and run.summary(0)["kept"] == 0 and len(found["nearest"]) == 3
    said = found_lines(found)
    assert said[0].startswith("nothing of the target's kind is there (at most ") and len(said) == 4
    assert found["nearest"][0]["key"] in said[1] and "salt" in found["nearest"][0]["begins"]
    fixed = run_in(place, name="fixed", **asked(40, pool="none.jsonl")).folder
    assert facts_of(fixed)["number"]["none"] and open_complete(fixed).summary(0)["kept"] == 40


def test_too_small_a_target_is_told_so_with_what_more_would_give(run_in: Runner, place: Path) -> None:
    found = facts_of(run_in(place, **asked(60, target="few.jsonl")).folder)
    assert found["too_few"] == 20 and "number" not in found and found["recall"]["low"] < found["recall"]["high"]
    assert "is told by 20 samples of the target or more" in found_lines(found)[1]
    for budget in ("auto", {"tokens": 5000, "max_epochs": "auto"}):
        with pytest.raises(
            RecipeError, match=r"12 samples of the target that can be judged are too few.*20 tell it to"
        ):
            run_in(place, name="a", **asked(budget, target="few.jsonl"))
    alone = [json.loads((place / "few.jsonl").read_text().splitlines()[0])]
    write_jsonl(place / "one.jsonl", alone * 30)
    assert (
        "no copies of each other"
        in facts_of(run_in(place, name="one", **asked(9, target="one.jsonl")).folder)["unknown"]
    )


def test_the_budget_is_spent_by_repeating_what_is_of_the_kind_and_every_export_says_how(
    run_in: Runner, place: Path
) -> None:
    emit = ["parquet", "jsonl", "csv", "keys", "uids", "hf", "atlas", {"splits": {}}]
    budget = {"tokens": 5000, "max_epochs": "auto"}
    outcome = run_in(place, **asked(budget, emit=emit))
    run = open_complete(outcome.folder)
    step, found = run.summary(0), facts_of(run.folder)
    table = pq.read_table(run.folder / "selection.parquet")
    weights = table["weight"].to_numpy()
    assert len(weights) == round(found["number"]["value"]), "no more repeats than the number allows"
    assert sorted(set(weights)) == sorted({max(weights), max(weights) - 1} & set(weights)) and max(weights) > 2
    assert (np.diff(weights) <= 0).all(), "the first of the order count once more"
    assert 5000 - 18 < (weights * 18).sum() == step["spent"] <= 5000, "18 tokens a text"
    exports = run.folder / "exports"
    lines = (exports / "selection.keys.txt").read_text().splitlines()
    assert len(lines) == weights.sum() and len(set(lines)) == len(weights)
    assert len(np.load(exports / "uids.npy")) == weights.sum()
    assert [json.loads(line)["weight"] for line in (exports / "selection.jsonl").open()] == weights.tolist()
    atlas = pq.read_table(exports / "atlas.parquet")
    assert np.nansum(atlas["tamis_weight"].to_numpy(zero_copy_only=False)) == weights.sum()
    import datasets

    assert sum(datasets.load_from_disk(str(exports / "hf"))["weight"]) == weights.sum()
    splits = [pq.read_table(path) for path in exports.glob("splits/*.parquet") if path.stem != "splits"]
    assert sum(part["weight"].to_numpy().sum() for part in splits) == weights.sum()
    ledger = pq.read_table(next((run.folder / "ledger" / "step-00").glob("*.parquet")))
    kept = ledger.filter(ledger["kept"])
    assert sorted(kept["weight"].to_pylist()) == sorted(weights.tolist())
    said = summary(read_json(run.folder / "manifest.json"))
    assert (
        "repeats: parquet, jsonl, csv, hf, splits: field `weight`; keys: a line each time; uids: an entry each time"
        in said
    )


def test_a_cap_on_epochs_takes_more_and_a_budget_within_the_kind_repeats_nothing(run_in: Runner, place: Path) -> None:
    capped = run_in(place, name="capped", **asked({"tokens": 5000, "max_epochs": 2})).folder
    weights = pq.read_table(capped / "selection.parquet")["weight"].to_numpy()
    assert weights.max() <= 2 and len(weights) == -(-5000 // (2 * 18)) and weights.sum() * 18 <= 5000
    small = run_in(place, name="small", **asked({"tokens": 400, "max_epochs": "auto"})).folder
    assert pq.read_table(small / "selection.parquet")["weight"].to_pylist() == [1.0] * 22
    rows = run_in(place, name="rows", **asked({"rows": 200, "max_epochs": "auto"})).folder
    weights = pq.read_table(rows / "selection.parquet")["weight"].to_numpy()
    assert weights.sum() == 200 and len(weights) == round(facts_of(rows)["number"]["value"])
    huge = run_in(place, name="huge", **asked({"rows": 10_000, "max_epochs": 3})).folder
    assert pq.read_table(huge / "selection.parquet")["weight"].to_numpy().tolist() == [3.0] * 660
    none = run_in(place, name="none", **asked({"rows": 50, "max_epochs": "auto"}, pool="none.jsonl"), store="n").folder
    assert pq.read_table(none / "selection.parquet")["weight"].to_pylist() == [1.0] * 50


def test_recall_is_told_by_source_and_by_kept_field_of_the_target(run_in: Runner, place: Path) -> None:
    """The pool has nothing of sport: who is not served is named."""
    target = [source("target.jsonl"), source("sport.jsonl")]
    found = facts_of(run_in(place, **asked(80, target="target.jsonl") | {"target": target}).folder)
    by = {(one["field"], one["group"]): one for one in found["by"]}
    assert by["part", "sea"]["spikes"] == 50 and by["part", "sport"]["spikes"] == 25
    assert by["target", "0 target.jsonl"]["value"] == by["part", "sea"]["value"]
    pooled = run_in(place, name="turn", **asked(0) | {"target": target, "steps": [like(80, targets="by_size")]}).folder
    turned = {(one["field"], one["group"]): one["value"] for one in facts_of(pooled)["by"]}
    assert turned["part", "sea"] > 0.5


def test_a_held_part_judges_where_there_is_one_and_is_of_its_own_folder(run_in: Runner, place: Path) -> None:
    run = open_complete(run_in(place, **asked("auto", hold_out=0.5)).folder)
    found = facts_of(run.folder)
    assert found["held_out"] and found["spikes"] == 25 and verify(run) == []
    assert found["number"]["low"] <= TRUE <= found["number"]["high"]
    assert run.held is not None and run.held.target is not None and run.target is not None
    assert run.held.target.rows == 25 == run.target.rows
    keys = [set(pq.read_table(view.target.parts[0].path)["key"].to_pylist()) for view in (run, run.held)]
    assert not keys[0] & keys[1] and len(keys[0] | keys[1]) == 50


def test_scores_that_learned_nothing_of_the_target_and_rules_tell_it_too(run_in: Runner, place: Path) -> None:
    """By chance a fifth is found; a rule is held against the target's samples as it is against the pool's."""
    columns = {"length": {"measure": "text"}}
    steps = [{"threshold": {"column": "length_characters", "above": 95}}, {"random": {"budget": 132}}]
    run = open_complete(run_in(place, **asked(0) | {"columns": columns, "steps": steps}).folder)
    rule, chance = facts_of(run.folder, 0), facts_of(run.folder, 1)
    sizes = [len(json.loads(line)["text"]) for line in (place / "target.jsonl").open()]
    assert "curve" not in rule and rule["recall"]["value"] == pytest.approx(np.mean(np.array(sizes) >= 95), abs=1e-4)
    assert chance["recall"]["low"] <= 132 / run.summary(1)["candidates"] <= chance["recall"]["high"]
    assert len(found_lines(chance)) == 1, "a number that is nearly all is none"


def test_who_can_t_tell_says_so_before_anything_starts(run_in: Runner, place: Path) -> None:
    with pytest.raises(RecipeError, match="budget: auto: asks how many there are of the target's kind: add `target:`"):
        run_in(place, **asked("auto") | {"target": [], "steps": [{"random": {"budget": "auto"}}]})
    np.savez(place / "v.npz", key=np.array(["sea0"]), vector=np.eye(2)[:1])
    columns = {"v": {"embed": "precomputed", "path": "v.npz"}}
    with pytest.raises(RecipeError, match="this step can't tell: it gives no score to a sample by itself"):
        run_in(
            place, **asked("auto") | {"columns": columns, "steps": [{"k_center": {"column": "v", "budget": "auto"}}]}
        )
    with pytest.raises(RecipeError, match="a quota's budget is a number of rows"):
        quota = {"quota": {"by": "part", "shares": {"sea": 1}, "budget": "auto"}}
        run_in(place, **asked("auto") | {"steps": [quota]})
    with pytest.raises(RecipeError, match="max_epochs: with one target for all"):
        run_in(place, **asked(0) | {"steps": [like({"tokens": 9, "max_epochs": 2}, targets="by_size")]})
    for wrong in (0, "all", True, 1.5):
        with pytest.raises(RecipeError, match="max_epochs: wanted auto, or a number of 1 or more"):
            run_in(place, **asked({"tokens": 9, "max_epochs": wrong}))


def test_near_copies_in_the_target_judge_nothing_of_each_other(run_in: Runner, place: Path) -> None:
    """A target that is one text in twenty guises, and thirty others: the guises are one family, and one spike."""
    draw = np.random.default_rng(9)
    words = [*draw.choice(KINDS["sport"].split(), 60)]
    guises = [{"id": f"g{n}", "part": "sport", "text": " ".join([*words, f"copy{n}"])} for n in range(20)]
    rows = [json.loads(line) for line in (place / "target.jsonl").read_text().splitlines()][:30]
    write_jsonl(place / "guises.jsonl", [*rows, *guises])
    run = open_complete(run_in(place, **asked(60, target="guises.jsonl")).folder)
    assert facts_of(run.folder)["spikes"] == 31
    held = open_complete(run_in(place, name="held", **asked(60, target="guises.jsonl", hold_out=0.25)).folder)
    assert held.held is not None and held.held.target is not None
    parts = [set(pq.read_table(view.target.parts[0].path)["part"].to_pylist()) for view in (held, held.held)]
    assert sum("sport" in part for part in parts) == 1, "on one side"


def test_spikes_are_bounded_in_number_and_bytes(run_in: Runner, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = facts_of(run_in(place, **asked(60)).folder)
    monkeypatch.setattr(of_spikes, "MOST_SPIKES", 30)
    assert facts_of(run_in(place, name="some", **asked(60)).folder)["spikes"] == 30
    monkeypatch.setattr(of_spikes, "MOST_BYTES", 3000)
    few = facts_of(run_in(place, name="few", **asked(60)).folder)
    assert 1 <= few["spikes"] < 30 < whole["spikes"]


def test_a_column_that_learned_from_all_of_the_target_tells_with_a_part_held_out(run_in: Runner, place: Path) -> None:
    """The two models are not trained here: what is wrong is seen before."""
    columns = {
        "prior": {"loss": "train", "on": "pool", "tokens": "1k"},
        "theirs": {"loss": "train", "from": "prior", "on": "target"},
        "gain": {"sql": "prior - theirs"},
    }
    for step in (
        {"loss_reduction": {"prior": "prior", "conditional": "theirs", "budget": "auto"}},
        {"threshold": {"column": "gain", "keep": "high", "budget": {"rows": 90, "max_epochs": 2}}},
    ):
        with pytest.raises(
            RecipeError, match="the model of column 'theirs' is trained on all of the target: add `hold_out"
        ):
            run_in(place, **asked(0) | {"columns": columns, "steps": [step]})


def test_where_nothing_can_be_held_out_it_is_said(run_in: Runner, place: Path) -> None:
    alone = [json.loads((place / "few.jsonl").read_text().splitlines()[0])]
    write_jsonl(place / "one.jsonl", alone)
    run = run_in(place, **asked(9, target="one.jsonl", hold_out=0.25)).folder
    assert "no copies of each other" in facts_of(run)["unknown"]
    plain = run_in(place, name="plain", **asked(9, target="one.jsonl")).folder
    assert [one["name"] for one in comparison([plain], None, None, None)["members"]] == ["plain", "random"]


def test_a_target_of_longer_texts_is_told_so_and_names_can_t_steer_a_terminal(run_in: Runner, place: Path) -> None:
    rows = [json.loads(line) for line in (place / "target.jsonl").read_text().splitlines()]
    long = [{"id": f"l{n}", "part": "a\x1b[31mb", "text": f"{one['text']} {other['text']}"} for n, (one, other) in enumerate(zip(rows[::2], rows[1::2], strict=True))]  # fmt: skip
    write_jsonl(place / "long.jsonl", [*long, *({**row, "part": "short"} for row in rows[:20])])
    run = open_complete(run_in(place, **asked(10, target="long.jsonl")).folder)
    assert facts_of(run.folder)["longer"] == {"target": 36, "selection": 18}
    told = [line for line in found_lines(facts_of(run.folder)) if "more of it is there than is told" in line]
    assert (
        len(told) == 1 and "\x1b" not in why(run, "sea0") and "\x1b" not in "".join(found_lines(facts_of(run.folder)))
    )


def test_samples_that_may_not_be_chosen_are_named_where_there_are_too_few(run_in: Runner, place: Path) -> None:
    short = asked("auto") | {"steps": [like("auto", min_length=50)]}
    with pytest.raises(RecipeError, match=r"0 samples of the target that can be judged are too few .*50 too_short"):
        run_in(place, **short)
    fixed = facts_of(run_in(place, name="b", **short | {"steps": [like(5, min_length=50)]}).folder)
    assert fixed["barred"] == {"too_short": 50} and "50 too_short" in found_lines(fixed)[1]


def test_a_users_own_scorer_that_knows_the_pool_alone_tells_nothing_and_runs(run_in: Runner, place: Path) -> None:
    (place / "own.py").write_text(
        "from dataclasses import dataclass\n"
        "import numpy as np\n\n\n"
        "@dataclass(frozen=True)\n"
        "class Known:\n"
        "    def fit(self, pool, targets):\n"
        "        self_ = Known()\n"
        "        object.__setattr__(self_, 'seen', {i for batch in pool for i in batch['sample_id'].to_pylist()})\n"
        "        return self\n\n"
        "    def score(self, batch):\n"
        "        if not all(text.split()[0] for text in batch['text'].to_pylist()) or batch.num_rows == 50:\n"
        "            raise KeyError('unknown')\n"
        "        return np.arange(batch.num_rows, dtype=float)\n"
    )
    run = run_in(place, **asked(0) | {"steps": [{"own.py:Known": {"budget": 5}}]}, allow_code=True).folder
    assert "can't be told: KeyError('unknown')" in facts_of(run)["unknown"]


def test_all_parts_of_a_divided_target_are_needed(run_in: Runner, place: Path) -> None:
    run = open_complete(run_in(place, **asked(60, hold_out=0.25)).folder)
    assert len({folder.name for folder in run.target_folders}) == 3
    assert "everything is needed" in collect(run.store, delete=False)


@pytest.mark.thorough
def test_a_loss_of_the_targets_model_is_judged_by_what_it_has_not_seen(run_in: Runner, place: Path) -> None:
    columns = {
        "prior": {"loss": "train", "on": "pool", "tokens": "4k"},
        "theirs": {"loss": "train", "from": "prior", "on": "target"},
    }
    step = {"loss_reduction": {"prior": "prior", "conditional": "theirs", "budget": 80}}
    given = asked(0) | {"columns": columns, "steps": [step]}
    assert "`hold_out: 0.25` in the recipe keeps some apart" in facts_of(run_in(place, **given).folder)["unknown"]
    held = facts_of(run_in(place, name="held", **given, hold_out=0.5).folder)
    assert held["held_out"] and held["spikes"] == 25 and held["number"]["at_most"]
