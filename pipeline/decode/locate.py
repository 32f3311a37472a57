"""Where a stored image's bytes are: a file, a range of a tar, a field of a table."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from tamis.pipeline.decode.decoders import Encoded
from tamis.pipeline.decode.worker import read_bytes
from tamis.pipeline.errors import Unusable

PLACE = ("source", "position", "uri", "offset", "n_bytes", "content_hash")  # the pool's fields that say where
LOST = "/nonexistent"  # what no file is called: bytes that are gone decode to nothing


def encoded(rows: Sequence[Mapping[str, Any]]) -> list[Encoded]:
    """The places of stored images; those held by tables come with their bytes."""
    return [_encoded(row) for row in rows]


def _encoded(row: Mapping[str, Any]) -> Encoded:
    source, uri = row["source"], row["uri"]
    if row["offset"] is not None:
        return Encoded(source, row["offset"], row["n_bytes"])
    if uri is not None and uri.startswith(f"{source}#"):
        try:
            data = _held(source, uri.removeprefix(f"{source}#"), row["position"])
        except (OSError, pa.ArrowException, IndexError, KeyError):
            return Encoded(LOST)
        return Encoded(uri, data=data)
    return Encoded(uri or LOST)


def image_bytes(row: Mapping[str, Any]) -> bytes:
    """The bytes of one stored image, those that were read for the pool. Raises Unusable."""
    place = _encoded(row)
    data = read_bytes(place.path, place.offset, place.size) if place.data is None else place.data
    if xxhash.xxh3_128_digest(data) != row["content_hash"]:
        raise Unusable("missing_image", "its bytes are others now")
    return data


def _held(source: str, field: str, position: int) -> bytes:
    """Bytes of one row of a table, which are read a row group at a time."""
    ends = _row_ends(source)
    group = int(np.searchsorted(ends, position, side="left"))
    column = _group(source, field, group)
    value = column[position - 1 - (int(ends[group - 1]) if group else 0)].as_py()
    value = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(value, bytes):
        raise KeyError(field)
    return value


@lru_cache(maxsize=64)
def _row_ends(source: str) -> Any:
    if source.endswith(".arrow"):
        return np.cumsum([batch.num_rows for batch in _arrow(source)])
    meta = pq.read_metadata(source)
    return np.cumsum([meta.row_group(i).num_rows for i in range(meta.num_row_groups)])


@lru_cache(maxsize=4)
def _group(source: str, field: str, group: int) -> pa.ChunkedArray:
    if source.endswith(".arrow"):
        return _arrow(source)[group][field]
    return pq.ParquetFile(source).read_row_group(group, columns=[field])[field].combine_chunks()


@lru_cache(maxsize=4)
def _arrow(source: str) -> list[pa.RecordBatch]:
    mapped = pa.memory_map(source)
    try:
        return list(pa.ipc.open_stream(mapped))
    except pa.ArrowInvalid:
        mapped.seek(0)
        reader = pa.ipc.open_file(mapped)
        return [reader.get_batch(i) for i in range(reader.num_record_batches)]


def is_image(row: Mapping[str, Any]) -> bool:
    return row.get("width") is not None
