"""`measure: text`: what rules of text quality measure, as a column: NAME counts words, others are NAME_MEASURE."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from tamis.pipeline.columns.contract import ColumnKind, NoModel, Output, Told
from tamis.selectors.texts.languages import ENGLISH, UNKNOWN, language_of
from tamis.selectors.texts.measures import ALL_NAMES, measures

MEASURE_VERSION = 2  # raise when the same text would get other numbers


@dataclass(frozen=True, kw_only=True)
class TextMeasures(ColumnKind):
    """language: a field of the pool that holds each text's, for its stop words. Thresholds are a step's."""

    verb: ClassVar[str] = "measure"
    kind: ClassVar[str] = "text"
    heavy: ClassVar[bool] = False

    language: str | None = None

    def makes(self, images: bool) -> list[Output]:
        more = tuple((name, pa.float32()) for name in ALL_NAMES[1:])
        return [Output(main=pa.float32(), more=more, reads=("text", *([self.language] if self.language else [])))]

    def fingerprinted(self, folder: Path) -> dict[str, Any]:
        return {**asdict(self), "version": MEASURE_VERSION}

    def load(self, place: Path) -> "TextMeasuring":
        return TextMeasuring(self.language)


class TextMeasuring(NoModel):
    def __init__(self, language: str | None) -> None:
        self.language = language

    def values(self, batch: pa.RecordBatch, told: Told) -> list[pa.Array]:
        languages = [ENGLISH] * batch.num_rows
        if self.language is not None:
            languages = [language_of(str(code)) if code else UNKNOWN for code in batch[self.language].to_pylist()]
        found = [
            measures(text or "", language) for text, language in zip(batch["text"].to_pylist(), languages, strict=True)
        ]
        return [pa.array([one[name] for one in found], pa.float32()) for name in ALL_NAMES]
