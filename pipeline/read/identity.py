"""Names for samples: 64-bit ids from keys, 128-bit hashes from contents.

Ids are computed here and never by the database, whose hash may change between versions."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash


def sample_id(namespace: str, key: str) -> int:
    return xxhash.xxh3_64_intdigest(f"{namespace}\0{key}".encode())


def sample_ids(namespace: str, keys: Sequence[str]) -> npt.NDArray[np.uint64]:
    """About 0.4 microseconds a key."""
    prefix = f"{namespace}\0".encode()
    digest = xxhash.xxh3_64_intdigest
    return np.fromiter((digest(prefix + key.encode()) for key in keys), np.uint64, len(keys))


def string_offsets(texts: pa.StringArray) -> npt.NDArray[np.int32]:
    """[rows + 1] byte offsets into the array's data buffer, without a copy."""
    buffer = texts.buffers()[1]
    if buffer is None:
        return np.zeros(1, np.int32)
    return np.frombuffer(buffer, np.int32)[texts.offset : texts.offset + len(texts) + 1]


def content_hashes(texts: pa.StringArray) -> pa.Array:
    """xxh3-128 of each text, as binary(16). The texts must have no nulls."""
    if not len(texts):
        return pa.array([], pa.binary(16))
    data = memoryview(texts.buffers()[2] or b"")
    digest = xxhash.xxh3_128_digest
    hashes = b"".join(digest(data[a:b]) for a, b in pairwise(string_offsets(texts).tolist()))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(texts), [None, pa.py_buffer(hashes)])


def hex_id(value: int) -> str:
    """16 hex digits: JavaScript and pandas lose 64-bit integers."""
    return f"{value:016x}"
