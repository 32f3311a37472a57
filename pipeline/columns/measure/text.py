"""`measure: text`: what rules of text quality measure, as a column: NAME counts words, others are NAME_MEASURE."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from tamis.pipeline.columns.contract import ColumnKind, NoModel, Output, Told
from tamis.selectors.texts.measures import FIELDS, NGRAM, WordsBy, measured

MEASURE_VERSION = 3  # raise when the same text would get other numbers
NAMES = ("words", *(name for name in FIELDS if name != "words"))


@dataclass(frozen=True, kw_only=True)
class TextMeasures(ColumnKind):
    """words                        of Gopher's measures, as white space parts them (space), or marks are words, too
                                 (marks)
    word_ngram, character_ngram  whose repetition is told. Thresholds are a step's.
    """

    verb: ClassVar[str] = "measure"
    kind: ClassVar[str] = "text"
    heavy: ClassVar[bool] = False

    words: WordsBy = "space"
    word_ngram: int = NGRAM
    character_ngram: int = NGRAM

    def __post_init__(self) -> None:
        if not (1 <= self.word_ngram <= 100 and 1 <= self.character_ngram <= 1000):
            raise ValueError("word_ngram must be from 1 to 100, character_ngram from 1 to 1000")

    def makes(self, images: bool) -> list[Output]:
        more = tuple((name, pa.float32()) for name in NAMES[1:])
        return [Output(main=pa.float32(), more=more, reads=("text",))]

    def fingerprinted(self, folder: Path) -> dict[str, Any]:
        return {**asdict(self), "version": MEASURE_VERSION}

    def load(self, place: Path) -> "TextMeasuring":
        return TextMeasuring(self)


class TextMeasuring(NoModel):
    def __init__(self, settings: TextMeasures) -> None:
        self.settings = settings

    def values(self, batch: pa.RecordBatch, told: Told) -> list[pa.Array]:
        of = self.settings
        found = measured(batch["text"].cast(pa.string()), of.words, None, of.word_ngram, of.character_ngram)
        return [pa.array(found[name], pa.float32()) for name in NAMES]
