"""Images that are too small, too long, blurred, too dark, burnt out or of nearly one grey, each a drop with its reason.

Thresholds on what `measure: image` stores beside the pool's width and height; each may be other, or null for none. The
defaults drop only what hardly shows anything; DataComp's basic filter asks for sides of 200 and an aspect of 3 (Gadre
et al. 2023, appendix). Sharpness depends on the kind of image: look at the drops, and not for drawings or scans."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa

from tamis.selectors.contract import Batches, ByVerdict, Filter, Floats, Inputs, Verdict
from tamis.selectors.lines import Line

LIMITS = (  # setting, reason, whether it is a least
    ("least_side", "too_small", True), ("most_aspect", "too_long", False), ("dark", "too_dark", False),
    ("bright", "too_bright", False), ("contrast", "near_constant", True), ("sharpness", "blurred", True),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ImageQuality(Filter, ByVerdict):
    """column       of `measure: image`
    least_side   pixels of the shorter side
    most_aspect  longer side over the shorter
    sharpness    least variance of the Laplacian; less is blurred
    dark         most share of black pixels
    bright       most share of burnt pixels
    contrast     least standard deviation of grey, 0 to 1; less is near-constant
    """

    unscored: ClassVar[bool] = True

    column: str
    least_side: int | None = 32
    most_aspect: float | None = 5.0
    sharpness: float | None = 5.0
    dark: float | None = 0.95
    bright: float | None = 0.95
    contrast: float | None = 0.02

    def inputs(self) -> Inputs:
        return Inputs(
            fields=(
                "width",
                "height",
                self.column,
                *(f"{self.column}_{name}" for name in ("contrast", "dark", "bright")),
            )
        )

    def fit(self, pool: Batches, targets: Sequence[Batches]) -> "ImageQuality":
        return self

    def score(self, batch: pa.RecordBatch) -> Floats:
        return np.zeros(batch.num_rows)

    def takes(self, reason: str) -> str | None:
        for name, mine, is_least in LIMITS:
            if reason == mine:
                return f"{_named(name)} of at {'least' if is_least else 'most'} {getattr(self, name):g}"
        return None

    def lines(self) -> list[Line]:
        fields = {
            "sharpness": self.column,
            **{name: f"{self.column}_{name}" for name in ("contrast", "dark", "bright")},
        }
        sides = {
            "least_side": "least(width, height)",
            "most_aspect": "greatest(width, height) / greatest(1, least(width, height))",
        }
        return [
            Line(
                (name,), getattr(self, name), is_least, reason, fields.get(name, ""), sides.get(name, ""),
                in_detail=True, single=True,
            )
            for name, reason, is_least in LIMITS
        ]  # fmt: skip

    def verdicts(self, batch: pa.RecordBatch) -> list[Verdict]:
        """Of each row the first reason against it, and the measure; an image that is gone has none of them."""
        width, height = (_numbers(batch, name) for name in ("width", "height"))
        told: dict[str, Floats] = {
            "least_side": np.minimum(width, height),
            "most_aspect": np.maximum(width, height) / np.maximum(1, np.minimum(width, height)),
            "contrast": _numbers(batch, f"{self.column}_contrast"),
            "dark": _numbers(batch, f"{self.column}_dark"),
            "bright": _numbers(batch, f"{self.column}_bright"),
            "sharpness": _numbers(batch, self.column),
        }
        found: list[Verdict] = [None] * batch.num_rows
        for name, reason, is_least in LIMITS:
            if (limit := getattr(self, name)) is None:
                continue
            values = told[name].astype(np.float32)
            bad = values < np.float32(limit) if is_least else values > np.float32(limit)
            for row in np.flatnonzero(bad).tolist():
                found[row] = found[row] or (reason, f"{_named(name)} {values[row]:.4g}")
        for row in np.flatnonzero(~np.isfinite(told["sharpness"])).tolist():
            found[row] = ("not_scorable", "the image could not be read again")
        return found


def _named(setting: str) -> str:
    return setting.partition("_")[2] or setting


def _numbers(batch: pa.RecordBatch, name: str) -> Floats:
    return batch[name].cast(pa.float64()).fill_null(np.nan).to_numpy(zero_copy_only=False)
