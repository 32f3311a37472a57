"""The compiled loops of near_dedup: shingles hashed and signed, groups joined. Imported where first used."""

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from tamis.selectors.minhash import WORDS

Array = npt.NDArray[Any]


@njit(cache=True, nogil=True)
def sign(data: Array, ends: Array, a: Array, b: Array, out: Array, shingled: Array) -> None:
    """Words are what spaces part; a shingle is the bytes from the first of five to the end of the fifth."""
    prime = np.uint64((1 << 61) - 1)
    begins = np.empty(WORDS, np.int64)
    for text in range(len(ends)):
        first = 0 if text == 0 else ends[text - 1]
        end = ends[text]
        count = 0
        start = first
        for place in range(first, end + 1):
            if place < end and data[place] != 32:
                continue
            begins[count % WORDS] = start
            count += 1
            start = place + 1
            if count < WORDS or place == first:
                continue
            x = xxh64(data, begins[count % WORDS], place)
            shingled[text] = True
            for j in range(len(a)):
                value = x * a[j] + b[j]
                value = (value & prime) + (value >> np.uint64(61))
                if value >= prime:
                    value -= prime
                out[text, j] = min(out[text, j], value)


@njit(cache=True, nogil=True)
def _rotated(value: Any, bits: int) -> Any:
    return (value << np.uint64(bits)) | (value >> np.uint64(64 - bits))


@njit(cache=True, nogil=True)
def _whole(data: Array, place: int, size: int) -> Any:
    value = np.uint64(0)
    for byte in range(size):
        value |= np.uint64(data[place + byte]) << np.uint64(8 * byte)
    return value


@njit(cache=True, nogil=True)
def xxh64(data: Array, begin: int, end: int) -> Any:
    """XXH64 with seed 0, after its specification (github.com/Cyan4973/xxHash, doc/xxhash_spec.md)."""
    p1, p2, p3 = np.uint64(0x9E3779B185EBCA87), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0x165667B19E3779F9)
    p4, p5 = np.uint64(0x85EBCA77C2B2AE63), np.uint64(0x27D4EB2F165667C5)
    size = end - begin
    place = begin
    if size >= 32:
        v1, v2, v3, v4 = p1 + p2, p2, np.uint64(0), np.uint64(0) - p1
        while place + 32 <= end:
            v1 = _rotated(v1 + _whole(data, place, 8) * p2, 31) * p1
            v2 = _rotated(v2 + _whole(data, place + 8, 8) * p2, 31) * p1
            v3 = _rotated(v3 + _whole(data, place + 16, 8) * p2, 31) * p1
            v4 = _rotated(v4 + _whole(data, place + 24, 8) * p2, 31) * p1
            place += 32
        state = _rotated(v1, 1) + _rotated(v2, 7) + _rotated(v3, 12) + _rotated(v4, 18)
        for lane in (v1, v2, v3, v4):
            state = (state ^ (_rotated(lane * p2, 31) * p1)) * p1 + p4
    else:
        state = p5
    state += np.uint64(size)
    while place + 8 <= end:
        state = _rotated(state ^ (_rotated(_whole(data, place, 8) * p2, 31) * p1), 27) * p1 + p4
        place += 8
    if place + 4 <= end:
        state = _rotated(state ^ (_whole(data, place, 4) * p1), 23) * p2 + p3
        place += 4
    while place < end:
        state = _rotated(state ^ (np.uint64(data[place]) * p5), 11) * p1
        place += 1
    state = (state ^ (state >> np.uint64(33))) * p2
    state = (state ^ (state >> np.uint64(29))) * p3
    return state ^ (state >> np.uint64(32))


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
