"""MinHash signatures of texts: how many of 112 hashes agree estimates the Jaccard index of two texts' shingles.

Broder 1997. Texts are lowered, numbers become 0, what is neither letter, digit nor mark a space, accents go; shingles
are 5 words; each is hashed by XXH64 to x. `exact`: hash j is the least of (a_j x + b_j) mod 2^61 - 1, where the product
wraps at 64 bits: the rule that datatrove's MinHash uses, with its parameters. `fast`: the least of a_j x + b_j in 32
bits, mixed once more, with the odd half of the same parameters: other numbers, the same odds (without the mixing, pairs
of an index below 0.4 met 1.5 times as often as they should). 14 buckets of 8 hashes: two texts meet where all 8 of a
bucket agree, with a probability of 1 - (1 - J^8)^14. O(shingles x 112)."""

import re
import unicodedata
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tamis.selectors.loops.constants import DIGIT, DROPPED, LETTER, SEPARATES

BUCKETS, ROWS = 14, 8
HASHES = BUCKETS * ROWS
PRIME = np.uint64((1 << 61) - 1)
NUMBER = re.compile(r"\d+(?:[.,]\d+)?")
BMP, ALL = 1 << 16, 0x110000  # characters of at most 3 bytes in UTF-8, and all there are
Form = Literal["exact", "fast"]
Hashes = npt.NDArray[np.uint64]


class Signatures(NamedTuple):
    """Arrays are [texts, ...]."""

    shingled: npt.NDArray[np.bool_]  # whether a text has five words
    buckets: npt.NDArray[np.uint64]  # [texts, 14] one number for the 8 hashes of each bucket
    low: npt.NDArray[np.uint8]  # [texts, 112] of each hash the lowest byte: by chance two agree once in 256


def parameters() -> tuple[Hashes, Hashes]:
    """A and b of each hash, as numpy's generator of seed 1 gives them."""
    draw = np.random.RandomState(1)
    whole = int(PRIME)
    a = np.array(draw.randint(1, whole, size=HASHES, dtype=np.uint64), np.uint64)
    b = np.array(draw.randint(0, whole, size=HASHES, dtype=np.uint64), np.uint64)
    return a, b


def words(text: str) -> list[str]:
    """What shingles are made of; the compiled loop does the same by tables."""
    plain = NUMBER.sub("0", _lower(text))
    kept = "".join(char if kind_of(char) != SEPARATES else " " for char in plain)
    return _unmarked(kept).split()


def _lower(text: str) -> str:
    """Where one sigma stands for both: which one, lower() tells by the rest of the word."""
    return text.lower().replace("\N{GREEK SMALL LETTER FINAL SIGMA}", "\N{GREEK SMALL LETTER SIGMA}")


def kind_of(char: str) -> int:
    if char.isdecimal():
        return DIGIT
    if char.isalnum():
        return LETTER
    return {"Mn": DROPPED, "Mc": LETTER}.get(unicodedata.category(char), SEPARATES)


def _unmarked(text: str) -> str:
    if text.isascii():
        return text
    return "".join(char for char in unicodedata.normalize("NFD", text) if unicodedata.category(char) != "Mn")


class Tables(NamedTuple):
    """By code point: its kind, and where the bytes lie that stand for it."""

    kinds: npt.NDArray[np.uint8]
    ends: npt.NDArray[np.int32]
    bytes_: npt.NDArray[np.uint8]


@lru_cache(maxsize=2)
def tables(count: int) -> Tables:
    kinds, written = np.zeros(count, np.uint8), []
    for code in range(count):
        low = _lower(chr(code)) if not 0xD800 <= code < 0xE000 else " "
        told = [kind_of(char) for char in low]
        kinds[code] = LETTER if LETTER in told else told[0]
        written.append(_unmarked(low).encode() if kinds[code] == LETTER else b"")
    ends = np.cumsum([len(some) for some in written], dtype=np.int32)
    return Tables(kinds, ends, np.frombuffer(b"".join(written), np.uint8))


def signatures(texts: pa.StringArray, form: Form = "exact") -> Signatures:
    """Of each text, null or empty ones too."""
    data, ends = raw(texts)
    count = len(texts)
    shingled = np.zeros(count, bool)
    signed = _signed(data, ends, form, shingled)
    return Signatures(shingled, bucket_keys(signed), (signed & np.uint64(255)).astype(np.uint8))


def hashes(texts: list[str], form: Form = "exact") -> Hashes:
    """[texts, 112] the hashes themselves; the largest number where a text has none."""
    data, ends = raw(pa.array(texts, pa.string()))
    return _signed(data, ends, form, np.zeros(len(texts), bool))


def raw(texts: pa.StringArray) -> tuple[Any, Any]:
    """Bytes of all texts, and [texts + 1] where they begin and end."""
    filled = texts.fill_null("")
    _, offsets, data = filled.buffers()
    ends = np.frombuffer(offsets, np.int32)[filled.offset : filled.offset + len(filled) + 1] if len(filled) else [0]
    return np.frombuffer(data or b"", np.uint8), np.asarray(ends, np.int64)


def _signed(data: Any, ends: Any, form: Form, shingled: npt.NDArray[np.bool_]) -> Hashes:
    from tamis.selectors.loops.shingles import sign, sign_fast

    a, b = parameters()
    mine = data[ends[0] : ends[-1]]
    of = tables(ALL if mine.max(initial=0) >= 0xF0 else BMP)
    if form == "exact":
        signed = np.full((len(ends) - 1, HASHES), PRIME, np.uint64)
        sign(data, ends, *of, a, b, signed, shingled)
        return signed
    small = np.full((len(ends) - 1, HASHES), np.uint32(0xFFFFFFFF), np.uint32)
    sign_fast(data, ends, *of, a.astype(np.uint32) | np.uint32(1), b.astype(np.uint32), small, shingled)
    return small.astype(np.uint64)


def bucket_keys(signed: Hashes) -> Hashes:
    """[texts, 14] one number for the 8 hashes of each bucket."""
    keys = np.zeros((len(signed), BUCKETS), np.uint64)
    for row in range(ROWS):
        mixed = signed.reshape(-1, BUCKETS, ROWS)[:, :, row] ^ (keys >> np.uint64(29))
        keys = (keys * np.uint64(0x9E3779B97F4A7C15) + mixed) * np.uint64(0xBF58476D1CE4E5B9)
        keys ^= keys >> np.uint64(32)
    return keys
