"""Images in which the detector is least sure: the sum of the binary entropies of its objects' confidences.

The usual score of active learning for detection (for instance Roy, Unmesh, Namboodiri 2018): score = sum over objects
of -p log p - (1 - p) log(1 - p), in nats. One pass over the proposals. Not for boxes that people drew, whose confidence
is 1, or for balance: crowded images come first, and frames of one scene together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tamis.selectors.contract import Batches, Fitted, Floats, Inputs, Scorer


@dataclass(frozen=True, kw_only=True)
class DetectionEntropy(Scorer, Fitted):
    """column  of objects. Labeled samples are left out."""

    column: str

    @property
    def objects_field(self) -> str:
        return f"{self.column}_count"

    def inputs(self) -> Inputs:
        return Inputs(fields=(self.column,), optional=("labels",))

    def fit(self, pool: Batches, targets: Sequence[Batches]) -> "DetectionEntropy":
        return self

    def score(self, batch: pa.RecordBatch) -> Floats:
        """[rows] nats; 0 without objects, NaN where nothing is known. Raises ValueError for other columns."""
        column = batch[self.column]
        if not (pa.types.is_list(column.type) and pa.types.is_struct(column.type.value_type)):
            raise ValueError(f"{self.column!r} is no column of objects, found {column.type}")
        lengths = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False)
        sure = column.flatten().field("confidence").to_numpy(zero_copy_only=False).astype(np.float64)
        p = np.clip(sure, 1e-12, 1 - 1e-12)
        each = -p * np.log(p) - (1 - p) * np.log1p(-p)
        sums = np.bincount(np.repeat(np.arange(len(lengths)), lengths), weights=each, minlength=len(lengths))
        return np.where(column.is_valid().to_numpy(zero_copy_only=False), sums, np.nan)

    def barred(self, batch: pa.RecordBatch) -> list[str | None]:
        if "labels" not in batch.schema.names:
            return [None] * batch.num_rows
        return [None if label is None else "already_labeled" for label in batch["labels"].to_pylist()]
