"""Compiled loops over pairs: groups joined, codes near by bits, greedy choice, sums of rows. Imported where used."""

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[Any]


@njit(cache=True, nogil=True)
def _root(root: Array, place: int) -> int:
    while root[place] != place:
        root[place] = root[root[place]]
        place = root[place]
    return place


@njit(cache=True, nogil=True)
def join(root: Array, left: Array, right: Array) -> None:
    """The lower place is the root, so that the order of joining changes nothing."""
    for pair in range(len(left)):
        a, b = _root(root, left[pair]), _root(root, right[pair])
        if a != b:
            root[max(a, b)] = min(a, b)


@njit(cache=True, nogil=True)
def settle(root: Array) -> None:
    for place in range(len(root)):
        root[place] = _root(root, place)


@njit(cache=True, nogil=True)
def join_near(root: Array, order: Array, codes: Array, ends: Array, distance: int) -> None:
    """Join codes at most `distance` bits apart among those of one band; bands end at `ends` in `order`."""
    begin = 0
    for end in ends:
        for one in range(begin, end):
            for other in range(one + 1, end):
                if _bits(codes[order[one]] ^ codes[order[other]]) <= distance:
                    a, b = _root(root, order[one]), _root(root, order[other])
                    if a != b:
                        root[max(a, b)] = min(a, b)
                    if codes[order[one]] == codes[order[other]]:
                        break  # that one compares the rest: equal codes cost no square
        begin = end


@njit(cache=True, nogil=True)
def _bits(value: Any) -> int:
    """How many bits are set (Hacker's Delight, figure 5-2)."""
    value = value - ((value >> np.uint64(1)) & np.uint64(0x5555555555555555))
    value = (value & np.uint64(0x3333333333333333)) + ((value >> np.uint64(2)) & np.uint64(0x3333333333333333))
    value = (value + (value >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (value * np.uint64(0x0101010101010101)) >> np.uint64(56)


@njit(cache=True, nogil=True)
def keep_greedily(reaches: Array, places: Array, kept: Array) -> None:
    """Of the rows at `places`, rising, whether they reach none that is kept before them."""
    for row in range(len(places)):
        kept[places[row]] = True
        for other in range(places[row]):
            if kept[other] and reaches[row, other]:
                kept[places[row]] = False
                break


@njit(cache=True, nogil=True)
def add_rows(vectors: Array, labels: Array, sums: Array) -> None:
    """Add each row to its label's sum; in float64 sums of halves are exact, whatever the order."""
    for row in range(len(vectors)):
        for place in range(vectors.shape[1]):
            sums[labels[row], place] += vectors[row, place]
