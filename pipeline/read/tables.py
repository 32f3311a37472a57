"""Parquet, Arrow files of saved Hugging Face datasets, CSV, and folders of text files.

Tables are read batch by batch; CSV record by record, since only so each bad record keeps its line number."""

import csv
import io
import math
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tamis.pipeline.errors import Unusable
from tamis.pipeline.files.bytes_in import BLOCK_BYTES, UNPACKERS, Truncated, pieces
from tamis.pipeline.files.plain_json import json_text, load_json
from tamis.pipeline.read.blocks import (
    JSON_TEXT,
    Block,
    Fields,
    Reject,
    from_columns,
    from_records,
    rejected,
    shorten,
    whole_file,
)
from tamis.pipeline.read.saved import split_of

BATCH_ROWS = 4096  # 4k texts of 1-3 KB: 4-12 MB a batch
SNIFF_CSV_ROWS = 10_000  # a code such as 02134 may come late among numbers
HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
WHOLE = re.compile(r"-?(?:0|[1-9][0-9]*)")
REAL = re.compile(r"-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-][0-9]+)?")
Batches = Callable[[Path, Path, list[str]], Iterator[Any]]
csv.field_size_limit(64 << 20)  # texts are longer than the default 128 KB; one that never ends is let go


def table_blocks(path: Path, root: Path, fields: Fields, batches: Batches) -> Iterator[Block]:
    """Blocks of a columnar file; what can't be opened, or has no texts or keys, is one reject for the whole file. A
    kept field that it lacks is null in its rows, as in JSON lines."""
    position = 1
    try:
        for batch in batches(path, root, fields.names):
            table = pa.table(batch)
            rows = pa.array(range(position, position + table.num_rows), pa.int64())
            position += table.num_rows
            missing = [name for name in fields.needed if name not in table.column_names]
            if missing:
                yield whole_file(str(path), "missing_field", f"no field {missing[0]!r}; {told_fields(path)}")
                return
            try:
                columns = {name: _cast(table, name, fields) for name in fields.names}
                yield from_columns(str(path), fields, columns, rows)
            except pa.ArrowInvalid:  # a value that doesn't fit: row by row, so that it costs itself alone
                yield from_records(str(path), fields, list(zip(rows.to_pylist(), table.to_pylist(), strict=True)))
    except (pa.ArrowException, OSError) as error:
        reason = "wrong_type" if isinstance(error, (pa.ArrowTypeError, pa.ArrowNotImplementedError)) else None
        yield whole_file(str(path), reason or "unreadable_file", f"at row {position}: {error}")


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
    return column.cast(options=pc.CastOptions(target_type=wanted, allow_invalid_utf8=True))


