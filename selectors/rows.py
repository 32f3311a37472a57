"""Fields of a batch as arrays, without a copy."""

from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc


def hashes_of(batch: pa.RecordBatch) -> npt.NDArray[np.bytes_]:
    """[rows] 128-bit content hashes."""
    column = batch["content_hash"]
    return np.frombuffer(column.buffers()[1], "S16")[column.offset : column.offset + len(column)]


def contents_of(hashes: npt.NDArray[np.bytes_]) -> npt.NDArray[np.uint64]:
    """[rows] the first half of each content hash."""
    return np.ascontiguousarray(hashes).view("<u8").reshape(-1, 2)[:, 0] if len(hashes) else np.empty(0, np.uint64)


def as_floats(values: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """As float64; whole numbers beyond 2^53 and times lose their last digits, and a blank text is null. Raises
    ArrowInvalid, ArrowNotImplementedError where they are no numbers."""
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        trimmed = pc.utf8_trim_whitespace(values)
        values = pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, values.type), trimmed)
    if pa.types.is_temporal(values.type):
        values = values.cast(pa.int64() if values.type.bit_width == 64 else pa.int32())
    return values.cast(pa.float64(), safe=False)


def has_label(batch: pa.RecordBatch) -> npt.NDArray[np.bool_]:
    """[rows] which were labeled, or chosen by an earlier run; none where the batch tells no labels."""
    if "labels" not in batch.schema.names:
        return np.zeros(batch.num_rows, bool)
    told: npt.NDArray[np.bool_] = batch["labels"].is_valid().to_numpy(zero_copy_only=False)
    return told


def in_training_slice(batch: pa.RecordBatch, *columns: str) -> npt.NDArray[np.bool_]:
    """[rows] whether a model of one of these columns was trained on the row; False where that is not known."""
    seen = np.zeros(batch.num_rows, bool)
    for column in columns:
        name = f"{column}_in_training_slice"
        if name in batch.schema.names:
            seen |= np.asarray(batch[name].fill_null(False).to_numpy(zero_copy_only=False), bool)
    return seen


def of_batch(batch: pa.RecordBatch, name: str) -> list[Any] | None:
    """Values of a field that may be absent."""
    return batch[name].to_pylist() if name in batch.schema.names else None


def trained_here(asked: Collection[str], fields: Collection[str]) -> bool:
    """Whether one of the fields asked for is there, of those that say what a model was trained on."""
    return any(name in fields for name in asked if name.endswith("_in_training_slice"))
