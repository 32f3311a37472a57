"""`measure: text`: what rules of text quality measure, as a column: NAME counts words, others are NAME_MEASURE."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from tamis.selectors.texts.measures import ALL_NAMES, measures

MEASURE_VERSION = 1  # raise when the same text would get other numbers


@dataclass(frozen=True, kw_only=True)
class TextMeasures:
    """No settings: thresholds are a step's."""

    def fingerprinted(self, _folder: Path) -> dict[str, Any]:
        return {**asdict(self), "version": MEASURE_VERSION}


class TextMeasuring:
    """A judge without a model."""

    def __init__(self, _settings: TextMeasures, _folder: Path) -> None:
        self.facts: dict[str, Any] = {}
        self.counts: dict[str, int] = {}

    def values(self, batch: pa.RecordBatch, _shared: dict[Any, Any]) -> list[pa.Array]:
        told = [measures(text or "") for text in batch["text"].to_pylist()]
        return [pa.array([one[name] for one in told], pa.float32()) for name in ALL_NAMES]
