"""The first labels, when there are none: samples that stand for all others.

k-means medoids: as many clusters as picks, of each the sample nearest to its centre. Facility location: the set whose
nearest members are nearest to everything, f(S) = sum over i of max over j in S of s_ij with s = (1 + cosine) / 2,
greedily (Nemhauser et al. 1978: within 1 - 1/e of the best). Probability cover (Yehuda et al. 2022, arXiv:2205.11320):
the sample with most others within a radius that no pick covers yet."""

import numpy as np
import numpy.typing as npt

from tamis.selectors.k_means import k_means

Vectors = npt.NDArray[np.float32]
SEEDINGS = 4  # of k-means, of which the tightest counts: one alone may fall into a bad corner
BLOCK = 512  # rows of similarities at once: 512 x 50,000 are 100 MB
MOST_ROWS = 50_000  # that all are compared with; beyond, these stand for all


def medoids(vectors: Vectors, picks: int, seed: int) -> list[tuple[int, str]]:
    """Places of the samples nearest to the centres, largest cluster first, and what to say of each."""
    found = [k_means(vectors, picks, seed + turn) for turn in range(SEEDINGS)]
    labels, centres, far = min(found, key=lambda one: float(one[2].sum()))
    sizes = np.bincount(labels, minlength=len(centres))
    order = np.lexsort((np.arange(len(vectors)), far, labels))
    firsts = order[np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(int)] if len(vectors) else []
    chosen = sorted(range(len(centres)), key=lambda cluster: (-sizes[cluster], cluster))
    return [
        (int(firsts[cluster]), f"medoid of cluster {cluster + 1} of {len(centres)} ({sizes[cluster]:,} samples)")
        for cluster in chosen
    ]


class FacilityLocation:
    """Lazy greedy (Minoux 1978): a gain only falls, so a sample whose old gain is below another's new one waits.

    f sums over all samples, or over the first MOST_ROWS (by id, a hash, so as if drawn)."""

    def __init__(self, vectors: Vectors, covered: Vectors) -> None:
        self.vectors, self.asked = vectors, vectors[:MOST_ROWS]
        self.best = np.zeros(len(self.asked), np.float32)  # similarity to the nearest pick
        for first in range(0, len(covered), BLOCK):
            self._cover(covered[first : first + BLOCK])
        total = self.asked.sum(0, dtype=np.float64)
        # with nothing picked yet a gain is a sum of similarities, which needs no pairs
        none = not len(covered)
        self.bounds = (len(self.asked) + vectors @ total) / 2 if none else np.full(len(vectors), np.inf)
        self.fresh = np.full(len(vectors), none)

    def _cover(self, picks: Vectors) -> None:
        self.best = np.maximum(self.best, ((1 + self.asked @ picks.T) / 2).max(1, initial=0))

    def next(self, may: npt.NDArray[np.bool_]) -> tuple[int, float]:
        """Place of the sample that gains most, of equal ones the first, and its gain."""
        bounds = np.where(may, self.bounds, -np.inf)
        while True:
            best = int(bounds.argmax())
            if self.fresh[best] or not may[best]:
                return best, float(self.bounds[best])
            stale = np.flatnonzero(may & ~self.fresh)
            some = np.sort(stale[np.argsort(-bounds[stale], kind="stable")[:BLOCK]])
            gains = self.gains(some)
            self.bounds[some], bounds[some], self.fresh[some] = gains, gains, True

    def gains(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """[places] how much f would grow by each."""
        some = (1 + self.vectors[places] @ self.asked.T) / 2
        some -= self.best
        return np.asarray(np.maximum(some, 0, out=some).sum(1, dtype=np.float64))

    def take(self, place: int) -> None:
        self._cover(self.vectors[place][None])
        self.fresh[:] = False

    def value(self) -> float:
        """The objective, f of the picks."""
        return float(self.best.sum(dtype=np.float64))


class ProbabilityCover:
    """Picks by how many uncovered samples lie within `radius`; when all are covered, whatever is farthest.

    Counted are all samples, or the first MOST_ROWS (by id, a hash, so as if drawn)."""

    def __init__(self, vectors: Vectors, covered: Vectors, radius: float) -> None:
        self.vectors, self.limit = vectors, 1 - radius**2 / 2  # cosine of that distance between unit vectors
        self.near = np.full(len(vectors), -1.0, np.float32)
        for first in range(0, len(covered), BLOCK):
            self.near = np.maximum(self.near, (vectors @ covered[first : first + BLOCK].T).max(1, initial=-1))
        self.asked = min(len(vectors), MOST_ROWS)
        open_ = vectors[: self.asked][self.near[: self.asked] <= self.limit]
        self.degrees = np.zeros(len(vectors), np.int64)
        for first in range(0, len(vectors), BLOCK):
            self.degrees[first : first + BLOCK] = (vectors[first : first + BLOCK] @ open_.T > self.limit).sum(1)

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
        gone = self.vectors[: self.asked][newly[: self.asked]]
        for first in range(0, len(self.vectors) if len(gone) else 0, BLOCK):
            self.degrees[first : first + BLOCK] -= (self.vectors[first : first + BLOCK] @ gone.T > self.limit).sum(1)
