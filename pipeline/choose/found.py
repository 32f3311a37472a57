"""How much of the target's kind a step finds, and how many there are of it among its candidates.

Told by the places of spikes (spikes.py) in the order of the candidates, as selectors/recall.py says."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tamis.pipeline.choose.spikes import Spikes, candidates_above, has_all, spikes_of
from tamis.pipeline.recipe.plans import StepPlan
from tamis.pipeline.schemas import SPIKES
from tamis.pipeline.store.database import named, rows
from tamis.pipeline.store.runs import Run
from tamis.selectors.recall import FEWEST, Recall, Told, share
from tamis.sql import text as sql_text

LEAST_SPIKES = 5  # of a group that recall is told of
MUCH_LONGER = 1.5  # the target's texts than what was chosen: then a line tells too little of their kind
NEXT = 1000  # further samples whose worth is told
REACHED = (0.5, 0.8, 0.95)  # shares of the kind for which it is told how many must be chosen
NEAREST, SHOWN_CHARS = 3, 120  # samples that are shown where there is nothing of the kind, and how much of each


@dataclass(frozen=True)
class Found:
    """What is known of the target's kind among a step's candidates."""

    spikes: Spikes
    above: npt.NDArray[np.int64]  # [spikes] candidates above each
    recall: Recall
    numbered: Recall  # by which the number is told
    held: bool  # whether the spikes are a held-out part
    at_most: bool  # others may stand where the kind does: numbers are upper bounds

    @property
    def number(self) -> Told | None:
        return self.numbered.number()

    @property
    def barred(self) -> dict[str, int]:
        """Spikes that may not be chosen, by the reason."""
        return dict(sorted(Counter(filter(None, self.spikes.reasons)).items()))

    @property
    def of_kind(self) -> int:
        """Candidates of the target's kind; 0 where there are none, or it can't be told."""
        number = self.number
        return 0 if number is None or self.numbered.none else round(number.value)

    def facts(self, taken: npt.NDArray[np.bool_], chosen: int | None) -> dict[str, Any]:
        """For the step's record; `taken`: [spikes] would be chosen; `chosen`: candidates that were, None by a rule."""
        number = self.number
        told: dict[str, Any] = {
            "spikes": len(self.spikes),
            "held_out": self.held,
            "recall": _shown(share(int(taken.sum()), len(taken))),
            "by": list(self._by(taken)),
        }
        if chosen is None:
            return told
        curve = [(budget, _shown(one)) for budget, one in self.recall.curve()]
        told["reach"] = [[part, self.recall.reach(part)] for part in REACHED]
        told["curve"] = [[budget, one["value"], one["low"], one["high"]] for budget, one in curve]
        if number is None:
            return {**told, "too_few": FEWEST, "barred": self.barred}
        worth = (self.recall.at(chosen + NEXT).value - self.recall.at(chosen).value) * number.value
        more = {"at_most": self.at_most, "none": self.numbered.none, "of": self.recall.eligible}
        return {
            **told,
            "number": {**_shown(number), **more},
            "next": {"samples": NEXT, "of_kind": round(min(worth, NEXT, self.recall.eligible - chosen), 1)},
        }

    def longer(self, tokens: dict[str, Any]) -> dict[str, Any]:
        """Medians of lengths where the target's texts are much longer than what was chosen, or else the pool's;
        `tokens`: what the selector tells of the lengths of both."""
        group = "selection" if tokens.get("selection") else "pool"
        theirs = (tokens.get(group) or {}).get("p50")
        if not self.spikes.tokens or not theirs or self.spikes.tokens <= MUCH_LONGER * theirs:
            return {}
        return {"longer": {"target": round(self.spikes.tokens), group: theirs}}

    def table(self, step: int, taken: npt.NDArray[np.bool_]) -> pa.Table:
        """Of SPIKES."""
        score = self.spikes.keys.max(0)
        may = np.array([reason is None for reason in self.spikes.reasons], bool) & np.isfinite(score)
        arrays = {
            "step": np.full(len(taken), step, np.int32),
            "key": self.spikes.names,
            "sample_id": self.spikes.ids,
            "score": pa.array(score, mask=~np.isfinite(score)),
            "above": pa.array(self.above, mask=~may),
            "taken": taken,
            "reason": pa.array(self.spikes.reasons, pa.string()),
        }
        return pa.table([arrays[name] for name in SPIKES.names], schema=SPIKES)

    def _by(self, taken: npt.NDArray[np.bool_]) -> Iterator[dict[str, Any]]:
        for field, names in self.spikes.groups.items():
            every = np.array(names, object)
            for name in sorted(set(names)):
                mine = every == name
                if mine.sum() >= LEAST_SPIKES:
                    one = _shown(share(int(taken[mine].sum()), int(mine.sum())))
                    yield {"field": field, "group": name, "spikes": int(mine.sum()), **one}


def _shown(told: Told) -> dict[str, float]:
    return {name: float(f"{value:.5g}") for name, value in vars(told).items()}


def found(run: Run, plan: StepPlan, learned: Any, scores: Sequence[str], eligible: int) -> Found | str | None:
    """What is known before the choice; a line where it can't be told, None where nobody would ask."""
    if run.target is not None and plan.selector.ranks and plan.selector.budgets:
        return "picks samples together, so how much of the target's kind it finds can't be told by samples one by one"
    if run.target is None or not plan.judges or not has_all(run, plan):
        return None
    if plan.selector.needs_target and run.held is None and not plan.selector.tells_unseen:
        return "how much of the target's kind it finds is told with `hold_out: 0.25` in the recipe"
    spikes = spikes_of(run, plan, learned)
    if isinstance(spikes, str):
        return spikes
    above = candidates_above(spikes, scores)
    recall = numbered = _recall(spikes, above, eligible)
    if run.held is not None and len(spikes) < FEWEST and plan.selector.tells_unseen:
        more = spikes_of(run, plan, learned, of_held=False)  # what is held out are too few: each of the rest in turn
        numbered = recall if isinstance(more, str) else _recall(more, candidates_above(more, scores), eligible)
    return Found(spikes, above, recall, numbered, run.held is not None, not plan.selector.tells_number)


def _recall(spikes: Spikes, above: npt.NDArray[np.int64], eligible: int) -> Recall:
    may = np.array([reason is None for reason in spikes.reasons], bool) & np.isfinite(spikes.keys).any(0)
    return Recall.of(above, may, eligible)


def nearest(con: Any, run: Run, scores: Sequence[str]) -> list[dict[str, Any]]:
    """What comes first in the order: key, score, and how its text begins."""
    asked = {"scores": list(scores), "pool": named(part.path for part in run.pool.parts), "most": NEAREST}
    return [
        {
            "key": row["key"],
            "score": row["score"],
            "begins": " ".join((row["text"] or "").split())[:SHOWN_CHARS],
        }
        for row in rows(con, sql_text("nearest"), asked)
    ]
