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
from tamis.selectors.contract import Batches, stored_fields
from tamis.selectors.dedup.near_vectors import nearest_earlier
from tamis.selectors.passes import Places, groups
from tamis.selectors.rows import as_floats
from tamis.selectors.vectors.clustered import Seen, assigned, halves, seen
from tamis.selectors.vectors.columns import unit
from tamis.selectors.vectors.k_means import ROWS_A_CLUSTER, Sample, learned

A_CLUSTER = 2000  # rows, where `clusters` is not given: comparing costs as much as assigning
ORDERS = ("first", "hardest", "easiest", "random")


@dataclass(frozen=True)
class SimilarityTable:
    """Arrays `ids`, `labeled` and `there` are [candidates], by rising id; `order` and `nearest` [those there]."""

    ids: npt.NDArray[np.uint64]
    labeled: npt.NDArray[np.bool_]  # taken by earlier runs, or labeled: kept first
    there: npt.NDArray[np.bool_]  # have a vector
    order: Places  # places in `ids`: cluster after cluster, in each what is kept first
    ends: Places  # [clusters] in `order`
    nearest: npt.NDArray[np.float64]  # cosine to the nearest earlier one of the cluster; -2 for the first

    def stored(self) -> dict[str, Any]:
        """What a run stores of it."""
        return stored_fields(self)

    def clusters(
        self, pool: Batches, column: str, wanted: npt.NDArray[np.bool_] | None = None
    ) -> Iterator[tuple[slice, npt.NDArray[np.float32]]]:
        """Of each cluster where it lies in `order`, and its vectors, of unit length; `wanted` [clusters] some alone."""
        yield from _clusters(pool, column, self.ids, self.order, self.ends, wanted)


def similarity_table(
    pool: Batches, column: str, clusters: int | None, keep: str, seed: int, step: int
) -> SimilarityTable:
    """`pool` is read several times. Raises ValueError where the column holds no vectors, or `keep` no numbers."""
    sample = Sample(ROWS_A_CLUSTER * (clusters or 1), seed, step, "semantic_dedup k-means",
                    share=0 if clusters else ROWS_A_CLUSTER / A_CLUSTER)  # fmt: skip
    given = seen(pool, column, sample, "key" if keep == "first" else "sample_id" if keep in ORDERS else keep)
    count = clusters or max(1, int(given.there.sum()) // A_CLUSTER)
    labels, far = assigned(pool, column, given.ids, learned(sample.vectors(), count, seed))
    worse = _preference(keep, given, far, seed, step)
    ids, labeled, there = given.ids, given.labeled, given.there
    places = np.flatnonzero(there)
    order = places[np.lexsort([ids[places], worse[places], ~labeled[places], labels[places]])]
    sizes = np.bincount(labels[places]) if len(places) else np.zeros(0, np.int64)
    ends = np.cumsum(sizes[sizes > 0])
    near = np.full(len(order), -2.0)
    for where, vectors in _clusters(pool, column, ids, order, ends, None):
        near[where] = nearest_earlier(vectors)
    return SimilarityTable(ids, labeled, there, order, ends, near)


def _preference(keep: str, given: Seen, far: npt.NDArray[np.float32], seed: int, step: int) -> npt.NDArray[Any]:
    """[candidates] what is kept first has the lowest."""
    if keep == "first":
        ranks = np.empty(len(given.ids), np.int64)
        ranks[pc.sort_indices(given.field.cast(pa.binary())).to_numpy()] = np.arange(len(ranks))
        return ranks
    if keep == "random":
        return uniform(given.ids, seed, step, "semantic_dedup")
    if keep in ORDERS:
        rounded = np.round(far.astype(np.float64), 5)  # equal vectors are equally far; ties by id
        return -rounded if keep == "hardest" else rounded
    try:
        values = as_floats(given.field).to_numpy()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(f"keep: field {keep!r} holds no numbers") from error
    return np.where(np.isfinite(values), -values, np.inf)


def _clusters(
    pool: Batches,
    column: str,
    ids: npt.NDArray[np.uint64],
    order: Places,
    ends: Places,
    wanted: npt.NDArray[np.bool_] | None,
) -> Iterator[tuple[slice, npt.NDArray[np.float32]]]:
    row_bytes = next((2 * halves(batch, column)[0].shape[1] for batch in pool), 1)
    for where, (some,) in groups(pool, ids, order, ends, row_bytes, lambda batch: [halves(batch, column)[0]], wanted):
        yield where, unit(some)
