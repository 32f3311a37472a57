"""The report's map: kept and dropped samples in two dimensions, the first principal directions of a column of vectors.

Of at most MOST kept and as many dropped samples, those with the smallest hashes. What lies near on the map lies near
along two directions of many; the share of the spread that they hold is told beside it."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tamis.pipeline.batches import side_by_side
from tamis.pipeline.query import column_folders
from tamis.pipeline.store import Run
from tamis.selectors.chance import uniform
from tamis.selectors.contract import Inputs
from tamis.selectors.vectors import as_array

MOST = 1200  # samples on each side: a page of 100 KB


def map_of(run: Run, kept: npt.NDArray[np.uint64]) -> dict[str, Any] | None:
    """Column, share of the spread, and [points, 2] of kept and dropped, from 0 to 1; None without a column of vectors.

    `kept` are the selection's ids, sorted."""
    column = _column(run)
    if column is None:
        return None
    held: dict[bool, tuple[list[Any], list[Any]]] = {True: ([], []), False: ([], [])}
    for part in run.pool.parts:
        for batch in side_by_side(run, part, Inputs(fields=(column,)), of_target=False):
            vectors, there = as_array(batch[column])
            ids = batch["sample_id"].to_numpy()
            chosen = np.isin(ids, kept, assume_unique=True)
            for side, (numbers, rows) in held.items():
                mine = there & (chosen == side)
                numbers.append(ids[mine])
                rows.append(vectors[mine].astype(np.float16))
                _fewest(numbers, rows)
    sides = {side: np.concatenate(rows).astype(np.float64) for side, (_, rows) in held.items() if rows}
    every = np.concatenate(list(sides.values())) if sides else np.zeros((0, 1))
    if len(every) < 3 or every.shape[1] < 2:
        return None
    middle = every.mean(0)
    _, sizes, directions = np.linalg.svd(every - middle, full_matrices=False)
    if sizes[1] <= 1e-9:
        return None
    flat = (every - middle) @ directions[:2].T
    low, high = np.percentile(flat, [1, 99], axis=0)
    placed = {
        side: np.clip(((rows - middle) @ directions[:2].T - low) / np.maximum(high - low, 1e-9), 0, 1)
        for side, rows in sides.items()
    }
    none = np.zeros((0, 2))
    return {
        "column": column,
        "share": float((sizes[:2] ** 2).sum() / (sizes**2).sum()),
        "kept": placed.get(True, none).tolist(),
        "dropped": placed.get(False, none).tolist(),
    }


def _fewest(numbers: list[Any], rows: list[Any]) -> None:
    """Keep those with the smallest hashes, in place."""
    if sum(map(len, numbers)) > 2 * MOST:
        ids, vectors = np.concatenate(numbers), np.concatenate(rows)
        order = np.argsort(uniform(ids, 0, 0, "map"), kind="stable")[:MOST]
        numbers[:], rows[:] = [ids[order]], [vectors[order]]


def _column(run: Run) -> str | None:
    """The first column of vectors of the run."""
    for maker in run.declared:
        folder = column_folders(run).get(maker.name)
        if maker.tower is not None and maker.tower.kind != "classes" and folder is not None:
            schema = pq.read_schema(folder / run.pool.parts[0].name)
            if pa.types.is_fixed_size_list(schema.field(1).type):
                return maker.name
    return None
