"""Compiled loops over texts: what rules of text quality measure, all in one call. Imported where used.

A text is decoded once: code points, what each is, and a hash of all before it. Walks over words, lines (lines.py) and
what repeats (repeats.py) follow. The plain way of each is in texts/measures.py. What is compared is told apart by 64
bits: among the 100,000 words of a long text two meet once in four billion texts that were not made for it."""

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from tamis.selectors.loops.constants import (
    ADDRESS_SHARE,
    ALNUM,
    ALONE,
    APOSTROPHE,
    AT,
    BRACKET_SHARE,
    BREAK,
    CHARACTERS,
    CLASS,
    CLOSE_BRACKET,
    COLON,
    COMMA,
    DASH,
    DIGIT_BIT,
    DIGIT_SHARE,
    ELLIPSES,
    ELLIPSIS,
    HASH,
    HASHES,
    LESS,
    LETTER_BIT,
    LETTER_SHARE,
    LETTERS,
    LINE_BREAKS,
    MARK,
    MORE,
    NEWLINE,
    OPEN,
    POINT,
    QUOTE,
    RIGHT_QUOTE,
    SLASH,
    SPACE,
    SPACE_SHARE,
    SPLIT_WORDS,
    SQUARE,
    SQUARE_CLOSE,
    STOP_WORD_SHARE,
    STOP_WORDS,
    WORD,
    WORD_LENGTH,
    WORDS,
)  # fmt: skip
from tamis.selectors.loops.lines import LOOKED_AT, of_lines
from tamis.selectors.loops.repeats import (
    ONE,
    P1,
    P2,
    part_hash,
    repeated_characters,
    repeated_lines,
    repeated_words,
    room_for,
)  # fmt: skip
from tamis.selectors.loops.shingles import character

Array = npt.NDArray[Any]


@njit(cache=True, nogil=True)
def measured(
    data: Array, offsets: Array, classes: Array, marks: Array, stops: Array, language: Array, wide: int, long: int,
    out: Array,
) -> None:  # fmt: skip
    """[texts, measures] in the order of measures.FIELDS. `marks` [texts]: whether marks are words; `stops`
    [languages, slots, 2] hashes of stop words and their number; `language` [texts] a row of it; `wide`, `long`: words
    and characters of the n-grams whose repetition is told besides."""
    most = 1
    for text in range(len(out)):
        most = max(most, offsets[text + 1] - offsets[text])
    points, kinds, hashes = np.empty(most, np.uint32), np.empty(most, np.uint8), np.empty(most + 1, np.uint64)
    powers = np.empty(most + 1, np.uint64)
    powers[0] = 1
    for place in range(most):
        powers[place + 1] = powers[place] * P1
    begins, sizes, words = np.empty(most, np.int32), np.empty(most, np.int32), np.empty(most, np.uint64)
    events, breaks = np.empty(most, np.int32), np.empty(most, np.int32)
    ids, room = np.empty(most + 1, np.int32), room_for(most + 1)
    slots, held = np.empty(room, np.uint64), np.empty(room, np.int32)
    line, line_kinds, line_events = np.empty(most, np.uint32), np.empty(most, np.uint8), np.empty(most, np.int32)
    for text in range(len(out)):
        row = out[text]
        row[:] = 0
        begin, end = offsets[text], offsets[text + 1]
        count, parted, noted, broken = _decoded(
            data, begin, end, classes, points, kinds, hashes, begins, sizes, events, breaks, row
        )
        told = _words(
            points, kinds, hashes, powers, begins, sizes, parted, marks[text], stops[language[text]], words, row
        )
        of_lines(points, kinds, count, begins, parted, events, noted, line, line_kinds, line_events, row)
        repeated_lines(points, kinds, hashes, powers, count, breaks, broken, slots, row)
        repeated_words(words, sizes, told, row, wide, ids, slots, held)
        repeated_characters(hashes, powers, count, long, row, slots, ids)


