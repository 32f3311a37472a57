"""Compiled loops over a decoded text: its lines, and what C4's rules leave of them. Imported where used.

Lines are looked at where something stands in them that a rule asks for (`events`): a full stop, a bracket, a line
break, a letter that is rare and in all phrases that count."""

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from tamis.selectors.loops.constants import (
    ABBREVIATED,
    APOSTROPHE,
    BREAK,
    BULLET,
    BULLETS,
    C4_FIRST,
    CLASS,
    CLOSE_BRACKET,
    CURLY,
    CUT_LINES,
    DASH,
    DIGIT_BIT,
    ELLIPSIS,
    EXCLAMATION,
    LONGEST_LINE,
    LONGEST_WORD,
    MEAN_LINE,
    NEWLINE,
    POINT,
    QUESTION,
    QUOTE,
    RETURN,
    SPACE,
    SQUARE,
    SQUARE_CLOSE,
)  # fmt: skip

Array = npt.NDArray[Any]
FEWEST_WORDS = (5, 3, 3)  # a line: of C4, of datatrove's C4, of FineWeb's
LOREM, JAVASCRIPT, TERMS, PRIVACY, COOKIE, COOKIE_POLICY, USES, USE_OF, USE, EDIT, NEEDED = (
    np.frombuffer(phrase, np.uint8)
    for phrase in (
        b"lorem ipsum", b"javascript", b"terms of use", b"privacy policy", b"cookie", b"cookie policy", b"uses cookies",
        b"use of cookies", b"use cookies", b"[edit]", b"[citation needed]",
    )
)  # fmt: skip
PACKED = np.array(sorted(int.from_bytes(word.encode(), "big") for word in ABBREVIATED), np.uint64)
LOOKED_AT = np.zeros(128, np.uint8)  # 1: by rules on lines, found by a rare letter of their phrases; 2: brackets; 4
LOOKED_AT[list(b"MVKmvk.?![{\n\r\x0b\x0c\x1c\x1d\x1e")] |= 1
LOOKED_AT[list(b"()[]{}<>")] |= 2
LOOKED_AT[list(b"#.")] |= 4


@njit(cache=True, nogil=True)
def stripped(kinds: Array, begin: int, end: int) -> Any:
    """Without white space at either end."""
    while begin < end and (kinds[begin] & CLASS) == SPACE:
        begin += 1
    while end > begin and (kinds[end - 1] & CLASS) == SPACE:
        end -= 1
    return begin, end


@njit(cache=True, nogil=True)
def of_lines(
    points: Array, kinds: Array, count: int, begins: Array, parted: int, events: Array, noted: int, line: Array,
    line_kinds: Array, line_events: Array, row: Array,
) -> None:  # fmt: skip
    """Lines as str.splitlines parts them: how long, with bullets, cut short, and what C4's forms make of them."""
    lines, longest, characters, bullets, cut = 0, 0, 0, 0, 0
    kept = np.zeros(3, np.int64)
    start, word, event = 0, 0, 0
    while start < count:
        first_event, first_word, citation = event, word, False
        place = count
        while event < noted:
            code = points[events[event]]
            if kinds[events[event]] & BREAK:
                place = events[event]
                break
            citation |= code == SQUARE
            event += 1
        lines += 1
        characters += place - start
        longest = max(longest, place - start)
        while word < parted and begins[word] < place:
            word += 1
        words = word - first_word
        if words:
            left, right = stripped(kinds, start, place)
            bullets += points[left] in (BULLET, DASH)
            cut += points[right - 1] == ELLIPSIS or _trails_off(points, left, right)
            if not _too_long(kinds, begins, first_word, word, place):
                if citation:
                    size = _without_citations(points, kinds, left, right, line, line_kinds)
                    some = 0
                    for at in range(size):
                        if line[at] < 128 and LOOKED_AT[line[at]] & 1:
                            line_events[some] = at
                            some += 1
                    after = _count_words(line_kinds, size)
                    _c4_line(line, line_kinds, 0, size, line_events, 0, some, words, after, kept, row)
                else:
                    _c4_line(points, kinds, left, right, events, first_event, event, words, words, kept, row)
        if event < noted and place + 1 < count and points[place] == RETURN and points[place + 1] == NEWLINE:
            event += 1
            place += 1
        event += 1
        start = place + 1
    share = 1 / max(1, lines)
    row[MEAN_LINE], row[LONGEST_LINE] = characters * share, longest
    row[BULLETS], row[CUT_LINES] = bullets * share, cut * share
    for form in range(3):
        row[C4_FIRST + 4 * form + 3] = (lines - kept[form]) * share


@njit(cache=True, nogil=True)
def _trails_off(points: Array, begin: int, end: int) -> bool:
    return end - begin >= 3 and points[end - 1] == POINT and points[end - 2] == POINT and points[end - 3] == POINT


@njit(cache=True, nogil=True)
def _too_long(kinds: Array, begins: Array, first: int, last: int, end: int) -> bool:
    """Whether a word has more than LONGEST_WORD characters."""
    for word in range(first, last):
        until = begins[word + 1] if word + 1 < last else end
        if until - begins[word] > LONGEST_WORD:
            size = 0
            while begins[word] + size < until and (kinds[begins[word] + size] & CLASS) != SPACE:
                size += 1
            if size > LONGEST_WORD:
                return True
    return False


