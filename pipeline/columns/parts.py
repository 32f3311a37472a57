"""A column's part for a shard: where it lies, whether it stands, and writing it whole.

A part holds the same rows in the same order as the pool's part of that name. A column's folder bears its name; when
that is taken by other settings, the name and a fingerprint."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tamis.pipeline.columns.declared import Maker
from tamis.pipeline.errors import RecipeError
from tamis.pipeline.files.atomic import batch_writer, read_json, write_record
from tamis.pipeline.files.sealed import made_anew
from tamis.pipeline.read.pool import Part

Write = Callable[[pa.RecordBatch | pa.Table], None]


def column_folder(base: Path, maker: Maker) -> Path:
    """Where this maker's column lies, made and described if it is new."""
    column, _, output = maker.name.partition(".")
    for name in (column, f"{column}-{maker.fingerprint[:8]}"):
        folder = base / name / output
        record = folder / "column.json"
        if not record.exists():
            about = {"column": maker.name, "fingerprint": maker.fingerprint, **maker.settings}
            write_record(record, about, sealed=False)
        if read_json(record)["fingerprint"] == maker.fingerprint:
            return folder
    raise RecipeError(f"column {maker.name}: two settings with one fingerprint; rename the column")


def stands(folder: Path, part: Part) -> bool:
    """Whether a column's part is there as it was written, and of this very shard."""
    final = folder / part.name
    if not final.exists() or made_anew(final):
        return False
    return (pq.read_schema(final).metadata or {}).get(b"pool_part") == part.digest.encode()


def part_schema(values: pa.Schema, digest: str, facts: dict[str, Any]) -> pa.Schema:
    """Of a part's file: the sample's id, then the values; with the shard's digest, and what the model tells."""
    told = {b"pool_part": digest.encode()}
    if facts:
        told[b"tamis"] = json.dumps(facts, sort_keys=True).encode()
    return pa.schema([pa.field("sample_id", pa.uint64()), *values], metadata=told)


def part_writer(folder: Path, name: str, schema: pa.Schema) -> AbstractContextManager[Write]:
    """A function that takes batches; the part is there when the block ends without an error.

    Neither packed nor with statistics: vectors and hashes have nothing to gain by them, and time to lose."""
    return batch_writer(folder / name, schema, compression="none", write_statistics=False)
