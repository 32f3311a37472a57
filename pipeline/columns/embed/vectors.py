"""Vectors of rows: of texts by a model, and of keys by what was made elsewhere."""

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tamis.pipeline.columns.contract import Told
from tamis.selectors.vectors.columns import as_column

TEXT_ROWS = 256  # texts handed to a model at once: sorted by length they fill its batches evenly


class TextModel(Protocol):
    """What embeds texts."""

    dim: int
    cut: int  # texts so far of which something went unread

    @property
    def facts(self) -> dict[str, Any]: ...

    def texts(self, texts: list[str]) -> npt.NDArray[np.float32]:
        """[texts, dim]"""


class TextVectors:
    """The vectors of a batch's texts; `dims`: only the leading numbers."""

    def __init__(self, model: TextModel, dims: int | None) -> None:
        self.model, self.dims = model, dims

    @property
    def facts(self) -> dict[str, Any]:
        return self.model.facts

    def values(self, batch: pa.RecordBatch, told: Told) -> list[pa.Array]:
        """Null for a blank text."""
        before = self.model.cut
        texts = batch["text"].to_pylist()
        parts = [self._some(texts[first : first + TEXT_ROWS]) for first in range(0, max(1, len(texts)), TEXT_ROWS)]
        told.counts["texts_cut"] += self.model.cut - before
        return [pa.concat_arrays(parts)]

    def _some(self, texts: list[str | None]) -> pa.Array:
        lost = np.array([not (text and text.strip()) for text in texts], bool)
        vectors = np.zeros((len(texts), self.model.dim), np.float32)
        if not lost.all():
            vectors[~lost] = self.model.texts([text for text in texts if text and text.strip()])
        return as_column(vectors, self.dims, lost)
