"""JSON lines: parsed by Arrow at 200-300 MB/s a core, outside the interpreter's lock.

Where Arrow refuses a block, it is halved until the refused part is small; only that part is read line by line in
Python, which knows why. So one bad line costs a millisecond and never its neighbours."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.json as pj

from tamis.pipeline.errors import Unusable
from tamis.pipeline.files.bytes_in import MOST_RECORD, OVERLONG, Truncated, line_blocks
from tamis.pipeline.files.plain_json import load_json, load_record
from tamis.pipeline.read.blocks import (
    JSON_TEXT,
    Block,
    Fields,
    Reject,
    from_columns,
    from_records,
    rejected,
    shorten,
    too_long,
)

SLOW_BYTES = 64 << 10  # 64 KB of lines take the slow way in about a millisecond
SNIFF_LINES = 1000
SNIFF_BLOCKS = 8  # the first ones may be lines that are too long
ARRAY = re.compile(rb"(?:\xef\xbb\xbf)?\s*\[\s*(?:\{|\Z)")  # one of records, on one line or on many


def blocks(path: Path, fields: Fields) -> Iterator[Callable[[], Block]]:
    """Yield one call for each block of lines; the calls may run in any thread."""
    source = str(path)
    try:
        for lines, first in line_blocks(path, fields.limits.record):
            if lines is OVERLONG:
                yield partial(rejected, source, first, None, *too_long(fields.limits.record))
                continue
            if first == 1 and ARRAY.match(lines):
                told = "the file is one JSON array; wanted an object a line: jq -c '.[]' makes them"
                yield partial(rejected, source, None, None, "bad_json", told)
                return
            yield partial(parse_lines, lines, first, source, fields)
    except Truncated as error:
        yield partial(rejected, source, error.args[1], None, "truncated", error.args[0])
    except OSError as error:
        yield partial(rejected, source, None, None, "unreadable_file", error)


def sniff(path: Path, names: list[str], most: int | None = SNIFF_LINES) -> dict[str, list[Any]]:
    """Values of the named fields in the first lines that are JSON objects, for settling types; None: in the first
    block, some megabytes."""
    records = list(_first_records(path, most))
    return {name: [record.get(name) for record in records] for name in names}


def names_in(path: Path) -> list[str]:
    """Names of fields in the first lines that are JSON objects, in the order in which they come."""
    return list(dict.fromkeys(name for record in _first_records(path, SNIFF_LINES) for name in record))


def _first_records(path: Path, most: int | None) -> Iterator[dict[str, Any]]:
    with suppress(Truncated, OSError):
        lines = next((lines for lines, _ in islice(line_blocks(path), SNIFF_BLOCKS) if lines is not OVERLONG), b"")
        for line in islice(lines.split(b"\n"), most):
            with suppress(ValueError):
                if isinstance(record := load_json(line), dict):
                    yield record


def parse_lines(lines: bytes, first: int, source: str, fields: Fields) -> Block:
    """Parse whole lines of JSON; `first` is the number of the first one."""
    if JSON_TEXT in fields.types.values():  # which Arrow would not make of values
        return _parse_slow(lines, first, source, fields)
    table = _parse_fast(lines, {name: fields.types[name] for name in fields.names})
    if table is not None:
        positions = pa.array(range(first, first + table.num_rows), pa.int64())
        columns = {name: table[name] for name in fields.names}
        return from_columns(source, fields, columns, positions)
    middle = lines.find(b"\n", len(lines) // 2) + 1
    if len(lines) <= SLOW_BYTES or not 0 < middle < len(lines):
        return _parse_slow(lines, first, source, fields)
    head, tail = lines[:middle], lines[middle:]
    a = parse_lines(head, first, source, fields)
    b = parse_lines(tail, first + head.count(b"\n"), source, fields)
    tables = [block.table for block in (a, b) if block.table.num_rows]
    return Block(source, pa.concat_tables(tables) if tables else a.table, a.rejects + b.rejects)


def _parse_fast(lines: bytes, types: dict[str, pa.DataType]) -> pa.Table | None:
    """None where Arrow refuses a line, or where rows and lines are not one to one (blank or doubled lines).

    A block with a line that is no object is not shown to it: `null` as the first one ends the process (Arrow 47409)."""
    count = lines.count(b"\n") + (not lines.endswith(b"\n"))
    if count != lines.count(b"\n{") + lines.startswith(b"{"):
        return None
    schema = pa.schema(list(types.items()))
    try:
        table = pj.read_json(
            pa.BufferReader(lines),
            read_options=pj.ReadOptions(use_threads=False, block_size=len(lines) + 1),
            parse_options=pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
        )
        table.validate(full=True)  # Arrow's parser lets invalid UTF-8 through
    except pa.ArrowInvalid:
        return None
    return table if table.num_rows == count else None


def _parse_slow(lines: bytes, first: int, source: str, fields: Fields) -> Block:
    records: list[tuple[int, dict[str, Any]]] = []
    rejects: list[Reject] = []
    for number, line in enumerate(lines.split(b"\n"), first):
        if not line.strip(b" \t\r"):
            continue  # a blank line is no row
        try:
            records.append((number, record_of(line, fields.names)))
        except Unusable as error:
            rejects.append(Reject(source, number, None, *error.args))
    block = from_records(source, fields, records)
    return Block(source, block.table, rejects + block.rejects)


def tables_of(path: Path, types: dict[str, pa.DataType]) -> Iterator[pa.Table]:
    """Some fields of all lines, block by block. Raises ValueError with the first line that does not have them so, and
    OSError, Truncated."""
    for lines, first in line_blocks(path):
        if lines is OVERLONG:
            raise ValueError(f"line {first:,}: more than {MOST_RECORD >> 20} MiB")
        table = _parse_fast(lines, types)
        yield _parse_records(lines, first, types) if table is None else table


def _parse_records(lines: bytes, first: int, types: dict[str, pa.DataType]) -> pa.Table:
    found: list[dict[str, Any]] = []
    for number, line in enumerate(lines.split(b"\n"), first):
        if not line.strip(b" \t\r"):
            continue
        try:
            record = record_of(line, list(types))
            row = {name: record.get(name) for name in types}
            pa.Table.from_pylist([row], pa.schema(list(types.items())))
        except (Unusable, pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError) as error:
            raise ValueError(f"line {number:,}: {error.args[-1] if error.args else error}") from error
        found.append(row)
    return pa.Table.from_pylist(found, pa.schema(list(types.items())))


def record_of(line: bytes, names: Sequence[str]) -> dict[str, Any]:
    """The object of one line, in which each of the names stands at most once. Raises Unusable."""
    try:
        record, twice = load_record(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise Unusable("invalid_utf8", shorten(str(error))) from error
    except ValueError as error:
        raise Unusable("bad_json", shorten(str(error))) from error
    if not isinstance(record, dict):
        raise Unusable("bad_json", f"a {type(record).__name__}, wanted an object")
    if doubled := [name for name in names if name in twice]:
        raise Unusable("bad_json", shorten(f"field {doubled[0]!r} stands in it more than once"))
    return record
