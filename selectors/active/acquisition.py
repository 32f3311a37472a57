"""What to ask next of a model that has seen some labels: where it is least sure, or what would change it most.

Scores are higher for what is rather asked: entropy -sum p log p; least confidence 1 - max p; margin, minus the lead of
the first class over the second (Scheffer et al. 2001). BADGE (Ash et al. 2020, arXiv:1906.03671) seeds k-means++ on the
gradients of the last layer, (p - e_y) x h for the likeliest y; distances are factored, (p . p')(h . h'), so that the
classes x dim matrix is never made. Committee: how much heads of bootstrapped labels disagree (vote entropy)."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Shares = npt.NDArray[np.floating]
BLOCK = 65_536  # rows at once
MEMBERS = 5  # of a committee


def entropy(shares: Shares) -> Floats:
    """[rows] nats."""
    found = np.empty(len(shares))
    for first in range(0, len(shares), BLOCK):
        some = shares[first : first + BLOCK].astype(np.float64)
        found[first : first + BLOCK] = -(some * np.log(np.maximum(some, 1e-12))).sum(1)
    return found


def least_confidence(shares: Shares) -> Floats:
    return 1 - shares.max(1).astype(np.float64)


def margin(shares: Shares) -> Floats:
    found = np.empty(len(shares))
    for first in range(0, len(shares), BLOCK):
        two = np.partition(shares[first : first + BLOCK], -2, axis=1)[:, -2:].astype(np.float64)
        found[first : first + BLOCK] = two[:, 0] - two[:, 1]
    return found


UNCERTAINTY: dict[str, Callable[[Shares], Floats]] = {
    "entropy": entropy,
    "least_confidence": least_confidence,
    "margin": margin,
    "committee": entropy,  # of a belief that no head stands behind
}


class Badge:
    """k-means++ seeding on gradients: the first row has the largest, each next one is drawn in proportion to its
    squared distance from those before; by chance among the open ones where all distances are 0."""

    def __init__(self, shares: Shares, vectors: npt.NDArray[np.float32], seed: int) -> None:
        self.gradients = shares.astype(np.float32)
        self.gradients[np.arange(len(shares)), shares.argmax(1)] -= 1
        self.vectors = vectors
        lengths = np.einsum("ij,ij->i", vectors, vectors)
        self.sizes = np.einsum("ij,ij->i", self.gradients, self.gradients).astype(np.float64) * lengths
        self.far = np.full(len(shares), np.inf)
        self.draw = np.random.default_rng(seed)

    def next(self, may: npt.NDArray[np.bool_]) -> tuple[int, float]:
        """Place of the next row among those that may be drawn, and its squared distance."""
        if np.isinf(self.far).all():
            place = int(np.where(may, self.sizes, -1).argmax())
            return place, float(self.sizes[place])
        weights = np.where(may, self.far, 0.0)
        if weights.sum() <= 0:
            weights = may.astype(np.float64)
        rising = np.cumsum(weights)
        place = int(min(np.searchsorted(rising, self.draw.random() * rising[-1], side="right"), len(weights) - 1))
        return place, float(self.far[place])

    def take(self, place: int) -> None:
        shared = (self.gradients @ self.gradients[place]) * (self.vectors @ self.vectors[place])
        self.far = np.minimum(self.far, np.maximum(self.sizes - 2 * shared + self.sizes[place], 0))
        self.far[place] = 0


def vote_entropy(votes: npt.NDArray[np.int64], classes: int) -> Floats:
    """[rows] nats, of the votes [members, rows] of a committee."""
    shares = np.stack([(votes == kind).mean(0) for kind in range(classes)], 1)
    return entropy(shares)
