"""What kinds with a vector a sample share: how many leading numbers are kept, and how many samples go at once."""

from typing import Any, ClassVar

import pyarrow as pa

from tamis.pipeline.columns.contract import ColumnKind
from tamis.selectors.vectors.columns import as_column


class Embedder(ColumnKind):
    """A kind with the settings `dims` and `batch`."""

    verb: ClassVar[str] = "embed"

    dims: int | None
    batch: int | None

    @property
    def leading(self) -> int | None:
        return self.dims

    @property
    def at_once(self) -> int | None:
        return self.batch


class WordEmbedder(Embedder):
    """One whose model embeds texts, whatever the column reads."""

    @property
    def embeds_words(self) -> bool:
        return True

    def vectors_of(self, loaded: Any, words: list[str]) -> pa.Array:
        return as_column(loaded.texts(words), self.dims)
