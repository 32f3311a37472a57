"""`embed: classic`: shape and colour of an image, without weights.

decode/classic.py computes it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from tamis.pipeline.columns.contract import ColumnKind, Output
from tamis.pipeline.columns.embed.plain import PlainImages
from tamis.pipeline.decode.classic import CLASSIC_VERSION
from tamis.pipeline.decode.plans import PLAIN


@dataclass(frozen=True)
class Classic(ColumnKind):
    """HOG and colour statistics; no settings, no weights."""

    verb: ClassVar[str] = "embed"
    kind: ClassVar[str] = "classic"
    extra: ClassVar[str] = "vision"
    heavy: ClassVar[bool] = False

    def makes(self, images: bool) -> list[Output]:
        return [Output(way="images", vectors=True)]

    def fingerprinted(self, folder: Path) -> dict[str, Any]:
        return {**PLAIN["classic"], "version": CLASSIC_VERSION}

    def load(self, place: Path) -> PlainImages:
        return PlainImages("classic")
