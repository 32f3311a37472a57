"""Parquet, and Arrow files of saved Hugging Face datasets, batch by batch; what a file's place and its classes say."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tamis.pipeline.errors import Unusable
from tamis.pipeline.files.bytes_in import BLOCK_BYTES
from tamis.pipeline.files.plain_json import json_text, load_json
from tamis.pipeline.read.blocks import (
    JSON_TEXT,
    Block,
    Fields,
    Reject,
    from_columns,
    from_records,
    shorten,
    whole_file,
)
from tamis.pipeline.read.tables.bare import require_names, require_sound
from tamis.pipeline.read.tables.pages import SMALL_DICTIONARY, chunks_of, largest_batch, longest_in_dictionary, pages_of
from tamis.pipeline.read.tables.saved import split_of

MOST_PAGE = 512 << 20
SPREAD = 32 << 20  # bytes of a batch whose texts stand in a dictionary
BATCH_ROWS = 4096  # 4k texts of 1-3 KB: 4-12 MB a batch
HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
Batches = Callable[..., Iterator[Any]]  # path, root, names, page


class Unread(NamedTuple):
    """Rows that can't be unpacked within the limits, and why."""

    rows: int
    why: str


def table_blocks(path: Path, root: Path, fields: Fields, batches: Batches) -> Iterator[Block]:
    """Blocks of a columnar file; what can't be opened, or has no texts or keys, is one reject for the whole file. A
    kept field that it lacks is null in its rows, as in JSON lines."""
    position = 1
    try:
        for batch in batches(path, root, fields.names, page=fields.limits.page):
            if isinstance(batch, Unread):
                last = position + batch.rows - 1
                yield whole_file(str(path), "over_limit", f"rows {position:,} to {last:,}: {batch.why}")
                position += batch.rows
                continue
            table = pa.table(batch)
            missing = [name for name in fields.needed if name not in table.column_names]
            if missing:
                yield whole_file(str(path), "missing_field", f"no field {missing[0]!r}; {told_fields(path)}")
                return
            few = _bearable(table)
            for first in range(0, table.num_rows, few):
                piece = table.slice(first, few)
                yield _block_of(str(path), fields, piece, position)
                position += piece.num_rows
    except (pa.ArrowException, OSError) as error:
        reason = "wrong_type" if isinstance(error, (pa.ArrowTypeError, pa.ArrowNotImplementedError)) else None
        yield whole_file(str(path), reason or "unreadable_file", f"at row {position}: {error}")


def _block_of(source: str, fields: Fields, table: pa.Table, position: int) -> Block:
    rows = pa.array(range(position, position + table.num_rows), pa.int64())
    try:
        columns = {name: _cast(table, name, fields) for name in fields.names}
        return from_columns(source, fields, columns, rows)
    except (pa.ArrowInvalid, ValueError, OverflowError):  # a value that doesn't fit costs its row alone
        return _row_by_row(source, fields, rows, table)


def _row_by_row(source: str, fields: Fields, rows: pa.Array, table: pa.Table) -> Block:
    pairs = list(zip(rows.to_pylist(), dicts_of(table), strict=True))
    lost = [Reject(source, row, None, *record.args) for row, record in pairs if isinstance(record, Unusable)]
    block = from_records(source, fields, [pair for pair in pairs if not isinstance(pair[1], Unusable)])  # type: ignore[misc]
    return Block(source, block.table, lost + block.rejects)


def dicts_of(table: pa.Table | pa.RecordBatch) -> Iterator[dict[str, Any] | Unusable]:
    """Rows as Python has them; a value that it can't have (bytes that are no text, the year 10000) costs its row."""
    try:
        yield from table.to_pylist()
    except (ValueError, OverflowError):
        for row in range(table.num_rows):
            try:
                yield table.slice(row, 1).to_pylist()[0]
            except UnicodeDecodeError as error:
                yield Unusable("invalid_utf8", shorten(str(error)))
            except (ValueError, OverflowError) as error:
                yield Unusable("wrong_type", shorten(str(error)))


