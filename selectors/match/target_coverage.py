"""The set that serves every sample of a target: greedily, by how near each of them has its nearest in the set.

F(S) = sum over target samples t of the largest cosine, 0 or more, of t to a sample of S: facility location with the
target as rows. With `each` above 1, the sum of so many largest. Both are monotone and submodular, so the greedy choice
is within 1 - 1/e of the best (Nemhauser, Wolsey, Fisher 1978). Once nothing adds to it the nearest to any of the target
follow. Lazy: a gain only falls. O(target x dim) a sample, and as much for each that is looked at again. Not for a
target of which one kind alone matters: a norm by sample (`norm_sim`) takes the densest."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tamis.selectors.budget import Budget, Fraction
from tamis.selectors.contract import Batches, Floats, Rows
from tamis.selectors.picks.beside import BesideTarget, gather_both, in_blocks
from tamis.selectors.picks.embedded import Embedded
from tamis.selectors.picks.lazily import best_row
from tamis.selectors.picks.spend import picks_within, spend
from tamis.selectors.ranked import Ranked
from tamis.selectors.vectors.columns import Vectors, unit

DIGITS = 6  # of a gain: beyond them lies what the order of sums changes
NOISE = 1e-5  # of a cosine: products of other shapes differ by less
MOST_EACH = 64  # picks for each target sample, where the recipe does not say


@dataclass(frozen=True, kw_only=True)
class TargetCoverage(BesideTarget):
    """column  vectors, of pool and target
    each    picks that serve each target sample (default: as many as the budget has for it, 1 to 64)
    """

    each: int | None = None

    def __post_init__(self) -> None:
        if self.each is not None and self.each < 1:
            raise ValueError(f"each must be 1 or more, found {self.each}")

    def rank(self, pool: Batches, budget: Budget | Fraction) -> Ranked:
        """Raises ValueError where the target has no vectors, or of another dimension."""
        given, target, keys = gather_both(pool, self.column, budget)
        each = self.each or min(max(1, -(-picks_within(given, budget) // len(target))), MOST_EACH)
        serving = Serving(given, target, keys, each)
        found = spend(self, given, serving, budget)
        return replace(found, facts={**found.facts, **serving.facts()})


class Serving:
    """The candidate that adds most to F, while one does; then the one nearest to any of the target."""

    def __init__(self, given: Embedded, target: Vectors, keys: list[str], each: int) -> None:
        self.vectors, self.target, self.keys = given.vectors, target, keys
        self.nearest: list[Floats] = [np.zeros(len(target)) for _ in range(each)]  # cosines; those before are larger
        self.gained = 0
        for place in np.flatnonzero(given.labeled & given.there).tolist():  # of earlier runs
            self.take(place)
        self.gained = 0
        self.exact = np.zeros(len(given))
        self.near = np.full(len(given), -1.0)  # cosine to the nearest of the target
        for places in in_blocks(np.flatnonzero(given.there), len(keys)):
            cosines = self._cosines(places)
            self.near[places] = np.round(cosines.max(1), DIGITS)
            self.exact[places] = self._added(cosines)

    def next(self, may: npt.NDArray[np.bool_]) -> tuple[int, float, str]:
        bounds, looked = np.where(may, self.exact, -np.inf), ~may
        place = best_row(bounds, looked, self._gains)
        gain = float(bounds[place])
        cosines = self._cosines(np.array([place]))[0]
        if gain > 0:
            most = int(np.maximum(cosines - self.nearest[-1], 0).argmax())
            return place, gain, f"serves {self.keys[most]} of the target (cosine {cosines[most]:.3f})"
        place = int(np.where(may, self.near, -np.inf).argmax())
        most = int(self._cosines(np.array([place]))[0].argmax())
        told = f"near {self.keys[most]} of the target (cosine {self.near[place]:.3f}), which is served already"
        return place, 0.0, told

    def take(self, place: int) -> None:
        cosines = self._cosines(np.array([place]))[0].astype(np.float64)
        self.gained += int((cosines > self.nearest[-1] + NOISE).any())
        for rank, held in enumerate(self.nearest):
            self.nearest[rank] = np.maximum(held, cosines)
            cosines = np.minimum(held, cosines)

    def facts(self) -> dict[str, object]:
        mean, count = float(self.nearest[0].mean()), len(self.keys)
        said = f"{self.gained:,} picks serve the {count:,} samples of the target: cosine to the nearest {mean:.3f}"
        told = {"target": len(self.keys), "each": len(self.nearest), "nearness": round(mean, DIGITS)}
        return {**told, "by_gain": self.gained, "said": [said]}

    def _gains(self, places: Rows) -> Floats:
        self.exact[places] = self._added(self._cosines(places))
        return self.exact[places]

    def _added(self, cosines: npt.NDArray[np.float32]) -> Floats:
        """[rows] by how much F would grow by each, of cosines [rows, target]."""
        nearer = cosines - self.nearest[-1]
        nearer[nearer < NOISE] = 0
        return np.round(nearer.sum(1, dtype=np.float64), DIGITS)

    def _cosines(self, places: Rows) -> npt.NDArray[np.float32]:
        return unit(self.vectors[places]) @ self.target.T
