"""What lies beside the pool for a ranker that compares with it, and what is of the pool."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa

from tamis.selectors.budget import Budget, Fraction
from tamis.selectors.contract import BESIDE, Batches, Inputs, Ranker, Rows
from tamis.selectors.picks.embedded import Embedded, gather
from tamis.selectors.ranked import Ranked
from tamis.selectors.vectors.columns import Vectors, unit_vectors

AT_ONCE = 1 << 22  # products


@dataclass(frozen=True, kw_only=True)
class BesideTarget(Ranker):
    """A ranker that holds vectors of the pool against those of the target."""

    needs_target: ClassVar[bool] = True
    fitted: ClassVar[type | None] = Ranked

    column: str

    @property
    def compares_with(self) -> str:
        return "target"

    @property
    def near_in(self) -> str:
        return self.column

    def inputs(self) -> Inputs:
        return Inputs(fields=(self.column, "key"), optional=("labels",))


def of_pool(batches: Batches) -> Iterator[pa.RecordBatch]:
    return (batch for batch in batches if BESIDE not in batch.schema.names)


def gather_both(pool: Batches, column: str, budget: Budget | Fraction) -> tuple[Embedded, Vectors, list[str]]:
    """All candidates, and the target's vectors [target, dim] with its keys. Raises ValueError where it has none, or of
    another dimension."""
    target, keys = target_vectors(pool, column)
    given = gather(of_pool(pool), column, budget)
    if given.there.any() and given.vectors.shape[1] != target.shape[1]:
        told = f"the target's vectors have {target.shape[1]} numbers, the pool's {given.vectors.shape[1]}"
        raise ValueError(told)
    return given, target, keys


def target_vectors(batches: Batches, column: str) -> tuple[Vectors, list[str]]:
    """[target, dim] of unit length, and its keys. Raises ValueError where it has none."""
    vectors: list[Vectors] = []
    keys: list[str] = []
    for batch in batches:
        if BESIDE not in batch.schema.names:
            break  # what lies beside the pool comes first
        some, there = unit_vectors(batch, column)
        vectors.append(some[there])
        keys += batch["key"].filter(pa.array(there)).to_pylist()
    if not keys:
        raise ValueError(f"no sample of the target has a vector in {column!r}")
    return np.concatenate(vectors), keys


def in_blocks(places: Rows, others: int) -> Iterator[Rows]:
    """Of so many that products with `others` stay small."""
    size = max(1, AT_ONCE // max(1, others))
    return (places[first : first + size] for first in range(0, len(places), size))
