"""Words of a text as near_dedup and decontaminate compare them: lowered, without accents and punctuation.

`tamis`, ours: each letter of a script without spaces is a word of its own; marks that are vowels or voices stay with
their letter (scripts.py); numbers stay as they are, in digits of ASCII, `1,000.5` one word. `published`, datatrove's
rule for MinHash: a number is 0, all marks go, and words are what spaces part, so that tables of other numbers are
equal, texts without spaces have hardly a word, and Thai words that differ in a vowel are the same."""

import re
import unicodedata
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from tamis.selectors.loops.constants import APART, DIGIT, DROPPED, LETTER, NUMERAL, SEPARATES, SIGN
from tamis.selectors.texts.scripts import is_accent, is_mark, stands_alone

Words = Literal["tamis", "published"]
NUMBER = re.compile(r"\d+(?:[.,]\d+)?")
REACH = {0xE0: 0x800, 0xE3: 0x3000, 0xF0: 1 << 16}  # UTF-8 with lower bytes alone has lower characters alone
ALL = 0x110000
ASSIGNED = (range(0xD800), range(0xE000, 0x34000), range(0xE0000, 0xE0200))  # beyond are no letters and marks


def words(text: str, kind: Words = "tamis") -> list[str]:
    """The plain way; the compiled loop does the same by tables."""
    if kind == "published":
        plain = NUMBER.sub("0", _lower(text))
        kept = "".join(char if kind_of(char, kind) != SEPARATES else " " for char in plain)
        return _without_marks(kept).split()
    told = [""]
    alone, before = False, SEPARATES
    plain = "".join(_decomposed(char) for char in _lower(text))
    for place, char in enumerate(plain):
        now = kind_of(char, kind)
        point = char in ".," and before == NUMERAL and plain[place + 1 : place + 2].isdecimal()
        if now == DROPPED:
            before = now
            continue
        if (now == SEPARATES and not point) or now == APART or (alone and now != SIGN):
            told.append("")
        if now != SEPARATES or point:
            told[-1] += str(unicodedata.decimal(char)) if now == NUMERAL else char
        alone, before = (alone if now == SIGN else now == APART), (NUMERAL if point else now)
    return [word for word in told if word]


def joined(some: list[str]) -> str:
    """Words as a person would write them: letters of scripts without spaces side by side."""
    text = " ".join(some)
    return re.sub(r"(?<=\S) (?=\S)", lambda gap: "" if _tight(text, gap.start()) else " ", text)


def _tight(text: str, gap: int) -> bool:
    before = next((char for char in reversed(text[:gap]) if not is_mark(char)), " ")
    return stands_alone(before) and stands_alone(text[gap + 1])


def _lower(text: str) -> str:
    """Where one sigma stands for both: which one, lower() tells by the rest of the word."""
    return text.lower().replace("\N{GREEK SMALL LETTER FINAL SIGMA}", "\N{GREEK SMALL LETTER SIGMA}")


def kind_of(char: str, kind: Words) -> int:
    if kind == "published":
        if char.isdecimal():
            return DIGIT
        return LETTER if char.isalnum() else {"Mn": DROPPED, "Mc": LETTER}.get(unicodedata.category(char), SEPARATES)
    if char.isdecimal():
        return NUMERAL
    if char.isascii():
        return LETTER if char.isalnum() else SEPARATES
    if is_mark(char):
        return DROPPED if is_accent(char) else SIGN
    if not char.isalnum():
        return SEPARATES
    return APART if stands_alone(char) else LETTER


def _decomposed(char: str) -> str:
    """Letters and marks; symbols stay what they are."""
    if char.isascii() or kind_of(char, "tamis") == SEPARATES:
        return char
    return unicodedata.normalize("NFD", char)


def _without_marks(text: str) -> str:
    if text.isascii():
        return text
    return "".join(char for char in unicodedata.normalize("NFD", text) if unicodedata.category(char) != "Mn")


class Tables(NamedTuple):
    """By code point: its kind, and where the bytes lie that stand for it."""

    kinds: npt.NDArray[np.uint8]
    ends: npt.NDArray[np.int32]
    bytes_: npt.NDArray[np.uint8]


def tables_for(data: npt.NDArray[np.uint8], kind: Words = "tamis") -> Tables:
    """The tables of all characters that UTF-8 bytes may have: 10 ms for Latin ones, 60 with signs, 350 with others."""
    largest = data.max(initial=0)
    return tables(next((count for byte, count in REACH.items() if largest < byte), ALL), kind)


@lru_cache(maxsize=8)
def tables(count: int, kind: Words = "tamis") -> Tables:
    kinds, sizes, written = np.full(count, SEPARATES, np.uint8), np.zeros(count, np.int32), []
    for some in ASSIGNED:
        for code in some[: max(0, count - some.start)]:
            kinds[code], text = _written(chr(code), kind)
            letters = text.encode()
            sizes[code] = len(letters)
            written.append(letters)
    return Tables(kinds, np.cumsum(sizes, dtype=np.int32), np.frombuffer(b"".join(written), np.uint8))


def _written(char: str, kind: Words) -> tuple[int, str]:
    """What a character is, and what stands for it."""
    low = _lower(char)
    if kind == "published":
        told = [kind_of(one, kind) for one in low]
        now = LETTER if LETTER in told else told[0]
        return now, _without_marks(low) if now == LETTER else ""
    plain = [one for part in low for one in _decomposed(part)]
    told = [kind_of(one, kind) for one in plain]
    now = told[0]
    if now == NUMERAL:
        return now, str(unicodedata.decimal(plain[0]))
    if now in (SEPARATES, DROPPED):
        return now, ""
    return now, "".join(one for one, what in zip(plain, told, strict=True) if what != DROPPED)
