"""Which of many vectors is nearest to each of some: by faiss on a GPU, else by numpy and one compiled reading."""

import numpy as np
import numpy.typing as npt

from tamis.selectors.loops.constants import NEARLY
from tamis.selectors.vectors.columns import BLOCK, Vectors
from tamis.selectors.vectors.faiss_search import best_among

OTHERS = 4096  # with BLOCK rows products of 4 MB


def best_match(
    some: Vectors, others: Vectors, absolute: bool = False
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """[some] place of the nearest of `others` by inner product, and that product; of equal ones the first.

    No others: place 0 and -inf."""
    found = None if absolute else best_among(some, others, np.full(len(some), 2 * NEARLY), squared=False)
    place, best, sure = found or (np.empty(len(some), np.int64), np.empty(len(some)), np.zeros(len(some), bool))
    left = np.flatnonzero(~sure)
    place[left], best[left] = _best_match(some[left] if len(left) < len(some) else some, others, absolute)
    return place, best


def _best_match(
    some: Vectors, others: Vectors, absolute: bool
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    from tamis.selectors.loops.products import largest

    place, best = np.zeros(len(some), np.int64), np.full(len(some), -np.inf)
    for start in range(0, len(others), OTHERS):
        theirs = others[start : start + OTHERS]
        for first in range(0, len(some), BLOCK):
            rows = slice(first, first + BLOCK)
            mine = some[rows]
            products = mine @ theirs.T
            products = np.abs(products, out=products) if absolute else products
            counts = np.full(len(mine), len(theirs))
            largest(products, mine, theirs, counts, start, absolute, place[rows], best[rows])
    return place, best
