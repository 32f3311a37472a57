"""Texts that nearly repeat each other: of each group of near-duplicates one is kept, by MinHash and locality.

Broder 1997; minhash.py says what is compared. Two texts meet where a bucket's 8 hashes agree, half of them at a
Jaccard index of 0.72 of their 5-word shingles; groups are what chains of such meetings join, whatever the order.
Texts of fewer than five words are never dropped. Signatures are a column, made shard by shard; then 14 sorts, 540
bytes a sample and its key, or 850 where most are dropped. Not for texts that say the same in other words
(`semantic_dedup`), nor for one passage repeated within long texts. With `column`, images are compared:
near_dedup_images.py."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tamis.selectors.budget import Budget, Fraction
from tamis.selectors.contract import Batches, Inputs
from tamis.selectors.minhash import BUCKETS, HASHES, Form
from tamis.selectors.near_groups import Members, Places, decided, lowest_is_best
from tamis.selectors.ranked import Ranked

BY_CHANCE = 1 / 256  # share of lowest bytes that agree where the hashes do not


@dataclass(frozen=True, kw_only=True)
class NearDedup:
    """keep   which of a group: first (smallest key), longest, or a field, whose highest value is best
    form   exact: the published hashes to the bit; fast: others with the same odds, 1.7 times as fast
    """

    choice: ClassVar[str] = "ranked"
    rules: ClassVar[bool] = True
    budgeted: ClassVar[bool] = False
    fitted: ClassVar[type] = Ranked

    keep: str = "first"
    form: Form = "exact"

    def inputs(self) -> Inputs:
        more = {"first": (), "longest": ("text",)}.get(self.keep, (self.keep,))
        return Inputs(fields=("key", *more), minhash=self.form)

    def rank(self, pool: Batches, budget: Budget | Fraction | None) -> Ranked:
        """Raises ValueError where `keep` names a field without numbers."""
        given = Members.of(pool, signed, self._worse)
        roots = meetings(given.comparable, given.compared[0]) if len(given.ids) else given.keys
        by = given.kept_ones(roots)

        def jaccard(some: Places, others: Places) -> npt.NDArray[np.float64]:
            low = given.compared[1]
            alike = np.concatenate(
                [(low[a] == low[b]).mean(1) for a, b in zip(_blocks(some), _blocks(others), strict=True)]
            )
            return np.clip((alike - BY_CHANCE) / (1 - BY_CHANCE), 0, 1)

        return decided(self, given, by, jaccard, "estimated Jaccard {:.2f}")

    def _worse(self, batch: pa.RecordBatch) -> npt.NDArray[np.float64]:
        if self.keep == "first":
            return np.zeros(batch.num_rows)
        if self.keep == "longest":
            return -pc.utf8_length(batch["text"]).fill_null(0).to_numpy(zero_copy_only=False).astype(np.float64)
        return lowest_is_best(batch, self.keep)


def signed(batch: pa.RecordBatch) -> tuple[npt.NDArray[np.bool_], list[npt.NDArray[Any]]]:
    """Which rows have shingles, and their buckets [rows, 14] and low bytes [rows, 112]."""
    there = batch["minhash_buckets"].is_valid().to_numpy(zero_copy_only=False)
    return there, [
        _fixed(batch["minhash_buckets"], np.uint64, BUCKETS),
        _fixed(batch["minhash_low"], np.uint8, HASHES),
    ]


def _fixed(column: pa.FixedSizeBinaryArray, kind: type, width: int) -> npt.NDArray[Any]:
    values: npt.NDArray[Any] = np.frombuffer(column.buffers()[1], kind).reshape(-1, width)
    return values[column.offset : column.offset + len(column)].copy()


def _blocks(places: Places, size: int = 1 << 16) -> list[Places]:
    return [places[first : first + size] for first in range(0, len(places), size)]


def meetings(comparable: npt.NDArray[np.bool_], buckets: npt.NDArray[np.uint64]) -> Places:
    """[texts] the first of all that chains of texts with an equal bucket lead to."""
    from tamis.selectors.near_loops import join, settle

    root = np.arange(len(comparable))
    some = np.flatnonzero(comparable)
    for bucket in range(buckets.shape[1]):
        mine = buckets[some, bucket]
        order = np.argsort(mine, kind="stable")
        same = np.flatnonzero(mine[order][1:] == mine[order][:-1])
        join(root, some[order[same]], some[order[same + 1]])
    settle(root)
    return root
