"""The pool's distribution carried onto the target's by optimal transport, spread, and with copies counted once.

TSDS (Liu, Karbasi, Rekatsinas 2024, arXiv:2410.11303): of all ways to carry a mass of 1/M from each of M target
samples to candidates, gamma [target, pool], the one of least

    alpha / C  sum of gamma_ij d_ij  +  (1 - alpha) M  max of rho_j |gamma_ij - 1 / (rho_j M R)|,   R = sum of 1 / rho_j

d: distance of unit vectors; rho_j: how many lie at j, by Epanechnikov's kernel, sum of (1 - d^2 / h^2) where that is
above 0. Each target sample fills its nearest with 1 / rho_j each up to one weight V, the same for all: the least V
from which going further costs more than it spreads, alpha / (C M) sum over i of the integral of d_i(V) - d_i(w) over w
to V >= 1 - alpha. So a crowd of near-copies gets the mass of one. The picks are drawn by their mass, without
replacement; what has none follows by nearness. Density among the `neighbours` of all the target, which alone are
looked at, and what earlier runs chose; of many a sample. O(target x dim) a sample, and 16,384 x dim for each that is
looked at. Not for budgets above what has mass."""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from tamis.selectors.budget import Budget, Fraction
from tamis.selectors.chance import gumbel, uniform
from tamis.selectors.contract import Batches, Floats, Rows
from tamis.selectors.passes import HELD_BYTES
from tamis.selectors.picks.beside import BesideTarget, gather_both, in_blocks
from tamis.selectors.picks.embedded import Embedded
from tamis.selectors.picks.spend import Ordered, spend
from tamis.selectors.ranked import Ranked
from tamis.selectors.vectors.columns import Vectors, unit

CROWD = 1 << 14  # samples that densities are told by, at most
TARGETS = 1024  # at once
PLACE_BITS = 40  # of a place among the candidates
DIGITS = 5  # of a cosine: beyond them lies what the order of sums changes


@dataclass(frozen=True, kw_only=True)
class Tsds(BesideTarget):
    """column      vectors, of pool and target
    alpha       what nearness counts beside spread, 0 to 1
    scale       C, that distances are divided by: the larger, the further each target sample reaches
    bandwidth   h of the kernel: two as near as this crowd each other
    neighbours  of each target sample that are looked at
    """

    by_chance: ClassVar[bool] = True

    alpha: float = 0.6
    scale: float = 5.0
    bandwidth: float = 0.75
    neighbours: int = 500
    seed: int = 0
    step: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.alpha <= 1:
            raise ValueError(f"alpha must be above 0 and at most 1, found {self.alpha}")
        if not (self.scale > 0 and self.bandwidth > 0):
            raise ValueError(f"scale and bandwidth must be above 0, found {self.scale} and {self.bandwidth}")
        if self.neighbours < 1:
            raise ValueError(f"neighbours must be 1 or more, found {self.neighbours}")

    @property
    def noisy(self) -> bool:
        return True

    def rank(self, pool: Batches, budget: Budget | Fraction) -> Ranked:
        """Raises ValueError where the target has no vectors, or of another dimension."""
        given, target, keys = gather_both(pool, self.column, budget)
        near = _nearest(given, target, self.neighbours)
        if not near.places.size:
            return spend(self, given, Ordered(np.empty(0, np.int64), np.empty(0), {}), budget)
        moved = transport(self, given, near)
        some = np.flatnonzero(moved.mass > 0)
        drawn = np.log(moved.mass[some]) + gumbel(given.ids[some], self.seed, self.step, "tsds")
        rest = np.setdiff1d(np.flatnonzero(given.free), some)
        order = np.concatenate([some[np.lexsort([some, -drawn])], rest[np.lexsort([rest, -near.best[rest]])]])
        told = zip(some.tolist(), moved.served[some], moved.apart[some], moved.density[some], strict=True)
        texts = {
            place: f"for {keys[of]} of the target (distance {apart:.3f}), one of {crowd:.1f} alike"
            for place, of, apart, crowd in told
        }
        said = f"each sample of the target reaches {moved.reach:.1f} candidates; {len(some):,} have a share of its mass"
        if moved.all_of_them:
            said += f"; further than its {near.places.shape[1]:,} nearest is not looked: raise neighbours"
        facts: dict[str, Any] = {
            "target": len(keys), "with_mass": len(some), "reach": round(moved.reach, DIGITS),
            "distance": round(moved.distance, DIGITS), "said": [said],
        }  # fmt: skip
        return spend(self, given, Ordered(order, moved.mass, texts), budget, facts)


class Near(NamedTuple):
    """The nearest free candidates of each target sample, of equal ones the first."""

    places: npt.NDArray[np.int64]  # [target, neighbours] in the candidates
    distances: Floats  # [target, neighbours], rising
    best: Floats  # [candidates] cosine to the nearest of the target


class Moved(NamedTuple):
    """The transport, as [candidates] but for the last four."""

    mass: Floats  # sums to 1
    served: Rows  # the target sample that gives most of it
    apart: Floats  # distance to that
    density: Floats  # rho; 0 where it was not looked at
    reach: float  # candidates with mass, mean over the target
    distance: float  # mean, by mass
    objective: float
    all_of_them: bool  # it would have reached further


