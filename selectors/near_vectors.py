"""Near vectors within one cluster, in blocks: which of them have an earlier one nearby, and who is kept by each rule.

Rows are in the order in which they are kept, of unit length. Never n x n at once: 1,024 rows against 16,384. Products
in float32 find what is near; what lies within NEARLY of a limit is made again in one order (vectors.py), so that
threads decide nothing."""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from tamis.selectors.vectors import BLOCK, NEARLY, Vectors, largest, row_dots

Mask = npt.NDArray[np.bool_]
Cosines = npt.NDArray[np.float64]


def nearest_earlier(vectors: Vectors) -> Cosines:
    """[rows] the largest cosine to an earlier row; -2 for the first."""
    best = np.full(len(vectors), -2.0)
    for first in range(0, len(vectors), BLOCK):
        some = vectors[first : first + BLOCK]
        for start in range(0, first + len(some), 16 * BLOCK):
            end = min(first + len(some), start + 16 * BLOCK)
            cosines = some @ vectors[start:end].T
            if end > first:  # no row is earlier than itself
                cosines[:, first - start :][_not_earlier(len(some))[:, : end - first]] = -2
            there = cosines.max(1) > -2
            _, found = largest(cosines, some, vectors[start:end])
            best[first : first + BLOCK] = np.where(there, np.maximum(best[first : first + BLOCK], found), -2)
    return best


@lru_cache(maxsize=4)
def _not_earlier(rows: int) -> Mask:
    return ~np.tri(rows, k=-1, dtype=bool)


def greedy(vectors: Vectors, near: Mask, limit: float) -> Mask:
    """[rows] whether no earlier one that is kept is as near; `near` are those that have any such earlier one."""
    from tamis.selectors.near_loops import keep_greedily

    kept = ~near
    for some, reaches in _against_earlier(vectors, near, limit):
        keep_greedily(reaches, some, kept)
    return kept


def components(vectors: Vectors, near: Mask, limit: float) -> Mask:
    """[rows] whether it is the first of all that chains of near ones lead to."""
    from tamis.selectors.near_loops import join, settle

    root = np.arange(len(vectors))
    for some, reaches in _against_earlier(vectors, near, limit):
        rows, others = np.nonzero(reaches)
        earlier = others < some[rows]
        join(root, some[rows[earlier]], others[earlier])
    settle(root)
    return root == np.arange(len(vectors))


def _against_earlier(vectors: Vectors, near: Mask, limit: float) -> Iterator[tuple[npt.NDArray[np.int64], Mask]]:
    """Of the near rows some at a time, and which of all rows up to the last of them they reach."""
    places = np.flatnonzero(near)
    size = max(1, min(BLOCK, BLOCK * 16 * BLOCK // max(1, len(vectors))))
    for first in range(0, len(places), size):
        some = places[first : first + size]
        cosines = vectors[some] @ vectors[: some[-1]].T
        reaches = cosines >= limit
        rows, others = np.nonzero(np.abs(cosines - np.float32(limit)) < NEARLY)
        reaches[rows, others] = row_dots(vectors[some[rows]], vectors[others]) >= limit
        yield some, reaches
