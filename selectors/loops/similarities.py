"""Similarities of all pairs in 8 bits each, half of them stored, and the compiled loops that sum gains over them.

A code is rounded up or down by chance, in proportion, so that sums of many are right on average: r_i + r_j modulo 2^16
says how, which for a fixed j is as good as independent over i. 20,000 rows take 200 MB. Imported where first used, as
numba takes a second."""

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[Any]
Units = tuple[int, int, int]  # the scale's lowest similarity, the step between codes, and 1, in whole units
TOP = 255  # code of everything above the scale: counted as 1, the largest similarity there is


@njit(nogil=True, cache=True)
def encode(similar: Array, low: float, step: float, best: Array, luck: Array, codes: Array, gains: Array) -> None:
    """Codes of `similar` [rows, columns] above the diagonal, whose columns begin with these rows; adds to `gains` what
    each of a pair gains by the other. `best`, `luck` and `gains` are [columns]."""
    one, scale, floor = np.float32(1), np.float32(1 / step), np.float32(low)
    for a in range(len(similar)):
        near, out = similar[a, a + 1 :], codes[a, a + 1 :]
        theirs, chances, added = best[a + 1 :], luck[a + 1 :], gains[a + 1 :]
        here, mine, own = best[a], luck[a], 0.0
        for b in range(len(near)):
            up = np.float32((mine + chances[b]) & 0xFFFF) * np.float32(1 / 65536)
            code = (min(near[b], one) - floor) * scale + up
            out[b] = np.uint8(max(np.float32(0), min(code, np.float32(TOP))))
        for b in range(len(near)):
            own += max(np.float32(0), near[b] - theirs[b])
            added[b] += max(np.float32(0), near[b] - here)
        gains[a] += own


@njit(nogil=True, inline="always")
def _close(code: Any, low: Any, step: Any, one: Any) -> Any:
    return one if code == TOP else low + step * np.int32(code)


@njit(nogil=True, cache=True)
def fall(codes: Array, old: Array, new: Array, changed: Array, units: Units, sums: Array, counts: Array) -> None:
    """Take from `sums` and `counts` what rows lose as their `old` best similarities become `new`, in whole units.

    Arrays are [columns]; `changed` are the columns where they differ."""
    low, step, one = np.int32(units[0]), np.int32(units[1]), np.int32(units[2])
    dense = 6 * len(changed) > codes.shape[1]
    for a in range(len(codes)):
        row, olds, news = codes[a, a + 1 :], old[a + 1 :], new[a + 1 :]
        before, now = old[a], new[a]
        if now > before:
            some, many = sums[a + 1 :], counts[a + 1 :]
            for b in range(len(row)):
                close = _close(row[b], low, step, one)
                some[b] -= max(close, before) - max(close, now) + now - before
                many[b] -= np.int32(close > before) - np.int32(close > now)
        lost, fewer = np.int32(0), np.int32(0)
        if dense:
            for b in range(len(row)):
                close = _close(row[b], low, step, one)
                lost += max(close, olds[b]) - max(close, news[b]) + news[b] - olds[b]
                fewer += np.int32(close > olds[b]) - np.int32(close > news[b])
        else:
            for place in range(np.searchsorted(changed, a + 1), len(changed)):
                b = changed[place] - a - 1
                close = _close(row[b], low, step, one)
                lost += max(close, olds[b]) - max(close, news[b]) + news[b] - olds[b]
                fewer += np.int32(close > olds[b]) - np.int32(close > news[b])
        sums[a] -= lost
        counts[a] -= fewer


@njit(nogil=True, cache=True)
def count_above(codes: Array, limits: Array, found: Array) -> None:
    """Add to `found` of each row how many codes of its pairs are at its limit or above."""
    for a in range(len(codes)):
        row, theirs, more = codes[a, a + 1 :], limits[a + 1 :], found[a + 1 :]
        limit, mine = limits[a], 0
        for b in range(len(row)):
            mine += np.int32(row[b]) >= limit
            more[b] += np.int32(row[b]) >= theirs[b]
        found[a] += mine


@njit(nogil=True, cache=True)
def list_above(codes: Array, first: int, limits: Array, ends: Array, partners: Array, kept: Array) -> None:
    """Write these pairs' other rows and codes; `ends` says where each row's next one goes.

    Each row, and each column of the block, is gathered without a branch and then copied."""
    rows, columns = codes.shape
    places, held = np.empty(max(rows, columns) + 1, partners.dtype), np.empty(max(rows, columns) + 1, np.uint8)
    for a in range(rows):
        row, limit, count = codes[a], limits[first + a], 0
        for b in range(a + 1, columns):
            places[count], held[count] = first + b, row[b]
            count += np.int32(row[b]) >= limit
        _append(first + a, count, places, held, ends, partners, kept)
    for b in range(1, columns):
        limit, count = limits[first + b], 0
        for a in range(min(b, rows)):
            code = codes[a, b]
            places[count], held[count] = first + a, code
            count += np.int32(code) >= limit
        _append(first + b, count, places, held, ends, partners, kept)


@njit(nogil=True, inline="always")
def _append(row: int, count: int, places: Array, held: Array, ends: Array, partners: Array, kept: Array) -> None:
    end = ends[row]
    partners[end : end + count], kept[end : end + count] = places[:count], held[:count]
    ends[row] = end + count


@njit(nogil=True, cache=True)
def fall_listed(ends: Array, partners: Array, kept: Array, old: Array, new: Array, changed: Array, units: Units, sums: Array, counts: Array) -> None:  # fmt: skip  # noqa: E501
    """`fall` over lists of pairs; `ends` is where each row's list ends."""
    low, step, one = np.int32(units[0]), np.int32(units[1]), np.int32(units[2])
    for row in changed:
        before, now = old[row], new[row]
        for place in range(ends[row - 1] if row else 0, ends[row]):
            close = _close(kept[place], low, step, one)
            sums[partners[place]] -= max(close, before) - max(close, now) + now - before
            counts[partners[place]] -= np.int32(close > before) - np.int32(close > now)
