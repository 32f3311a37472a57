"""Compiled loops over a decoded text: which words, characters, lines and paragraphs repeat. Imported where used.

The hash of any part is a difference of two hashes of all that stands before (`hashes`, `powers`): no character is
compared twice."""

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from tamis.selectors.loops.constants import (
    APOSTROPHE,
    CHARACTER_REPETITION,
    CHARACTERS,
    CLASS,
    EXCLAMATION,
    LINE_BREAKS,
    LINE_ENDS,
    LINE_ENDS_V1,
    LINE_REPEATS,
    LINES,
    POINT,
    QUESTION,
    QUOTE,
    REPEATED_LINES,
    REPEATED_LINES_CHARACTERS,
    REPEATED_PARAGRAPHS,
    REPEATED_PARAGRAPHS_CHARACTERS,
    SHORT_LINE,
    SHORT_LINES,
    SPACE,
    STOP,
    TOP_FIRST,
    WORD_REPETITION,
)  # fmt: skip
from tamis.selectors.loops.lines import stripped

Array = npt.NDArray[Any]
P1, P2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)
ONE, TWO, HIGH = np.uint64(1), np.uint64(2), np.uint64(1 << 63)
LOWER, UPPER, LAST_BIT = np.uint64(0xFFFFFFFF), np.uint64(0xFFFFFFFF << 32), np.uint64(1 << 32)  # halves of a slot
LONGEST = 10  # words of an n-gram that published rules look at


@njit(cache=True, nogil=True, inline="always")
def part_hash(hashes: Array, powers: Array, begin: int, end: int) -> Any:
    """Of the characters between; never 0, which marks an empty slot."""
    told = (hashes[end] - hashes[begin] * powers[end - begin]) * P2
    return (told ^ (told >> np.uint64(32))) | ONE


@njit(cache=True, nogil=True)
def room_for(count: int) -> int:
    room = 16
    while room < 2 * count:
        room *= 2
    return room


@njit(cache=True, nogil=True)
def repeated_words(
    words: Array, sizes: Array, count: int, row: Array, wide: int, ids: Array, slots: Array, held: Array
) -> None:
    """Shares of characters in the most frequent 2-, 3- and 4-gram, and in repeated 5- to 10-grams; share of
    `wide`-grams that occur more than once.

    An n-gram can only repeat where both (n - 1)-grams in it do, so each length looks at what is left of the one before:
    `ids` [words] the slot of the n-gram that begins there, -1 where it occurs once; `held` [slots] how often."""
    size = max(1.0, row[CHARACTERS])
    for width in range(1, max(LONGEST, wide) + 1):
        n_grams = count - width + 1
        if n_grams < 1:
            break
        room = room_for(n_grams)
        mask = np.uint64(room - 1)
        slots[:room] = 0
        for place in range(n_grams):
            if width == 1:
                key = words[place]
            elif ids[place] < 0 or ids[place + 1] < 0:
                ids[place] = -1
                continue
            else:
                key = (np.uint64(ids[place]) << np.uint64(32)) | np.uint64(ids[place + 1]) | HIGH
            at = ((key * P1) >> np.uint64(31)) & mask
            while slots[at] != 0 and slots[at] != key:
                at = (at + ONE) & mask
            if slots[at] == 0:
                slots[at], held[at] = key, 0
            held[at] += 1
            ids[place] = at  # of this width; the next word's is still of the one before
        best, most, repeats = 0, 1, 0
        for place in range(n_grams):
            at = ids[place]
            if at < 0:
                continue
            times = held[at]
            if times < 2:
                ids[place] = -1
                continue
            repeats += 1
            if times > most:  # of equally frequent ones the first
                best, most = place, times
        ids[n_grams] = -1
        if width == wide:
            row[WORD_REPETITION] = repeats / n_grams
        if 2 <= width <= 4:
            told = width - 1
            for word in range(best, best + width):
                told += sizes[word]
            row[TOP_FIRST + width - 2] = told * most / size
        if 5 <= width <= LONGEST and repeats:
            row[TOP_FIRST + width - 2] = _without_overlap(ids, sizes, n_grams, width, held) / size
        if not repeats and width >= 4:
            break


@njit(cache=True, nogil=True)
def _without_overlap(ids: Array, sizes: Array, n_grams: int, width: int, held: Array) -> int:
    """Characters of n-grams that stood before, from the left, the next beginning where the last ended. `held` below 0
    marks those that were met."""
    found, place = 0, 0
    while place < n_grams:
        at = ids[place]
        if at < 0:
            place += 1
        elif held[at] < 0:
            for word in range(place, place + width):
                found += sizes[word]
            place += width
        else:
            held[at] = -1
            place += 1
    return found


