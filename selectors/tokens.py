r"""Tokens of a text, compiled: the same as `re.findall(r"\w+|[^\w\s]+", text.lower())`, at about 200 MB/s a core.

The character classes and lower-case letters are read from this Python's own `re` and `str.lower` once, as tables over
all code points (5.6 MB, 50 ms), so tokens are the same whichever path made them. Two letters have no one-to-one
lower case (capital sigma depends on its neighbours, I with a dot becomes two): texts with these are lowered by Python
first. Cost: O(bytes), one table look-up a character."""

import re
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit

PATTERN = re.compile(r"\w+|[^\w\s]+")
SPACE, WORD, OTHER = 0, 1, 2
CODE_POINTS = 0x110000
SIGMA, DOTTED_I = "\u03a3", "\u0130"
FNV_OFFSET = np.uint64(0xCBF29CE484222325)  # FNV-1a, 64 bits
FNV_PRIME = np.uint64(0x100000001B3)

Array = npt.NDArray[Any]


def tokens(text: str) -> list[str]:
    """The plain way, for single texts and as the oracle of the compiled one."""
    return PATTERN.findall(text.lower())


@cache
def tables() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint32]]:
    """Class and lower case of every code point; the two letters without a single lower case stay as they are."""
    every = np.arange(CODE_POINTS, dtype="<u4").tobytes().decode("utf-32-le", "surrogatepass")
    kind = np.full(CODE_POINTS, OTHER, np.uint8)
    for name, pattern in ((WORD, r"\w+"), (SPACE, r"\s+")):
        for match in re.finditer(pattern, every):
            kind[match.start() : match.end()] = name
    plain = every.replace(SIGMA, "\0").replace(DOTTED_I, "\0")
    lower = np.frombuffer(plain.lower().encode("utf-32-le", "surrogatepass"), np.uint32).copy()
    for letter in (SIGMA, DOTTED_I):
        lower[ord(letter)] = ord(letter)
    return kind, lower


def ready(texts: pa.StringArray) -> pa.StringArray:
    """Texts that the compiled loop may read: those with a letter without one-to-one lower case lowered by Python."""
    first, last = texts.offset, texts.offset + len(texts)
    offsets = np.frombuffer(texts.buffers()[1], np.int32)
    held = bytes(memoryview(texts.buffers()[2])[offsets[first] : offsets[last]])
    odd = [letter for letter in (SIGMA, DOTTED_I) if letter.encode() in held]
    if not odd:
        return texts
    mask = pc.match_substring_regex(texts, "|".join(odd))
    lowered = [text.lower() for text in texts.filter(mask).to_pylist()]
    return pc.replace_with_mask(texts, mask, pa.array(lowered, pa.string()))


@njit(nogil=True, cache=True)
def tokenize(data: Array, lo: int, hi: int, kind: Array, lower: Array, low: Array, ends: Array, hashes: Array) -> int:
    """Tokenize data[lo:hi] (UTF-8): lower-case bytes of all tokens to `low`, one after another; where each ends in it
    to `ends`; its FNV-1a hash to `hashes`. Returns the number of tokens."""
    count = 0
    at = 0  # end of what was written to `low`
    before = SPACE
    h = FNV_OFFSET
    i = lo
    while i < hi:
        point, width = _code_point(data, i)
        i += width
        now = kind[point]
        if now != before:
            if before != SPACE:
                ends[count], hashes[count] = at, h
                count += 1
            h = FNV_OFFSET
            before = now
        if now == SPACE:
            continue
        if point < 0x80:  # most text, so a way of its own: twice the speed
            byte = point + 32 if 65 <= point <= 90 else point
            low[at] = byte
            at += 1
            h = (h ^ np.uint64(byte)) * FNV_PRIME
        else:
            start = at
            at = _put(low, at, lower[point])
            for k in range(start, at):
                h = (h ^ np.uint64(low[k])) * FNV_PRIME
    if before != SPACE:
        ends[count], hashes[count] = at, h
        count += 1
    return count


@njit(nogil=True, cache=True, inline="always")
def _code_point(data: Array, i: int) -> tuple[int, int]:
    """The code point that begins at byte i of valid UTF-8, and its width in bytes."""
    byte = np.int64(data[i])
    if byte < 0x80:
        return byte, 1
    if byte < 0xE0:
        return (byte & 0x1F) << 6 | np.int64(data[i + 1] & 0x3F), 2
    if byte < 0xF0:
        return (byte & 0x0F) << 12 | np.int64(data[i + 1] & 0x3F) << 6 | np.int64(data[i + 2] & 0x3F), 3
    tail = np.int64(data[i + 1] & 0x3F) << 12 | np.int64(data[i + 2] & 0x3F) << 6 | np.int64(data[i + 3] & 0x3F)
    return (byte & 0x07) << 18 | tail, 4


@njit(nogil=True, cache=True, inline="always")
def _put(low: Array, at: int, point: int) -> int:
    """Append a code point in UTF-8; returns the new end."""
    if point < 0x80:
        low[at] = point
        return at + 1
    if point < 0x800:
        low[at] = 0xC0 | (point >> 6)
        low[at + 1] = 0x80 | (point & 0x3F)
        return at + 2
    if point < 0x10000:
        low[at] = 0xE0 | (point >> 12)
        low[at + 1] = 0x80 | ((point >> 6) & 0x3F)
        low[at + 2] = 0x80 | (point & 0x3F)
        return at + 3
    low[at] = 0xF0 | (point >> 18)
    low[at + 1] = 0x80 | ((point >> 12) & 0x3F)
    low[at + 2] = 0x80 | ((point >> 6) & 0x3F)
    low[at + 3] = 0x80 | (point & 0x3F)
    return at + 4
