"""What every detector has: proposals of objects in images, and what describes the crops of them."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from tamis.pipeline.columns.contract import ColumnKind, Output

MARGIN = 0.1  # of a box's sides, added on each side of the crop that is described
FEATURES_VERSION = 1  # raise when the same box would be described otherwise


@dataclass(frozen=True)
class Features:
    """An embedder of images at work on crops, one output of it."""

    kind: ColumnKind
    output: Output
    margin: float

    def made_of(self, folder: Path) -> dict[str, Any]:
        own = {name: value for name, value in self.kind.made_of(folder).items() if name != "maker"}
        return {**own, "margin": self.margin, "version": FEATURES_VERSION}


class Detector(ColumnKind):
    """Base of the settings. All have `classes`, `confidence` and `features`, and `batch` where a model runs."""

    verb: ClassVar[str] = "detect"
    of_target: ClassVar[bool] = False  # no step asks what a target's images hold
    describes: ClassVar[bool] = True
    told_if_empty: ClassVar[bool] = False  # the filler tells more
    from_file: ClassVar[bool] = False  # boxes are looked up by name; no image is looked at
    default: ClassVar[float]  # confidence of classes that `confidence` doesn't name

    confidence: float | dict[str, float]
    features: Any  # Features, or None

    def makes(self, images: bool) -> list[Output]:
        return [Output(way="objects", more=(("count", pa.int32()),))]

    def made_of(self, folder: Path) -> dict[str, Any]:
        made_of = super().made_of(folder)
        return made_of if self.features is None else {**made_of, "features": self.features.made_of(folder)}

    @property
    def extras(self) -> tuple[str, ...]:
        return super().extras if self.features is None else (*super().extras, *self.features.kind.extras)

    def least_of(self, name: str) -> float:
        """The confidence that an object of a class needs."""
        wanted = self.confidence
        return float(wanted.get(name, self.default) if isinstance(wanted, dict) else wanted)


def own_settings(detector: Any) -> dict[str, Any]:
    """Those of a detector that its proposals depend on."""
    return {name: value for name, value in asdict(detector).items() if name not in ("batch", "features")}
