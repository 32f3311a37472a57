"""What a ranker tells besides its picks: of each candidate a label to train with, its weight, and whose it is."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tamis.selectors.contract import Floats
from tamis.selectors.ranked import Ranked


@dataclass(frozen=True)
class Labeled(Ranked):
    """Arrays are [candidates], as in `Ranked`."""

    classes: list[str]
    label: npt.NDArray[np.int32]  # a place in `classes`; -1: none
    weight: Floats  # from 0 to 1
    believed: npt.NDArray[np.bool_]  # by a model; else a person said so

    def training_labels(self, batch: pa.RecordBatch) -> tuple[pa.Array, list[pa.Array]]:
        """[rows] which of the batch have a label; and of these sample_id, label, weight and by whom (user, model)."""
        label = self._of(batch, self.label, -1)
        there = label >= 0
        names = np.array(self.classes, object)[label[there]] if there.any() else np.zeros(0, object)
        by = np.where(self._of(batch, self.believed, False)[there], "model", "user")
        mask = pa.array(there)
        weights = pa.array(self._of(batch, self.weight, 0.0)[there], pa.float64())
        return mask, [batch["sample_id"].filter(mask), pa.array(names, pa.string()), weights, pa.array(by, pa.string())]


def labeled(ranked: Ranked, classes: list[str], label: Any, weight: Any, believed: Any) -> Labeled:
    """A ranking with the labels that go with it."""
    return Labeled(
        **{name: getattr(ranked, name) for name in Ranked.__dataclass_fields__}, classes=classes,
        label=np.asarray(label, np.int32), weight=np.asarray(weight, np.float64), believed=np.asarray(believed, bool),
    )  # fmt: skip
