"""Texts of the languages that are asked for, as a classifier told them: others are dropped, and so are doubtful ones.

A column of `classify: fasttext` without a label holds the likeliest language and its probability; FineWeb keeps English
above 0.65, CCNet above 0.5. Not for texts of a few words, where the classifier guesses."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tamis.selectors.contract import Batches, Filter, Fitted, Floats, Inputs


@dataclass(frozen=True, kw_only=True)
class Language(Filter, Fitted):
    """column  of `classify: fasttext` with a model that tells languages, such as lid.176
    keep    names of languages as the model gives them
    above   probability that the language must exceed
    """

    column: str
    keep: list[str]
    above: float = 0.65

    def __post_init__(self) -> None:
        if not self.keep:
            raise ValueError("keep: wanted languages, such as [en, de]")
        if not 0 <= self.above < 1:
            raise ValueError(f"above is a probability below 1, found {self.above}")

    def inputs(self) -> Inputs:
        return Inputs(fields=(self.column, f"{self.column}_best"))

    def fit(self, pool: Batches, targets: Sequence[Batches]) -> "Language":
        return self

    def score(self, batch: pa.RecordBatch) -> Floats:
        return batch[self.column].cast(pa.float64()).fill_null(np.nan).to_numpy(zero_copy_only=False)

    def barred(self, batch: pa.RecordBatch) -> list[str | None]:
        pairs = zip(batch[f"{self.column}_best"].to_pylist(), self.score(batch).tolist(), strict=True)
        return [
            None if best in self.keep and chance > self.above
            else "not_scorable" if best is None
            else "other_language" if best not in self.keep
            else "language_unsure"
            for best, chance in pairs
        ]  # fmt: skip

    def takes(self, reason: str) -> str | None:
        if reason not in ("other_language", "language_unsure"):
            return None
        return f"{' or '.join(self.keep)} with a probability above {self.above:g}"

    def details(self, batch: pa.RecordBatch) -> list[str | None]:
        return batch[f"{self.column}_best"].to_pylist()
