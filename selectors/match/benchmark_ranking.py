"""Near to the examples of any of several benchmarks: each ranks the pool by itself, and the best rank counts.

BETR (Mizrahi et al. 2025, arXiv:2507.12466): a sample's nearness to a benchmark is the largest cosine to one of its
examples; its rank there the share of the pool that is less near, ties in the middle. Ranks, not cosines: of a benchmark
whose examples lie near to everything no more is taken than of one that lies apart. `best` asks for what is near to any,
`mean` for what is near to all. Each target source is a benchmark. O(target x dim) a sample; 8 bytes a sample and
benchmark for the ranks, bounded. Not for one benchmark: there `norm_sim` says the same with less."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tamis.selectors.contract import Batches, Fitted, Floats, Inputs, Scored, Scorer
from tamis.selectors.quantiles import share_below, sorted_columns
from tamis.selectors.vectors.columns import unit, unit_vectors
from tamis.selectors.vectors.nearest import best_match

DIGITS = 9  # of a score: beyond them lies what the order of sums changes
NEAR = 6  # of a cosine, likewise


@dataclass(frozen=True, kw_only=True)
class BenchmarkRanking(Scorer):
    """column  vectors, of pool and target; each target source is a benchmark
    by      best: the best of the ranks; mean: their mean
    """

    needs_target: ClassVar[bool] = True

    column: str
    by: Literal["best", "mean"] = "best"

    @property
    def near_in(self) -> str:
        return self.column

    def inputs(self) -> Inputs:
        return Inputs(fields=(self.column,))

    def fit(self, pool: Batches, targets: Sequence[Batches]) -> "FittedRanking":
        """Raises ValueError where a benchmark has no vectors, or of another dimension."""
        held = [_vectors(batches, self.column) for batches in targets]
        if empty := [number for number, some in enumerate(held) if not len(some)]:
            raise ValueError(f"target source {empty[0] + 1}: no sample has a vector in {self.column!r}")
        names = [str(number) for number in range(len(held))]
        ranked = sorted_columns(_near(pool, self.column, held, names), names)
        lengths = np.cumsum([len(some) for some in held])
        return FittedRanking(self, np.concatenate(held), lengths, ranked[0], ranked[1])


@dataclass(frozen=True)
class FittedRanking(Fitted):
    settings: BenchmarkRanking
    target: npt.NDArray[np.float16]  # [examples, dim], one benchmark after another
    lengths: npt.NDArray[np.int64]  # [benchmarks] where each ends there
    values: Floats  # cosines of the pool to each benchmark, sorted, one after another
    ends: npt.NDArray[np.int64]  # [benchmarks] where each ends there

    def score(self, batch: pa.RecordBatch) -> Floats:
        """[rows]; NaN where there is no vector. Raises ValueError where dimensions differ."""
        return self._joined(self.ranks(batch))

    def scored(self, batch: pa.RecordBatch) -> Scored:
        ranks = self.ranks(batch)
        best = ranks.argmax(0)
        told = [
            None if rank != rank else f"nearest to benchmark {number + 1}: above {rank:.3f} of the pool"  # noqa: PLR0124  not NaN
            for number, rank in zip(best.tolist(), ranks[best, np.arange(len(best))].tolist(), strict=True)
        ]
        return Scored(self._joined(ranks), detail=told)

    def _joined(self, ranks: Floats) -> Floats:
        return np.round(ranks.max(0) if self.settings.by == "best" else ranks.mean(0), DIGITS)

    def ranks(self, batch: pa.RecordBatch) -> Floats:
        """[benchmarks, rows] share of the pool below, NaN where there is no vector."""
        mine = np.split(self.target, self.lengths[:-1])
        others = np.split(self.values, self.ends[:-1])
        near = _nearness(batch, self.settings.column, mine)
        return np.stack([share_below(row, some) for row, some in zip(near, others, strict=True)])


BenchmarkRanking.fitted = FittedRanking


def _vectors(batches: Batches, column: str) -> npt.NDArray[np.float16]:
    held = [np.zeros((0, 0), np.float16)]
    for batch in batches:
        vectors, there = unit_vectors(batch, column)
        if there.any():
            held.append(vectors[there].astype(np.float16))
    return np.concatenate(held[1:]) if len(held) > 1 else held[0]


def _nearness(batch: pa.RecordBatch, column: str, benchmarks: Sequence[npt.NDArray[np.float16]]) -> Floats:
    """[benchmarks, rows] cosine to the nearest example, NaN where there is no vector."""
    vectors, there = unit_vectors(batch, column)
    if there.any() and vectors.shape[1] != benchmarks[0].shape[1]:
        told = f"the target's vectors have {benchmarks[0].shape[1]} numbers, the pool's {vectors.shape[1]}"
        raise ValueError(told)
    if not there.any():
        return np.full((len(benchmarks), len(there)), np.nan)
    found = np.stack([best_match(vectors, unit(some))[1] for some in benchmarks])
    return np.where(there, np.round(found, NEAR), np.nan)


def _near(
    pool: Batches, column: str, benchmarks: Sequence[npt.NDArray[np.float16]], names: list[str]
) -> Iterator[pa.RecordBatch]:
    for batch in pool:
        rows = _nearness(batch, column, benchmarks)
        yield pa.record_batch([batch["sample_id"], *map(pa.array, rows)], ["sample_id", *names])
