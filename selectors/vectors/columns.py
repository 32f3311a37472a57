"""Vectors as columns hold them: fixed-size lists of float16, of unit length; null where there is nothing to embed.

float16 keeps a cosine to about 5e-4 for 1,000 numbers and halves the disk; sums are made in float32."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Vectors = npt.NDArray[np.float32]
BLOCK = 256  # rows multiplied at once
INFINITE = 0x7C00  # bits of a half without its sign; what is more is no number


def vector_type(dim: int) -> pa.DataType:
    return pa.list_(pa.float16(), dim)


def as_column(vectors: Vectors, dims: int | None = None, lost: npt.NDArray[np.bool_] | None = None) -> pa.Array:
    """[rows] fixed-size lists: the first `dims` numbers (Matryoshka models), scaled to unit length.

    Rows that are `lost`, zero or not finite become null."""
    vectors = np.asarray(vectors, np.float32)[:, :dims]
    sizes = np.linalg.norm(vectors.astype(np.float64), axis=1)
    bad = ~np.isfinite(sizes) | (sizes == 0)
    if lost is not None:
        bad |= lost
    scaled = np.where(bad[:, None], 0, vectors / np.where(bad, 1, sizes)[:, None]).astype(np.float16)
    values = pa.array(scaled.ravel())
    return pa.FixedSizeListArray.from_arrays(values, vectors.shape[1], mask=pa.array(bad) if bad.any() else None)


def as_array(column: Any) -> tuple[Vectors, npt.NDArray[np.bool_]]:
    """[rows, dim] float32 and [rows] which of them are there; null rows are zero. Raises ValueError for other types."""
    whole, there = held(column)
    vectors = whole.astype(np.float32)
    vectors[~there] = 0
    return np.nan_to_num(vectors, copy=False), there


def unit(vectors: npt.NDArray[np.floating]) -> Vectors:
    """[rows, dim] of unit length in float32, zeros as they are: what halves hold is off by up to 3e-4."""
    found = np.array(vectors, np.float32, order="C")
    lengths = np.sqrt(np.einsum("ij,ij->i", found, found))
    found /= np.where(lengths > 0, lengths, 1)[:, None]
    return found


def unit_vectors(batch: pa.RecordBatch, column: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    try:
        vectors, there = as_array(batch[column])
    except ValueError as error:
        raise ValueError(f"column {column!r}: {error}; `embed:` in `columns` makes one") from error
    return unit(vectors), there


def row_dots(some: npt.NDArray[np.floating], others: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """[rows] product of each pair of rows, summed in float64 in one order, whatever the rows around and the threads."""
    told = np.empty(len(some))
    for first in range(0, len(some), BLOCK):
        rows = slice(first, first + BLOCK)
        told[rows] = (some[rows].astype(np.float64) * others[rows]).sum(1)
    return told


def as_halves(column: Any) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.bool_]]:
    """The same in float16, with those that are not finite as if not there."""
    whole, there = held(column)
    vectors = whole.astype(np.float16, copy=False)
    bad = ~there | (_magnitudes(vectors).max(1, initial=0) >= INFINITE)
    return (np.where(bad[:, None], np.float16(0), vectors) if bad.any() else vectors), ~bad


def not_zero(vectors: npt.NDArray[np.float16]) -> npt.NDArray[np.bool_]:
    """[rows] which are not all zeros."""
    return _magnitudes(vectors).max(1, initial=0) > 0


def _magnitudes(vectors: npt.NDArray[np.float16]) -> npt.NDArray[np.uint16]:
    """Bits without the sign, which order halves as their numbers do: whole numbers are compared 30 times as fast."""
    return np.ascontiguousarray(vectors).view(np.uint16) & np.uint16(0x7FFF)


def held(column: Any) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """[rows, dim] as they lie, without a copy, and [rows] which are not null. Raises ValueError for other types."""
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    kind = column.type
    if not (pa.types.is_fixed_size_list(kind) and pa.types.is_floating(kind.value_type)):
        raise ValueError(f"wanted a column of vectors, found {kind}")
    size = kind.list_size
    flat = column.values.slice(
        column.offset * size, len(column) * size
    )  # null rows keep their place, filled with zeros
    there = column.is_valid().to_numpy(zero_copy_only=False)
    return flat.to_numpy(zero_copy_only=False).reshape(len(column), size), there
