"""Compiled loops that choose a set of texts by the counts of their n-grams."""

import heapq
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[Any]


@njit(nogil=True, cache=True)
def keep_wanted(buckets: Array, places: Array, number: Array, kept: Array, ends: Array) -> int:
    """Of each row those buckets that have a `number` [buckets], which is not below 0: these numbers, sorted, to `kept`;
    where each row ends in it to `ends`. Returns how many."""
    used = 0
    for row in range(len(places) - 1):
        first = used
        for i in range(places[row], places[row + 1]):
            if number[buckets[i]] >= 0:
                kept[used] = number[buckets[i]]
                used += 1
        kept[first:used].sort()
        ends[row] = used
    return used


@njit(nogil=True, cache=True)
def gain(held: Array, first: int, last: int, counts: Array, weights: Array) -> float:
    """By how much the weighted log counts grow with one row's n-grams, sorted."""
    total = 0.0
    i = first
    while i < last:
        j = i + 1
        while j < last and held[j] == held[i]:
            j += 1
        count = counts[held[i]]
        total += weights[held[i]] * np.log((count + j - i) / count)
        i = j
    return total


@njit(nogil=True, cache=True)
def greedily(
    held: Array, places: Array, costs: Array, less: Array, counts: Array, weights: Array, budget: int, most: int,
    picks: Array, gains: Array,
) -> int:  # fmt: skip
    """Rows whose gain less `less` is most for its cost, each up to `most` times, while the budget lasts: to `picks`,
    and what each gained to `gains`. `counts` are brought up to date. Lazily: a gain only falls. Returns how many."""
    taken = np.zeros(len(costs), np.int32)
    heap = [
        (-(gain(held, places[i], places[i + 1], counts, weights) - less[i]) / costs[i], i) for i in range(len(costs))
    ]
    heapq.heapify(heap)
    found, left = 0, budget
    while len(heap) > 0:
        _, row = heapq.heappop(heap)
        if costs[row] > left:  # it only shrinks
            continue
        told = gain(held, places[row], places[row + 1], counts, weights)
        key = -(told - less[row]) / costs[row]
        if len(heap) > 0 and (heap[0][0] < key or (heap[0][0] == key and heap[0][1] < row)):
            heapq.heappush(heap, (key, row))
            continue
        picks[found], gains[found] = row, told
        found, left = found + 1, left - costs[row]
        for i in range(places[row], places[row + 1]):
            counts[held[i]] += 1
        taken[row] += 1
        if taken[row] < most:
            heapq.heappush(heap, (key, row))
    return found
