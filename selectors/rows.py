"""Fields of a batch as arrays, without a copy."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def hashes_of(batch: pa.RecordBatch) -> npt.NDArray[np.bytes_]:
    """[rows] 128-bit content hashes."""
    column = batch["content_hash"]
    return np.frombuffer(column.buffers()[1], "S16")[column.offset : column.offset + len(column)]
