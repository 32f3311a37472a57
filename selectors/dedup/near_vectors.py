"""Near vectors within one cluster, in blocks: which of them have an earlier one nearby, and who is kept by each rule.

Rows are in the order in which they are kept, of unit length. Never n x n at once: 256 rows against 4,096, so that the
products are still in the processor's cache when they are read (vector_loops.py)."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from tamis.selectors.vectors.columns import BLOCK, Vectors
from tamis.selectors.vectors.nearest import OTHERS, best_match

Mask = npt.NDArray[np.bool_]
Cosines = npt.NDArray[np.float64]


def nearest_earlier(vectors: Vectors) -> Cosines:
    """[rows] the largest cosine to an earlier row; -2 for the first."""
    from tamis.selectors.loops.products import largest

    best, places = np.full(len(vectors), -2.0), np.zeros(len(vectors), np.int64)
    for first in range(0, len(vectors), BLOCK):
        some = vectors[first : first + BLOCK]
        rows = slice(first, first + len(some))
        if first:
            best[rows] = best_match(some, vectors[:first])[1]
        largest(some @ some.T, some, some, np.arange(len(some)), first, False, places[rows], best[rows])
    return best


def greedy(vectors: Vectors, near: Mask, limit: float) -> Mask:
    """[rows] whether no earlier one that is kept is as near; `near` are those that have any such earlier one."""
    from tamis.selectors.loops.products import keep_greedily

    kept = ~near
    for some, products in _with_earlier(vectors, near):
        keep_greedily(products, some, vectors, limit, kept)
    return kept


def components(vectors: Vectors, near: Mask, limit: float) -> Mask:
    """[rows] whether it is the first of all that chains of near ones lead to."""
    from tamis.selectors.loops.pairs import settle
    from tamis.selectors.loops.products import join_reached

    root = np.arange(len(vectors))
    for some, products in _with_earlier(vectors, near):
        join_reached(products, some, vectors, limit, root)
    settle(root)
    return root == np.arange(len(vectors))


def _with_earlier(vectors: Vectors, near: Mask) -> Iterator[tuple[npt.NDArray[np.int64], Vectors]]:
    """Of the near rows some at a time, and their products with all rows before the last of them."""
    places = np.flatnonzero(near)
    size = max(1, min(BLOCK, BLOCK * 16 * OTHERS // max(1, len(vectors))))  # at most 64 MB
    for first in range(0, len(places), size):
        some = places[first : first + size]
        yield some, vectors[some] @ vectors[: some[-1]].T