@njit(cache=True, nogil=True)
def _count_words(kinds: Array, count: int) -> int:
    words, before = 0, True
    for place in range(count):
        space = (kinds[place] & CLASS) == SPACE
        words += before and not space
        before = space
    return words


@njit(cache=True, nogil=True)
def _without_citations(points: Array, kinds: Array, begin: int, end: int, line: Array, line_kinds: Array) -> int:
    """Copy the line without [12], [], [edit] and [citation needed]; returns its size."""
    size, place = 0, begin
    while place < end:
        if points[place] == SQUARE:
            after = _after_citation(points, kinds, place, end)
            if after > place:
                place = after
                continue
        line[size], line_kinds[size] = points[place], kinds[place]
        size += 1
        place += 1
    return size


@njit(cache=True, nogil=True)
def _after_citation(points: Array, kinds: Array, place: int, end: int) -> int:
    at = place + 1
    while at < end and kinds[at] & DIGIT_BIT:
        at += 1
    if at < end and points[at] == SQUARE_CLOSE:
        return at + 1
    for phrase in (EDIT, NEEDED):
        if place + len(phrase) <= end:
            same = True
            for n in range(len(phrase)):
                same &= points[place + n] == phrase[n]
            if same:
                return place + len(phrase)
    return place


@njit(cache=True, nogil=True)
def _c4_line(

    points: Array, kinds: Array, left: int, right: int, events: Array, first: int, last: int, before: int, after: int,
    kept: Array, row: Array,
) -> None:  # fmt: skip
    """Of a line that has `before` words, and `after` citations are gone so many; `kept` counts those that stay."""
    end = points[right - 1] if right > left else 0
    cut = _trails_off(points, left, right)
    ends = end in (POINT, QUESTION, EXCLAMATION, QUOTE) and not cut
    ends_loosely = ends or (end == APOSTROPHE and not cut)
    stays = (ends and after >= FEWEST_WORDS[0], ends_loosely and before >= FEWEST_WORDS[1], before >= FEWEST_WORDS[2])
    if not (stays[0] or stays[1] or stays[2]):
        return
    lorem, javascript, policy, curly = False, False, False, False
    for event in range(first, last):
        place = events[event]
        letter = points[place] | 32
        if points[place] == CURLY:
            curly = True
        elif letter == 109:  # m
            lorem |= _there(points, place - 4, left, right, LOREM)
            policy |= _there(points, place - 3, left, right, TERMS)
        elif letter == 118:  # v
            javascript |= _there(points, place - 2, left, right, JAVASCRIPT)
            policy |= _there(points, place - 3, left, right, PRIVACY)
        elif letter == 107 and _there(points, place - 3, left, right, COOKIE):  # k
            policy |= _there(points, place - 3, left, right, COOKIE_POLICY)
            policy |= _there(points, place - 8, left, right, USES)
            policy |= _there(points, place - 10, left, right, USE_OF)
            policy |= _there(points, place - 7, left, right, USE)
    sentences = -1
    for form in range(3):
        if not stays[form]:
            continue
        at = C4_FIRST + 4 * form
        row[at] += lorem
        if javascript:
            continue
        row[at + 1] += curly
        if policy:
            continue
        if sentences < 0:
            sentences = _sentences(points, kinds, left, right, events, first, last)
        row[at + 2] += sentences
        kept[form] += 1


@njit(cache=True, nogil=True)
def _there(points: Array, place: int, begin: int, end: int, phrase: Array) -> bool:
    """Whether the phrase, in lower case, stands at `place`, whatever the case."""
    if place < begin or place + len(phrase) > end:
        return False
    for n in range(len(phrase)):
        code = points[place + n]
        if 65 <= code <= 90:
            code |= 32
        if code != phrase[n]:
            return False
    return True


@njit(cache=True, nogil=True)
def _sentences(points: Array, kinds: Array, begin: int, end: int, events: Array, first: int, last: int) -> int:
    """How many sentences a line has: one, and one more for each end inside it. A point ends none behind a letter or an
    abbreviation, or before a small letter."""
    found = 1
    after = begin
    for event in range(first, last):
        place = events[event]
        if points[place] not in (POINT, EXCLAMATION, QUESTION) or place < after or place < begin:
            continue
        after = place
        while after < end and points[after] in (POINT, EXCLAMATION, QUESTION):
            after += 1
        closed = after
        while closed < end and points[closed] in (QUOTE, APOSTROPHE, CLOSE_BRACKET, SQUARE_CLOSE):
            closed += 1
        following = closed
        while following < end and (kinds[following] & CLASS) == SPACE:
            following += 1
        if following == end or following == closed:
            continue
        if after == place + 1 and points[place] == POINT:
            if 97 <= points[following] <= 122 or (closed == after and _abbreviated(points, begin, place)):
                continue
        found += 1
    return found


@njit(cache=True, nogil=True)
def _abbreviated(points: Array, begin: int, end: int) -> bool:
    """Whether one letter stands before `end`, or an abbreviation."""
    word, size = np.uint64(0), 0
    place = end - 1
    while place >= begin and size <= 8:
        code = points[place]
        if 65 <= code <= 90 or 97 <= code <= 122:
            word |= np.uint64(code | 32) << np.uint64(8 * size)
        elif code < 128:
            break
        else:
            return False
        size += 1
        place -= 1
    if size == 1:
        return True
    if size > 8:
        return False
    at = np.searchsorted(PACKED, word)
    return bool(size > 1 and at < len(PACKED) and PACKED[at] == word)
