"""Far from everything known: distance to the k-th nearest labeled or target sample, to keep junk out of a round.

Sun, Ming, Zhu, Li 2022, "Out-of-Distribution Detection with Deep Nearest Neighbors" (arXiv:2204.06507), on vectors of
unit length: score = minus that distance. References are the target, or the labeled samples where there is none; none
is its own neighbour. `share: 0.95` keeps what is no farther than 95% of the references are from each other. One product
with all references a sample. A large k hurts where references are few. Not for telling classes apart."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tamis.selectors.chance import uniform
from tamis.selectors.contract import Batches, Fitted, Floats, Inputs, Scorer
from tamis.selectors.vectors.columns import unit_vectors

MOST_REFERENCES = 50_000  # compared with; beyond, those with the smallest hashes
BLOCK = 2048
ROUNDING = 1e-5  # of a distance, between one order of sums and another


@dataclass(frozen=True, kw_only=True)
class Ood(Scorer):
    """column        of vectors
    k             which nearest reference counts
    share         of the references that would pass themselves: what is as near as these is kept
    max_distance  of unit vectors, 0 to 2: what is nearer is kept. Without both, a budget says how many of the nearest
    """

    column: str
    k: int = 5
    share: float | None = None
    max_distance: float | None = None
    seed: int = 0
    step: int = 0

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k must be 1 or more, found {self.k}")
        if self.share is not None and self.max_distance is not None:
            raise ValueError("give share or max_distance, not both")
        if self.share is not None and not 0 < self.share <= 1:
            raise ValueError(f"share must be above 0 and at most 1, found {self.share}")

    @property
    def rules(self) -> bool:
        """Whether it decides without a budget."""
        return self.share is not None or self.max_distance is not None

    def takes(self, reason: str) -> str | None:
        if reason != "out_of_band":
            return None
        told = f"that {self.share:.4g} of them would pass" if self.share is not None else f"at most {self.max_distance}"
        return f"a distance to the {self.k}th nearest reference, {told}"

    def inputs(self) -> Inputs:
        return Inputs(fields=(self.column,), optional=("labels",))

    def fit(self, pool: Batches, targets: Sequence[Batches]) -> "FittedOod":
        """Raises ValueError without references, or where the column holds no vectors."""
        ids, vectors = [], []
        sources = [(batch, False) for target in targets for batch in target]
        for batch, labeled_alone in sources or ((batch, True) for batch in pool):
            some, there = unit_vectors(batch, self.column)
            if labeled_alone:
                if "labels" not in batch.schema.names:
                    break
                there = there & batch["labels"].is_valid().to_numpy(zero_copy_only=False)
            ids.append(batch["sample_id"].to_numpy()[there])
            vectors.append(some[there])
        if not sum(map(len, ids)):
            raise ValueError("there is nothing to be far from: add `target:` or `labels:` to the recipe")
        known, held = np.concatenate(ids), np.concatenate(vectors)
        order = np.argsort(uniform(known, self.seed, self.step, "ood"), kind="stable")[:MOST_REFERENCES]
        order = order[np.argsort(known[order], kind="stable")]
        fitted = FittedOod(settings=self, ids=known[order], vectors=held[order], limit=2.0)
        limit = self.max_distance if self.max_distance is not None else 2.0
        if self.share is not None:
            limit = float(np.quantile(fitted.distances(fitted.vectors, fitted.ids), self.share))
        return FittedOod(settings=self, ids=fitted.ids, vectors=fitted.vectors, limit=limit)


@dataclass(frozen=True)
class FittedOod(Fitted):
    settings: Ood
    ids: npt.NDArray[np.uint64]
    vectors: npt.NDArray[np.float32]  # [references, dim]
    limit: float  # the largest distance that passes

    def distances(self, vectors: npt.NDArray[np.float32], ids: npt.NDArray[np.uint64]) -> Floats:
        """[rows] to the k-th nearest reference that is not the row itself; fewer references: to the farthest."""
        out = np.empty(len(vectors))
        for first in range(0, len(vectors), BLOCK):
            close = vectors[first : first + BLOCK] @ self.vectors.T
            close[ids[first : first + BLOCK, None] == self.ids] = -np.inf
            most = close.shape[1]
            k = np.clip(np.isfinite(close).sum(1), 1, min(self.settings.k, most))  # a reference is not its own
            best = -np.sort(-np.partition(close, most - int(k.max(initial=1)), axis=1)[:, most - int(k.max(initial=1)) :], axis=1)  # fmt: skip  # noqa: E501
            kth = best[np.arange(len(best)), k - 1]
            out[first : first + BLOCK] = np.sqrt(np.maximum(2 - 2 * np.clip(kth, -1, 1), 0))
        return out

    def score(self, batch: pa.RecordBatch) -> Floats:
        """[rows] minus the distance; NaN without a vector."""
        vectors, there = unit_vectors(batch, self.settings.column)
        return np.where(there, -self.distances(vectors, batch["sample_id"].to_numpy()), np.nan)

    def barred(self, batch: pa.RecordBatch) -> list[str | None]:
        scores = self.score(batch)
        return ["out_of_band" if -score > self.limit + ROUNDING else None for score in scores.tolist()]


Ood.fitted = FittedOod
