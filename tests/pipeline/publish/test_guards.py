"""Promise: each guard holds what it is to hold, with both numbers; a wrong one is told before anything starts."""

import json
from pathlib import Path
from typing import Any

import pytest
from nights import Nights, texts

from tamis.pipeline.errors import GuardFailed, RecipeError
from tamis.pipeline.publish.decide import line
from tamis.pipeline.recipe.recipe import parse_recipe
from tamis.pipeline.store.manifest import verify
from tamis.pipeline.store.runs import open_complete


@pytest.fixture
def nights(tmp_path: Path) -> Nights:
    made = Nights(tmp_path)
    made.comes("one", texts("a", 40))
    return made


BROKEN: list[tuple[dict[str, Any], list[dict[str, Any]], str]] = [
    ({"rows": [10, 15]}, [], "rows: 20 samples, wanted at most 15"),
    ({"rows": 30}, [], "rows: 20 samples, wanted at least 30"),
    ({"new_rows": 5}, texts("b", 3), "new_rows: 3 new samples, wanted at least 5"),
    ({"overlap": 0.99}, texts("b", 200), "overlap: "),
    ({"share": {"by": "part", "within": 0.05}}, texts("b", 100, "b"), "share part: of part 'b' are "),
    ({"share": {"by": ["part"], "keep_at_least": 0.9, "rows": 5}}, texts("b", 100, "b"), "% of its share, wanted at least 90%"),
    ({"kl": 0.01}, texts("b", 200), "kl: KL of its n-grams from the last published one's: "),
]  # fmt: skip


@pytest.mark.parametrize(("publish", "comes", "why"), BROKEN, ids=[one[2][:14] for one in BROKEN])
def test_a_guard_that_does_not_hold_keeps_the_last_one(
    nights: Nights, publish: dict[str, Any], comes: list[dict[str, Any]], why: str
) -> None:
    nights.night(publish={})
    nights.comes("two", comes or texts("c", 1))
    outcome = nights.night(publish=publish)
    assert outcome.held and outcome.decision and why in outcome.decision["why"]
    assert nights.current["run"] == "nightly-0001"
    told_once = line(nights.store, "current", outcome.decision)
    assert told_once.startswith("held: ") and "current.json stays with nightly-0001" in told_once
    assert not verify(open_complete(outcome.folder))  # the run itself is whole


def test_the_target_costs_more_under_a_worse_selection(tmp_path: Path) -> None:
    nights = Nights(tmp_path, target=[{"format": "jsonl", "path": "good.jsonl", "key": "id"}])
    nights.comes("one", texts("a", 40))
    good = [{"id": f"g{n}", "text": f"sonata {n} in minor"} for n in range(9)]
    (tmp_path / "good.jsonl").write_text("".join(json.dumps(one) + "\n" for one in good))
    nights.comes("two", [{**one, "id": f"w{n}", "part": "a"} for n, one in enumerate(good)])
    kept = {"importance_resampling": {"budget": 12}}
    nights.night(steps=[kept], publish={})
    worse = [{"importance_resampling": {"budget": 12, "where": "key not like 'w%'"}}]
    outcome = nights.night(steps=worse, publish={"target_nats": 0.1})
    assert outcome.held and outcome.decision and "an n-gram of the target costs" in outcome.decision["why"]


def test_rejects_are_of_what_is_new(nights: Nights) -> None:
    nights.night(publish={})
    path = nights.comes("two", texts("b", 6))
    path.write_text(path.read_text() + "not json\n" * 4)
    outcome = nights.night(publish={"rejects": 0.1})
    assert outcome.decision and "4 of 10 new rows are rejects (40.0%), wanted at most 10.0%" in outcome.decision["why"]


def test_a_guard_of_the_steps_is_told_as_held_and_stays_an_error(nights: Nights) -> None:
    nights.night()
    nights.comes("two", texts("b", 200, "b"))
    with pytest.raises(GuardFailed):
        nights.night(guard={"by": "part", "keep_at_least": 0.9, "rows": 0})
    with pytest.raises(GuardFailed):
        nights.night(guard={"by": "part", "keep_at_least": 0.9, "rows": 0})
    verdicts = [(one["run"], one["verdict"]) for one in nights.records()]
    assert verdicts == [("nightly-0001", "published"), ("nightly-0002", "held")]
    assert nights.current["run"] == "nightly-0001"


def test_a_held_run_is_asked_again_by_other_guards(nights: Nights) -> None:
    assert nights.night(publish={"rows": 30}).held
    assert nights.night(publish={"rows": 30}).held and len(nights.records()) == 1
    outcome = nights.night(publish={"rows": 20})
    assert not outcome.held and not outcome.fresh and nights.current["run"] == "nightly-0001"


@pytest.mark.parametrize(
    ("publish", "told"),
    [
        ({"row": 5}, "publish.row: unknown key, did you mean 'rows'?"),
        ({"rows": [5, 1]}, "rows: wanted the fewest and the most"),
        ({"to": "../x"}, "can't name a switch"),
        ({"change": float("inf")}, "publish.change: "),
        ({"share": {"by": "part"}}, "wanted `within: 0.1` or `keep_at_least: 0.5`"),
        ({"target_nats": 0.1}, "there is no `target`"),
    ],
)
def test_a_wrong_publish_is_said_before_anything_starts(nights: Nights, publish: dict[str, Any], told: str) -> None:
    with pytest.raises(RecipeError) as error:
        parse_recipe({**nights.recipe, "publish": publish}, nights.folder)
    assert told in str(error.value)


def test_a_field_that_is_not_there_is_said_before_anything_starts(nights: Nights) -> None:
    with pytest.raises(RecipeError, match=r"publish.share: by: the pool has no field or column 'langage'"):
        nights.night(publish={"share": {"by": "langage", "within": 0.1}})
