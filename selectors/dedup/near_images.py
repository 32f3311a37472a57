"""Images that look the same but for size, compression or brightness: of each group one is kept, by perceptual hash.

The column is of `embed: perceptual_hash`: 64 bits of an image's lowest frequencies (Zauner 2010, section 3.2.1). Two
images meet where at most `distance` bits differ; in the order of `keep` an image is dropped where it meets one that is
kept, so that no chain leads from one look to another. Pairs are found by cutting the 64 bits into distance + 1 bands,
one of which must be equal (Manku et al. 2007), then counting bits. 60 bytes a
sample; O(n^2 / 2^(64 / bands)), so no distances above 8. Not for crops, rotations or other photos of one thing
(`semantic_dedup`), nor for drawings and scans that are mostly white: look at some groups first."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tamis.selectors import passes
from tamis.selectors.budget import Budget, Fraction
from tamis.selectors.contract import Batches, Inputs, RankingFilter
from tamis.selectors.dedup.groups import Brought, Members, decided, look_beside, lowest_is_best, numbered
from tamis.selectors.passes import Places
from tamis.selectors.ranked import Ids, Ranked
from tamis.selectors.vectors.columns import as_array

BITS = 64
MOST = 8  # bits: nine bands of seven; wider ones compare each image with every hundredth other


@dataclass(frozen=True, kw_only=True)
class NearDedupImages(RankingFilter):
    """column    of `embed: perceptual_hash`
    distance  bits of 64 that may differ
    keep      which of a group: first (smallest key), largest, or a field, whose highest value is best
    beside    target or evaluation: images that look like one of these are dropped, too
    """

    fitted: ClassVar[type | None] = Ranked
    no_fields: ClassVar[tuple[str, ...]] = ("first", "largest")

    column: str
    distance: int = 4
    keep: str = "first"
    beside: Literal["target", "evaluation"] | None = None

    def __post_init__(self) -> None:
        look_beside(self, self.beside)
        if not 0 <= self.distance <= MOST:
            raise ValueError(f"distance is 0 to {MOST} bits of 64, found {self.distance}")

    @property
    def compares_with(self) -> str | None:
        return self.beside

    def takes(self, reason: str) -> str | None:
        return f"more than {self.distance} bits of 64 other than a kept one's" if reason == "near_duplicate" else None

    def inputs(self) -> Inputs:
        more = {"first": (), "largest": ("width", "height")}.get(self.keep, (self.keep,))
        return Inputs(fields=(self.column, "key", *more), pool_only=more)

    def rank(self, pool: Batches, budget: Budget | Fraction | None) -> Ranked:
        """`pool` is read several times. Raises ValueError where the column holds no hashes, or `keep` no numbers."""
        given = Members.of(pool, self._has_hash, self._worse)
        compared = Codes(self.column, self.distance)
        roots = np.arange(len(given.ids))
        for codes in passes.brought(pool, given.ids, roots, lambda batch: [compared.read(batch)]):
            roots = within(given.comparable, codes, self.distance)
        return decided(self, given, pool, roots, compared)

    def _has_hash(self, batch: pa.RecordBatch) -> npt.NDArray[np.bool_]:
        there: npt.NDArray[np.bool_] = batch[self.column].is_valid().to_numpy(zero_copy_only=False)
        return there

    def _worse(self, batch: pa.RecordBatch) -> npt.NDArray[np.float64]:
        if self.keep == "first":
            return np.zeros(batch.num_rows)
        if self.keep == "largest":
            sides = [batch[name].fill_null(0).to_numpy(zero_copy_only=False) for name in ("width", "height")]
            return -sides[0].astype(np.float64) * sides[1]
        return lowest_is_best(batch, self.keep)


@dataclass(frozen=True)
class Codes:
    """Hashes: how many bits differ."""

    shown: ClassVar[str] = "distance {:.0f} of 64 bits"

    column: str
    distance: int

    @property
    def without(self) -> str:
        return "they have no hash"

    @property
    def row_bytes(self) -> int:
        return 8 * (2 + 2 * (self.distance + 1))

    def read(self, batch: pa.RecordBatch) -> npt.NDArray[np.uint64]:
        """Raises ValueError where the column holds no hashes."""
        try:
            vectors, _ = as_array(batch[self.column])
        except ValueError as error:
            raise ValueError(f"column {self.column!r}: {error}; `embed: perceptual_hash` makes one") from error
        return codes_of(vectors, self.column)

    def alike(self, some: npt.NDArray[np.uint64], others: npt.NDArray[np.uint64]) -> npt.NDArray[np.float64]:
        return 0.0 - np.bitwise_count(some ^ others)

    def more(self, pool: Batches, ids: Ids, places: Places) -> None:
        return None

    def leaders(self, brought: Brought) -> tuple[Places, npt.NDArray[np.float64]]:
        from tamis.selectors.loops.near import keep_apart

        leader, apart = np.arange(len(brought.order)), np.zeros(len(brought.order), np.int64)
        if len(leader):
            slots = numbered(_bands(brought.told, self.distance))
            keep_apart(brought.order, slots, brought.told, brought.stays, self.distance, leader, apart)
        return leader, 0.0 - apart.astype(np.float64)


def codes_of(vectors: npt.NDArray[np.floating], column: str) -> npt.NDArray[np.uint64]:
    """[rows] 64 bits, from the signs of vectors [rows, 64]. Raises ValueError where they are no hashes."""
    if vectors.shape[1] != BITS or not np.isin(np.abs(vectors), [0, BITS**-0.5]).all():
        raise ValueError(f"column {column!r} holds no hashes of {BITS} bits; `embed: perceptual_hash` makes some")
    return np.packbits(vectors > 0, axis=1).view(np.uint64)[:, 0]


def within(comparable: npt.NDArray[np.bool_], codes: npt.NDArray[np.uint64], distance: int) -> Places:
    """[codes] the first of all that chains of codes at most so far apart lead to."""
    from tamis.selectors.loops.pairs import join_near, settle

    root = np.arange(len(comparable))
    some = np.flatnonzero(comparable)
    for bands in _bands(codes, distance):
        order = some[np.lexsort([codes[some], bands[some]])]
        ends = np.append(np.flatnonzero(np.diff(bands[order])) + 1, len(order))
        join_near(root, order, codes, ends.astype(np.int64), distance)
    settle(root)
    return root


def _bands(codes: npt.NDArray[np.uint64], distance: int) -> Iterator[npt.NDArray[np.uint64]]:
    """The bits of each band; codes that near have one in common."""
    edges = np.linspace(0, BITS, distance + 2).round().astype(int)
    for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        yield (codes >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)
