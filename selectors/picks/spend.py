"""A budget spent pick by pick: whoever chooses says which candidate is next, until nothing affordable is left."""

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tamis.selectors.budget import Budget, Fraction
from tamis.selectors.picks.embedded import Embedded
from tamis.selectors.ranked import Ranked, ranked


class Chooser(Protocol):
    """What is taken next, given what may be taken."""

    def next(self, may: npt.NDArray[np.bool_]) -> tuple[int, float, str]:
        """Place of a candidate that may be taken (there is one), its score, and why it."""

    def take(self, place: int) -> None:
        """It is taken."""


class Ordered:
    """A chooser that knows its order from the start."""

    def __init__(self, places: npt.NDArray[np.int64], scores: npt.NDArray[np.float64], texts: dict[int, str]) -> None:
        self.places, self.scores, self.texts = places, scores, texts
        self.at = 0

    def next(self, may: npt.NDArray[np.bool_]) -> tuple[int, float, str]:
        while not may[self.places[self.at]]:  # budgets only shrink: what can't be paid now never can
            self.at += 1
        place = int(self.places[self.at])
        return place, float(self.scores[place]), self.texts.get(place, "")

    def take(self, _place: int) -> None:
        self.at += 1


def picks_within(given: Embedded, budget: Budget | Fraction) -> int:
    """About how many candidates the budget buys, at their mean cost."""
    open_ = given.free
    mean = max(1.0, float(given.costs[open_].mean())) if open_.any() else 1.0
    return int(min(budget.units(int((~given.labeled).sum())) / mean, open_.sum()))


def spend(
    settings: Any,
    given: Embedded,
    chooser: Chooser,
    budget: Budget | Fraction,
    facts: dict[str, Any] | None = None,
    *,
    open_: npt.NDArray[np.bool_] | None = None,
    reasons: list[str] | None = None,
) -> Ranked:
    """Picks until the budget is spent, of the `open_` ones: as a rule those with a vector and without a label.

    `reasons` say of each candidate why, if it is not picked."""
    candidates = int((~given.labeled).sum() if open_ is None else open_.sum())
    left, open_ = budget.units(candidates), given.free.copy() if open_ is None else open_.copy()
    facts = {} if facts is None else facts
    if copies := int((given.copy_of != 0).sum()):
        told = f"{copies:,} candidates are copies of others: one label counts for all of them"
        facts |= {"copies": copies, "said": [*facts.get("said", []), told]}
    picks: list[int] = []
    scores, texts = {}, {}
    while (may := open_ & (given.costs <= left)).any():
        place, scores_, text = chooser.next(may)
        assert may[place], "a pick that may not be"
        chooser.take(place)
        picks.append(place)
        scores[place], texts[place] = scores_, text
        open_[place], left = False, left - int(given.costs[place])
    return ranked(
        settings, given.ids, picks, scores=scores, reasons=reasons or given.why_not(), texts=texts, facts=facts,
        related=given.copy_of, candidates=candidates,
    )  # fmt: skip
