"""MinHash signatures of texts: how many hashes agree estimates the Jaccard index of two texts' shingles.

Broder 1997. Shingles are `width` words in a row, or characters; each is hashed by XXH64 to x. `exact`: hash j is the
least of (a_j x + b_j) mod 2^61 - 1, where the product wraps at 64 bits: the rule that datatrove's MinHash uses, with
its parameters. `fast`: the least of a_j x + b_j in 32 bits, mixed once more, with the odd half of the same parameters:
other numbers, the same odds (without the mixing, pairs of an index below 0.4 met 1.5 times as often as they should).
Hashes lie in `bands` of so many `rows`: two texts meet where all of a band agree, with a probability of 1 - (1 -
J^rows)^bands. words.py says what a word is. O(shingles x hashes)."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tamis.selectors.texts.words import Words, tables_for

PRIME = np.uint64((1 << 61) - 1)
MOST_HASHES = 1024
Form = Literal["exact", "fast"]
Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True, kw_only=True)
class Sketch:
    """How texts become signatures. Two texts can be compared only under the same settings."""

    tokens: Literal["tamis", "published", "characters"] = "tamis"
    width: int = 5
    bands: int = 14
    rows: int = 8
    form: Form = "exact"

    def __post_init__(self) -> None:
        if not 1 <= self.width <= 100:
            raise ValueError(f"width is 1 to 100 {self.unit}s, found {self.width}")
        if self.bands < 1 or self.rows < 1 or self.hashes > MOST_HASHES:
            raise ValueError(f"bands x rows must be 1 to {MOST_HASHES}, found {self.bands} x {self.rows}")

    @property
    def unit(self) -> str:
        return "character" if self.tokens == "characters" else "word"

    @property
    def hashes(self) -> int:
        return self.bands * self.rows

    @property
    def words(self) -> Words:
        return "published" if self.tokens == "published" else "tamis"

    @property
    def line(self) -> float:
        """The Jaccard index about which the curve is steepest: (1 / bands)^(1 / rows)."""
        return float(self.bands ** (-1 / self.rows))


PUBLISHED = Sketch(tokens="published")


class Signatures(NamedTuple):
    """Arrays are [texts, ...]."""

    shingled: npt.NDArray[np.bool_]  # whether a text has `width` words
    buckets: npt.NDArray[np.uint64]  # [texts, bands] one number for the hashes of each band
    low: npt.NDArray[np.uint8]  # [texts, hashes] of each hash the lowest byte: by chance two agree once in 256


def parameters(count: int) -> tuple[Hashes, Hashes]:
    """A and b of each hash, as numpy's generator of seed 1 gives them."""
    draw = np.random.RandomState(1)
    whole = int(PRIME)
    a = np.array(draw.randint(1, whole, size=count, dtype=np.uint64), np.uint64)
    b = np.array(draw.randint(0, whole, size=count, dtype=np.uint64), np.uint64)
    return a, b


def signatures(texts: pa.StringArray, sketch: Sketch) -> Signatures:
    """Of each text, null or empty ones too."""
    data, ends = raw(texts)
    shingled = np.zeros(len(texts), bool)
    signed = _signed(data, ends, sketch, shingled)
    return Signatures(shingled, band_keys(signed, sketch), (signed & np.uint64(255)).astype(np.uint8))


def hashes(texts: list[str], sketch: Sketch) -> Hashes:
    """[texts, hashes] the hashes themselves; the largest number where a text has none."""
    data, ends = raw(pa.array(texts, pa.string()))
    return _signed(data, ends, sketch, np.zeros(len(texts), bool))


def raw(texts: pa.StringArray) -> tuple[Any, Any]:
    """Bytes of all texts, and [texts + 1] where they begin and end."""
    filled = texts.fill_null("")
    _, offsets, data = filled.buffers()
    ends = np.frombuffer(offsets, np.int32)[filled.offset : filled.offset + len(filled) + 1] if len(filled) else [0]
    return np.frombuffer(data or b"", np.uint8), np.asarray(ends, np.int64)


def _signed(data: Any, ends: Any, sketch: Sketch, shingled: npt.NDArray[np.bool_]) -> Hashes:
    from tamis.selectors.loops.shingles import sign, sign_fast

    a, b = parameters(sketch.hashes)
    mine = data[ends[0] : ends[-1]]
    of = tables_for(mine, sketch.words)
    how = sketch.width, sketch.tokens == "characters"
    if sketch.form == "exact":
        signed = np.full((len(ends) - 1, sketch.hashes), PRIME, np.uint64)
        sign(data, ends, *of, *how, a, b, signed, shingled)
        return signed
    small = np.full((len(ends) - 1, sketch.hashes), np.uint32(0xFFFFFFFF), np.uint32)
    sign_fast(data, ends, *of, *how, a.astype(np.uint32) | np.uint32(1), b.astype(np.uint32), small, shingled)
    return small.astype(np.uint64)


def shingle_sets(texts: pa.StringArray, sketch: Sketch, most: int) -> tuple[npt.NDArray[np.uint32], npt.NDArray[Any]]:
    """Hashes of each text's shingles, rising, the smallest `most` of them, one text after another; [texts] how many."""
    from tamis.selectors.loops.shingles import sets_of

    data, ends = raw(texts)
    mine = data[ends[0] : ends[-1]]
    of = tables_for(mine, sketch.words)
    out, counts = np.empty(len(mine) + len(texts), np.uint32), np.zeros(len(texts), np.int64)
    size = sets_of(data, ends, *of, sketch.width, sketch.tokens == "characters", most, out, counts)
    return out[:size].copy(), counts


def band_keys(signed: Hashes, sketch: Sketch) -> Hashes:
    """[texts, bands] one number for the hashes of each band."""
    keys = np.zeros((len(signed), sketch.bands), np.uint64)
    for row in range(sketch.rows):
        mixed = signed.reshape(-1, sketch.bands, sketch.rows)[:, :, row] ^ (keys >> np.uint64(29))
        keys = (keys * np.uint64(0x9E3779B97F4A7C15) + mixed) * np.uint64(0xBF58476D1CE4E5B9)
        keys ^= keys >> np.uint64(32)
    return keys
