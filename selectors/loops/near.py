"""Compiled loops that keep one of several: each is compared with those kept before it. Imported where used."""

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from tamis.selectors.loops.pairs import bits, join_two

Array = npt.NDArray[Any]


@njit(cache=True, nogil=True)
def _agreeing(low: Array, one: int, other: int) -> int:
    count = 0
    for place in range(low.shape[1]):
        count += low[one, place] == low[other, place]
    return count


@njit(cache=True, nogil=True)
def jaccard(sets: Array, a: int, a_end: int, b: int, b_end: int, most: int) -> float:
    """Of two rising sets; those of `most` are the smallest of larger ones, and are looked at as far as both tell."""
    bound = np.uint32(0xFFFFFFFF)
    if a_end - a == most:
        bound = sets[a_end - 1]
    if b_end - b == most:
        bound = min(bound, sets[b_end - 1])
    both, either = 0, 0
    while True:
        left = a < a_end and sets[a] <= bound
        right = b < b_end and sets[b] <= bound
        if not left and not right:
            break
        either += 1
        if left and right and sets[a] == sets[b]:
            both += 1
            a += 1
            b += 1
        elif left and (not right or sets[a] < sets[b]):
            a += 1
        else:
            b += 1
    return both / either if either else 0.0


@njit(cache=True, nogil=True)
def _enter(one: int, slots: Array, heads: Array, following: Array) -> None:
    """Put it first in the list of each of its slots: nodes are one * bands + band, and `following` leads on."""
    for band in range(slots.shape[1]):
        node = one * slots.shape[1] + band
        following[node] = heads[slots[one, band]]
        heads[slots[one, band]] = node


@njit(cache=True, nogil=True)
def keep_unlike(
    order: Array, slots: Array, low: Array, sets: Array, ends: Array, most_of_set: int, stays: Array,
    similarity: float, by_chance: float, slack: float, most: int, leader: Array, alike: Array,
) -> None:  # fmt: skip
    """Into `leader` [texts] the kept text that each dropped one is nearest to, itself where it is kept, and into
    `alike` their Jaccard index.

    Texts are met in `order`; each is compared with those kept before it that share one of its `slots` [texts, bands],
    at most `most` of each slot, the latest first: those whose `low` bytes estimate an index of `similarity` less
    `slack`, by their sets of shingles, which end at `ends`. Those that `stays` are kept whatever they are like."""
    heads = np.full(slots.max() + 1, -1, np.int64)
    following = np.full(slots.size, -1, np.int64)
    seen = np.full(len(order), -1, np.int64)
    bands, hashes = slots.shape[1], low.shape[1]
    least = hashes * ((similarity - slack) * (1 - by_chance) + by_chance)
    for text in order:
        best, most_alike = -1, -1.0
        for band in range(bands):
            node, met = heads[slots[text, band]], 0
            while node >= 0 and met < most and most_alike < 1:
                other = node // bands
                node, met = following[node], met + 1
                if seen[other] == text:
                    continue
                seen[other] = text
                if _agreeing(low, text, other) >= least:
                    index = jaccard(sets, ends[text], ends[text + 1], ends[other], ends[other + 1], most_of_set)
                    if index > most_alike:
                        best, most_alike = other, index
        if most_alike >= similarity and not stays[text]:
            leader[text], alike[text] = best, most_alike
            continue
        _enter(text, slots, heads, following)


@njit(cache=True, nogil=True)
def join_alike(
    slots: Array, low: Array, similarity: float, by_chance: float, most: int, root: Array
) -> None:  # fmt: skip
    """Join texts that share one of their `slots` where `low` bytes estimate an index of `similarity` or more; each is
    compared with at most `most` before it of each slot, and of texts with equal bytes only the first is met."""
    heads = np.full(slots.max() + 1, -1, np.int64)
    following = np.full(slots.size, -1, np.int64)
    bands, hashes = slots.shape[1], low.shape[1]
    least = hashes * (similarity * (1 - by_chance) + by_chance)
    for text in range(len(slots)):
        twin = False
        for band in range(bands):
            node, met = heads[slots[text, band]], 0
            while node >= 0 and met < most and not twin:
                other = node // bands
                node, met = following[node], met + 1
                count = _agreeing(low, text, other)
                if count >= least:
                    join_two(root, text, other)
                twin = count == hashes
        if twin:
            continue
        _enter(text, slots, heads, following)


@njit(cache=True, nogil=True)
def hash_sets(sets: Array, ends: Array, out: Array) -> None:
    """Into `out` one number for each set."""
    for text in range(len(out)):
        value = np.uint64(ends[text + 1] - ends[text])
        for at in range(ends[text], ends[text + 1]):
            value = (value ^ np.uint64(sets[at])) * np.uint64(0x9E3779B97F4A7C15)
            value ^= value >> np.uint64(32)
        out[text] = value


@njit(cache=True, nogil=True)
def put_sets(sets: Array, places: Array, ends: Array, out: Array) -> None:
    """Copy sets, one after another, to where each of their `places` begins in `out`; sizes are those between `ends`."""
    start = 0
    for place in places:
        for at in range(ends[place], ends[place + 1]):
            out[at] = sets[start]
            start += 1


@njit(cache=True, nogil=True)
def keep_apart(
    order: Array, slots: Array, codes: Array, stays: Array, distance: int, leader: Array, apart: Array
) -> None:  # fmt: skip
    """Into `leader` [codes] the kept one that each dropped code is nearest to, itself where it is kept, and into
    `apart` the bits between them.

    Codes are met in `order`; each is compared with all kept before it that share one of its `slots` [codes, bands]."""
    heads = np.full(slots.max() + 1, -1, np.int64)
    following = np.full(slots.size, -1, np.int64)
    bands = slots.shape[1]
    for code in order:
        best, least = -1, distance + 1
        for band in range(bands):
            node = heads[slots[code, band]]
            while node >= 0 and least > 0:
                other = node // bands
                node = following[node]
                between = bits(codes[code] ^ codes[other])
                if between < least:
                    best, least = other, between
        if best >= 0 and not stays[code]:
            leader[code], apart[code] = best, least
            continue
        _enter(code, slots, heads, following)
