"""CLIP score: how near an image and its caption are for the model that embedded both (Hessel et al. 2021).

The cosine of two columns of vectors, or with `column` a score that came with the pool. Kept are the best `budget` or
`fraction`, ties by id; with `ties: include` all that reach the score of the next one after them, as DataComp's baseline
(Gadre et al. 2023) does: one more than asked for, and every tie; or all that reach `at_least`. One pass. Not for
captions that fit every image: negCLIPLoss (`neg_clip_loss`) holds that against them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tamis.selectors.contract import Batches, Fitted, Floats, Inputs, Scorer
from tamis.selectors.lines import Line
from tamis.selectors.quantiles import numbers_of
from tamis.selectors.vectors.columns import as_array, row_dots, unit


@dataclass(frozen=True, kw_only=True)
class _Best(Scorer, Fitted):
    """The best by a score: what both forms share."""

    ties: Literal["by_id", "include"] = "by_id"
    at_least: float | None = None

    @property
    def rules(self) -> bool:
        return self.at_least is not None

    @property
    def choice(self) -> str:
        return "budget" if self.ties == "by_id" else "budget_with_ties"

    def takes(self, reason: str) -> str | None:
        return f"a score of at least {self.at_least:g}" if reason == "below_threshold" else None

    def lines(self) -> list[Line]:
        return [Line(("at_least",), self.at_least, True, "below_threshold", of_score=True)]

    def barred_by(self, scores: Floats) -> list[str | None]:
        if self.at_least is None:
            return [None] * len(scores)
        return ["below_threshold" if low else None for low in (scores < self.at_least).tolist()]


@dataclass(frozen=True, kw_only=True)
class ClipScore(_Best):
    """image     vectors of the images
    text      vectors of their captions, from the same model
    ties      by_id: no more than the budget; include: all with the score of the next one after it
    at_least  keep all from this cosine on
    """

    image: str = "clip.image"
    text: str = "clip.text"

    def inputs(self) -> Inputs:
        return Inputs(fields=(self.image, self.text))

    def fit(self, pool: Batches, targets: Sequence[Batches]) -> "ClipScore":
        return self

    def score(self, batch: pa.RecordBatch) -> Floats:
        """[rows] cosines; NaN where image or caption has no vector. Raises ValueError where a column has none."""
        return cosines(*pair(batch, self.image, self.text))

    def barred(self, batch: pa.RecordBatch) -> list[str | None]:
        return self.barred_by(self.score(batch))


@dataclass(frozen=True, kw_only=True)
class StoredClipScore(_Best):
    """column    scores that came with the pool
    ties      by_id: no more than the budget; include: all with the score of the next one after it
    at_least  keep all from this score on
    """

    column: str

    def inputs(self) -> Inputs:
        return Inputs(fields=(self.column,))

    def fit(self, pool: Batches, targets: Sequence[Batches]) -> "StoredClipScore":
        return self

    def score(self, batch: pa.RecordBatch) -> Floats:
        return numbers_of(batch, self.column)

    def barred(self, batch: pa.RecordBatch) -> list[str | None]:
        return self.barred_by(self.score(batch))


ClipScore.fitted = ClipScore
Rows = npt.NDArray[np.float32]


def pair(batch: pa.RecordBatch, image: str, text: str) -> tuple[Rows, Rows, npt.NDArray[np.bool_]]:
    """[rows, dim] unit vectors of images and captions, and [rows] which have both. Raises ValueError."""
    held = []
    for name in (image, text):
        try:
            vectors, there = as_array(batch[name])
        except ValueError as error:
            raise ValueError(f"column {name!r}: {error}; `embed:` in `columns` makes one") from error
        held.append((unit(vectors), there))
    (images, seen), (texts, said) = held
    if images.shape[1] != texts.shape[1]:
        raise ValueError(f"{image} has {images.shape[1]} dimensions, {text} {texts.shape[1]}: not of one model")
    return images, texts, seen & said


def cosines(images: Rows, texts: Rows, there: npt.NDArray[np.bool_]) -> Floats:
    """[rows] of each pair; NaN where one is missing."""
    return np.where(there, row_dots(images, texts), np.nan)
