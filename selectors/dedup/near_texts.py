"""Texts that nearly repeat each other: of each group of near-duplicates one is kept, by MinHash and locality.

Broder 1997; minhash.py says what is compared. Two texts meet where a bucket's 8 hashes agree, half of them at a
Jaccard index of 0.72 of their 5-word shingles; groups are what chains of such meetings join, whatever the order.
Texts of fewer than five words are never dropped. Signatures are a column, made shard by shard; their buckets are
brought and sorted as many at a time as fit 512 MB, at least one. 70 bytes a sample, and these 512 MB. Not for texts
that say the same in other words (`semantic_dedup`), nor for one passage repeated within long texts. With `column`,
images are compared: near_dedup_images.py."""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tamis.selectors.budget import Budget, Fraction
from tamis.selectors.contract import Batches, Inputs, RankingFilter
from tamis.selectors.dedup.groups import Members, decided, lowest_is_best
from tamis.selectors.passes import Places, brought, rows_held
from tamis.selectors.ranked import Ranked
from tamis.selectors.texts.minhash import BUCKETS, HASHES, Form

BY_CHANCE = 1 / 256  # share of lowest bytes that agree where the hashes do not


@dataclass(frozen=True, kw_only=True)
class NearDedup(RankingFilter):
    """keep   which of a group: first (smallest key), longest, or a field, whose highest value is best
    form   exact: the published hashes to the bit; fast: others with the same odds, 1.7 times as fast
    """

    fitted: ClassVar[type | None] = Ranked

    keep: str = "first"
    form: Form = "exact"

    def inputs(self) -> Inputs:
        more = {"first": (), "longest": ("text",)}.get(self.keep, (self.keep,))
        return Inputs(fields=("key", *more), minhash=self.form)

    def rank(self, pool: Batches, budget: Budget | Fraction | None) -> Ranked:
        """`pool` is read several times. Raises ValueError where `keep` names a field without numbers."""
        given = Members.of(pool, has_shingles, self._worse)
        return decided(self, given, pool, _roots(pool, given), Signed())

    def _worse(self, batch: pa.RecordBatch) -> npt.NDArray[np.float64]:
        if self.keep == "first":
            return np.zeros(batch.num_rows)
        if self.keep == "longest":
            return -pc.utf8_length(batch["text"]).fill_null(0).to_numpy(zero_copy_only=False).astype(np.float64)
        return lowest_is_best(batch, self.keep)


class Signed:
    """Low bytes of signatures: how many agree estimates the Jaccard index."""

    row_bytes: ClassVar[int] = HASHES
    shown: ClassVar[str] = "estimated Jaccard {:.2f}"

    def read(self, batch: pa.RecordBatch) -> npt.NDArray[np.uint8]:
        return _fixed(batch["minhash_low"], np.uint8, HASHES)

    def alike(self, some: npt.NDArray[np.uint8], others: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        agree = (some == others).mean(1)
        return np.clip((agree - BY_CHANCE) / (1 - BY_CHANCE), 0, 1)


def has_shingles(batch: pa.RecordBatch) -> npt.NDArray[np.bool_]:
    there: npt.NDArray[np.bool_] = batch["minhash_buckets"].is_valid().to_numpy(zero_copy_only=False)
    return there


def _fixed(column: pa.FixedSizeBinaryArray, kind: type, width: int) -> npt.NDArray[Any]:
    values: npt.NDArray[Any] = np.frombuffer(column.buffers()[1], kind).reshape(-1, width)
    return values[column.offset : column.offset + len(column)]


def _roots(pool: Batches, given: Members) -> Places:
    """[members] the first of all that chains of texts with an equal bucket lead to."""
    from tamis.selectors.loops.pairs import settle

    root = np.arange(len(given.ids))
    some = np.flatnonzero(given.comparable)
    width = int(np.clip(rows_held(8 * max(1, len(some))), 1, BUCKETS))
    for first in range(0, BUCKETS, width):
        for buckets in brought(pool, given.ids, some, partial(_buckets, slice(first, first + width))):
            _meet(root, some, buckets)
    settle(root)
    return root


def _buckets(some: slice, batch: pa.RecordBatch) -> list[npt.NDArray[np.uint64]]:
    return [_fixed(batch["minhash_buckets"], np.uint64, BUCKETS)[:, some]]


def meetings(comparable: npt.NDArray[np.bool_], buckets: npt.NDArray[np.uint64]) -> Places:
    """[texts] the same, of texts whose buckets are all held."""
    from tamis.selectors.loops.pairs import settle

    root = np.arange(len(comparable))
    some = np.flatnonzero(comparable)
    _meet(root, some, buckets[some])
    settle(root)
    return root


def _meet(root: Places, some: Places, buckets: npt.NDArray[np.uint64]) -> None:
    """Join those of `some` that have a bucket in common; `buckets` are theirs."""
    from tamis.selectors.loops.pairs import join

    for values in buckets.T:
        order = np.argsort(values, kind="stable")
        rising = values[order]
        same = np.flatnonzero(rising[1:] == rising[:-1])
        join(root, some[order[same]], some[order[same + 1]])