@njit(cache=True, nogil=True)
def repeated_characters(
    hashes: Array, powers: Array, count: int, long: int, row: Array, slots: Array, ids: Array
) -> None:
    """Share of `long`-grams of characters that are among the most frequent ones: the square root of their number, of
    those that occur more than once. A slot holds half a hash, which its place makes whole, and how often."""
    n_grams = count - long + 1
    if n_grams < 1:
        return
    room = room_for(n_grams)
    mask = np.uint64(room - 1)
    slots[:room] = 0
    power = powers[long]
    known, several, largest = 0, 0, ONE
    for place in range(n_grams):
        key = (hashes[place + long] - hashes[place] * power) * P2
        at = (key ^ (key >> np.uint64(31))) & mask  # unsigned: no index from the end
        half = (key | LAST_BIT) & UPPER
        slot = slots[at]
        while slot != 0 and slot & UPPER != half:
            at = (at + ONE) & mask
            slot = slots[at]
        times = (slot & LOWER) + ONE
        slots[at] = half | times
        known += times == ONE
        if times == TWO:
            ids[several] = at
            several += 1
        largest = max(largest, times)
    if not several:
        return
    often = np.zeros(np.int64(largest) + 1, np.int64)
    for one in range(several):
        often[np.int64(slots[ids[one]] & LOWER)] += 1
    found, most = 0, min(int(np.sqrt(known)), several)
    for times in range(len(often) - 1, 1, -1):
        some = min(most, often[times])
        found += some * times
        most -= some
        if most == 0:
            break
    row[CHARACTER_REPETITION] = found / n_grams


@njit(cache=True, nogil=True)
def repeated_lines(
    points: Array, kinds: Array, hashes: Array, powers: Array, count: int, breaks: Array, broken: int, slots: Array,
    row: Array,
) -> None:  # fmt: skip
    """Paragraphs and lines that stood before, and characters in them; lines that are not blank, and shares of these
    that end, are short, stood before. Lines are what `breaks` part."""
    size = max(1.0, row[CHARACTERS])
    first, last = stripped(kinds, 0, count)
    told = _repeats(hashes, powers, first, last, 2, breaks, broken, slots)
    row[REPEATED_PARAGRAPHS], row[REPEATED_PARAGRAPHS_CHARACTERS] = told[0], told[1] / size
    told = _repeats(hashes, powers, 0, count, 1, breaks, broken, slots)
    row[REPEATED_LINES], row[REPEATED_LINES_CHARACTERS] = told[0], told[1] / size
    lines, ended, ended_v1, short, repeated = 0, 0, 0, 0, 0
    room = room_for(broken + 1)
    slots[:room] = 0
    left = 0
    for number in range(broken + 1):
        place = breaks[number] if number < broken else count
        inside = left
        while inside < place and (kinds[inside] & CLASS) == SPACE:
            inside += 1
        if inside < place:
            lines += 1
            code = points[place - 1]
            ended += (kinds[place - 1] & STOP) != 0
            ended_v1 += code in (POINT, QUESTION, EXCLAMATION, QUOTE, APOSTROPHE)
            short += place - left <= SHORT_LINE
            if not _new(slots, room, part_hash(hashes, powers, left, place)):
                repeated += place - left
        left = place + 1
    share = 1 / max(1, lines)
    row[LINES], row[LINE_ENDS], row[LINE_ENDS_V1], row[SHORT_LINES] = (
        lines,
        ended * share,
        ended_v1 * share,
        short * share,
    )
    row[LINE_REPEATS] = repeated / max(1.0, row[CHARACTERS] - broken)
    row[LINE_BREAKS] = broken / max(1.0, row[LINE_BREAKS])


@njit(cache=True, nogil=True)
def _repeats(
    hashes: Array, powers: Array, begin: int, end: int, fewest: int, breaks: Array, broken: int, slots: Array
) -> Any:
    """Share of the parts between `fewest` line breaks or more that stood before, and the characters in them."""
    room = room_for(broken + 1)
    slots[:room] = 0
    parts, repeats, characters = 0, 0, 0
    start, number = begin, 0
    while number < broken and breaks[number] < begin:
        number += 1
    while True:
        place = breaks[number] if number < broken else end
        following = number
        while following < broken and breaks[following] == place + following - number:
            following += 1
        if place < end and following - number < fewest:
            number = following
            continue
        place = min(place, end)
        parts += 1
        if not _new(slots, room, part_hash(hashes, powers, start, place)):
            repeats += 1
            characters += place - start
        if place == end:
            break
        start = place + following - number
        number = following
    return repeats / parts, float(characters)


@njit(cache=True, nogil=True)
def _new(slots: Array, room: int, hashed: Any) -> bool:
    at = np.int64((hashed >> np.uint64(17)) & np.uint64(room - 1))
    while slots[at] != 0 and slots[at] != hashed:
        at = (at + 1) & (room - 1)
    fresh = slots[at] == 0
    slots[at] = hashed
    return fresh
