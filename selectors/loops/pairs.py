"""Compiled loops over pairs: groups joined, codes near by bits. Imported where used."""

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
def join_two(root: Array, left: int, right: int) -> None:
    """The lower place is the root, so that the order of joining changes nothing."""
    a, b = _root(root, left), _root(root, right)
    if a != b:
        root[max(a, b)] = min(a, b)


@njit(cache=True, nogil=True)
def join(root: Array, left: Array, right: Array) -> None:
    for pair in range(len(left)):
        join_two(root, left[pair], right[pair])


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
                if bits(codes[order[one]] ^ codes[order[other]]) <= distance:
                    join_two(root, order[one], order[other])
                    if codes[order[one]] == codes[order[other]]:
                        break  # that one compares the rest: equal codes cost no square
        begin = end


@njit(cache=True, nogil=True)
def bits(value: Any) -> int:
    """How many bits are set (Hacker's Delight, figure 5-2)."""
    value = value - ((value >> np.uint64(1)) & np.uint64(0x5555555555555555))
    value = (value & np.uint64(0x3333333333333333)) + ((value >> np.uint64(2)) & np.uint64(0x3333333333333333))
    value = (value + (value >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (value * np.uint64(0x0101010101010101)) >> np.uint64(56)
