"""Methods that compare all pairs, on as many samples as there are: by clusters first, and their choices merged.

Clusters of at most MOST_TOGETHER samples, by k-means, larger ones split again; within each the method's greedy choices
with what each gains. An objective that sums over clusters is maximized greedily by taking these in order of gain, so a
cluster is left as soon as its next gain is below all that are wanted. Memory is that of one cluster. Up to
MOST_TOGETHER samples nothing is split."""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tamis.selectors.picks.embedded import Embedded
from tamis.selectors.picks.spend import Chooser, Ordered
from tamis.selectors.vectors.k_means import k_means

MOST_TOGETHER = 25_000  # facility location keeps half a byte a pair: 310 MB
WANTED = 8_000  # samples of a cluster: pairs grow with its square


class Greedy(Protocol):
    """Chooses rows of some vectors, each time the one that gains most."""

    def next(self, may: npt.NDArray[np.bool_]) -> tuple[int, float]: ...
    def take(self, place: int) -> None: ...


Make = Callable[[npt.NDArray[Any], npt.NDArray[np.bool_]], Greedy]  # of vectors, and which are taken from the start


def greedily(
    given: Embedded, picks: int, make: Make, words: str, seed: int, chance: npt.NDArray[np.float64]
) -> Chooser:
    """A chooser over all candidates; `words` say what a gain is, `chance` orders what no cluster asked for."""
    rows = np.flatnonzero(given.there)
    if len(rows) <= MOST_TOGETHER:
        vectors = given.vectors if len(rows) == len(given) else given.vectors[rows]  # a copy less
        return Placed(make(vectors, given.labeled[rows]), rows, len(given), words)
    found: list[tuple[float, int]] = []
    enough = -np.inf
    for part in sorted(parts(given.vectors, rows, seed), key=len, reverse=True):
        greedy, may = make(given.vectors[part], given.labeled[part]), given.free[part]
        for _ in range(min(picks, int(may.sum()))):
            place, gain = greedy.next(may)
            if gain <= enough:
                break
            greedy.take(place)
            may[place] = False
            found.append((-gain, int(part[place])))
        found = sorted(found)[:picks]
        enough = -found[-1][0] if len(found) == picks else -np.inf
    first = [place for _, place in found]
    rest = np.setdiff1d(np.arange(len(given)), first)
    order = np.concatenate([np.array(first, np.int64), rest[np.argsort(chance[rest], kind="stable")]])
    scores = np.full(len(given), np.nan)
    scores[first] = [-gain for gain, _ in found]
    return Ordered(order, scores, {place: words.format(-gain) for gain, place in found})


def parts(vectors: npt.NDArray[np.floating], rows: npt.NDArray[np.int64], seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """Rows in clusters of at most MOST_TOGETHER; what k-means can't part, for it is equal, is cut."""
    if len(rows) <= MOST_TOGETHER:
        yield rows
        return
    labels, centres, _ = k_means(vectors[rows], -(-len(rows) // WANTED), seed)
    if len(centres) == 1:
        yield from np.array_split(rows, -(-len(rows) // MOST_TOGETHER))
        return
    for cluster in range(len(centres)):
        yield from parts(vectors, rows[labels == cluster], seed)


class Placed:
    """A greedy method over some rows as a chooser over all candidates."""

    def __init__(self, inner: Greedy, rows: npt.NDArray[np.int64], count: int, words: str) -> None:
        self.inner, self.rows, self.words = inner, rows, words
        self.row_of = np.full(count, -1)
        self.row_of[rows] = np.arange(len(rows))

    def next(self, may: npt.NDArray[np.bool_]) -> tuple[int, float, str]:
        row, score = self.inner.next(may[self.rows])
        return int(self.rows[row]), score, self.words.format(score)

    def take(self, place: int) -> None:
        self.inner.take(int(self.row_of[place]))
