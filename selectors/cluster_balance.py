"""As many samples of each kind as of any other, where kinds are clusters of vectors: common ones are cut.

k-means, then water filling (Vo et al. 2024, arXiv:2405.15613): each cluster gives min(x, its size), with the level x
such that the sum is the budget exactly; what rounding leaves goes to clusters by chance. Within a cluster by chance,
or the nearest to its centre first. One clustering and one pass. Not where clusters mean nothing: look at them first
(`probe`)."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from tamis.selectors.budget import Budget, Fraction
from tamis.selectors.chance import uniform
from tamis.selectors.contract import Batches, Inputs
from tamis.selectors.embedded import gather
from tamis.selectors.k_means import k_means
from tamis.selectors.ranked import Ranked, ranked

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class ClusterBalance:
    """column    vectors
    clusters  how many kinds
    pick      random, or nearest to the centre first
    """

    choice: ClassVar[str] = "ranked"
    fitted: ClassVar[type] = Ranked

    column: str
    clusters: int
    pick: Literal["random", "nearest"] = "random"
    seed: int = 0
    step: int = 0

    def __post_init__(self) -> None:
        if self.clusters < 1:
            raise ValueError(f"clusters must be 1 or more, found {self.clusters}")

    def inputs(self) -> Inputs:
        return Inputs(fields=(self.column,))

    def rank(self, pool: Batches, budget: Budget | Fraction) -> Ranked:
        """Raises ValueError where the column holds no vectors, or the budget is not in rows."""
        if budget.unit != "rows":
            raise ValueError("a balance over clusters is of rows: give `budget: N` or `fraction`")
        given = gather(pool, self.column, budget)
        open_ = given.there & ~given.labeled
        places = np.flatnonzero(open_)
        labels, centres, far = k_means(given.vectors[places], self.clusters, self.seed)
        chance = uniform(given.ids[places], self.seed, self.step, "cluster_balance")
        sizes = np.bincount(labels, minlength=len(centres))
        of_clusters = uniform(np.arange(len(sizes), dtype=np.uint64), self.seed, self.step, "cluster_balance remainder")
        quotas = water_fill(sizes, min(budget.units(int((~given.labeled).sum())), len(places)), of_clusters)
        order = np.lexsort([chance, far if self.pick == "nearest" else chance, labels])
        turn = np.empty(len(places), np.int64)  # its place within its cluster
        turn[order] = np.arange(len(places)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        mine = np.flatnonzero(turn < quotas[labels])
        picks = places[mine[np.lexsort([chance[mine], turn[mine]])]]  # clusters in turn, so that a prefix is balanced
        number = np.zeros(len(given), np.int64)
        number[places] = labels
        texts = {place: f"cluster {number[place] + 1} of {len(sizes)}" for place in picks.tolist()}
        cut = int((quotas < sizes).sum())
        least, most, level = int(sizes.min(initial=len(given))), int(sizes.max(initial=0)), int(quotas.max(initial=0))
        said = f"{len(sizes)} clusters of {least:,} to {most:,}; {cut} cut to {level:,}"
        facts: dict[str, Any] = {"clusters": len(sizes), "cut": cut, "level": level, "said": [said]}
        return ranked(
            self, given.ids, picks.tolist(), scores={}, reasons=given.why_not(), texts=texts, facts=facts,
            candidates=int((~given.labeled).sum()),
        )  # fmt: skip


def water_fill(sizes: Counts, budget: int, chance: npt.NDArray[np.float64]) -> Counts:
    """[clusters] how many of each: min(level, size), summing to the budget or to all there is."""
    if budget >= sizes.sum():
        return sizes.astype(np.int64)
    low, high = 0, int(sizes.max(initial=0))  # the highest whole level that costs no more than the budget
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if np.minimum(sizes, middle).sum() <= budget else (low, middle - 1)
    quotas = np.minimum(sizes, low).astype(np.int64)
    more = np.flatnonzero(sizes > low)
    quotas[more[np.argsort(chance[more], kind="stable")[: budget - int(quotas.sum())]]] += 1
    return quotas
