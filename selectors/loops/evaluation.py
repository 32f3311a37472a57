"""Compiled loops that look for an evaluation's n-grams in texts. Imported where used."""

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from tamis.selectors.loops.constants import GROWS
from tamis.selectors.loops.shingles import SPACE, character, longest, normalised, xxh64

Array = npt.NDArray[Any]


@njit(cache=True, nogil=True)
def grams(text: Array, count: int) -> Array:
    """Hashes of each `count` words of a normalised text."""
    begins, ends = _word_places(text, len(text))
    found = np.empty(max(0, len(begins) - count + 1), np.uint64)
    for first in range(len(found)):
        found[first] = xxh64(text, begins[first], ends[first + count - 1])
    return found


@njit(cache=True, nogil=True)
def _word_places(text: Array, size: int) -> Any:
    """Where each word begins and ends."""
    count = 0
    begins, ends = np.empty(size // 2 + 1, np.int64), np.empty(size // 2 + 1, np.int64)
    start = 0
    for place in range(size + 1):
        if place == size or text[place] == SPACE:
            if place > start:
                begins[count], ends[count] = start, place
                count += 1
            start = place + 1
    return begins[:count], ends[:count]


@njit(cache=True, nogil=True)
def _place(hashes: Array, low: int, high: int, wanted: Any) -> int:
    """The first place between two at which the hash stands, or -1."""
    end = high
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if hashes[middle] < wanted else (low, middle)
    return low if low < end and hashes[low] == wanted else -1


@njit(cache=True, nogil=True)
def words_and_sounds(text: Array, sounds: Array) -> Any:
    """How many words a normalised text has, and how many of them begin with a letter that stands for a sound."""
    words, found = 0, 0
    for place in range(len(text)):
        if text[place] != SPACE and (place == 0 or text[place - 1] == SPACE):
            words += 1
            code, _ = character(text, place)
            found += sounds[code]
    return words, found


@njit(cache=True, nogil=True)
def meet(
    data: Array, ends: Array, kinds: Array, letter_ends: Array, letters: Array, gate: Array, sizes: Array, edges: Array,
    hashes: Array, items: Array, common: Array, totals: Array, out: Array,
) -> None:  # fmt: skip
    """Into `out` [3, texts] the first item of which a text has an n-gram that is not `common`, or half of all its
    n-grams (of `totals`): the item, the first word that was met, and the length of what was.

    Hashes of one length, the least first, lie between two `edges`, rising, with the items that have them; `gate` tells
    by a hash of as many words as the least length whether any n-gram may begin there."""
    room = np.empty(GROWS * longest(ends) + 1, np.uint8)
    mask = np.uint64(len(gate) - 1)
    counted = np.full(len(hashes), -1, np.int64)  # the text that an n-gram was counted for last
    begun = np.full(len(totals), -1, np.int64)  # the text that an item was met in last
    met, first_met = np.zeros(len(totals), np.int64), np.zeros(len(totals), np.int64)
    for text in range(len(ends) - 1):
        size = normalised(data, ends[text], ends[text + 1], kinds, letter_ends, letters, room)
        starts, stops = _word_places(room, size)
        for first in range(len(starts) - sizes[0] + 1):
            if gate[xxh64(room, starts[first], stops[first + sizes[0] - 1]) & mask] == 0:
                continue
            for number in range(len(sizes)):
                last = first + sizes[number] - 1
                if last >= len(starts):
                    break
                wanted = xxh64(room, starts[first], stops[last])
                place = _place(hashes, edges[number], edges[number + 1], wanted)
                while 0 <= place < edges[number + 1] and hashes[place] == wanted and out[0, text] < 0:
                    item = items[place]
                    if begun[item] != text:
                        begun[item], met[item], first_met[item] = text, 0, first
                    if counted[place] != text:
                        counted[place] = text
                        met[item] += 1
                    if not common[place] or 2 * met[item] >= totals[item]:
                        begin = first_met[item] if common[place] else first
                        out[0, text], out[1, text], out[2, text] = item, begin, sizes[number]
                    place += 1
                if out[0, text] >= 0:
                    break
            if out[0, text] >= 0:
                break


@njit(cache=True, nogil=True)
def count_met(
    data: Array, ends: Array, kinds: Array, letter_ends: Array, letters: Array, gate: Array, sizes: Array, edges: Array,
    hashes: Array, first_text: int, last: Array, out: Array,
) -> None:  # fmt: skip
    """Add to `out` [hashes] the texts that have it, at the first of equal ones; `last` holds the text that each was
    counted for, the number of the first of these being `first_text`. The rest is as for `meet`."""
    room = np.empty(GROWS * longest(ends) + 1, np.uint8)
    mask = np.uint64(len(gate) - 1)
    for text in range(len(ends) - 1):
        size = normalised(data, ends[text], ends[text + 1], kinds, letter_ends, letters, room)
        starts, stops = _word_places(room, size)
        for first in range(len(starts) - sizes[0] + 1):
            if gate[xxh64(room, starts[first], stops[first + sizes[0] - 1]) & mask] == 0:
                continue
            for number in range(len(sizes)):
                if first + sizes[number] > len(starts):
                    break
                wanted = xxh64(room, starts[first], stops[first + sizes[number] - 1])
                place = _place(hashes, edges[number], edges[number + 1], wanted)
                if place >= 0 and last[place] != first_text + text:
                    last[place] = first_text + text
                    out[place] += 1
