"""The first labels, when there are none: samples that stand for all others.

k-means medoids: as many clusters as picks, of each the sample nearest to its centre. Probability cover (Yehuda et al.
2022, arXiv:2205.11320): the sample with most others within a radius that no pick covers yet. Others have files of their
own: facility_location.py, k_center.py, typical_clusters.py."""

import numpy as np
import numpy.typing as npt

from tamis.selectors.picks.spend import Ordered
from tamis.selectors.vectors.k_means import k_means

Vectors = npt.NDArray[np.float32]
MOST_CLUSTERS = 2000  # beyond, several of each: 1 million rows and 2,000 clusters of 128 numbers take a minute
MANY = 10**9  # rows times clusters, from which on one seeding has to do
SEEDINGS = 4  # of k-means, of which the tightest counts: one alone may fall into a bad corner
BLOCK = 512  # rows of similarities at once: 512 x 25,000 are 50 MB


def medoids(vectors: Vectors, picks: int, seed: int) -> list[tuple[int, str]]:
    """Places of the samples nearest to the centres, largest cluster first, and what to say of each."""
    wanted = min(picks, MOST_CLUSTERS)
    turns = SEEDINGS if wanted * len(vectors) <= MANY else 1
    found = [k_means(vectors, wanted, seed + turn) for turn in range(turns)]
    labels, centres, far = min(found, key=lambda one: float(one[2].sum()))
    sizes = np.bincount(labels, minlength=len(centres))
    order = np.lexsort((np.arange(len(vectors)), far, labels))
    firsts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(int)
    chosen = sorted(range(len(centres)), key=lambda cluster: (-sizes[cluster], cluster))
    each = -(-picks // max(1, len(chosen))) if picks > MOST_CLUSTERS else 1
    picked = []
    for turn in range(each):
        which = "medoid" if not turn else f"{turn + 1}. nearest"
        for cluster in (cluster for cluster in chosen if turn < sizes[cluster]):
            text = f"{which} of cluster {cluster + 1} of {len(centres)} ({sizes[cluster]:,} samples)"
            picked.append((int(order[firsts[cluster] + turn]), text))
    return picked[:picks]


def cold_order(
    vectors: npt.NDArray[np.floating],
    open_: npt.NDArray[np.bool_],
    picks: int,
    seed: int,
    chance: npt.NDArray[np.float64],
) -> Ordered:
    """Medoids of the `open_` [candidates]; others by chance behind them, where costs leave something of the budget."""
    rows = np.flatnonzero(open_)
    found = medoids(vectors[rows].astype(np.float32), max(1, picks), seed)
    first = [int(rows[place]) for place, _ in found]
    rest = np.setdiff1d(np.arange(len(vectors)), first)
    order = np.concatenate([np.array(first, np.int64), rest[np.argsort(chance[rest], kind="stable")]])
    texts = {int(rows[place]): text for place, text in found}
    return Ordered(order, np.full(len(vectors), np.nan), texts)


class ProbabilityCover:
    """Picks by how many uncovered rows lie within `radius`; when all are covered, whatever is farthest.

    Of `vectors` [rows, dim] of unit length; `covered` rows are picks from the start."""

    def __init__(self, vectors: npt.NDArray[np.floating], covered: npt.NDArray[np.bool_], radius: float) -> None:
        self.vectors = np.ascontiguousarray(vectors, np.float32)
        self.limit = 1 - radius**2 / 2  # cosine of that distance between unit vectors
        self.near = np.full(len(vectors), -1.0, np.float32)
        self.degrees = np.zeros(len(vectors), np.int64)
        for first in range(0, len(vectors) if covered.any() else 0, BLOCK):
            some = self.vectors[first : first + BLOCK] @ self.vectors[covered].T
            self.near[first : first + BLOCK] = some.max(1)
        self._count(self.near <= self.limit, 1)

    def next(self, may: npt.NDArray[np.bool_]) -> tuple[int, float]:
        """Place of the next pick and how many it covers; 0: all are covered, and it is the farthest."""
        best = int(np.where(may, self.degrees, -1).argmax())
        if self.degrees[best] > 0:
            return best, float(self.degrees[best])
        return int(np.where(may, -self.near, -np.inf).argmax()), 0.0

    def take(self, place: int) -> None:
        similar = self.vectors @ self.vectors[place]
        newly = (similar > self.limit) & (self.near <= self.limit)
        self.near = np.maximum(self.near, similar)
        self._count(newly, -1)

    def _count(self, which: npt.NDArray[np.bool_], sign: int) -> None:
        """Add to every row's degree how many of these rows lie within the radius."""
        some = self.vectors[which]
        for first in range(0, len(self.vectors) if len(some) else 0, BLOCK):
            close = self.vectors[first : first + BLOCK] @ some.T > self.limit
            self.degrees[first : first + BLOCK] += sign * np.count_nonzero(close, axis=1)
