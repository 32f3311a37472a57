"""Clusters of vectors in the order in which samples are kept, and of each the nearest earlier one of its cluster.

What every threshold and every rule of semantic_dedup is decided from, so it is made once and kept. Vectors are never
all in memory: k-means learns from a sample by hash, a second pass assigns, and further ones bring the vectors of as
many clusters as fit 512 MB. 40 bytes a sample stay. O(n x clusters x dim + n^2 x dim / clusters)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tamis.selectors.chance import uniform
from tamis.selectors.contract import Batches
from tamis.selectors.k_means import ROWS_A_CLUSTER, Sample, learned, nearest
from tamis.selectors.near_vectors import nearest_earlier
from tamis.selectors.rows import as_floats, has_label
from tamis.selectors.vectors import as_halves, held, unit

A_CLUSTER = 2000  # rows, where `clusters` is not given: comparing costs as much as assigning
HELD_BYTES = 512 << 20  # of vectors at once
ORDERS = ("first", "hardest", "easiest", "random")
Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SimilarityTable:
    """Arrays `ids`, `labeled` and `there` are [candidates], by rising id; `order` and `nearest` [those there]."""

    ids: npt.NDArray[np.uint64]
    labeled: npt.NDArray[np.bool_]  # taken by earlier runs, or labeled: kept first
    there: npt.NDArray[np.bool_]  # have a vector
    order: Places  # places in `ids`: cluster after cluster, in each what is kept first
    ends: Places  # [clusters] in `order`
    nearest: npt.NDArray[np.float64]  # cosine to the nearest earlier one of the cluster; -2 for the first

    def clusters(
        self, pool: Batches, column: str, wanted: npt.NDArray[np.bool_] | None = None
    ) -> Iterator[tuple[slice, npt.NDArray[np.float32]]]:
        """Of each cluster where it lies in `order`, and its vectors, of unit length; `wanted` [clusters] some alone."""
        yield from _brought(pool, column, self.ids, self.order, self.ends, wanted)


def similarity_table(
    pool: Batches, column: str, clusters: int | None, keep: str, seed: int, step: int
) -> SimilarityTable:
    """`pool` is read several times. Raises ValueError where the column holds no vectors, or `keep` no numbers."""
    sample = Sample(ROWS_A_CLUSTER * (clusters or 1), seed, step, "semantic_dedup k-means",
                    share=0 if clusters else ROWS_A_CLUSTER / A_CLUSTER)  # fmt: skip
    parts: list[tuple[Any, ...]] = []
    told: list[pa.Array] = []
    for batch in pool:
        vectors, has = halves(batch, column)
        ids = batch["sample_id"].to_numpy()
        sample.add(ids[has], vectors[has])
        parts.append((ids, has_label(batch), has))
        told.append(batch["key" if keep in ORDERS else keep])
    if not parts:
        none = np.zeros(0, np.int64)
        return SimilarityTable(
            none.astype(np.uint64), none.astype(bool), none.astype(bool), none, none, none.astype(np.float64)
        )
    ids, labeled, there = (np.concatenate(some) for some in zip(*parts, strict=True))
    rising = np.argsort(ids, kind="stable")
    count = clusters or max(1, int(there.sum()) // A_CLUSTER)
    labels, far = _assigned(pool, column, learned(sample.vectors(), count, seed), ids[rising])
    worse = _preference(keep, pa.chunked_array(told).take(pa.array(rising)), ids[rising], far, seed, step)
    ids, labeled, there = ids[rising], labeled[rising], there[rising]
    places = np.flatnonzero(there)
    order = places[np.lexsort([ids[places], worse[places], ~labeled[places], labels[places]])]
    sizes = np.bincount(labels[places]) if len(places) else np.zeros(0, np.int64)
    ends = np.cumsum(sizes[sizes > 0])
    near = np.full(len(order), -2.0)
    for where, brought in _brought(pool, column, ids, order, ends, None):
        near[where] = nearest_earlier(brought)
    return SimilarityTable(ids, labeled, there, order, ends, near)


def halves(batch: pa.RecordBatch, column: str) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.bool_]]:
    """[rows, dim] and [rows] which have a vector. Raises ValueError."""
    try:
        vectors, has = as_halves(batch[column])
    except ValueError as error:
        raise ValueError(f"column {column!r}: {error}; `embed:` in `columns` makes one") from error
    return vectors, has & (vectors != 0).any(1)


def _assigned(
    pool: Batches, column: str, centres: npt.NDArray[np.float32], ids: npt.NDArray[np.uint64]
) -> tuple[Places, npt.NDArray[np.float32]]:
    """[ids] number of the nearest centre, and squared distance to it."""
    labels, far = np.zeros(len(ids), np.int64), np.zeros(len(ids), np.float32)
    for batch in pool:
        vectors, has = halves(batch, column)
        places = np.searchsorted(ids, batch["sample_id"].to_numpy()[has])
        if len(places):
            labels[places], far[places] = nearest(vectors[has], centres)
    return labels, far


def _preference(
    keep: str, told: pa.ChunkedArray, ids: npt.NDArray[np.uint64], far: npt.NDArray[np.float32], seed: int, step: int
) -> npt.NDArray[Any]:
    """[ids] what is kept first has the lowest."""
    if keep == "first":
        ranks = np.empty(len(ids), np.int64)
        ranks[pc.sort_indices(told.cast(pa.binary())).to_numpy()] = np.arange(len(ids))
        return ranks
    if keep == "random":
        return uniform(ids, seed, step, "semantic_dedup")
    if keep in ORDERS:
        rounded = np.round(far.astype(np.float64), 5)  # equal vectors are equally far; ties by id
        return -rounded if keep == "hardest" else rounded
    try:
        values = as_floats(told).to_numpy()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(f"keep: field {keep!r} holds no numbers") from error
    return np.where(np.isfinite(values), -values, np.inf)


def _brought(
    pool: Batches,
    column: str,
    ids: npt.NDArray[np.uint64],
    order: Places,
    ends: Places,
    wanted: npt.NDArray[np.bool_] | None,
) -> Iterator[tuple[slice, npt.NDArray[np.float32]]]:
    """Clusters with their vectors, as many at once as may be held; one pass over the pool for each such group."""
    begins = np.append(0, ends[:-1]) if len(ends) else ends
    numbers = np.arange(len(ends)) if wanted is None else np.flatnonzero(wanted)
    row_bytes = None
    while len(numbers):
        if row_bytes is None:
            row_bytes = next(2 * halves(batch, column)[0].shape[1] for batch in pool)
        sizes = np.cumsum(ends[numbers] - begins[numbers])
        count = max(1, int(np.searchsorted(sizes, HELD_BYTES // row_bytes, side="right")))
        mine, numbers = numbers[:count], numbers[count:]
        slot = np.full(len(ids), -1, np.int64)
        slot[np.concatenate([order[begins[n] : ends[n]] for n in mine.tolist()])] = np.arange(sizes[count - 1])
        buffer = np.zeros((int(sizes[count - 1]), row_bytes // 2), np.float16)
        for batch in pool:
            places = slot[np.searchsorted(ids, batch["sample_id"].to_numpy())]
            some = places >= 0
            if some.any():
                buffer[places[some]] = held(batch[column])[0][some]
        first = 0
        for number in mine.tolist():
            size = int(ends[number] - begins[number])
            yield slice(int(begins[number]), int(ends[number])), unit(buffer[first : first + size])
            first += size
