"""Clusters of a pool's vectors that are never all held: centres from a sample by hash, then each row to its nearest.

Two passes. 40 bytes a candidate stay, and the sample: 64 rows a cluster, at least 4,096. O(rows x clusters x dim)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tamis.selectors.contract import Batches
from tamis.selectors.rows import has_label
from tamis.selectors.vectors.columns import as_halves, not_zero, unit
from tamis.selectors.vectors.k_means import Labels, Sample, Vectors, nearest


@dataclass(frozen=True)
class Seen:
    """Arrays are [candidates], by rising id."""

    ids: npt.NDArray[np.uint64]
    labeled: npt.NDArray[np.bool_]  # taken by earlier runs, or labeled
    there: npt.NDArray[np.bool_]  # have a vector
    field: pa.ChunkedArray  # what was asked for besides


def seen(pool: Batches, column: str, sample: Sample, field: str = "sample_id") -> Seen:
    """Candidates, their vectors added to the sample. Raises ValueError where the column holds no vectors."""
    parts: list[tuple[Any, ...]] = []
    told: list[pa.Array] = []
    for batch in pool:
        vectors, has = halves(batch, column)
        ids = batch["sample_id"].to_numpy()
        sample.add(ids[has], vectors[has])
        parts.append((ids, has_label(batch), has))
        told.append(batch[field])
    if not parts:
        none = np.zeros(0, bool)
        return Seen(none.astype(np.uint64), none, none, pa.chunked_array([], pa.null()))
    ids, labeled, there = (np.concatenate(some) for some in zip(*parts, strict=True))
    order = np.argsort(ids, kind="stable")
    return Seen(ids[order], labeled[order], there[order], pa.chunked_array(told).take(pa.array(order)))


def assigned(
    pool: Batches, column: str, ids: npt.NDArray[np.uint64], centres: Vectors
) -> tuple[Labels, npt.NDArray[np.float32]]:
    """[ids] number of the nearest centre, and squared distance to it; 0 without a vector."""
    labels, far = np.zeros(len(ids), np.int64), np.zeros(len(ids), np.float32)
    for batch in pool:
        vectors, has = halves(batch, column)
        places = np.searchsorted(ids, batch["sample_id"].to_numpy()[has])
        if len(places):
            labels[places], far[places] = nearest(unit(vectors[has]), centres)
    return labels, far


def halves(batch: pa.RecordBatch, column: str) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.bool_]]:
    """[rows, dim] and [rows] which have a vector, of a length. Raises ValueError."""
    try:
        vectors, has = as_halves(batch[column])
    except ValueError as error:
        raise ValueError(f"column {column!r}: {error}; `embed:` in `columns` makes one") from error
    return vectors, has & not_zero(vectors)
