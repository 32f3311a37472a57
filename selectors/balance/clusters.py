"""As many samples of each kind as of any other, where kinds are clusters of vectors: common ones are cut.

k-means, then water filling (Vo et al. 2024, arXiv:2405.15613): each cluster gives min(x, its size), with the level x
such that the sum is the budget exactly; what rounding leaves goes to clusters by chance. With several numbers of
clusters these are the levels of a tree, filled from its top (hierarchy.py): flat k-means gives dense regions more
clusters, a tree evens that out. Within a cluster by chance, or the nearest to its centre first. Centres are learned
from a sample by hash, and vectors are never all held: clustered.py has cost and memory. Not where clusters mean
nothing: look at them first (`probe`)."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from tamis.selectors.balance.hierarchy import quotas, tree
from tamis.selectors.budget import Budget, Fraction
from tamis.selectors.chance import uniform
from tamis.selectors.contract import Batches, Inputs, Ranker
from tamis.selectors.ranked import Coded, Ranked, ranked
from tamis.selectors.vectors.clustered import assigned, seen
from tamis.selectors.vectors.k_means import ROWS_A_CLUSTER, Sample, Vectors, learned


@dataclass(frozen=True, kw_only=True)
class ClusterBalance(Ranker):
    """column    vectors
    clusters  how many kinds, or several numbers, from the many of the lowest level to the few of the top
    pick      random, or nearest to the centre first
    """

    fitted: ClassVar[type | None] = Ranked

    column: str
    clusters: int | list[int]
    pick: Literal["random", "nearest"] = "random"
    seed: int = 0
    step: int = 0

    def __post_init__(self) -> None:
        if not self.levels or min(self.levels) < 1:
            raise ValueError(f"clusters must be 1 or more, found {self.clusters}")
        if any(below <= above for below, above in pairwise(self.levels)):
            raise ValueError(f"clusters: wanted fewer from level to level, such as [1000, 100], found {self.clusters}")

    @property
    def levels(self) -> list[int]:
        return [self.clusters] if isinstance(self.clusters, int) else list(self.clusters)

    def inputs(self) -> Inputs:
        return Inputs(fields=(self.column,))

    def rank(self, pool: Batches, budget: Budget | Fraction) -> Ranked:
        """Raises ValueError where the column holds no vectors, or the budget is not in rows."""
        if budget.unit != "rows":
            raise ValueError("a balance over clusters is of rows: give `budget: N` or `fraction`")
        sample = Sample(ROWS_A_CLUSTER * self.levels[0], self.seed, self.step, "cluster_balance")
        given = seen(pool, self.column, sample)
        centres, above = self._learned(sample.vectors())
        labels, far = assigned(pool, self.column, given.ids, centres)
        places = np.flatnonzero(given.there & ~given.labeled)
        labels, far = labels[places], far[places]
        chance = uniform(given.ids[places], self.seed, self.step, "cluster_balance")
        wanted = min(budget.units(int((~given.labeled).sum())), len(places))
        sizes = np.bincount(labels, minlength=len(centres))
        shares = quotas(sizes, above, wanted, self.seed, self.step)
        order = np.lexsort([chance, far if self.pick == "nearest" else chance, labels])
        turn = np.empty(len(places), np.int64)  # its place within its cluster
        turn[order] = np.arange(len(places)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        mine = np.flatnonzero(turn < shares[labels])
        picks = places[mine[np.lexsort([chance[mine], turn[mine]])]]  # clusters in turn, so that a prefix is balanced
        there = sizes[sizes > 0]
        number = np.cumsum(sizes > 0)[labels[np.searchsorted(places, picks)]]  # of those that hold something
        pairs = zip(picks.tolist(), number.tolist(), strict=True)
        texts = {place: f"cluster {mine} of {len(there)}" for place, mine in pairs}
        cut, level = int((shares < sizes).sum()), int(shares.max(initial=0))
        least, most = int(there.min(initial=len(places))), int(there.max(initial=0))
        said = f"{len(there)} clusters of {least:,} to {most:,}; {cut} cut, the largest share {level:,}"
        facts: dict[str, Any] = {"clusters": len(there), "cut": cut, "level": level, "said": [said]}
        why = np.where(given.labeled, 2, np.where(given.there, 0, 1))
        return ranked(
            self, given.ids, picks, scores={}, texts=texts, facts=facts,
            reasons=Coded(["not_picked", "not_scorable", "already_labeled"], why),
            candidates=int((~given.labeled).sum()),
        )  # fmt: skip

    def _learned(self, vectors: Vectors) -> tuple[Vectors, list[npt.NDArray[np.int64]]]:
        """Centres of the lowest level, and the tree above them."""
        if len(self.levels) == 1:
            return learned(vectors, self.levels[0], self.seed), []
        return tree(vectors, self.levels, self.seed)
