"""A field of all samples as an array: few words by their codes, or numbers by their bins."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

BINS = 48
MOST_WORDS = 5000  # values of a field that groups; of more it is a text, to be searched and sorted by
NONE = "∅"


@dataclass(frozen=True)
class Words:
    """A field of few values."""

    names: list[str]
    codes: npt.NDArray[np.uint16]  # [rows]

    @property
    def size(self) -> int:
        return len(self.names)

    def order(self) -> npt.NDArray[Any]:
        """[rows] what sorts them: the names' places in the alphabet."""
        return np.argsort(np.argsort(np.array(self.names, object), kind="stable")).astype(np.float64)[self.codes]


@dataclass(frozen=True)
class Numbers:
    """A field of numbers, in BINS between its 0.5% and 99.5% quantiles; what lies beyond counts in the outermost, and
    what is no number in one of its own, the last."""

    values: npt.NDArray[Any]  # [rows] float32 or float64, NaN: none
    low: float
    high: float
    codes: npt.NDArray[np.uint8]  # [rows]

    @property
    def size(self) -> int:
        return BINS + 1

    def order(self) -> npt.NDArray[Any]:
        return self.values


Field = Words | Numbers


def plain(kind: pa.DataType) -> bool:
    """Whether a page can group or draw it."""
    tests = (
        pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean, pa.types.is_string,
        pa.types.is_large_string, pa.types.is_timestamp, pa.types.is_date, pa.types.is_time, pa.types.is_duration,
    )  # fmt: skip
    return any(test(kind) for test in tests)


def as_floats(values: pa.ChunkedArray) -> npt.NDArray[Any]:
    """float32 where that holds them exactly; of times seconds since 1970."""
    small = values.type in (pa.float32(), pa.float16(), pa.int8(), pa.uint8(), pa.int16(), pa.uint16())
    kind = values.type
    if not pa.types.is_temporal(kind):
        return values.cast(pa.float32() if small else pa.float64(), safe=False).to_numpy()
    whole = values.cast(pa.int32() if kind.bit_width == 32 else pa.int64()).cast(pa.float64(), safe=False)
    if pa.types.is_date(kind):
        return whole.to_numpy() * (86_400 if kind.bit_width == 32 else 1e-3)
    return whole.to_numpy() / {"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9}[kind.unit]


def numbers(values: npt.NDArray[Any]) -> Numbers:
    there = np.isfinite(values)
    some = values[there]
    low, high = (float(one) for one in np.quantile(some, [0.005, 0.995])) if len(some) else (0.0, 0.0)
    if low == high and len(some):
        low, high = float(some.min()), float(some.max())
    codes = np.full(len(values), BINS, np.uint8)
    with np.errstate(over="ignore", invalid="ignore"):  # of numbers at the end of their range all lie in one bin
        width = (high - low) or 1.0
        codes[there] = np.nan_to_num(np.clip((some - low) / width * BINS, 0, BINS - 1)).astype(np.uint8)
    return Numbers(values, low, high, codes)


def words(values: pa.ChunkedArray) -> Words | None:
    encoded = pc.dictionary_encode(values.cast(pa.string())).unify_dictionaries().combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.chunk(0) if encoded.num_chunks else pa.array([], pa.string()).dictionary_encode()
    if len(encoded.dictionary) > MOST_WORDS:
        return None
    codes = encoded.indices.fill_null(len(encoded.dictionary)).to_numpy().astype(np.uint16)
    names = encoded.dictionary.to_pylist()
    return Words([*names, NONE if NONE not in names else f"{NONE} (null)"], codes)
