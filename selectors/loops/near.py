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
def keep_unlike(
    order: Array, slots: Array, low: Array, stays: Array, needed: int, most: int, chains: bool, leader: Array, agree: Array
) -> None:  # fmt: skip
    """Into `leader` [texts] the kept text that each dropped one is nearest to, itself where it is kept, and into
    `agree` the hashes that agree with it.

    Texts are met in `order`; each is compared with those kept before it that share one of its `slots` [texts, bands],
    at most `most` of each slot, the latest first. Those that `stays` are kept whatever they are like. With `chains` all
    are compared with all, and `leader` holds the roots of what is joined."""
    heads = np.full(slots.max() + 1, -1, np.int64)
    following = np.full(slots.size, -1, np.int64)
    seen = np.full(len(order), -1, np.int64)
    bands, hashes = slots.shape[1], low.shape[1]
    for text in order:
        best = -1
        agree[text] = 0
        for band in range(bands):
            node = heads[slots[text, band]]
            met = 0
            while node >= 0 and met < most and agree[text] < hashes:
                other = node // bands
                node = following[node]
                met += 1
                if seen[other] == text:
                    continue
                seen[other] = text
                count = _agreeing(low, text, other)
                if chains and count >= needed:
                    join_two(leader, text, other)
                if count > agree[text]:
                    best, agree[text] = other, count
        near = best >= 0 and agree[text] >= needed
        if near and not chains and not stays[text]:
            leader[text] = best
            continue
        if near and agree[text] == hashes:
            continue  # its twin stands for it
        for band in range(bands):
            node = text * bands + band
            following[node] = heads[slots[text, band]]
            heads[slots[text, band]] = node


@njit(cache=True, nogil=True)
def keep_apart(
    order: Array, ends: Array, codes: Array, stays: Array, distance: int, leader: Array, apart: Array
) -> None:  # fmt: skip
    """Into `leader` [codes] the kept one that each dropped code is nearest to, itself where it is kept, and into `apart`
    the bits between them. Groups end at `ends` in `order`; each code is compared with all that are kept before it."""
    kept = np.empty(len(order), np.int64)
    begin = 0
    for end in ends:
        count = 0
        for place in range(begin, end):
            code = order[place]
            best, least = -1, distance + 1
            for number in range(count):
                between = bits(codes[code] ^ codes[kept[number]])
                if between < least:
                    best, least = kept[number], between
                    if least == 0:
                        break
            if best >= 0 and not stays[code]:
                leader[code], apart[code] = best, least
            else:
                kept[count] = code
                count += 1
        begin = end
