"""`embed: perceptual_hash`: 64 bits that copies of an image share.

decode/perceptual_hash.py computes them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from tamis.pipeline.columns.contract import ColumnKind, Output
from tamis.pipeline.columns.embed.plain import PlainImages
from tamis.pipeline.decode.perceptual_hash import HASH_VERSION
from tamis.pipeline.decode.plans import PLAIN


@dataclass(frozen=True)
class PerceptualHash(ColumnKind):
    """64 bits of the lowest frequencies; no settings."""

    verb: ClassVar[str] = "embed"
    kind: ClassVar[str] = "perceptual_hash"
    heavy: ClassVar[bool] = False
    bits: ClassVar[bool] = True

    def makes(self, images: bool) -> list[Output]:
        return [Output(way="images", vectors=True)]

    def fingerprinted(self, folder: Path) -> dict[str, Any]:
        return {**PLAIN["perceptual_hash"], "version": HASH_VERSION}

    def load(self, place: Path) -> PlainImages:
        return PlainImages("perceptual_hash")
