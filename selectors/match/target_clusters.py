"""Image-based filtering of DataComp: keep what lies in a cluster that some image of the target lies in.

Gadre et al. 2023 (arXiv:2304.14108), section 3.4: k-means over the pool's vectors; a cluster counts where it is the
nearest, by inner product, of at least one target image; a sample is kept where its nearest cluster counts. Learned from
at most 64 samples a cluster, drawn by a hash of their ids; two passes. O(clusters x dim) a sample. Not with few
clusters: each then holds something of the target, and nothing is dropped."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tamis.selectors.contract import Batches, Choice, Filter, Fitted, Floats, Inputs, Rows, Scored
from tamis.selectors.vectors.columns import unit_vectors
from tamis.selectors.vectors.k_means import ROWS_A_CLUSTER, Sample, learned
from tamis.selectors.vectors.nearest import best_match


@dataclass(frozen=True, kw_only=True)
class TargetClusters(Filter):
    """column    vectors, of pool and target
    clusters  how many; DataComp takes 100,000
    """

    needs_target: ClassVar[bool] = True
    tells_unseen: ClassVar[bool] = True

    column: str
    clusters: int
    seed: int = 0
    step: int = 0

    def __post_init__(self) -> None:
        if self.clusters < 1:
            raise ValueError(f"clusters must be 1 or more, found {self.clusters}")

    def inputs(self) -> Inputs:
        return Inputs(fields=(self.column,))

    def fit(self, pool: Batches, targets: Sequence[Batches]) -> "FittedTargetClusters":
        """Raises ValueError where the target has no vectors."""
        sample = Sample(ROWS_A_CLUSTER * self.clusters, self.seed, self.step, "target_clusters")
        for batch in pool:
            vectors, there = unit_vectors(batch, self.column)
            sample.add(batch["sample_id"].to_numpy()[there], vectors[there].astype(np.float16))
        centres = learned(sample.vectors(), self.clusters, self.seed)
        hits = np.zeros(len(centres), np.int64)
        for target in targets:
            for batch in target:
                vectors, there = unit_vectors(batch, self.column)
                if len(centres):
                    hits += np.bincount(_nearest(vectors[there], centres), minlength=len(centres))
        if not hits.sum() and len(centres):
            raise ValueError(f"no sample of the target has a vector in {self.column!r}")
        return FittedTargetClusters(settings=self, centres=centres, hits=hits)


@dataclass(frozen=True)
class FittedTargetClusters(Fitted):
    settings: TargetClusters
    centres: npt.NDArray[np.float32]  # [clusters, dim]
    hits: npt.NDArray[np.int64]  # [clusters] how many of the target are nearest to it

    def tell(self, choice: Choice) -> dict[str, Any]:
        count = int((self.hits > 0).sum())
        said = f"{count:,} of {len(self.hits):,} clusters hold something of the target"
        return {"clusters": len(self.hits), "of_target": count, "said": [said]}

    def score(self, batch: pa.RecordBatch) -> Floats:
        """[rows] how many of the target lie in the sample's cluster; NaN where it has no vector."""
        vectors, there = unit_vectors(batch, self.settings.column)
        if not len(self.centres):
            return np.full(len(vectors), np.nan)
        return np.where(there, self.hits[_nearest(vectors, self.centres)], np.nan).astype(np.float64)

    def barred(self, batch: pa.RecordBatch) -> list[str | None]:
        return _reasons(self.score(batch))

    def unseen(self, batch: pa.RecordBatch, families: Rows | None, sources: Rows) -> Scored:
        """The cluster's hits without the family's own."""
        scores = self.score(batch)
        if families is not None and len(self.centres):
            vectors, there = unit_vectors(batch, self.settings.column)
            nearest = np.where(there, _nearest(vectors, self.centres), -1)
            scores -= ((nearest[:, None] == nearest) & (families[:, None] == families)).sum(1)
        return Scored(scores, barred=_reasons(scores))


def _reasons(scores: Floats) -> list[str | None]:
    return ["no_target_near" if score == 0 else None for score in scores.tolist()]


def _nearest(vectors: npt.NDArray[np.float32], centres: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    return best_match(vectors, centres)[0]


TargetClusters.fitted = FittedTargetClusters
