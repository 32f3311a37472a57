"""Kept fields as what they were: lists and structs that the pool keeps as JSON, row by row, get one Arrow type for the
whole selection, which all its rows fit; rows without a key have null there."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tamis.pipeline.files.atomic import batch_writer
from tamis.pipeline.progress import say
from tamis.pipeline.read.blocks import JSON_TEXT

BATCH_ROWS = 1024


def restored_schema(selection: Path) -> pa.Schema:
    """The selection's fields with the types of what its JSON says; one whose rows have no common type stays JSON."""
    schema = pq.read_schema(selection)
    for name in json_fields(schema):
        kind: pa.DataType | None = pa.null()
        for batch in pq.ParquetFile(selection).iter_batches(batch_size=BATCH_ROWS, columns=[name]):
            kind = None if kind is None else _meet(kind, _values(batch[name]))
        filled = None if kind is None else _filled(kind)
        if filled is None or not _all_fit(selection, name, filled):
            say(f"exports: field {name!r} holds values that have no Arrow type in common; it stays JSON text")
        else:
            schema = schema.set(schema.get_field_index(name), pa.field(name, filled))
    return schema


def _all_fit(selection: Path, name: str, kind: pa.DataType) -> bool:
    """Whether each value is one of the type: whole numbers beyond 2^53 are none beside real ones."""
    try:
        for batch in pq.ParquetFile(selection).iter_batches(batch_size=BATCH_ROWS, columns=[name]):
            pa.array(_values(batch[name]), kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return False
    return True


def restored(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """A batch with its JSON as the types of the schema."""
    fields = [schema.field(field.name) if field.name in schema.names else field for field in batch.schema]
    arrays = [
        pa.array(_values(column), field.type) if column.type == JSON_TEXT and field.type != JSON_TEXT else column
        for field, column in zip(fields, batch.columns, strict=True)
    ]
    return pa.record_batch(arrays, schema=pa.schema(fields))


def restored_rows(batches: Iterable[pa.RecordBatch]) -> Iterator[dict[str, Any]]:
    """Rows as Python values, each with what its own JSON says."""
    for batch in batches:
        told = json_fields(batch.schema)
        for row in batch.to_pylist():
            yield {**row, **{name: None if row[name] is None else json.loads(row[name]) for name in told}}


def restored_table(selection: Path) -> pa.Table:
    """The whole selection."""
    schema = restored_schema(selection)
    batches = pq.ParquetFile(selection).iter_batches(batch_size=BATCH_ROWS)
    return pa.Table.from_batches((restored(batch, schema) for batch in batches), schema)


def write_restored(selection: Path, path: Path) -> None:
    """The selection as a Parquet file of its own."""
    schema = restored_schema(selection)
    with batch_writer(path, schema) as write:
        for batch in pq.ParquetFile(selection).iter_batches(batch_size=BATCH_ROWS):
            write(restored(batch, schema))


def json_fields(schema: pa.Schema) -> list[str]:
    return [field.name for field in schema if field.type == JSON_TEXT]


def _values(column: pa.Array) -> list[Any]:
    return [None if text is None else json.loads(text) for text in column.to_pylist()]


def _meet(kind: pa.DataType, values: list[Any]) -> pa.DataType | None:
    try:
        schemas = [pa.schema([("f", one)]) for one in (kind, pa.array(values).type)]
        return pa.unify_schemas(schemas, promote_options="permissive").field("f").type
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return None


def _filled(kind: pa.DataType) -> pa.DataType | None:
    """With a type for what is always empty, text; None where something has no fields, which Parquet can't hold."""
    if pa.types.is_null(kind):
        return pa.string()
    if pa.types.is_list(kind):
        inside = _filled(kind.value_type)
        return None if inside is None else pa.list_(inside)
    if pa.types.is_struct(kind):
        fields = [(kind.field(i).name, _filled(kind.field(i).type)) for i in range(kind.num_fields)]
        return pa.struct(fields) if fields and all(inside is not None for _, inside in fields) else None
    return kind