@njit(cache=True, nogil=True)
def _decoded(
    data: Array, begin: int, end: int, classes: Array, points: Array, kinds: Array, hashes: Array, begins: Array,
    sizes: Array, events: Array, breaks: Array, row: Array,
) -> Any:  # fmt: skip
    """Characters, how many of which kinds; words that white space parts; where marks and letters stand that rules on
    lines look at; and the line breaks among them. Returns how many there are of each."""
    count, letters, digits, spaces, brackets, hashes_, ellipses, dots = 0, 0, 0, 0, 0, 0, 0, 0
    words, noted, broken, inside = 0, 0, 0, False
    place = begin
    hashed = np.uint64(0)
    hashes[0] = hashed
    while place < end:
        code, size = character(data, place)
        place += size
        kind = np.int64(classes[code])
        points[count] = code
        kinds[count] = kind
        letters += (kind & LETTER_BIT) != 0
        digits += (kind & DIGIT_BIT) != 0
        space = (kind & CLASS) == SPACE
        if space == inside:
            if space:
                sizes[words] = count - begins[words]
                words += 1
            else:
                begins[words] = count
            inside = not space
        spaces += space
        if code < 128:
            look = LOOKED_AT[code]
            if look:
                events[noted] = count
                noted += look & 1
                brackets += (look & 2) != 0
                hashes_ += code == HASH
                if code == POINT:
                    dots = dots + 1 if count > 0 and points[count - 1] == POINT else 1
                    ellipses += dots % 3 == 0
                elif code == NEWLINE:
                    breaks[broken] = count
                    broken += 1
        elif code == ELLIPSIS:
            ellipses += 1
        elif kind & BREAK:
            events[noted] = count
            noted += 1
        count += 1
        hashed = hashed * P1 + np.uint64(code) + ONE
        hashes[count] = hashed
    if inside:
        sizes[words] = count - begins[words]
        words += 1
    share = 1 / max(1, count)
    row[CHARACTERS], row[SPLIT_WORDS] = count, words
    row[LETTER_SHARE], row[DIGIT_SHARE] = letters * share, digits * share
    row[SPACE_SHARE], row[BRACKET_SHARE] = spaces * share, brackets * share
    row[HASHES], row[ELLIPSES] = hashes_, ellipses
    return count, words, noted, broken


@njit(cache=True, nogil=True)
def hash_of(points: Array) -> Any:
    """Of a stop word, as the words of a text are hashed."""
    hashed = np.uint64(0)
    for code in points:
        hashed = hashed * P1 + np.uint64(code) + ONE
    hashed *= P2
    return (hashed ^ (hashed >> np.uint64(32))) | ONE


@njit(cache=True, nogil=True)
def _words(
    points: Array, kinds: Array, hashes: Array, powers: Array, begins: Array, sizes: Array, parted: int, marks: bool,
    stops: Array, words: Array, row: Array,
) -> int:  # fmt: skip
    """How many, how long, with letters, stop words, addresses. Hashes and sizes of the words, as `marks` has them, go
    to `words` and `sizes`; returns how many there are."""
    told, spoken, spoken_size, lettered, of_marks, in_address, stop_words = 0, 0, 0, 0, 0, 0, 0
    met = np.uint64(0)  # a bit for each stop word
    sizes_of = np.empty(len(sizes), np.int32) if marks else sizes  # there may be more than white space parts
    for number in range(parted):
        begin = begins[number]
        end = begin + sizes[number]
        first, address, inside, until = begin, False, end, end
        last, flags = _next_word(points, kinds, begin, end)
        whole = flags
        if last < end:  # it has marks
            points_seen = False
            for place in range(begin, end):
                whole |= np.int64(kinds[place])
                points_seen |= points[place] == POINT or points[place] == COLON
            if points_seen:
                inside, until = _bare(points, begin, end)
                address = _is_address(points, inside, until)
                if address:
                    in_address += until - inside
                    last, flags = _next_in(points, kinds, begin, end, inside, until)
        if not marks:
            words[told] = part_hash(hashes, powers, begin, end)
            lettered += (whole & LETTER_BIT) != 0
            if whole & ALNUM:
                spoken += 1
                spoken_size += end - begin
        told += not marks
        while True:  # words and runs of marks between two spaces
            of_marks += 1
            hashed = (
                words[told - 1]
                if not marks and first == begin and last == end
                else part_hash(hashes, powers, first, last)
            )
            if flags & ALNUM:
                stop = _stop_word(stops, hashed)
                if stop >= 0:
                    stop_words += 1
                    met |= ONE << np.uint64(stop)
            if marks:
                words[told], sizes_of[told] = hashed, last - first
                told += 1
                lettered += (flags & LETTER_BIT) != 0
                if flags & ALNUM:
                    spoken += 1
                    spoken_size += last - first
            first = last
            if first >= end:
                break
            if address:
                last, flags = _next_in(points, kinds, first, end, inside, until)
            else:
                last, flags = _next_word(points, kinds, first, end)
    if marks:
        sizes[:told] = sizes_of[:told]
    row[ADDRESS_SHARE], row[STOP_WORD_SHARE] = in_address / max(1.0, row[CHARACTERS]), stop_words / max(1, of_marks)
    row[WORDS], row[WORD_LENGTH], row[LETTERS] = spoken, spoken_size / max(1, spoken), lettered / max(1, told)
    different = 0
    while met:
        different += 1
        met &= met - ONE
    row[STOP_WORDS] = different
    row[HASHES], row[ELLIPSES] = row[HASHES] / max(1, told), row[ELLIPSES] / max(1, told)
    row[LINE_BREAKS] = of_marks  # until lines are counted
    return told


