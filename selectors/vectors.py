"""Vectors as columns hold them: fixed-size lists of float16, of unit length; null where there is nothing to embed.

float16 keeps a cosine to about 5e-4 for 1,000 numbers and halves the disk; sums are made in float32."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Vectors = npt.NDArray[np.float32]


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


def as_halves(column: Any) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.bool_]]:
    """The same in float16."""
    whole, there = held(column)
    vectors = whole.astype(np.float16)
    vectors[~(there & np.isfinite(vectors.sum(1, dtype=np.float32)))] = 0
    return vectors, there


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
