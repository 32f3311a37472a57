"""k-means by Lloyd's steps from k-means++ seeds (Arthur and Vassilvitskii 2007), the same for the same rows.

Centres are learned from at most 64 rows a cluster, drawn by the given seed; then every row goes to its nearest
centre. O(rows x clusters x dim), up to 20 times as much for a learned row. Callers order rows by id, so that the
order of shards changes nothing. Beyond 2,000 clusters seeds are rows by chance, for k-means++ takes one pass for each.
`learned` and `nearest` are the two halves, for callers that stream; `Sample` draws what is learned from."""

import numpy as np
import numpy.typing as npt

from tamis.selectors.chance import uniform
from tamis.selectors.vectors.columns import unit
from tamis.selectors.vectors.faiss_search import best_among

Vectors = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

ROWS_A_CLUSTER = 64  # faiss warns below 39 and uses at most 256; the step's choices are no better with more
FEWEST_ROWS = 4096  # learned from in any case
SEED_ROWS_A_CLUSTER = 32  # k-means++ sees fewer: it reads them once for each cluster
STEPS, SETTLED = 20, 0.002  # steps at most; the end is when a smaller share of rows than this still moves
MANY = 2000  # clusters
UNSURE = 4e-6  # of a row's and a centre's squared length: float32 can't tell what is nearer
ROWS = 8192  # in float32 at once
BLOCK_BYTES = 4 << 20  # of products at once, which stay in the processor's cache: of 1,000 rows and clusters


def k_means(
    vectors: npt.NDArray[np.floating], clusters: int, seed: int
) -> tuple[Labels, Vectors, npt.NDArray[np.float32]]:
    """Labels [rows], centres [at most `clusters`, dim], and [rows] squared distance to the own centre.

    Every cluster has a row; there are fewer than asked for where there are fewer different rows."""
    if not len(vectors):
        return np.zeros(0, np.int64), np.zeros((0, vectors.shape[1]), np.float32), np.zeros(0, np.float32)
    centres = learned(vectors, clusters, seed)
    labels, far = nearest(vectors, centres)
    used, labels = np.unique(labels, return_inverse=True)
    return labels.reshape(-1), centres[used], far


