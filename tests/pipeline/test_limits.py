"""Promise: a run spends no more at once than its recipe says, ends behind a whole shard, and goes on with the next."""

import time
from pathlib import Path
from typing import Any

import pytest
from nights import Nights, chosen, texts

from tamis.pipeline import curate
from tamis.pipeline.curate import Loop
from tamis.pipeline.errors import LimitMet, RecipeError
from tamis.pipeline.files.atomic import write_json
from tamis.pipeline.forecast import forecast
from tamis.pipeline.progress import hushed
from tamis.pipeline.recipe.limits import RunLimits
from tamis.pipeline.recipe.recipe import Prices, parse_recipe
from tamis.pipeline.starting import run_next
from tamis.pipeline.store.costs import Purse, metered, noted
from tamis.pipeline.store.manifest import verify
from tamis.pipeline.store.runs import open_complete


class Slow(Loop):
    """A shard takes a third of a second."""

    def many(self, label: str, function: Any, names: Any, *arguments: Any, **more: Any) -> list[Any]:
        def slowly(*given: Any) -> None:
            function(*given)
            time.sleep(0.3)

        return super().many(label, slowly, names, *arguments, **more)


@pytest.fixture
def nights(tmp_path: Path) -> Nights:
    made = Nights(tmp_path)
    for number in range(4):
        made.comes(f"n{number}", texts(f"n{number}x", 30))
        with hushed():
            run_next(
                parse_recipe({**made.recipe, "name": "before", "publish": {"to": "b"}}, made.folder),
                tmp_path,
                made.store,
            )
    return made


def test_it_ends_when_its_seconds_are_spent_and_the_next_goes_on(nights: Nights) -> None:
    recipe = parse_recipe({**nights.recipe, "limits": {"seconds": 0.5}}, nights.folder)
    for _ in range(2):
        with pytest.raises(LimitMet, match=r"limits: 0.5 seconds are spent \(.*What is done stands"), hushed():
            run_next(recipe, nights.folder, nights.store, engine=Slow())
        assert not (nights.store / "current.json").exists()
    limited = nights.night(limits={"seconds": 60})
    assert limited.folder.name == "nightly-0001" and verify(open_complete(limited.folder)) == []
    free = nights.night(name="free", publish=None)
    assert chosen(limited.folder) == chosen(free.folder)


def test_by_limits_smaller_than_a_shard_it_ends_too(nights: Nights) -> None:
    met = 0
    for _ in range(40):
        try:
            ended = nights.night(limits={"seconds": 1e-6})
            break
        except LimitMet:
            met += 1
    assert 4 < met < 40
    assert chosen(ended.folder) == chosen(nights.night(name="free", publish=None).folder)


@pytest.mark.parametrize("stage", ["read", "step 1 random: score", "groups", "exports and report"])
def test_stopped_as_a_stage_begins_it_goes_on(nights: Nights, monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    with monkeypatch.context() as patched:

        def stopped(label: str, *_: Any) -> Any:
            if label == stage:
                raise KeyboardInterrupt
            return metered(label, *_)

        patched.setattr(curate, "metered", stopped)
        with pytest.raises(KeyboardInterrupt):
            nights.night(publish=None)
    folder = nights.store / "runs" / "nightly-0001"
    assert all(row["stage"] for row in noted(folder)) and "{}" not in (folder / "costs.jsonl").read_text()
    with (folder / "costs.jsonl").open("a") as out:
        out.write("{}\n[1]\n")  # as earlier versions left it
    assert chosen(nights.night(publish=None).folder) == chosen(nights.night(name="free", publish=None).folder)


def test_each_limit_is_met(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    purse = Purse(RunLimits.model_validate({"bytes": "1k"}), None)
    purse.check("now")
    write_json(tmp_path / "some.json", "a" * 5000)
    with pytest.raises(LimitMet, match="1,024 bytes are spent"):
        purse.check("later")
    purse = Purse(RunLimits(cost=1e-9), Prices(processor_hour=3600.0, currency="EUR"))
    sum(n * n for n in range(10**6))
    purse.check("nothing is done that stands")
    write_json(tmp_path / "more.json", "a")
    with pytest.raises(LimitMet, match="1e-09 EUR are spent"):
        purse.check("later")
    purse.process += 1  # of another machine's worker
    purse.check("there")


def test_plan_tells_in_how_many_goes(nights: Nights) -> None:
    recipe = parse_recipe({**nights.recipe, "limits": {"seconds": 0.001}}, nights.folder)
    assert "; within its limits in " in forecast(recipe, nights.folder, nights.store, allow_code=False)


def test_a_cost_without_prices_and_an_unknown_limit_are_refused(nights: Nights) -> None:
    with pytest.raises(RecipeError, match="cost is reckoned by `prices`"):
        parse_recipe({**nights.recipe, "limits": {"cost": 1}}, nights.folder)
    with pytest.raises(RecipeError, match=r"limits.second: unknown key, did you mean 'seconds'"):
        parse_recipe({**nights.recipe, "limits": {"second": 1}}, nights.folder)
