r"""Tokens of a text, compiled, at 280 MB/s a core: runs of letters and digits, and runs of what is neither nor space.

`tamis`, ours: each letter of a script without spaces (scripts.py) is a token of its own, and a mark belongs to the
token before it. `published`, importance resampling's own: `re.findall(r"\w+|[^\w\s]+", text.lower())`, to which a
Chinese clause is one word, and a vowel sign of Hindi a token between two pieces of one.

The character classes and lower-case letters are read from this Python's own `re` and `str.lower` once, as tables over
all code points (5.6 MB, 60 ms), so tokens are the same whichever path made them. Two letters have no one-to-one lower
case (capital sigma depends on its neighbours, I with a dot becomes two): texts with these are lowered by Python first.
Cost: O(bytes), one table look-up a character."""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tamis.selectors.loops.constants import ALONE, MARK, OTHER, SPACE, WORD
from tamis.selectors.texts.scripts import IDEOGRAPHS, SOUNDS, is_mark, stands_alone

Tokens = Literal["tamis", "published"]
PUBLISHED = re.compile(r"\w+|[^\w\s]+")
CODE_POINTS = 0x110000
MARKS_LIE_IN = range(0x300, 0x20000), range(0xE0100, 0xE01F0)
SIGMA, DOTTED_I = "\u03a3", "\u0130"

Array = npt.NDArray[Any]


def tokens(text: str, kind: Tokens = "tamis") -> list[str]:
    """The plain way, for single texts and as the oracle of the compiled one."""
    return (PUBLISHED if kind == "published" else ours()).findall(text.lower())


@cache
def ours() -> re.Pattern[str]:
    """The same as one expression: a letter alone, a word, or a run of others, each with the marks that follow."""
    alone, marks = letters_alone(), marks_as_class()
    return re.compile(rf"[{alone}][{marks}]*|[^\W{alone}{marks}](?:[^\W{alone}]|[{marks}])*|(?:[^\w\s]|[{marks}])+")


def share_alone(texts: Sequence[str]) -> float:
    """The share of letters that are of scripts without spaces."""
    letters = [char for text in texts for char in text if char.isalpha()]
    return sum(map(stands_alone, letters)) / max(1, len(letters))


@cache
def letters_alone() -> str:
    """Letters of scripts without spaces, as what stands between the brackets of an expression."""
    return _as_class(_ranges(np.flatnonzero(tables()[0] == ALONE)))


@cache
def marks_as_class() -> str:
    """Marks that belong to the letter before them, in the same form."""
    return _as_class(_marks())


def _as_class(ranges: list[tuple[int, int]]) -> str:
    return "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in ranges)


def _ranges(points: Array) -> list[tuple[int, int]]:
    ends = np.flatnonzero(np.diff(points, append=2 * CODE_POINTS) > 1)
    return list(zip(points[np.append(0, ends[:-1] + 1)].tolist(), points[ends].tolist(), strict=True))


@cache
def _marks() -> list[tuple[int, int]]:
    """Ranges of code points that belong to the letter before them."""
    every = [n for some in MARKS_LIE_IN for n in some if is_mark(chr(n))]
    return _ranges(np.array(every))


@cache
def tables(kind: Tokens = "tamis") -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint32]]:
    """Class and lower case of every code point; the two letters without a single lower case stay as they are."""
    every = np.arange(CODE_POINTS, dtype="<u4").tobytes().decode("utf-32-le", "surrogatepass")
    classes = np.full(CODE_POINTS, OTHER, np.uint8)
    for name, pattern in ((WORD, r"\w+"), (SPACE, r"\s+")):
        for match in re.finditer(pattern, every):
            classes[match.start() : match.end()] = name
    plain = every.replace(SIGMA, "\0").replace(DOTTED_I, "\0")
    lower = np.frombuffer(plain.lower().encode("utf-32-le", "surrogatepass"), np.uint32).copy()
    for letter in (SIGMA, DOTTED_I):
        lower[ord(letter)] = ord(letter)
    if kind == "tamis":
        for first, last in (*IDEOGRAPHS, *SOUNDS):
            here = classes[first : last + 1]
            here[here == WORD] = ALONE
        for match in re.finditer(r"\d", every):
            classes[match.start()] = WORD
        for first, last in _marks():
            classes[first : last + 1] = MARK
    return classes, lower


def ready(texts: pa.StringArray) -> pa.StringArray:
    """Texts that the compiled loop may read: those with a letter without one-to-one lower case lowered by Python."""
    offsets = np.frombuffer(texts.buffers()[1], np.int32)
    data = np.frombuffer(texts.buffers()[2], np.uint8)[offsets[texts.offset] : offsets[texts.offset + len(texts)]]
    from tamis.selectors.loops.buckets import holds_odd_letter

    if not holds_odd_letter(data):
        return texts
    mask = pc.match_substring_regex(texts, SIGMA + "|" + DOTTED_I)
    lowered = [text.lower() for text in texts.filter(mask).to_pylist()]
    return pc.replace_with_mask(texts, mask, pa.array(lowered, pa.string()))
