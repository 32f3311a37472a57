"""Exact deduplication: of samples with the same content, keep the one with the smallest key.

Contents are compared by their 128-bit xxh3: two different texts share one with probability 10^-20 in a pool of a
billion. One grouping over (hash, key); the database spills to disk. Not for: near-duplicates, however near."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa

from tamis.selectors.contract import Batches, Filter, Fitted, Floats, Inputs


@dataclass(frozen=True, kw_only=True)
class ExactDedup(Filter, Fitted):
    """Keep one sample of each content."""

    unscored: ClassVar[bool] = True

    @property
    def choice(self) -> str:
        return "exact_dedup"

    def inputs(self) -> Inputs:
        return Inputs(fields=("content_hash", "key"))

    def fit(self, pool: Batches, targets: Sequence[Batches]) -> "ExactDedup":
        return self

    def score(self, batch: pa.RecordBatch) -> Floats:
        return np.zeros(batch.num_rows)

    def groups(self, batch: pa.RecordBatch) -> pa.Array:
        return batch["content_hash"]

    def tie_keys(self, batch: pa.RecordBatch) -> pa.Array:
        """[rows] text: within a group the smallest goes first."""
        return batch["key"]
