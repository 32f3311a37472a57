"""Promise: a round is asked once enough of the last one's answers came, or its days are over, and none beyond the stop."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from nights import Nights, chosen, texts

from tamis.pipeline.labels.answers import Answer
from tamis.pipeline.labels.rounds import import_answers
from tamis.pipeline.labels.waiting import Stop, Wait, stopped, waited_for


@pytest.fixture
def asked(tmp_path: Path) -> Nights:
    """A store with one round that asks twenty samples."""
    made = Nights(tmp_path)
    made.comes("one", texts("a", 40))
    made.night(publish=None)
    return made


def answer(nights: Nights, count: int, cost: float | None = None) -> Path:
    folder = nights.store / "runs" / "nightly-0001"
    keys = sorted(key for key, _ in chosen(folder))[:count]
    given = [Answer(key=key, label="yes", cost=cost) for key in keys]
    import_answers(nights.store, given, f"{count}.csv", None, lambda _line: None)
    return folder


@pytest.mark.parametrize(
    ("wait", "answers", "told"),
    [
        (Wait(), 0, None),
        (Wait(answers=5), 4, "nightly-0001: 4 of 20 asked are answered, wanted 5; waiting"),
        (Wait(answers=5), 5, None),
        (Wait(answers=99), 20, None),  # there are no more to come
        (Wait(share=0.8), 15, "nightly-0001: 15 of 20 asked are answered, wanted 16; waiting"),
        (Wait(share=0.8), 16, None),
        (Wait(answers=18, share=0.5), 10, None),  # either is enough
    ],
)
def test_it_waits_for_a_number_or_a_share(asked: Nights, wait: Wait, answers: int, told: str | None) -> None:
    assert waited_for(answer(asked, answers), wait) == told


def test_its_days_end_the_wait_whatever_came(asked: Nights) -> None:
    folder = answer(asked, 2)
    later = datetime.now(UTC) + timedelta(days=3)
    waiting = waited_for(folder, Wait(share=0.8, days=7), later)
    assert waiting and waiting.startswith("nightly-0001: 2 of 20 asked are answered, wanted 16; waiting until ")
    assert waited_for(folder, Wait(share=0.8, days=2), later) is None
    alone = waited_for(folder, Wait(days=7), later)
    assert alone and "2 of 20 asked are answered; waiting until " in alone
    assert waited_for(folder, Wait(days=2), later) is None


def test_enough_labels_or_enough_spent_stop_it(asked: Nights) -> None:
    answer(asked, 8, cost=0.5)
    assert stopped(asked.store, Stop()) is None
    assert stopped(asked.store, Stop(labels=9)) is None
    assert stopped(asked.store, Stop(labels=8)) == "8 labels of the 8 that are wanted: no more is asked"
    assert stopped(asked.store, Stop(cost=4.0)) == "4.00 of 4.00 are spent: no more is asked"
    assert stopped(asked.store, Stop(cost=4.5)) is None
