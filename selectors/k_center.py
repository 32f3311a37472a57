"""Samples so that every other one is near a chosen one: greedy k-center, as core-set selection does.

Gonzalez 1985; Sener and Savarese 2018, arXiv:1708.00489: take the sample farthest from all that are chosen or labeled,
again and again; within twice the best possible radius. One pass over the vectors a pick. Not for pools with outliers,
which it takes first, or for the smallest budgets, where it is hardly ahead of chance."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tamis.selectors.budget import Budget, Fraction
from tamis.selectors.contract import Batches, Inputs
from tamis.selectors.embedded import gather
from tamis.selectors.ranked import Ranked, ranked


@dataclass(frozen=True, kw_only=True)
class KCenter:
    """column: the vectors. Without labels the first pick is the sample nearest to the mean."""

    choice: ClassVar[str] = "ranked"
    fitted: ClassVar[type] = Ranked

    column: str

    def inputs(self) -> Inputs:
        return Inputs(fields=(self.column,), optional=("labels",))

    def rank(self, pool: Batches, budget: Budget | Fraction) -> Ranked:
        """Raises ValueError where the column holds no vectors."""
        given = gather(pool, self.column, budget)
        vectors, labeled = given.vectors.astype(np.float32), given.labeled
        lengths = (vectors**2).sum(1)
        left = budget.units(int((~labeled).sum()))
        open_ = given.there & ~labeled
        far = np.full(len(given), np.inf, np.float32)
        for place in np.flatnonzero(labeled & given.there).tolist():
            far = np.minimum(far, lengths - 2 * (vectors @ vectors[place]) + lengths[place])
        picks: list[int] = []
        scores, texts = {}, {}
        while (may := open_ & (given.costs <= left)).any():
            if np.isinf(far).all():
                away = lengths - 2 * (vectors @ vectors[given.there].mean(0))
                place, text = int(np.where(may, away, np.inf).argmin()), "nearest to the mean"
                scores[place] = float("nan")
            else:
                place = int(np.where(may, far, -np.inf).argmax())
                scores[place] = float(np.sqrt(max(far[place], 0)))
                text = f"{scores[place]:.3f} from the nearest before it"
            texts[place] = text
            picks.append(place)
            open_[place], left = False, left - int(given.costs[place])
            far = np.minimum(far, lengths - 2 * (vectors @ vectors[place]) + lengths[place])
        return ranked(
            self, given.ids, picks, scores=scores, reasons=given.why_not(), texts=texts, facts={},
            candidates=int((~labeled).sum()),
        )  # fmt: skip
