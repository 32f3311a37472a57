"""The most typical sample of each cluster that has no label yet: TypiClust, for the first labels of all.

Hacohen, Dekel, Weinshall 2022, arXiv:2202.02794: as many k-means clusters as there are labels and picks together (at
most 500); clusters with the fewest labels first, then the largest; of each the sample whose 20 nearest neighbours in
the cluster are nearest. One k-means and the distances within clusters. Not where labels abound: ask what the model
is unsure of."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from tamis.selectors.budget import Budget, Fraction
from tamis.selectors.contract import Batches, Inputs, Ranker
from tamis.selectors.picks.embedded import Embedded, gather
from tamis.selectors.picks.spend import picks_within, spend
from tamis.selectors.ranked import Ranked
from tamis.selectors.vectors.k_means import k_means

MOST_CLUSTERS, SMALLEST, NEIGHBOURS = 500, 5, 20  # as published
BLOCK = 1024  # rows of distances at once
MOST_COMPARED = 8192  # of a cluster, that its samples' neighbours are looked for among


@dataclass(frozen=True, kw_only=True)
class TypicalClusters(Ranker):
    """column      of vectors
    neighbours  that tell how typical a sample is
    """

    fitted: ClassVar[type | None] = Ranked

    column: str
    neighbours: int = NEIGHBOURS
    seed: int = 0
    step: int = 0

    def inputs(self) -> Inputs:
        return Inputs(fields=(self.column,), optional=("labels", "content_hash"))

    def rank(self, pool: Batches, budget: Budget | Fraction) -> Ranked:
        """Raises ValueError where the column holds no vectors."""
        given = gather(pool, self.column, budget, once=True)
        return spend(self, given, Typical(given, picks_within(given, budget), self.neighbours, self.seed), budget)


class Typical:
    """Clusters in turn, and of each its most typical candidate; small clusters are outliers: last, not never.

    Of equally labeled clusters the largest is first, or the one with the largest sum of `unsure` [candidates]."""

    def __init__(
        self, given: Embedded, picks: int, neighbours: int, seed: int, unsure: npt.NDArray[np.float64] | None = None
    ) -> None:
        rows, labeled = np.flatnonzero(given.there), given.labeled
        wanted = max(1, min(MOST_CLUSTERS, picks + int(labeled[rows].sum()), len(rows)))
        labels, centres, _ = k_means(given.vectors[rows], wanted, seed)
        sizes = np.bincount(labels, minlength=len(centres))
        seen = np.bincount(labels, weights=labeled[rows], minlength=len(centres)).astype(int)
        weights = sizes if unsure is None else np.bincount(labels, weights=unsure[rows], minlength=len(centres))
        order = sorted(range(len(centres)), key=lambda c: (sizes[c] <= SMALLEST, seen[c], -weights[c], c))
        self.given, self.neighbours, self.turn = given, neighbours, 0
        self.clusters = [(rows[labels == cluster], f"{cluster + 1} of {len(centres)}") for cluster in order]
        self.queues: list[list[tuple[int, float, str]] | None] = [None] * len(order)  # made when its turn comes

    def _queue(self, turn: int) -> list[tuple[int, float, str]]:
        """A cluster's candidates, most typical last."""
        held = self.queues[turn]
        if held is None:
            mine, name = self.clusters[turn]
            value = typicality(self.given.vectors[mine].astype(np.float32), self.neighbours)
            told = f"most typical of cluster {name} ({len(mine):,} samples)"
            best = np.lexsort([mine, -value])[::-1].tolist()
            held = self.queues[turn] = [(int(mine[row]), float(value[row]), told) for row in best]
        return held

    def next(self, may: npt.NDArray[np.bool_]) -> tuple[int, float, str]:
        while True:
            queue = self._queue(self.turn)
            while queue and not may[queue[-1][0]]:
                queue.pop()
            if queue:
                return queue[-1]
            self.turn = (self.turn + 1) % len(self.queues)

    def take(self, _place: int) -> None:
        self._queue(self.turn).pop()
        self.turn = (self.turn + 1) % len(self.queues)


def typicality(vectors: npt.NDArray[np.float32], neighbours: int) -> npt.NDArray[np.float64]:
    """[rows] one over the mean squared distance to the nearest of them, at most half."""
    count = max(1, min(neighbours, len(vectors) // 2))
    if len(vectors) == 1:
        return np.ones(1)
    found = np.empty(len(vectors))
    asked = vectors[:MOST_COMPARED]  # rows are by id, a hash, so these are as if drawn
    lengths, own = (asked**2).sum(1), (vectors**2).sum(1)
    for first in range(0, len(vectors), BLOCK):
        some = vectors[first : first + BLOCK]
        apart = np.maximum(lengths - 2 * (some @ asked.T) + own[first : first + BLOCK, None], 0)
        selves = np.arange(first, min(first + len(some), len(asked)))
        apart[selves - first, selves] = np.inf  # not itself
        near = np.partition(apart, count - 1, axis=1)[:, :count]
        found[first : first + BLOCK] = 1 / (near.mean(1) + 1e-5)
    return found