def learned(vectors: npt.NDArray[np.floating], clusters: int, seed: int) -> Vectors:
    """[at most `clusters`, dim] centres, learned from some of the rows."""
    if not len(vectors):
        return np.zeros((0, vectors.shape[1]), np.float32)
    draw = np.random.default_rng(seed)
    rows = _some(len(vectors), max(FEWEST_ROWS, ROWS_A_CLUSTER * clusters), draw)
    taught = np.ascontiguousarray(vectors[rows], np.float32)
    centres = _seeds(
        taught[_some(len(taught), max(FEWEST_ROWS // 4, SEED_ROWS_A_CLUSTER * clusters), draw)], clusters, draw
    )
    before = None
    for _ in range(STEPS):
        labels, _far = nearest(taught, centres)
        if before is not None and (labels != before).mean() <= SETTLED:
            break
        centres, before = _means(taught, labels, centres), labels
    return centres


class Sample:
    """The `count` rows with the lowest hashes of all that are added, at least 4,096, and with `share` all of that share
    of hashes, too: the same whatever the order."""

    def __init__(self, count: int, seed: int, step: int, purpose: str, share: float = 0) -> None:
        self._count, self._share, self._chance = max(FEWEST_ROWS, count), share, (seed, step, purpose)
        self._held: list[tuple[npt.NDArray[np.float64], npt.NDArray[np.uint64], npt.NDArray[np.float16]]] = []
        self._line, self._rows, self._kept = np.inf, 0, 0

    def add(self, ids: npt.NDArray[np.uint64], vectors: npt.NDArray[np.float16]) -> None:
        chance = uniform(ids, *self._chance)
        mine = chance <= max(self._line, self._share)
        self._held.append((chance[mine], ids[mine], vectors[mine]))
        self._rows += int(mine.sum())
        if self._rows > 2 * max(self._count, self._kept):
            self._cut()

    def _cut(self) -> None:
        chance, ids, vectors = (np.concatenate(some) for some in zip(*self._held, strict=True))
        order = np.lexsort([ids, chance])
        best = order[: max(self._count, int((chance < self._share).sum()))]
        self._held = [(chance[best], ids[best], vectors[best])]
        self._line, self._rows = float(chance[order[: self._count]].max(initial=0.0)), 0
        self._kept = len(best)

    def vectors(self) -> Vectors:
        """[rows, dim] of unit length, by rising id."""
        if not self._held:
            return np.zeros((0, 1), np.float32)
        self._cut()
        _, ids, vectors = self._held[0]
        return unit(vectors[np.argsort(ids, kind="stable")])


def nearest(vectors: npt.NDArray[np.floating], centres: Vectors) -> tuple[Labels, npt.NDArray[np.float32]]:
    """[rows] nearest centre and squared distance to it; of equally near ones the first.

    Where two centres are nearly as near, float64 decides: the last digits of float32 depend on threads."""
    labels, far = np.empty(len(vectors), np.int64), np.empty(len(vectors), np.float32)
    longest = np.einsum("ij,ij->i", centres, centres).max(initial=0)
    for first in range(0, len(vectors), ROWS):
        rows = slice(first, first + ROWS)
        some = np.ascontiguousarray(vectors[rows], np.float32)
        margins = UNSURE * (np.einsum("ij,ij->i", some, some) + longest)
        found = best_among(some, centres, margins, squared=True)
        labels[rows], far[rows], sure = found or (0, 0, np.zeros(len(some), bool))
        left = np.flatnonzero(~sure)
        labels[first + left], far[first + left] = _nearest(some[left] if len(left) < len(some) else some, centres)
    return labels, far


def _nearest(vectors: Vectors, centres: Vectors) -> tuple[Labels, npt.NDArray[np.float32]]:
    from tamis.selectors.loops import products

    labels, far = np.empty(len(vectors), np.int64), np.empty(len(vectors), np.float32)
    lengths = np.einsum("ij,ij->i", centres, centres)
    block = max(64, BLOCK_BYTES // (4 * max(1, len(centres))))
    for first in range(0, len(vectors), block):
        rows = slice(first, first + block)
        some = vectors[rows]
        products.nearest(some @ centres.T, lengths, some, centres, UNSURE, labels[rows], far[rows])
    return labels, far


def _some(count: int, most: int, draw: np.random.Generator) -> Labels:
    return np.arange(count) if count <= most else np.sort(draw.choice(count, most, replace=False))


def _seeds(vectors: Vectors, clusters: int, draw: np.random.Generator) -> Vectors:
    """The first row by chance, each other in proportion to its squared distance from those before."""
    if clusters > MANY:
        return np.ascontiguousarray(vectors[_some(len(vectors), clusters, draw)], np.float32)
    chosen = [int(draw.integers(len(vectors)))]
    vectors = vectors.astype(np.float64)  # a draw in proportion to sums of float32 would depend on threads
    lengths = (vectors**2).sum(1)
    far = np.full(len(vectors), np.inf)
    while len(chosen) < clusters:
        last = vectors[chosen[-1]]
        far = np.minimum(far, np.maximum(lengths - 2 * (vectors @ last) + last @ last, 0))
        far[chosen[-1]] = 0
        weights = np.where(far > 1e-6, far, 0).astype(np.float64)  # less is rounding: the same row
        if not (total := weights.sum()):
            break
        place = np.searchsorted(np.cumsum(weights), draw.random() * total, side="right")
        chosen.append(int(min(place, len(vectors) - 1)))
    return np.ascontiguousarray(vectors[chosen], np.float32)


def _means(vectors: Vectors, labels: Labels, centres: Vectors) -> Vectors:
    """Means of the clusters; an empty one keeps its centre."""
    from tamis.selectors.loops.products import add_rows

    sums, counts = np.zeros(centres.shape), np.bincount(labels, minlength=len(centres))
    add_rows(vectors, labels, sums)
    return np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], centres).astype(np.float32)
