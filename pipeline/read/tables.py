"""Parquet, Arrow files of saved Hugging Face datasets, CSV, and folders of text files.

Tables are read batch by batch; CSV record by record, since only so each bad record keeps its line number."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tamis.pipeline.files.bytes_in import BLOCK_BYTES, UNPACKERS, Truncated, pieces
from tamis.pipeline.read.blocks import Block, Fields, Reject, from_columns, from_records, rejected, shorten, whole_file

BATCH_ROWS = 4096  # 4k texts of 1-3 KB: 4-12 MB a batch
SNIFF_ROWS = 1000
csv.field_size_limit(1 << 30)  # texts are longer than the default 128 KB


def table_blocks(path: Path, fields: Fields, batches: Callable[[Path, list[str]], Iterator[Any]]) -> Iterator[Block]:
    """Blocks of a columnar file; what can't be opened or lacks a field is one reject for the whole file."""
    position = 1
    try:
        for batch in batches(path, fields.names):
            table = pa.table(batch)
            rows = pa.array(range(position, position + table.num_rows), pa.int64())
            position += table.num_rows
            missing = [name for name in fields.names if name not in table.column_names]
            if missing:
                found = ", ".join(table.column_names)
                yield whole_file(str(path), "missing_field", f"no field {missing[0]!r}; the file has {found}")
                return
            try:
                columns = {name: _cast(table[name], name, fields) for name in fields.names}
                yield from_columns(str(path), fields, columns, rows)
            except pa.ArrowInvalid:  # a value that doesn't fit: row by row, so that it costs itself alone
                yield from_records(str(path), fields, list(zip(rows.to_pylist(), table.to_pylist(), strict=True)))
    except (pa.ArrowException, OSError) as error:
        reason = "wrong_type" if isinstance(error, (pa.ArrowTypeError, pa.ArrowNotImplementedError)) else None
        yield whole_file(str(path), reason or "unreadable_file", f"at row {position}: {error}")


def _cast(column: pa.ChunkedArray, name: str, fields: Fields) -> pa.ChunkedArray:
    """To the settled type; invalid UTF-8 passes here and is found row by row later. Kept maps become JSON text."""
    wanted = fields.types[name]
    found = column.type
    if wanted == pa.string() and pa.types.is_nested(found):
        if name in (fields.text, fields.key):
            raise pa.ArrowTypeError(f"field {name!r} is {found}, wanted text")
        texts = [None if v is None else json.dumps(v, ensure_ascii=False, default=str) for v in column.to_pylist()]
        return pa.chunked_array([pa.array(texts, pa.string())])
    return column.cast(options=pc.CastOptions(target_type=wanted, allow_invalid_utf8=True))


def parquet_batches(path: Path, names: list[str]) -> Iterator[pa.RecordBatch]:
    file = pq.ParquetFile(path)
    columns = [name for name in names if name in file.schema_arrow.names]
    if len(columns) < len(names):
        yield file.schema_arrow.empty_table()
    else:
        meta = file.metadata
        size = sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups)) // max(meta.num_rows, 1)
        count = max(1, min(BATCH_ROWS, BLOCK_BYTES // max(size, 1)))  # books of a megabyte come two at a time
        yield from file.iter_batches(batch_size=count, columns=columns, use_threads=False)


def arrow_batches(path: Path, names: list[str]) -> Iterator[pa.Table]:
    with pa.memory_map(str(path)) as mapped:
        try:
            reader = pa.ipc.open_stream(mapped)
        except pa.ArrowInvalid:
            mapped.seek(0)
            reader = pa.ipc.open_file(mapped)
            reader = (reader.get_batch(i) for i in range(reader.num_record_batches))
        for batch in reader:
            table = pa.table(batch)
            yield table.select([name for name in names if name in table.column_names])


def schema_of(path: Path) -> pa.Schema:
    """The schema of a Parquet or Arrow file, empty where it can't be read."""
    try:
        if path.suffix == ".arrow":
            with pa.memory_map(str(path)) as mapped:
                return pa.ipc.open_stream(mapped).schema
        return pq.read_schema(path)
    except (pa.ArrowException, OSError):
        return pa.schema([])


def csv_blocks(path: Path, fields: Fields) -> Iterator[Block]:
    """Blocks of a CSV or TSV file with a header; a record's position is the line that it ends on."""
    source = str(path)
    records: list[tuple[int, dict[str, Any]]] = []
    rejects: list[Reject] = []
    line, held = 0, 0
    try:
        reader = csv_reader(path)
        header: list[str] = next(reader, [])
        missing = [name for name in fields.names if name not in header]
        if missing:
            yield whole_file(source, "missing_field", f"no field {missing[0]!r}; the header has {', '.join(header)}")
            return
        while True:
            try:
                row = next(reader)
            except StopIteration:
                break
            except csv.Error as error:  # a stray quote: this record is lost, the reader goes on with the next line
                rejects.append(Reject(source, reader.line_num, None, "bad_row", shorten(str(error))))
                continue
            line = reader.line_num
            if problem := csv_problem(row, header):
                rejects.append(Reject(source, line, None, *problem))
            elif row:
                records.append((line, _typed(dict(zip(header, row, strict=True)), fields)))
                held += sum(map(len, row))
            if len(records) >= BATCH_ROWS or held >= BLOCK_BYTES:
                yield from_records(source, fields, records)
                records, held = [], 0
    except Truncated as error:
        rejects.append(Reject(source, line + 1, None, "truncated", shorten(str(error))))
    except (csv.Error, OSError) as error:
        rejects.append(Reject(source, None, None, "unreadable_file", shorten(str(error))))
    block = from_records(source, fields, records)
    yield Block(source, block.table, rejects + block.rejects)


def csv_reader(path: Path) -> Any:
    lines = _text_lines(path)
    head = next(lines, "")
    delimiter = "\t" if head.count("\t") > head.count(",") else ","
    return csv.reader(chain([head], lines), delimiter=delimiter, strict=True)


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
        wanted, value = fields.types[name], record[name]
        if wanted == pa.string() or name in (fields.text, fields.key):
            continue
        with suppress(ValueError):  # what is no number stays text, and is rejected as wrong_type
            typed[name] = None if value == "" else int(value) if wanted == pa.int64() else float(value)
    return typed


def sniff_csv(path: Path, names: list[str]) -> dict[str, list[Any]]:
    """Values of the first rows: ints where all are ints, floats where all are numbers, else text."""
    values: dict[str, list[Any]] = {name: [] for name in names}
    try:
        reader = csv_reader(path)
        header: list[str] = next(reader, [])
        for _, row in zip(range(SNIFF_ROWS), reader, strict=False):
            if not csv_problem(row, header):
                record = dict(zip(header, row, strict=False))
                for name in names:
                    values[name].append(record.get(name))
    except (csv.Error, OSError, Truncated):
        pass
    return {name: _numbers(column) for name, column in values.items()}


def _numbers(column: list[str | None]) -> list[Any]:
    filled = [value for value in column if value]
    for kind in (int, float):
        try:
            return [kind(value) for value in filled]
        except ValueError:
            continue
    return filled


def text_file_block(path: Path, root: Path, fields: Fields) -> Block:
    """A whole file as one sample; its key is the path below the root without the last suffix."""
    source = str(path)
    name = path.name.removesuffix(path.suffix) if path.suffix in UNPACKERS else path.name
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