def transport(settings: Tsds, given: Embedded, near: Near) -> Moved:
    """The optimal gamma, as sums over the target."""
    looked, at = np.unique(near.places, return_inverse=True)
    density = _density(given, looked, settings)
    filling = _Filling(settings, near.distances, (1 / density)[at.reshape(near.places.shape)])
    reach, objective = filling.best(near.places.shape[1] == int(given.free.sum()))
    taken, places, size = filling.taken(reach), near.places.ravel(), len(given)
    mass = np.bincount(places, taken.ravel(), minlength=size).astype(np.float64)
    order = np.argsort(taken.ravel(), kind="stable")
    served, apart, dense = np.zeros(size, np.int64), np.zeros(size), np.zeros(size)
    served[places[order]] = order // near.places.shape[1]  # the last one written gives most
    apart[places[order]] = near.distances.ravel()[order]
    dense[looked] = density
    unreached = reach == filling.most and filling.more(reach) < 1 - settings.alpha
    mean = float((taken * near.distances).sum())
    return Moved(mass, served, apart, dense, float((taken > 0).sum(1).mean()), mean, objective, unreached)


class _Filling:
    """Each target sample fills its nearest, in their order, up to one weight: the reach V, the same for all."""

    def __init__(self, settings: Tsds, distances: Floats, weights: Floats) -> None:
        """[target, neighbours] both; weights are 1 / rho."""
        self.settings, self.distances, self.weights = settings, distances, weights
        self.ends = np.cumsum(weights, axis=1)
        self.paid = np.cumsum(weights * distances, axis=1)
        self.most = float(self.ends[:, -1].min())

    def taken(self, reach: float) -> Floats:
        """[target, neighbours] gamma; sums to 1."""
        filled = np.clip(reach - (self.ends - self.weights), 0, self.weights)
        return np.asarray(filled / (reach * len(self.weights)), np.float64)

    def more(self, reach: float) -> float:
        """What the last bit of reach costs beyond the mean of what is reached, over all of the target."""
        rows, last = np.arange(len(self.weights)), np.minimum((self.ends <= reach).sum(1), self.weights.shape[1] - 1)
        weight, distance = self.weights[rows, last], self.distances[rows, last]
        apart = (self.ends[rows, last] - weight) * distance - (self.paid[rows, last] - weight * distance)
        return float(self.settings.alpha / (self.settings.scale * len(rows)) * apart.sum())

    def best(self, whole: bool) -> tuple[float, float]:
        """The reach of the least objective, and that; `whole`: all candidates are among the neighbours, so that even
        shares of all, without any deviation, are one of the ways. Beyond half of all weight nothing between is best."""
        most = self.most / 2 if whole else self.most
        steps = np.unique(np.append(self.ends[self.ends < most], most))
        first, last = 0, len(steps) - 1
        while first < last:
            middle = (first + last) // 2
            enough = self.more(float(steps[middle])) >= 1 - self.settings.alpha
            first, last = (first, middle) if enough else (middle + 1, last)
        tried = [float(steps[first]), self.most] if whole else [float(steps[first])]
        return min(((reach, self._objective(reach, whole)) for reach in tried), key=lambda pair: pair[1])

    def _objective(self, reach: float, whole: bool) -> float:
        paid = self.settings.alpha / self.settings.scale * float((self.taken(reach) * self.distances).sum())
        return paid + (1 - self.settings.alpha) * (1 / reach - (1 / self.most if whole else 0))


def _nearest(given: Embedded, target: Vectors, most: int) -> Near:
    free = np.flatnonzero(given.free)
    width = min(most, len(free), max(1, HELD_BYTES // (16 * len(target))))
    best = np.full(len(given), -1.0)
    where, distances = np.empty((len(target), width), np.int64), np.empty((len(target), width))
    for rows in (slice(first, first + TARGETS) for first in range(0, len(target), TARGETS)):
        mine = target[rows]
        held = np.empty((len(mine), 0), np.int64)  # 1 - cosine, and behind it the place
        for places in in_blocks(free, len(mine)):
            cosines = np.round(unit(given.vectors[places]) @ mine.T, DIGITS).astype(np.float64)
            best[places] = np.maximum(best[places], cosines.max(1))
            keys = np.rint((1 - np.minimum(1, cosines.T)) * 10**DIGITS).astype(np.int64) << PLACE_BITS | places
            held = np.concatenate([held, keys], axis=1)
            if held.shape[1] > width:
                held = np.partition(held, width - 1, axis=1)[:, :width]
        held = np.sort(held, axis=1)
        where[rows] = held & ((1 << PLACE_BITS) - 1)
        distances[rows] = np.sqrt(2 * (held >> PLACE_BITS) / 10**DIGITS)
    return Near(where, distances, best)


def _density(given: Embedded, looked: Rows, settings: Tsds) -> Floats:
    """[looked] how many of what is looked at, and of what earlier runs chose, lie at each, itself counted."""
    crowd = np.union1d(looked, np.flatnonzero(given.labeled & given.there))
    times = 1.0
    if len(crowd) > CROWD:
        chances = uniform(given.ids[crowd], 0, 0, "tsds density")
        times, crowd = len(crowd) / CROWD, np.sort(crowd[np.argsort(chances, kind="stable")[:CROWD]])
    others = unit(given.vectors[crowd])
    found = np.empty(len(looked))
    for rows in in_blocks(np.arange(len(looked)), len(crowd)):
        squares = 2 - 2 * np.round(unit(given.vectors[looked[rows]]) @ others.T, DIGITS).astype(np.float64)
        near = np.maximum(0, 1 - np.maximum(0, squares) / settings.bandwidth**2)
        near[looked[rows][:, None] == crowd] = 0
        found[rows] = 1 + times * near.sum(1)
    return np.round(found, DIGITS)
