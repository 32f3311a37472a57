"""Compiled loops over texts: normalised, cut into shingles, hashed, signed, looked up. Imported where used."""

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from tamis.selectors.loops.constants import APART, DIGIT, GROWS, LETTER, NUMERAL, SEPARATES, SIGN

Array = npt.NDArray[Any]


SPACE, ZERO, COMMA, POINT = 32, 48, 44, 46


@njit(cache=True, nogil=True)
def normalised(data: Array, begin: int, end: int, kinds: Array, ends: Array, letters: Array, out: Array) -> int:
    """Write a text's words, parted by one space each, to `out`; returns the bytes written."""
    written = 0
    place = begin
    gap, alone = False, False  # since the last word; whether that is a letter apart
    while place < end:
        code, size = character(data, place)
        kind = kinds[code]
        place += size
        if kind == SEPARATES:
            gap = True
        elif kind == DIGIT:
            written = _parted(out, written, gap)
            gap = False
            out[written] = ZERO
            written += 1
            place = _after_number(data, place, end, kinds)
        elif kind in (LETTER, NUMERAL, APART, SIGN):
            written = _parted(out, written, gap or kind == APART or (alone and kind != SIGN))
            for at in range(ends[code - 1] if code else 0, ends[code]):
                out[written] = letters[at]
                written += 1
            if kind == NUMERAL and _point_inside(data, place, end, kinds):
                out[written] = data[place]
                written += 1
                place += 1
            alone = kind == APART or (kind == SIGN and alone and not gap)
            gap = False
    return written


@njit(cache=True, nogil=True, inline="always")
def _parted(out: Array, written: int, parts: bool) -> int:
    """After one space, where a word stands before."""
    if parts and written:
        out[written] = SPACE
        return written + 1
    return written


@njit(cache=True, nogil=True, inline="always")
def _point_inside(data: Array, place: int, end: int, kinds: Array) -> bool:
    """Whether a point or comma follows, and then another digit."""
    if place + 1 >= end or (data[place] != COMMA and data[place] != POINT):
        return False
    code, _ = character(data, place + 1)
    return kinds[code] == NUMERAL


@njit(cache=True, nogil=True)
def _after_number(data: Array, place: int, end: int, kinds: Array) -> int:
    """Where the number ends whose first digit was before `place`: 1000.50 is one, of 1.2.3 the first two."""
    points = 0
    while place < end:
        point = 1 if points == 0 and data[place] in (COMMA, POINT) else 0
        if place + point >= end:
            break
        code, size = character(data, place + point)
        if kinds[code] != DIGIT:
            break
        points += point
        place += point + size
    return place


@njit(cache=True, nogil=True)
def character(data: Array, place: int) -> Any:
    """Code point and size of a character in valid UTF-8."""
    first = np.int64(data[place])
    if first < 0x80:
        return first, 1
    if first < 0xE0:
        return ((first & 31) << 6) | (data[place + 1] & 63), 2
    if first < 0xF0:
        return ((first & 15) << 12) | ((data[place + 1] & 63) << 6) | (data[place + 2] & 63), 3
    high = ((first & 7) << 18) | ((data[place + 1] & 63) << 12)
    return high | ((data[place + 2] & 63) << 6) | (data[place + 3] & 63), 4


@njit(cache=True, nogil=True)
def _shingles(text: Array, size: int, width: int, found: Array) -> int:
    """Hash each `width` words, from the first byte to the end of the last; returns how many there are."""
    begins = np.empty(width, np.int64)
    count, start, shingles = 0, 0, 0
    for place in range(size + 1):
        if place < size and text[place] != SPACE:
            continue
        begins[count % width] = start
        count += 1
        start = place + 1
        if count >= width:
            found[shingles] = xxh64(text, begins[count % width], place)
            shingles += 1
    return shingles


@njit(cache=True, nogil=True)
def _character_shingles(text: Array, size: int, width: int, found: Array) -> int:
    """The same of characters, spaces among them."""
    begins = np.empty(width, np.int64)
    count, shingles = 0, 0
    for place in range(size + 1):
        if place < size and text[place] & 0xC0 == 0x80:  # inside a character
            continue
        if count >= width:
            found[shingles] = xxh64(text, begins[count % width], place)
            shingles += 1
        begins[count % width] = place
        count += 1
    return shingles


