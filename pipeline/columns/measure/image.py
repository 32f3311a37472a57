"""`measure: image`: sharpness, brightness and contrast of each image, made in the decode.

decode/quality.py computes them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from tamis.pipeline.columns.contract import ColumnKind, Output
from tamis.pipeline.columns.embed.plain import PlainImages
from tamis.pipeline.decode.plans import PLAIN
from tamis.pipeline.decode.quality import MEASURES, QUALITY_VERSION


@dataclass(frozen=True)
class ImageQuality(ColumnKind):
    """No settings: thresholds are a step's."""

    verb: ClassVar[str] = "measure"
    kind: ClassVar[str] = "image"
    heavy: ClassVar[bool] = False

    def makes(self, images: bool) -> list[Output]:
        more = tuple((name, pa.float32()) for name in MEASURES[1:])
        return [Output(way="images", main=pa.float32(), more=more)]

    def fingerprinted(self, folder: Path) -> dict[str, Any]:
        return {**PLAIN["image_quality"], "version": QUALITY_VERSION}

    def made_of(self, folder: Path) -> dict[str, Any]:
        return {"maker": "embed", "embed": "image_quality", **self.fingerprinted(folder)}

    def load(self, place: Path) -> PlainImages:
        return PlainImages("image_quality")
