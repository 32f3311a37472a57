"""Compiled loops over a text's words as numbers: which n-grams repeat, and the most frequent one. Imported where used.

N-grams are told apart by 64 bits of hash: among the 100,000 of a long text two meet once in four billion texts."""

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[Any]


@njit(cache=True, nogil=True)
def repeated(words: Array, sizes: Array, width: int) -> int:
    """Characters of n-grams that occurred before, without overlap: each word's `sizes`, summed."""
    room = _room(len(words))
    slots = np.zeros(room, np.uint64)
    found, first = 0, 0
    while first + width <= len(words):
        hashed = _hashed(words, first, width)
        place = _place(slots, hashed)
        if slots[place] == hashed:
            for word in range(first, first + width):
                found += sizes[word]
            first += width
        else:
            slots[place] = hashed
            first += 1
    return found


@njit(cache=True, nogil=True)
def top(words: Array, sizes: Array, width: int) -> int:
    """Characters that the most frequent n-gram makes up, its words parted by spaces; of equally frequent ones the
    first."""
    room = _room(len(words))
    slots, counts = np.zeros(room, np.uint64), np.zeros(room, np.int64)
    begins = np.zeros(room, np.int64)
    best = -1
    for first in range(len(words) - width + 1):
        hashed = _hashed(words, first, width)
        place = _place(slots, hashed)
        if slots[place] != hashed:
            slots[place], begins[place] = hashed, first
        counts[place] += 1
        closer = best < 0 or counts[place] > counts[best]
        if closer or (counts[place] == counts[best] and begins[place] < begins[best]):
            best = place
    if best < 0:
        return 0
    size = width - 1
    for word in range(begins[best], begins[best] + width):
        size += sizes[word]
    return size * counts[best]


@njit(cache=True, nogil=True)
def _room(words: int) -> int:
    room = 16
    while room < 2 * words:
        room *= 2
    return room


@njit(cache=True, nogil=True)
def _hashed(words: Array, first: int, width: int) -> Any:
    """Never 0, which marks an empty slot."""
    mixed = np.uint64(0)
    for word in range(first, first + width):
        mixed = (mixed ^ np.uint64(words[word] + 1)) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    return mixed | np.uint64(1)


@njit(cache=True, nogil=True)
def _place(slots: Array, hashed: Any) -> Any:
    """The slot of this hash, or the empty one where it belongs."""
    place = np.int64((hashed >> np.uint64(17)) & np.uint64(len(slots) - 1))
    while slots[place] != 0 and slots[place] != hashed:
        place = (place + 1) & (len(slots) - 1)
    return place
