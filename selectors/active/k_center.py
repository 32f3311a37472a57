"""Samples so that every other one is near a chosen one: greedy k-center, as core-set selection does.

Gonzalez 1985; Sener and Savarese 2018, arXiv:1708.00489: take the sample farthest from all that are chosen or labeled,
again and again; within twice the best possible radius. One pass over the vectors a pick. Not for pools with outliers,
which it takes first, or for the smallest budgets, where it is hardly ahead of chance."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from tamis.selectors.budget import Budget, Fraction
from tamis.selectors.contract import Batches, Inputs, Ranker
from tamis.selectors.picks.embedded import gather
from tamis.selectors.picks.spend import spend
from tamis.selectors.ranked import Ranked


@dataclass(frozen=True, kw_only=True)
class KCenter(Ranker):
    """column  of vectors. Without labels the first pick is the sample nearest to the mean."""

    fitted: ClassVar[type | None] = Ranked

    column: str

    def inputs(self) -> Inputs:
        return Inputs(fields=(self.column,), optional=("labels",))

    def rank(self, pool: Batches, budget: Budget | Fraction) -> Ranked:
        """Raises ValueError where the column holds no vectors."""
        given = gather(pool, self.column, budget)
        return spend(self, given, Farthest(given.vectors, given.there, given.labeled & given.there), budget)


class Farthest:
    """The candidate farthest from all that are taken; the first of all is the one nearest to the mean."""

    def __init__(
        self, vectors: npt.NDArray[np.floating], there: npt.NDArray[np.bool_], taken: npt.NDArray[np.bool_]
    ) -> None:
        self.vectors = np.asarray(vectors, np.float32)
        self.lengths = np.einsum("ij,ij->i", self.vectors, self.vectors)
        self.mean = there.astype(np.float32) @ self.vectors / max(1, int(there.sum()))
        self.far = np.full(len(self.vectors), np.inf, np.float32)
        for place in np.flatnonzero(taken).tolist():
            self.take(place)

    def next(self, may: npt.NDArray[np.bool_]) -> tuple[int, float, str]:
        if np.isinf(self.far).all():
            away = self.lengths - 2 * (self.vectors @ self.mean)
            return int(np.where(may, away, np.inf).argmin()), float("nan"), "nearest to the mean"
        place = int(np.where(may, self.far, -np.inf).argmax())
        distance = float(np.sqrt(max(self.far[place], 0)))
        return place, distance, f"{distance:.3f} from the nearest before it"

    def take(self, place: int) -> None:
        apart = self.lengths - 2 * (self.vectors @ self.vectors[place]) + self.lengths[place]
        self.far = np.minimum(self.far, apart)
