"""NormSim: how near an image is to a target set, as one norm of its cosines to all of it (Wang et al. 2024).

arXiv:2405.19547, equation 3: (sum over target z of |f . z|^p)^(1/p). p = 2 needs only the target's Gram matrix, dim x
dim; p = inf, the nearest one's cosine, needs all of the target. The paper keeps the best 30% by negCLIPLoss and of them
the best by this. O(dim^2) a sample, or O(target x dim). Not for a target whose vectors another model made."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tamis.selectors.contract import Batches, Fitted, Floats, Inputs, Rows, Scored, Scorer
from tamis.selectors.learners.folds import alike
from tamis.selectors.vectors.columns import unit, unit_vectors
from tamis.selectors.vectors.nearest import best_match

BLOCK = 16_384  # of the target at once
DIGITS = 9  # of a score: beyond them lies what the order of sums changes


@dataclass(frozen=True, kw_only=True)
class NormSim(Scorer):
    """column  vectors, of pool and target
    p       inf: nearness to the nearest of the target; 2: to all of it
    """

    needs_target: ClassVar[bool] = True
    tells_unseen: ClassVar[bool] = True

    column: str
    p: Literal[2, "inf"] = "inf"

    def inputs(self) -> Inputs:
        return Inputs(fields=(self.column,))

    def fit(self, pool: Batches, targets: Sequence[Batches]) -> "FittedNormSim":
        """Raises ValueError where the target has no vectors."""
        held: list[npt.NDArray[np.float16]] = []
        gram: Floats | None = None
        for target in targets:
            for batch in target:
                vectors, there = unit_vectors(batch, self.column)
                if self.p == "inf":
                    held.append(vectors[there].astype(np.float16))
                elif there.any():
                    whole = vectors[there].astype(np.float64)
                    gram = whole.T @ whole if gram is None else gram + whole.T @ whole
        found = np.concatenate(held) if held else np.zeros((0, 0), np.float16)
        if gram is None and not len(found):
            raise ValueError(f"no sample of the target has a vector in {self.column!r}")
        return FittedNormSim(settings=self, target=found, gram=np.zeros((0, 0)) if gram is None else gram)


@dataclass(frozen=True)
class FittedNormSim(Fitted):
    settings: NormSim
    target: npt.NDArray[np.float16]  # [target, dim]; empty for p = 2
    gram: Floats  # [dim, dim]; empty for p = inf

    def score(self, batch: pa.RecordBatch) -> Floats:
        """[rows]; NaN where there is no vector. Raises ValueError where dimensions differ."""
        vectors, there = unit_vectors(batch, self.settings.column)
        width = max(self.target.shape[1], self.gram.shape[1])
        if vectors.shape[1] != width:
            raise ValueError(f"the target's vectors have {width} numbers, the pool's {vectors.shape[1]}")
        if self.settings.p == 2:
            whole = vectors.astype(np.float64)
            told = np.sqrt(np.maximum(np.einsum("ij,ij->i", whole @ self.gram, whole), 0))
        else:
            told = np.zeros(len(vectors))
            for first in range(0, len(self.target), BLOCK):
                some = unit(self.target[first : first + BLOCK])
                told = np.maximum(told, best_match(vectors, some, absolute=True)[1])
        return np.where(there, np.round(told, DIGITS), np.nan)

    def unseen(self, batch: pa.RecordBatch, families: Rows | None, sources: Rows) -> Scored:
        """The norm without the family's own part of it."""
        if families is None:
            return self.scored(batch)
        vectors, there = unit_vectors(batch, self.settings.column)
        if self.settings.p == 2:
            whole = vectors.astype(np.float64)
            own = ((whole @ whole.T) ** 2 * (families[:, None] == families) * there).sum(1)
            told = np.sqrt(np.maximum(np.einsum("ij,ij->i", whole @ self.gram, whole) - own, 0))
        else:
            told = self._nearest_of_others(vectors, families)
        return Scored(np.where(there, np.round(told, DIGITS), np.nan))

    def _nearest_of_others(self, vectors: npt.NDArray[np.float32], families: Rows) -> Floats:
        known = alike(vectors.astype(np.float16))  # as the target was kept
        order = np.argsort(known, kind="stable")
        told = np.zeros(len(vectors))
        for first in range(0, len(self.target), BLOCK):
            some = self.target[first : first + BLOCK]
            held = alike(some)
            place = order[np.minimum(np.searchsorted(known[order], held), len(known) - 1)]
            of = np.where(known[place] == held, families[place], -1)
            cosines = np.abs(vectors @ unit(some).T)
            cosines[families[:, None] == of] = 0
            told = np.maximum(told, cosines.max(1))
        return told


NormSim.fitted = FittedNormSim
