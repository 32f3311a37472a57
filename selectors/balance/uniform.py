"""Uniform choice without replacement: the baseline that every method must beat.

A sample's score is a hash of (seed, step, sample_id) in (0, 1); the k best are a simple random sample, the same
whatever the order of rows. O(1) a sample. Not for: a pool whose duplicates or groups should not count as they lie."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from tamis.selectors.chance import uniform
from tamis.selectors.contract import Batches, Fitted, Floats, Inputs, Scorer


@dataclass(frozen=True, kw_only=True)
class Random(Scorer, Fitted):
    """Keep a random part of the candidates."""

    by_chance: ClassVar[bool] = True

    seed: int = 0
    step: int = 0

    def inputs(self) -> Inputs:
        return Inputs(fields=())

    def fit(self, pool: Batches, targets: Sequence[Batches]) -> "Random":
        return self

    def score(self, batch: pa.RecordBatch) -> Floats:
        return uniform(batch["sample_id"].to_numpy(), self.seed, self.step, "random")
