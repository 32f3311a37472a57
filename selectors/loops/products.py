"""Compiled loops over products of vectors: what is nearest, in float64 where float32 can't tell. Imported where used.

A product in float32 depends in its last digits on threads and on the rows beside it. These loops read it once and
decide what is clear; what lies within NEARLY is summed again in float64 from the first number to the last."""

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from tamis.selectors.loops.constants import CLOSE, NEARLY
from tamis.selectors.loops.pairs import join_two

Array = npt.NDArray[Any]
FINITE = {"nnan", "nsz"}  # no product is NaN: lets a maximum be taken several numbers at a time


@njit(cache=True, nogil=True)
def _dot(one: Array, two: Array) -> float:
    total = 0.0
    for place in range(len(one)):
        total += np.float64(one[place]) * np.float64(two[place])
    return total


@njit(cache=True, nogil=True, fastmath=FINITE)
def _most(products: Array, count: int) -> Any:
    top = np.float32(-np.inf)
    for other in range(count):
        top = max(top, products[other])
    return top


@njit(cache=True, nogil=True)
def largest(
    products: Array, some: Array, others: Array, counts: Array, first: int, absolute: bool, places: Array, values: Array
) -> None:  # fmt: skip
    """Of each row's first `counts` products the largest, where it is greater than the row's value so far: into
    `values`, and `first` and its place into `places`. Of those nearly as large CLOSE + 1 are told again; of equal ones
    the first is taken."""
    for row in range(len(products)):
        if counts[row] == 0:
            continue
        line = _most(products[row], counts[row]) - np.float32(2 * NEARLY)
        told = 0
        for other in range(counts[row]):
            if products[row, other] >= line:
                value = _dot(some[row], others[other])
                value = abs(value) if absolute else value
                if value > values[row]:
                    values[row], places[row] = value, first + other
                told += 1
                if told > CLOSE:
                    break


@njit(cache=True, nogil=True, fastmath=FINITE)
def _least(products: Array, lengths: Array) -> Any:
    least = np.float32(np.inf)
    for other in range(len(lengths)):
        least = min(least, lengths[other] - np.float32(2) * products[other])
    return least


@njit(cache=True, nogil=True)
def nearest(
    products: Array, lengths: Array, some: Array, others: Array, unsure: float, chosen: Array, far: Array
) -> None:
    """[rows] place of the nearest of `others`, whose squared lengths are given, and the squared distance to it."""
    longest = lengths.max()
    for row in range(len(products)):
        line = np.float64(_least(products[row], lengths)) + unsure * (_dot(some[row], some[row]) + longest)
        best, place = np.inf, 0
        for other in range(len(lengths)):
            if lengths[other] - np.float32(2) * products[row, other] <= line:
                distance = _apart(some[row], others[other])
                if distance < best:
                    best, place = distance, other
        chosen[row], far[row] = place, best


@njit(cache=True, nogil=True)
def best_of(places: Array, some: Array, others: Array, squared: bool, chosen: Array, values: Array) -> None:
    """[rows] which of the `places` [rows, candidates], rising, is the nearest: by squared distance or inner product."""
    for row in range(len(places)):
        best = np.inf
        for candidate in range(places.shape[1]):
            other = others[places[row, candidate]]
            value = _apart(some[row], other) if squared else -_dot(some[row], other)
            if value < best:
                best, chosen[row] = value, places[row, candidate]
        values[row] = best if squared else -best


@njit(cache=True, nogil=True)
def _apart(one: Array, two: Array) -> float:
    total = 0.0
    for place in range(len(one)):
        step = np.float64(one[place]) - np.float64(two[place])
        total += step * step
    return total


@njit(cache=True, nogil=True)
def _reaches(product: Any, one: Array, two: Array, limit: float) -> bool:
    if product >= limit + NEARLY:
        return True
    return product > limit - NEARLY and _dot(one, two) >= limit


@njit(cache=True, nogil=True)
def keep_greedily(products: Array, places: Array, vectors: Array, limit: float, kept: Array) -> None:
    """Of the rows at `places`, rising, whether they reach none that is kept before them; [places, rows] products."""
    for row in range(len(places)):
        kept[places[row]] = True
        for other in range(places[row]):
            if kept[other] and _reaches(products[row, other], vectors[places[row]], vectors[other], limit):
                kept[places[row]] = False
                break


@njit(cache=True, nogil=True)
def join_reached(products: Array, places: Array, vectors: Array, limit: float, root: Array) -> None:
    """Join each row at `places` with the earlier ones that it reaches."""
    for row in range(len(places)):
        for other in range(places[row]):
            if _reaches(products[row, other], vectors[places[row]], vectors[other], limit):
                join_two(root, places[row], other)


@njit(cache=True, nogil=True)
def add_rows(vectors: Array, labels: Array, sums: Array) -> None:
    """Add each row to its label's sum; in float64 sums of halves are exact, whatever the order."""
    for row in range(len(vectors)):
        for place in range(vectors.shape[1]):
            sums[labels[row], place] += vectors[row, place]
