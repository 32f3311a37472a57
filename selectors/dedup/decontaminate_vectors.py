"""Samples that look like, or mean the same as, an item of an evaluation set are dropped; the ledger names the item.

The nearest item by cosine in a column of vectors: `similarity` for embeddings, or for `embed: perceptual_hash` the
`distance` in bits. All of the evaluation's vectors are held, 2 x dim bytes each; one pass, O(items x dim) a sample.
Not for texts whose wording matters: n-grams are surer there (`decontaminate` without `column`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tamis.selectors.contract import Batches, ByVerdict, Choice, Filter, Floats, Inputs, Verdict
from tamis.selectors.dedup.near_images import BITS, codes_of
from tamis.selectors.vectors.columns import unit, unit_vectors
from tamis.selectors.vectors.nearest import best_match

BLOCK = 16_384  # items at once
ROUNDING = 1e-6  # of a cosine in float32


@dataclass(frozen=True, kw_only=True)
class DecontaminateVectors(Filter):
    """column      vectors, of pool and evaluation
    similarity  cosine from which a sample counts as an item
    distance    bits of 64 that may differ, for a column of `embed: perceptual_hash`
    """

    needs_evaluation: ClassVar[bool] = True
    shown_with: ClassVar[dict[str, str]] = {"similarity": "0.95"}

    column: str
    similarity: float | None = None
    distance: int | None = None

    def __post_init__(self) -> None:
        if (self.similarity is None) == (self.distance is None):
            raise ValueError("give `similarity` (a cosine) or `distance` (bits of a perceptual hash)")
        if not -1 <= self.limit <= 1:
            raise ValueError(f"similarity is a cosine, distance 0 to {BITS}; found a cosine of {self.limit:g}")

    @property
    def limit(self) -> float:
        """The cosine: of vectors of 64 numbers +-1/8 it is 1 - bits / 32."""
        return self.similarity if self.similarity is not None else 1 - 2 * (self.distance or 0) / BITS

    def takes(self, reason: str) -> str | None:
        bits = f"more than {self.distance} bits of {BITS} other than every item's"
        told = bits if self.distance is not None else f"a cosine below {self.similarity} to every item"
        return told if reason == "in_evaluation" else None

    def inputs(self) -> Inputs:
        return Inputs(fields=(self.column, "key"))

    def vectors_of(self, batch: pa.RecordBatch) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Raises ValueError where bits are asked for, and the column holds none."""
        vectors, there = unit_vectors(batch, self.column)
        if self.distance is not None:
            codes_of(vectors.astype(np.float16), self.column)
        return vectors, there

    def fit(self, pool: Batches, targets: Sequence[Batches]) -> "EvaluationVectors":
        """`targets` are the evaluation's sources. Raises ValueError where none has a vector."""
        keys: list[str] = []
        held = []
        for source in targets:
            for batch in source:
                vectors, there = self.vectors_of(batch)
                held.append(vectors[there].astype(np.float16))
                keys += [key for key, has in zip(batch["key"].to_pylist(), there.tolist(), strict=True) if has]
        if held and not keys:
            raise ValueError(f"no item of the evaluation has a vector in {self.column!r}")
        return EvaluationVectors(self, np.concatenate(held) if held else np.zeros((0, 1), np.float16), keys)


@dataclass(frozen=True)
class EvaluationVectors(ByVerdict):
    settings: DecontaminateVectors
    vectors: npt.NDArray[np.float16]  # [items, dim]
    keys: list[str]

    def tell(self, choice: Choice) -> dict[str, Any]:
        return {"items": len(self.keys), "said": [f"{len(self.keys):,} evaluation items"]}

    def score(self, batch: pa.RecordBatch) -> Floats:
        """[rows] minus the cosine to the nearest item; NaN where there is no vector."""
        return -self._nearest(batch)[0]

    def verdicts(self, batch: pa.RecordBatch) -> list[Verdict]:
        """The item, and how near it is; a sample without a vector is like no item."""
        near, items = self._nearest(batch)
        by_bits = self.settings.distance is not None
        told: list[Verdict] = [None] * batch.num_rows
        for row in np.flatnonzero(near >= self.settings.limit - ROUNDING).tolist():
            bits, cosine = (1 - near[row]) * BITS / 2, near[row]
            how = f"distance {bits:.0f} of {BITS} bits" if by_bits else f"cosine {cosine:.3f}"
            told[row] = ("in_evaluation", f"item {self.keys[items[row]]}: {how}")
        return told

    def order_keys(self, batch: pa.RecordBatch, scores: Floats) -> Floats:
        return np.nan_to_num(scores, nan=1.0)

    def _nearest(self, batch: pa.RecordBatch) -> tuple[Floats, npt.NDArray[np.int64]]:
        vectors, there = self.settings.vectors_of(batch)
        best, item = np.full(len(vectors), -np.inf), np.zeros(len(vectors), np.int64)
        if len(self.vectors) and vectors.shape[1] != self.vectors.shape[1]:
            raise ValueError(
                f"the evaluation's vectors have {self.vectors.shape[1]} numbers, the pool's {vectors.shape[1]}"
            )
        for first in range(0, len(self.vectors), BLOCK):
            nearest, found = best_match(vectors, unit(self.vectors[first : first + BLOCK]))
            closer = found > best
            best, item = np.where(closer, found, best), np.where(closer, nearest + first, item)
        return np.where(there, np.round(best, 6), np.nan), item


DecontaminateVectors.fitted = EvaluationVectors
