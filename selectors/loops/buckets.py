"""The compiled loops over text and buckets. Imported where first used: numba costs 0.3 s, the loops 0.3 s more.

Plain loops over arrays, without the interpreter's lock. `load()` may run in a thread while something else waits."""

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from tamis.selectors.loops.constants import ALONE, MARK, OTHER, SPACE
from tamis.selectors.loops.sha256 import sha256_mod

Array = npt.NDArray[Any]
FNV_OFFSET = np.uint64(0xCBF29CE484222325)  # FNV-1a, 64 bits
FNV_PRIME = np.uint64(0x100000001B3)
FOLD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, odd: token order matters in the fold


@njit(nogil=True, cache=True)
def holds_odd_letter(data: Array) -> bool:
    """Whether the bytes of either letter, CE A3 or C4 B0, occur: a loop without branches, several GB/s."""
    found = 0
    for i in range(len(data) - 1):
        found += (data[i] == 0xCE) & (data[i + 1] == 0xA3) | (data[i] == 0xC4) & (data[i + 1] == 0xB0)
    return found > 0


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
        starts = now != before
        if point >= 0x80:
            if now == MARK:  # of whatever stands before it
                now = before if before != SPACE else OTHER
                starts = before == SPACE
            elif now == ALONE:
                starts = True
        if starts:
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
def _code_point(data: Array, i: int) -> Any:
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


@njit(nogil=True, cache=True)
def _mixed(h: Any) -> Any:
    """MurmurHash3's 64-bit finalizer: the top bits, which choose the bucket, depend on all bits."""
    h ^= h >> np.uint64(33)
    h *= np.uint64(0xFF51AFD7ED558CCD)
    h ^= h >> np.uint64(33)
    h *= np.uint64(0xC4CEB9FE1A85EC53)
    return h ^ (h >> np.uint64(33))


@njit(nogil=True, cache=True)
def hash_fast(
    data: Array, offsets: Array, kind: Array, lower: Array, distinct: bool, order: int, buckets: int, out: Array,
    places: Array, counts: Array, low: Array, ends: Array, hashes: Array, met: Array, stamp: int,
) -> None:  # fmt: skip
    for row in range(len(counts)):
        n = tokenize(data, offsets[row], offsets[row + 1], kind, lower, low, ends, hashes)
        counts[row] = n
        used = places[row]
        for i in range(n):
            h = np.uint64(0)
            for j in range(i, min(i + order, n)):
                h = (h + hashes[j]) * FOLD
                out[used] = ((_mixed(h) >> np.uint64(32)) * np.uint64(buckets)) >> np.uint64(32)
                used += 1
        places[row + 1] = _without_repeats(out, places[row], used, met, stamp + row) if distinct else used


@njit(nogil=True, cache=True)
def hash_published(
    data: Array, offsets: Array, kind: Array, lower: Array, distinct: bool, order: int, buckets: int, out: Array,
    places: Array, counts: Array, low: Array, ends: Array, hashes: Array, met: Array, stamp: int,
    powers: Array, memo_hash: Array, memo_bucket: Array,
) -> None:  # fmt: skip
    message = np.empty(len(low) + 80 + 8 * order, np.uint8)
    state, words = np.empty(8, np.uint32), np.empty(64, np.uint32)
    mask = np.uint64(len(memo_hash) - 1)
    for row in range(len(counts)):
        n = tokenize(data, offsets[row], offsets[row + 1], kind, lower, low, ends, hashes)
        counts[row] = n
        used = places[row]
        for i in range(n):
            h = np.uint64(0)
            for j in range(i, min(i + order, n)):
                h = (h + hashes[j]) * FOLD
                key = _mixed(h)
                slot = key & mask
                if memo_hash[slot] != key or key == 0:
                    length = _joined(low, ends, i, j, message)
                    memo_bucket[slot] = sha256_mod(message, length, powers, buckets, state, words)
                    memo_hash[slot] = key
                out[used] = memo_bucket[slot]
                used += 1
        places[row + 1] = _without_repeats(out, places[row], used, met, stamp + row) if distinct else used


@njit(nogil=True, cache=True)
def _joined(low: Array, ends: Array, first: int, last: int, message: Array) -> int:
    """Tokens first to last with one space between, written to `message`; returns the length in bytes."""
    length = 0
    for t in range(first, last + 1):
        if t > first:
            message[length] = 32
            length += 1
        for k in range(0 if t == 0 else ends[t - 1], ends[t]):
            message[length] = low[k]
            length += 1
    return length


@njit(nogil=True, cache=True)
def _without_repeats(out: Array, start: int, end: int, met: Array, stamp: int) -> int:
    """Keep the first of equal buckets in out[start:end]; returns the new end.

    `met` is an open-addressed set, a power of two in size, never cleared: the stamp in the upper half of an
    entry says whether it is of this text. The part used grows with the text, so short ones stay in the cache."""
    mask = 1
    while mask < 2 * (end - start):
        mask *= 2
    mask -= 1
    kept = start
    mark = np.uint64(stamp) << np.uint64(32)
    for i in range(start, end):
        entry = mark | np.uint64(out[i])
        slot = np.int64((np.uint64(out[i]) * FOLD) >> np.uint64(40)) & mask
        while met[slot] >> np.uint64(32) == np.uint64(stamp) and met[slot] != entry:
            slot = (slot + 1) & mask
        if met[slot] != entry:
            met[slot] = entry
            out[kept] = out[i]
            kept += 1
    return kept


@njit(nogil=True, cache=True)
def add_counts(buckets: Array, counts: Array) -> None:
    for bucket in buckets:
        counts[bucket] += 1


@njit(nogil=True, cache=True)
def gather_sums(buckets: Array, places: Array, table: Array) -> Array:
    """[rows] sum of table entries, in the order of the text, so that the last bit never depends on batches."""
    sums = np.zeros(len(places) - 1)
    for row in range(len(places) - 1):
        total = 0.0
        for i in range(places[row], places[row + 1]):
            total += table[buckets[i]]
        sums[row] = total
    return sums


@njit(nogil=True, cache=True)
def gather_pairs(buckets: Array, places: Array, table: Array) -> Array:
    """[rows, 2] the same of a table [buckets, 2], in one pass."""
    sums = np.zeros((len(places) - 1, 2))
    for row in range(len(places) - 1):
        one, two = 0.0, 0.0
        for i in range(places[row], places[row + 1]):
            one += table[buckets[i], 0]
            two += table[buckets[i], 1]
        sums[row, 0], sums[row, 1] = one, two
    return sums