@njit(cache=True, nogil=True)
def _mixed_shingles(text: Array, size: int, width: int, found: Array) -> int:
    """The same of words with a cheaper hash: of each word once, eight bytes at a time, then of `width` such."""
    p1, p2 = np.uint64(0x9E3779B185EBCA87), np.uint64(0xC2B2AE3D27D4EB4F)
    told = np.zeros(width, np.uint64)
    count, shingles, taken = 0, 0, 0
    word, block = np.uint64(0), np.uint64(0)
    for place in range(size + 1):
        if place < size and text[place] != SPACE:
            block = (block << np.uint64(8)) | np.uint64(text[place])
            taken += 1
            if taken & 7 == 0:
                word = (word ^ block) * p1
                word ^= word >> np.uint64(29)
                block = np.uint64(0)
            continue
        word = (word ^ block) * p1
        told[count % width] = word ^ (word >> np.uint64(32))
        count += 1
        taken, word, block = 0, np.uint64(0), np.uint64(0)
        if count >= width:
            mixed = np.uint64(0)
            for back in range(width):
                mixed = (mixed ^ told[(count + back) % width]) * p2
                mixed ^= mixed >> np.uint64(31)
            found[shingles] = mixed
            shingles += 1
    return shingles


@njit(cache=True, nogil=True)
def _hashed(text: Array, size: int, width: int, characters: bool, mixed: bool, found: Array) -> int:
    """A normalised text's shingles into `found`; returns how many there are. Words may have the cheaper hash."""
    if size == 0:
        return 0
    if characters:
        return _character_shingles(text, size, width, found)
    return _mixed_shingles(text, size, width, found) if mixed else _shingles(text, size, width, found)


@njit(cache=True, nogil=True)
def longest(ends: Array) -> int:
    longest = 0
    for text in range(len(ends) - 1):
        longest = max(longest, ends[text + 1] - ends[text])
    return longest


@njit(cache=True, nogil=True)
def sign(
    data: Array, ends: Array, kinds: Array, letter_ends: Array, letters: Array, width: int, characters: bool,
    a: Array, b: Array, out: Array, shingled: Array,
) -> None:  # fmt: skip
    """Into `out` [texts, hashes] the least of (a x + b) mod 2^61 - 1 over a text's shingles x."""
    prime = np.uint64((1 << 61) - 1)
    room = np.empty(GROWS * longest(ends) + 1, np.uint8)
    found = np.empty(len(room) + 1, np.uint64)
    for text in range(len(ends) - 1):
        size = normalised(data, ends[text], ends[text + 1], kinds, letter_ends, letters, room)
        count = _hashed(room, size, width, characters, False, found)
        shingled[text] = count > 0
        for place in range(count):
            x = found[place]
            for j in range(len(a)):
                value = x * a[j] + b[j]
                value = (value & prime) + (value >> np.uint64(61))
                if value >= prime:
                    value -= prime
                out[text, j] = min(out[text, j], value)


@njit(cache=True, nogil=True)
def sign_fast(
    data: Array, ends: Array, kinds: Array, letter_ends: Array, letters: Array, width: int, characters: bool,
    a: Array, b: Array, out: Array, shingled: Array,
) -> None:  # fmt: skip
    """The same in 32 bits: into `out` the least of a x + b, mixed by a step of MurmurHash3's finalizer."""
    room = np.empty(GROWS * longest(ends) + 1, np.uint8)
    found = np.empty(len(room) + 1, np.uint64)
    for text in range(len(ends) - 1):
        size = normalised(data, ends[text], ends[text + 1], kinds, letter_ends, letters, room)
        count = _hashed(room, size, width, characters, True, found)
        shingled[text] = count > 0
        for place in range(count):
            x = np.uint32(found[place] >> np.uint64(32))
            for j in range(len(a)):
                value = np.uint32(x * a[j] + b[j])
                value = np.uint32((value ^ (value >> np.uint32(15))) * np.uint32(0x85EBCA6B))
                out[text, j] = min(out[text, j], value)


@njit(cache=True, nogil=True)
def sets_of(
    data: Array, ends: Array, kinds: Array, letter_ends: Array, letters: Array, width: int, characters: bool,
    most: int, out: Array, counts: Array,
) -> int:  # fmt: skip
    """Into `out`, one text after another, the upper 32 bits of its shingles' hashes, rising, each once, the smallest
    `most`; into `counts` how many. Returns the length of all."""
    room = np.empty(GROWS * longest(ends) + 1, np.uint8)
    found = np.empty(len(room) + 1, np.uint64)
    written = 0
    for text in range(len(ends) - 1):
        size = normalised(data, ends[text], ends[text + 1], kinds, letter_ends, letters, room)
        count = _hashed(room, size, width, characters, False, found)
        rising = np.sort(found[:count] >> np.uint64(32))
        begin = written
        for place in range(count):
            value = np.uint32(rising[place])
            if written == begin or out[written - 1] != value:
                if written - begin == most:
                    break
                out[written] = value
                written += 1
        counts[text] = written - begin
    return written


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