def parquet_batches(path: Path, root: Path, names: list[str], most: int = BATCH_ROWS) -> Iterator[pa.Table]:
    """Those of the named columns that the file has, and what its place says: folders `name=value` below the root."""
    file = pq.ParquetFile(path)
    columns = once(file.schema_arrow, names)
    meta = file.metadata
    size = sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups)) // max(meta.num_rows, 1)
    count = max(1, min(most, BLOCK_BYTES // max(size, 1)))  # books of a megabyte come two at a time
    said = {name: value for name, value in hive_values(path, root).items() if name in names and name not in columns}
    for batch in file.iter_batches(batch_size=count, columns=columns, use_threads=False):
        yield _with_said(_with_class_names(pa.table(batch), path), said)


def arrow_batches(path: Path, _root: Path, names: list[str], most: int = BATCH_ROWS) -> Iterator[pa.Table]:
    """The same of a saved dataset's file; its place says the `split`."""
    with pa.memory_map(str(path)) as mapped:
        try:
            reader = pa.ipc.open_stream(mapped)
        except pa.ArrowInvalid:
            mapped.seek(0)
            reader = pa.ipc.open_file(mapped)
        columns = once(reader.schema, names)
        said = {"split": split_of(path.parent)} if "split" in names and "split" not in columns else {}
        some = reader if hasattr(reader, "read_next_batch") else map(reader.get_batch, range(reader.num_record_batches))
        for batch in some:
            table = _with_said(_with_class_names(pa.table(batch).select(columns), path), said)
            yield from (table.slice(first, most) for first in range(0, table.num_rows, most))


def once(schema: pa.Schema, names: Sequence[str]) -> list[str]:
    """The names that a schema has. Raises ArrowInvalid where it has one of them several times."""
    for name in names:
        if schema.names.count(name) > 1:
            raise pa.ArrowInvalid(f"several columns are named {name!r}: which one is meant?")
    return [name for name in names if name in schema.names]


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
        name: [str(one) for one in kind["names"]]
        for name, kind in labels
        if isinstance(kind, dict) and kind.get("_type") == "ClassLabel" and isinstance(kind.get("names"), list)
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
                schema = pa.ipc.open_stream(mapped).schema
        else:
            schema = pq.read_schema(path)
    except (pa.ArrowException, OSError):
        return pa.schema([])
    named = class_names(schema, path)
    return pa.schema([pa.field(field.name, pa.string()) if field.name in named else field for field in schema])


def told_fields(path: Path) -> str:
    """For a person: the fields of a file, and how many rows they are of."""
    rows = f" ({pq.read_metadata(path).num_rows:,} rows)" if path.suffix.lower() == ".parquet" else ""
    return f"the file has {', '.join(schema_of(path).names)}{rows}"


def csv_blocks(path: Path, fields: Fields) -> Iterator[Block]:
    """Blocks of a CSV or TSV file with a header; a record's position is the line that it ends on."""
    source = str(path)
    records: list[tuple[int, dict[str, Any]]] = []
    rejects: list[Reject] = []
    line, held = 0, 0
    try:
        reader = CsvReader(path)
        header = reader.header
        doubled = [name for name in fields.names if header.count(name) > 1]
        missing = [name for name in fields.needed if name not in header]
        if doubled or missing:
            told = f"two columns are named {doubled[0]!r}" if doubled else f"no field {missing[0]!r}"
            yield whole_file(source, "missing_field", f"{told}; the header has {', '.join(header)}")
            return
        for line, row in reader:
            if isinstance(row, Unusable):
                rejects.append(Reject(source, line, None, row.args[0], shorten(row.args[1])))
            else:
                records.append((line, _typed(row, fields)))
                held += sum(map(len, row.values()))
            if len(records) >= BATCH_ROWS or held >= BLOCK_BYTES:
                yield from_records(source, fields, records)
                records, held = [], 0
    except Truncated as error:
        rejects.append(Reject(source, line + 1, None, "truncated", shorten(str(error))))
    except (csv.Error, OSError) as error:
        rejects.append(Reject(source, None, None, "unreadable_file", shorten(str(error))))
    block = from_records(source, fields, records)
    yield Block(source, block.table, rejects + block.rejects)


class CsvReader:
    """Records of a CSV or TSV file behind its header, each with the line that it ends on, or why there is none.

    A record that can't be read costs its first line alone: reading goes on at the next one, so that a quote that never
    closes does not swallow what follows."""

    def __init__(self, path: Path) -> None:
        self._ahead: deque[str] = deque()  # lines to be read again
        self._taken: list[str] = []  # of the record at hand
        self._lines = _text_lines(path)
        head = next(self._lines, "")
        self._ahead.append(head)
        self._delimiter = "\t" if head.count("\t") > head.count(",") else ","
        self._read = self._reader()
        self._line = 0  # the last one of the records so far
        self.header: list[str] = next(self._read, [])
        self._line += len(self._taken)

    def _reader(self) -> Any:
        return csv.reader(self._next_lines(), delimiter=self._delimiter, strict=True)

    def _next_lines(self) -> Iterator[str]:
        while True:
            line = self._ahead.popleft() if self._ahead else next(self._lines, None)
            if line is None:
                return
            self._taken.append(line)
            yield line

    def __iter__(self) -> Iterator[tuple[int, dict[str, str] | Unusable]]:
        while True:
            self._taken.clear()
            try:
                row = next(self._read)
            except StopIteration:
                return
            except csv.Error as error:
                self._line += 1
                where = f"; it opens on line {self._line:,}" if len(self._taken) > 1 else ""
                self._ahead.extendleft(reversed(self._taken[1:]))
                self._read = self._reader()
                yield self._line, Unusable("bad_row", f"{error}{where}")
                continue
            self._line += len(self._taken)
            if problem := csv_problem(row, self.header):
                yield self._line, Unusable(*problem)
            elif row:
                yield self._line, dict(zip(self.header, row, strict=True))


def _text_lines(path: Path) -> Iterator[str]:
    """Lines with their ends, undecodable bytes as lone surrogates, which are rejected later, row by row."""
    stream = io.BufferedReader(_Pieces(path), 1 << 20)
    yield from io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")


class _Pieces(io.RawIOBase):
    """The unpacked pieces of a file as a stream."""

    def __init__(self, path: Path) -> None:
        self._pieces = pieces(path)
        self._held = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._held:
            self._held = memoryview(next(self._pieces, b""))
        count = min(len(buffer), len(self._held))
        buffer[:count] = self._held[:count]
        self._held = self._held[count:]
        return count


def csv_problem(row: list[str], header: list[str]) -> tuple[str, str] | None:
    if row and len(row) != len(header):
        return "bad_row", f"{len(row)} fields, the header has {len(header)}"
    for value in row:
        if not value.isascii() and any("\udc80" <= char <= "\udcff" for char in value):
            return "invalid_utf8", "a field holds bytes that are not UTF-8"
    return None


def _typed(record: dict[str, str], fields: Fields) -> dict[str, Any]:
    """CSV knows only text: numbers become numbers where the first rows showed numbers, nothing becomes null."""
    typed: dict[str, Any] = dict(record)
    for name in fields.keep.values():
        wanted, value = fields.types[name], record.get(name)
        if wanted == pa.string() or value is None or name in fields.needed:
            continue
        typed[name] = None if value == "" else number_of(value, whole=wanted == pa.int64())
    return typed


def sniff_csv(path: Path, names: list[str]) -> dict[str, list[Any]]:
    """Values of the first rows: ints where all are ints, floats where all are numbers, else text."""
    values: dict[str, list[Any]] = {name: [] for name in names}
    with suppress(csv.Error, OSError, Truncated):
        for _, (_, row) in zip(range(SNIFF_CSV_ROWS), CsvReader(path), strict=False):
            if not isinstance(row, Unusable):
                for name in names:
                    values[name].append(row.get(name))
    return {name: numbers_of(column) for name, column in values.items()}


def csv_header(path: Path) -> list[str]:
    """Its fields, none where it can't be read."""
    try:
        return CsvReader(path).header
    except (csv.Error, OSError, Truncated):
        return []


def numbers_of(column: list[str | None]) -> list[Any]:
    """Whole numbers where all given values are some, floats where all are numbers, else the texts."""
    filled = [value for value in column if value]
    for whole in (True, False):
        found = [number_of(value, whole) for value in filled]
        if not any(isinstance(value, str) for value in found):
            return found
    return filled


def number_of(value: str, whole: bool) -> Any:
    """The number that a text is, if nothing is lost by it: 007, 1_000, 12e4 and what has more digits than 64 bits hold
    are codes, and stay texts (and are rejected as wrong_type where the first rows showed numbers)."""
    if whole:
        return int(value) if WHOLE.fullmatch(value) and -(1 << 63) <= int(value) < 1 << 63 else value
    if value.lower() == "nan":
        return math.nan
    if not (REAL.fullmatch(value) or value == str(_float(value))):
        return value
    number = float(value)
    return number if math.isfinite(number) and Decimal(value) == Decimal(repr(number)) else value


def _float(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def text_file_block(path: Path, root: Path, fields: Fields) -> Block:
    """A whole file as one sample; its key is the path below the root without the last suffix."""
    source = str(path)
    name = path.name.removesuffix(path.suffix) if path.suffix.lower() in UNPACKERS else path.name
    key = str(path.relative_to(root).parent / Path(name).stem) if path.is_relative_to(root) else Path(name).stem
    try:
        text = b"".join(pieces(path)).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return rejected(source, 1, key, "invalid_utf8", error)
    except Truncated as error:
        return rejected(source, 1, key, "truncated", error)
    except OSError as error:
        return rejected(source, None, key, "unreadable_file", error)
    block = from_records(source, fields, [(1, {"path": key, "text": text})])
    block.uri = source
    return block
