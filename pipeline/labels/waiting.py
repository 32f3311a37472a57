"""Whether the next round of labels may be asked: enough of the last one's answers came, or its time is over; and
whether any more is to be asked at all."""

from datetime import UTC, datetime, timedelta
from math import ceil
from pathlib import Path
from typing import NamedTuple

from tamis.pipeline.columns.detect.rounds import round_rows
from tamis.pipeline.files.atomic import read_json
from tamis.pipeline.labels.status import asked_and_answered
from tamis.pipeline.store.runs import open_complete


class Wait(NamedTuple):
    """The last round is waited for until one of these is so; with none of them it is not."""

    answers: int | None = None  # so many of it are answered, or all
    share: float | None = None  # of what it asked is answered
    days: float | None = None  # passed since it was asked


class Stop(NamedTuple):
    """No round is asked any more once one of these is so."""

    labels: int | None = None  # samples that have one
    cost: float | None = None  # of all answers, as they say it


def stopped(store: Path, stop: Stop) -> str | None:
    """Why nothing more is asked, if it is so."""
    found = round_rows(store / "labels")
    labels = len({row["sample_id"] for rows in found for row in rows})
    cost = sum(row["cost"] or 0.0 for rows in found for row in rows)
    if stop.labels is not None and labels >= stop.labels:
        return f"{labels:,} labels of the {stop.labels:,} that are wanted: no more is asked"
    if stop.cost is not None and cost >= stop.cost:
        return f"{cost:,.2f} of {stop.cost:,.2f} are spent: no more is asked"
    return None


def waited_for(last: Path, wait: Wait, now: datetime | None = None) -> str | None:
    """What is still waited for of the last round, if the next is not to be asked yet."""
    if wait == Wait():
        return None
    run = open_complete(last, thinned_too=True)
    asked, answered = asked_and_answered(run.store, run)
    ended = datetime.fromisoformat(read_json(run.folder / "manifest.json")["ended"])
    wanted = min([len(asked), *(n for n in (wait.answers, _of(asked, wait.share)) if n is not None)])
    if wait.answers is None and wait.share is None:
        wanted = len(asked) + 1  # its time alone decides
    if answered >= wanted:
        return None
    over = None if wait.days is None else ended + timedelta(days=wait.days)
    if over is not None and (now or datetime.now(UTC)) >= over:
        return None
    told = f"{run.name}: {answered:,} of {len(asked):,} asked are answered"
    told += f", wanted {wanted:,}" if wanted <= len(asked) else ""
    return told + (f"; waiting until {over:%Y-%m-%d %H:%M} UTC at most" if over else "; waiting")


def _of(asked: set[int], share: float | None) -> int | None:
    return None if share is None else ceil(round(len(asked) * share, 6))