def _cast(table: pa.Table, name: str, fields: Fields) -> pa.ChunkedArray:
    """To the settled type; invalid UTF-8 passes here and is found row by row later."""
    wanted = fields.types[name]
    if name not in table.column_names:
        return pa.chunked_array([pa.nulls(table.num_rows, wanted)])
    column = table[name]
    nested = pa.types.is_nested(column.type)
    if nested and name in fields.needed:
        raise pa.ArrowTypeError(f"field {name!r} is {column.type}, wanted text")
    if wanted == JSON_TEXT or (nested and wanted == pa.string()):
        texts = [None if value is None else json_text(value) for value in column.to_pylist()]
        return pa.chunked_array([pa.array(texts, wanted)])
    if not _keeps_all(column.type, wanted):
        raise pa.ArrowInvalid(f"{name}: {column.type} is not {wanted}")
    return column.cast(options=pc.CastOptions(target_type=wanted, allow_invalid_utf8=True))


def _keeps_all(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether a cast of Arrow's either keeps each value or says that it can't; of others each row is looked at."""
    if found == wanted or pa.types.is_null(found) or wanted in (pa.string(), pa.binary()):
        return True
    if pa.types.is_dictionary(found):
        return _keeps_all(found.value_type, wanted)
    both = (found, wanted)
    if all(map(pa.types.is_integer, both)) or (pa.types.is_integer(found) and wanted == pa.float64()):
        return True
    if pa.types.is_floating(found) and pa.types.is_floating(wanted):
        return bool(found.bit_width <= wanted.bit_width)
    return pa.types.is_string(found) or pa.types.is_large_string(found)  # parsed whole, or refused


def open_parquet(path: Path) -> pq.ParquetFile:
    """Raises ArrowInvalid, also where a column's name is no text."""
    try:
        return pq.ParquetFile(path)
    except UnicodeDecodeError as error:
        raise pa.ArrowInvalid(f"a field's name is no UTF-8: {error}") from error


def parquet_batches(
    path: Path, root: Path, names: list[str], most: int = BATCH_ROWS, page: int = MOST_PAGE
) -> Iterator[pa.Table | Unread]:
    """Those of the named columns that the file has, and what its place says: folders `name=value` below the root. A row
    group with a page that takes more than `page` bytes to unpack stays unread."""
    file = open_parquet(path)
    columns = once(file.schema_arrow, names)
    said = {name: value for name, value in hive_values(path, root).items() if name in names and name not in columns}
    groups = chunks_of(path)
    if len(groups) != file.metadata.num_row_groups:
        raise pa.ArrowInvalid(f"{len(groups):,} row groups, and {file.metadata.num_row_groups:,} for Arrow")
    for group, chunks in enumerate(groups):
        found = pages_of(path, chunks, columns)
        if found.largest > page:
            told = f"a page of {found.largest >> 20:,} MiB; `limits: {{page: ...}}` of the source allows more"
            yield Unread(file.metadata.row_group(group).num_rows, told)
            continue
        widest = found.value
        if found.dictionary > SMALL_DICTIONARY:
            texts = [name for name in columns if _is_text(file.schema_arrow.field(name).type)]
            widest = max(widest, longest_in_dictionary(path, group, texts) * BLOCK_BYTES // SPREAD)
        count = max(1, min(most, BLOCK_BYTES // max(widest, 1)))  # books of a megabyte come two at a time
        left = file.metadata.row_group(group).num_rows
        for batch in file.iter_batches(batch_size=count, row_groups=[group], columns=columns, use_threads=False):
            left -= batch.num_rows
            yield _with_said(_with_class_names(pa.table(batch), path), said)
        if left:  # Arrow says nothing of a row group that ends early
            raise pa.ArrowInvalid(f"row group {group} has {left:,} rows fewer than it says")


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind))


def _bearable(table: pa.Table) -> int:
    """How many rows of a table may be looked at together: one text of a dictionary may stand in all of them."""
    longest = 1
    for column in table.columns:
        if pa.types.is_dictionary(column.type) and _is_text(column.type.value_type):
            for chunk in column.chunks:
                longest = max(longest, pc.max(pc.binary_length(chunk.dictionary)).as_py() or 0)
    return max(1, SPREAD // longest)


def arrow_batches(
    path: Path, _root: Path, names: list[str], most: int = BATCH_ROWS, page: int = MOST_PAGE
) -> Iterator[pa.Table]:
    """The same of a saved dataset's file; its place says the `split`."""
    with pa.memory_map(str(path)) as mapped:
        reader = _arrow_reader(mapped)
        if (size := largest_batch(path)) > page:
            raise pa.ArrowInvalid(f"a batch of {size >> 20:,} MiB; `limits: {{page: ...}}` of the source allows more")
        columns = once(reader.schema, names)
        said = {"split": split_of(path.parent)} if "split" in names and "split" not in columns else {}
        some = reader if hasattr(reader, "read_next_batch") else map(reader.get_batch, range(reader.num_record_batches))
        for batch in some:
            batch.validate()  # before it is a table: with buffers that are too short that ends the process
            given = pa.table(batch).select(columns)
            for column in given.columns:
                for chunk in column.chunks:
                    require_sound(chunk)
            table = _with_said(_with_class_names(given, path), said)
            yield from (table.slice(first, most) for first in range(0, table.num_rows, most))


def _arrow_reader(mapped: pa.MemoryMappedFile) -> Any:
    """Of a stream, as `datasets` saves it, or of a file, as Arrow's own tools do. Raises ArrowInvalid."""
    try:
        return pa.ipc.open_stream(mapped)
    except pa.ArrowInvalid:
        mapped.seek(0)
        return pa.ipc.open_file(mapped)


def once(schema: pa.Schema, names: Sequence[str]) -> list[str]:
    """The names that a schema has. Raises ArrowInvalid where it has one of them several times."""
    try:
        held = schema.names
    except UnicodeDecodeError as error:
        raise pa.ArrowInvalid(f"a field's name is no UTF-8: {error}") from error
    for name in names:
        if held.count(name) > 1:
            raise pa.ArrowInvalid(f"several columns are named {name!r}: which one is meant?")
    return [name for name in names if name in held]


def hive_values(path: Path, root: Path) -> dict[str, str | None]:
    """Of folders such as `lang=fr` on the way from the root to a file, as Hive, Spark and Arrow name them."""
    parts = path.relative_to(root).parts[:-1] if path.is_relative_to(root) else ()
    pairs = [part.partition("=") for part in parts if "=" in part.strip("=")]
    return {unquote(name): None if value == HIVE_NULL else unquote(value) for name, _, value in pairs}


def _with_said(table: pa.Table, said: dict[str, str | None]) -> pa.Table:
    for name, value in said.items():
        table = table.append_column(name, pa.array([value] * table.num_rows, pa.string()))
    return table


def class_names(schema: pa.Schema, path: Path) -> dict[str, list[str]]:
    """Names of the classes that whole numbers stand for, by field, where Hugging Face's datasets wrote the file."""
    held: Any = None
    with suppress(ValueError, OSError, LookupError, TypeError):
        if told := (schema.metadata or {}).get(b"huggingface"):
            held = load_json(told)["info"]["features"]
        elif path.suffix == ".arrow":
            held = load_json((path.parent / "dataset_info.json").read_text(encoding="utf-8"))["features"]
    labels = held.items() if isinstance(held, dict) else ()
    return {
        name: [str(one) for one in feature["names"]]
        for name, feature in labels
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and isinstance(feature.get("names"), list)
    }


def _with_class_names(table: pa.Table, path: Path) -> pa.Table:
    """Numbers of classes as the classes' names; a number without one (-1: unlabeled) is null."""
    for name, names in class_names(table.schema, path).items():
        if name in table.column_names and pa.types.is_integer(table[name].type):
            numbers = table[name].cast(pa.int64())
            known = pc.and_(pc.greater_equal(numbers, 0), pc.less(numbers, len(names)))
            told = pc.take(pa.array(names, pa.string()), pc.if_else(known, numbers, None))
            table = table.set_column(table.column_names.index(name), name, told)
    return table


def schema_of(path: Path) -> pa.Schema:
    """The schema of a Parquet or Arrow file with classes as texts, empty where it can't be read."""
    try:
        if path.suffix.lower() == ".arrow":
            with pa.memory_map(str(path)) as mapped:
                schema = _arrow_reader(mapped).schema
        else:
            schema = pq.read_schema(path)
        for field in schema:
            require_names(field)
    except (pa.ArrowException, OSError, UnicodeDecodeError):
        return pa.schema([])
    named = class_names(schema, path)
    return pa.schema([pa.field(field.name, pa.string()) if field.name in named else field for field in schema])


def told_fields(path: Path) -> str:
    """For a person: the fields of a file, and how many rows they are of."""
    rows = f" ({pq.read_metadata(path).num_rows:,} rows)" if path.suffix.lower() == ".parquet" else ""
    return f"the file has {', '.join(schema_of(path).names)}{rows}"