@njit(cache=True, nogil=True)
def _bare(points: Array, begin: int, end: int) -> Any:
    """Without brackets and quotes before it, and marks of a sentence behind."""
    while begin < end and points[begin] in (OPEN, SQUARE, LESS, QUOTE, APOSTROPHE):
        begin += 1
    while end > begin and points[end - 1] in (
        CLOSE_BRACKET,
        SQUARE_CLOSE,
        MORE,
        QUOTE,
        APOSTROPHE,
        POINT,
        COMMA,
        33,
        63,
        COLON,
        59,
    ):
        end -= 1
    return begin, end


@njit(cache=True, nogil=True)
def _is_address(points: Array, begin: int, end: int) -> bool:
    """Whether it holds `://`, begins with `www.`, or names a mailbox: a letter, @ and a point behind."""
    if end - begin > 4 and points[begin + 3] == POINT:
        if (points[begin] | 32) == 119 and (points[begin + 1] | 32) == 119 and (points[begin + 2] | 32) == 119:
            return True
    mailbox = end
    for place in range(begin + 1, end - 1):
        code = points[place]
        if code == COLON and place + 2 < end and points[place + 1] == SLASH and points[place + 2] == SLASH:
            return True
        if code == AT:
            mailbox = place
        if code == POINT and place > mailbox + 1:
            return True
    return False


@njit(cache=True, nogil=True)
def _next_in(points: Array, kinds: Array, begin: int, end: int, inside: int, until: int) -> Any:
    """End and flags of the word at `begin` where an address lies from `inside` to `until`, a word of its own."""
    if begin != inside:
        return _next_word(points, kinds, begin, inside if begin < inside else end)
    flags = np.int64(0)
    for place in range(inside, until):
        flags |= np.int64(kinds[place])
    return until, flags


@njit(cache=True, nogil=True)
def _next_word(points: Array, kinds: Array, begin: int, end: int) -> Any:
    """End of the word at `begin`, and what any of its characters is: a letter alone with its marks, a run of letters
    and digits with the apostrophes and hyphens inside it, or a run of other marks."""
    flags = np.int64(kinds[begin])
    first = flags & CLASS
    place = begin + 1
    while place < end:
        kind = np.int64(kinds[place])
        now = kind & CLASS
        if first == WORD:
            if now != WORD and now != MARK:
                code = points[place]
                joins = (code == APOSTROPHE or code == DASH or code == RIGHT_QUOTE) and place + 1 < end
                if not (joins and (kinds[place + 1] & CLASS) == WORD):
                    break
        elif first == ALONE:
            if now != MARK:
                break
        elif now == WORD or now == ALONE:
            break
        flags |= kind
        place += 1
    return place, flags


@njit(cache=True, nogil=True)
def _stop_word(stops: Array, hashed: Any) -> Any:
    """Its number, or -1."""
    place = np.int64((hashed >> np.uint64(17)) & np.uint64(len(stops) - 1))
    while stops[place, 0] != 0:
        if stops[place, 0] == hashed:
            return np.int64(stops[place, 1])
        place = (place + 1) & (len(stops) - 1)
    return -1
