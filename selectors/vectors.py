"""Vectors as columns hold them: fixed-size lists of float16, of unit length; null where there is nothing to embed.

float16 keeps a cosine to about 5e-4 for 1,000 numbers and halves the disk; sums are made in float32."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Vectors = npt.NDArray[np.float32]
BLOCK = 1024  # rows multiplied at once: against 16 blocks of others 64 MB
CLOSE = 8  # that are nearly as large: copies are many and equal
NEARLY = 2e-6  # products of unit vectors in float32 differ by less, whatever the order of sums


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


def row_dots(some: npt.NDArray[np.floating], others: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """[rows] product of each pair of rows, summed in float64 in one order, whatever the rows around and the threads."""
    told = np.empty(len(some))
    for first in range(0, len(some), BLOCK):
        rows = slice(first, first + BLOCK)
        told[rows] = (some[rows].astype(np.float64) * others[rows]).sum(1)
    return told


def best_match(
    some: Vectors, others: Vectors, absolute: bool = False
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """[some] place of the nearest of `others` by inner product, and that product; of equal ones the first.

    No others: place 0 and -inf."""
    place, best = np.zeros(len(some), np.int64), np.full(len(some), -np.inf)
    for start in range(0, len(others), 16 * BLOCK):
        theirs = others[start : start + 16 * BLOCK]
        for first in range(0, len(some), BLOCK):
            mine = some[first : first + BLOCK]
            products = mine @ theirs.T
            products = np.abs(products, out=products) if absolute else products
            chosen, found = largest(products, mine, theirs, absolute)
            rows = np.flatnonzero(found > best[first : first + BLOCK])
            best[first + rows], place[first + rows] = found[rows], chosen[rows] + start
    return place, best


def largest(
    products: Vectors, some: Vectors, others: Vectors, absolute: bool = False
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """[some] where a row of the float32 products is largest, and that product summed in one order.

    float32 products differ in their last digits with threads and with the rows beside them, so the first CLOSE ones
    that are nearly as large are made again, and the largest of these is taken; of equal ones the first."""
    near = products >= products.max(1, keepdims=True) - 2 * NEARLY
    chosen = near.argmax(1)
    found = row_dots(some, others[chosen])
    found = np.abs(found) if absolute else found
    left = np.flatnonzero(near.sum(1) > 1)
    near[np.arange(len(near)), chosen] = False
    for _ in range(CLOSE):
        left = left[near[left].any(1)]
        if not len(left):
            break
        another = near[left].argmax(1)
        near[left, another] = False
        told = row_dots(some[left], others[another])
        told = np.abs(told) if absolute else told
        better = told > found[left]
        chosen[left[better]], found[left[better]] = another[better], told[better]
    return chosen, found


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
