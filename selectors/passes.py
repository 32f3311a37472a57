"""What a ranker needs of some rows of a pool that is never held: brought by one more pass, so many bytes at once.

8 bytes a candidate while a pass lasts, and what was asked for."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tamis.selectors.contract import Batches

HELD_BYTES = 512 << 20  # of values at once
Places = npt.NDArray[np.int64]


def rows_held(row_bytes: int) -> int:
    """How many rows of so many bytes are brought at once."""
    return HELD_BYTES // row_bytes


def wanted(
    pool: Batches, ids: npt.NDArray[np.uint64], places: Places
) -> Iterator[tuple[pa.RecordBatch, Places, Places]]:
    """Batches that hold some of the rows at `places` in `ids` (rising): which of a batch's rows, and where in `places`
    each of them stands."""
    slot = np.full(len(ids), -1, np.int64)
    slot[places] = np.arange(len(places))
    for batch in pool:
        mine = slot[np.searchsorted(ids, batch["sample_id"].to_numpy())]
        rows = np.flatnonzero(mine >= 0)
        if len(rows):
            yield batch, rows, mine[rows]


def brought(
    pool: Batches,
    ids: npt.NDArray[np.uint64],
    places: Places,
    read: Callable[[pa.RecordBatch], list[npt.NDArray[Any]]],
) -> list[npt.NDArray[Any]]:
    """Arrays [places, ...] of what `read` tells of a batch's rows, [rows, ...] each; none where no row is wanted."""
    held: list[npt.NDArray[Any]] = []
    for batch, rows, where in wanted(pool, ids, places):
        told = read(batch)
        held = held or [np.zeros((len(places), *values.shape[1:]), values.dtype) for values in told]
        for into, values in zip(held, told, strict=True):
            into[where] = values[rows]
    return held


def groups(
    pool: Batches,
    ids: npt.NDArray[np.uint64],
    order: Places,
    ends: Places,
    row_bytes: int,
    read: Callable[[pa.RecordBatch], list[npt.NDArray[Any]]],
    some: npt.NDArray[np.bool_] | None = None,
) -> Iterator[tuple[slice, list[npt.NDArray[Any]]]]:
    """Of each group where it lies in `order`, places in `ids`, and its values; groups end at `ends`, and `some`
    [groups] may ask for fewer. As many groups a pass as may be held, at least one."""
    begins = np.append(0, ends[:-1]) if len(ends) else ends
    numbers = np.arange(len(ends)) if some is None else np.flatnonzero(some)
    while len(numbers):
        sizes = np.cumsum(ends[numbers] - begins[numbers])
        count = max(1, int(np.searchsorted(sizes, rows_held(row_bytes), side="right")))
        mine, numbers = numbers[:count], numbers[count:]
        slices = [slice(int(begins[number]), int(ends[number])) for number in mine.tolist()]
        held = brought(pool, ids, np.concatenate([order[where] for where in slices]), read)
        first = 0
        for where in slices:
            last = first + where.stop - where.start
            yield where, [values[first:last].copy() for values in held]  # who keeps one keeps not all
            first = last
        del held  # before the next are brought
