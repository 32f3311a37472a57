"""`measure: text`: what rules of text quality measure, as a column: NAME counts words, others are NAME_MEASURE."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from tamis.pipeline.columns.contract import ColumnKind, NoModel, Output, Told
from tamis.selectors.texts.measures import ALL_NAMES, measures

MEASURE_VERSION = 2  # raise when the same text would get other numbers


@dataclass(frozen=True, kw_only=True)
class TextMeasures(ColumnKind):
    """No settings: thresholds are a step's."""

    verb: ClassVar[str] = "measure"
    kind: ClassVar[str] = "text"
    heavy: ClassVar[bool] = False

    def makes(self, images: bool) -> list[Output]:
        more = tuple((name, pa.float32()) for name in ALL_NAMES[1:])
        return [Output(main=pa.float32(), more=more, reads=("text",))]

    def fingerprinted(self, folder: Path) -> dict[str, Any]:
        return {**asdict(self), "version": MEASURE_VERSION}

    def load(self, place: Path) -> "TextMeasuring":
        return TextMeasuring()


class TextMeasuring(NoModel):
    def values(self, batch: pa.RecordBatch, told: Told) -> list[pa.Array]:
        found = [measures(text or "") for text in batch["text"].to_pylist()]
        return [pa.array([one[name] for one in found], pa.float32()) for name in ALL_NAMES]
