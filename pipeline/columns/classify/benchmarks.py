"""`benchmarks:`: the rank of a sample among the pool by its nearness to the target's sources, the best or their mean.

The score of `benchmark_ranking` (BETR, Mizrahi et al. 2025) as a column. On vectors of a share of the pool
(`embed: sentence_transformers`, `share`) it is what `classify: linear, train: COLUMN` learns for all of it, as
published."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa

from tamis.pipeline.columns.contract import ColumnKind, Lessons, Output, Sources, Told
from tamis.pipeline.errors import RunFailed
from tamis.pipeline.files.atomic import atomic_path
from tamis.selectors.match.benchmark_ranking import BenchmarkRanking, FittedRanking

BENCHMARKS_VERSION = 1  # raise when the same vectors would get another rank


@dataclass(frozen=True, kw_only=True)
class Benchmarks(ColumnKind):
    """by        best: the best of the ranks by the target's sources; mean: their mean
    features  a column of vectors
    """

    verb: ClassVar[str] = "benchmarks"
    kind: ClassVar[str] = "ranked"
    heavy: ClassVar[bool] = False

    by: Literal["best", "mean"]
    features: str

    @property
    def step(self) -> BenchmarkRanking:
        return BenchmarkRanking(column=self.features, by=self.by)

    def makes(self, images: bool) -> list[Output]:
        return [Output(main=pa.float32(), reads=(self.features,))]

    @property
    def learns(self) -> tuple[Sources, ...]:
        return ("pool", "target")

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.features,)

    def fingerprinted(self, folder: Path) -> dict[str, Any]:
        return {**asdict(self), "version": BENCHMARKS_VERSION}

    def learn(self, lessons: Lessons, final: Path) -> None:
        if (final / "benchmarks.npz").exists():
            return
        try:
            found = self.step.fit(lessons.batches("pool"), lessons.targets())
        except ValueError as error:
            raise RunFailed(f"benchmarks: {error}") from error
        with atomic_path(final / "benchmarks.npz") as path, path.open("wb") as out:
            np.savez(out, **found.stored())

    def load(self, place: Path) -> "BenchmarksModel":
        return BenchmarksModel(self.step, place)


class BenchmarksModel:
    def __init__(self, step: BenchmarkRanking, learned: Path) -> None:
        with np.load(learned / "benchmarks.npz", allow_pickle=False) as held:
            self.fitted: FittedRanking = step.restored(dict(held))
        self.facts: dict[str, Any] = {"benchmarks": len(self.fitted.ends), "examples": len(self.fitted.target)}

    def values(self, batch: pa.RecordBatch, told: Told) -> list[pa.Array]:
        """Rank from 0 to 1; null where there is no vector."""
        ranks = self.fitted.score(batch)
        return [pa.array(ranks.astype(np.float32), mask=np.isnan(ranks))]
