"""Near vectors within one cluster, in blocks: which of them have an earlier one nearby, and who is kept by each rule.

Rows are in the order in which they are kept, of unit length. Never n x n at once: 1,024 rows against 16,384."""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt

BLOCK = 1024  # rows compared at once: with 16 blocks of earlier ones 64 MB
Vectors = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Cosines = npt.NDArray[np.float32]


def nearest_earlier(vectors: Vectors) -> Cosines:
    """[rows] the largest cosine to an earlier row; -2 for the first."""
    nearest = np.full(len(vectors), -2, np.float32)
    for first in range(0, len(vectors), BLOCK):
        some = vectors[first : first + BLOCK]
        best = nearest[first : first + BLOCK]
        for start in range(0, first, 16 * BLOCK):
            np.maximum(best, (some @ vectors[start : min(first, start + 16 * BLOCK)].T).max(1), out=best)
        within = some @ some.T
        within[_not_earlier(len(some))] = -2
        np.maximum(best, within.max(1), out=best)
    return nearest


@lru_cache(maxsize=4)
def _not_earlier(rows: int) -> Mask:
    return ~np.tri(rows, k=-1, dtype=bool)


def greedy(vectors: Vectors, near: Mask, limit: float) -> Mask:
    """[rows] whether no earlier one that is kept is as near; `near` are those that have any such earlier one."""
    from tamis.selectors.near_loops import keep_greedily

    kept = ~near
    for some, cosines in _against_earlier(vectors, near):
        keep_greedily(cosines, some, np.float32(limit), kept)
    return kept


def components(vectors: Vectors, near: Mask, limit: float) -> Mask:
    """[rows] whether it is the first of all that chains of near ones lead to."""
    from tamis.selectors.near_loops import join, settle

    root = np.arange(len(vectors))
    for some, cosines in _against_earlier(vectors, near):
        rows, others = np.nonzero(cosines >= limit)
        earlier = others < some[rows]
        join(root, some[rows[earlier]], others[earlier])
    settle(root)
    return root == np.arange(len(vectors))


def _against_earlier(vectors: Vectors, near: Mask) -> Iterator[tuple[npt.NDArray[np.int64], Cosines]]:
    """Of the near rows some at a time, with their cosines to all rows up to the last of them."""
    places = np.flatnonzero(near)
    size = max(1, min(BLOCK, BLOCK * 16 * BLOCK // max(1, len(vectors))))
    for first in range(0, len(places), size):
        some = places[first : first + size]
        yield some, vectors[some] @ vectors[: some[-1]].T


def nearest_of(
    vectors: Vectors, places: npt.NDArray[np.int64], others: npt.NDArray[np.int64]
) -> tuple[Cosines, npt.NDArray[np.int64]]:
    """Of the rows at `places` the nearest of `others`: the cosine, and its place; the earliest of equal ones."""
    best = np.full(len(places), -2, np.float32)
    by = np.zeros(len(places), np.int64)
    for first in range(0, len(places), BLOCK):
        mine = vectors[places[first : first + BLOCK]]
        for start in range(0, len(others), 16 * BLOCK):
            some = others[start : start + 16 * BLOCK]
            cosines = mine @ vectors[some].T
            chosen = cosines.argmax(1)
            found = cosines[np.arange(len(mine)), chosen]
            closer = found > best[first : first + BLOCK]
            best[first : first + BLOCK][closer] = found[closer]
            by[first : first + BLOCK][closer] = some[chosen[closer]]
    return best, by
