"""JSON lines: parsed by Arrow at 200-300 MB/s a core, outside the interpreter's lock.

Where Arrow refuses a block, it is halved until the refused part is small; only that part is read line by line in
Python, which knows why. So one bad line costs a millisecond and never its neighbours."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.json as pj

from tamis.pipeline.files.bytes_in import Truncated, line_blocks
from tamis.pipeline.read.blocks import Block, Fields, Reject, from_columns, from_records, rejected, shorten

SLOW_BYTES = 64 << 10  # 64 KB of lines take the slow way in about a millisecond
SNIFF_LINES = 1000


def blocks(path: Path, fields: Fields) -> Iterator[Callable[[], Block]]:
    """Yield one call for each block of lines; the calls may run in any thread."""
    source = str(path)
    try:
        for lines, first in line_blocks(path):
            yield partial(parse_lines, lines, first, source, fields)
    except Truncated as error:
        yield partial(rejected, source, error.args[1], None, "truncated", error.args[0])
    except OSError as error:
        yield partial(rejected, source, None, None, "unreadable_file", error)


def sniff(path: Path, names: list[str]) -> dict[str, list[Any]]:
    """Values of the named fields in the first thousand lines that are JSON objects, for settling types."""
    values: dict[str, list[Any]] = {name: [] for name in names}
    try:
        lines, _ = next(iter(line_blocks(path)), (b"", 1))
    except (Truncated, OSError):
        return values
    for line in islice(lines.split(b"\n"), SNIFF_LINES):
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            for name in names:
                values[name].append(record.get(name))
    return values


def parse_lines(lines: bytes, first: int, source: str, fields: Fields) -> Block:
    """Parse whole lines of JSON; `first` is the number of the first one."""
    table = _parse_fast(lines, fields)
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


def _parse_fast(lines: bytes, fields: Fields) -> pa.Table | None:
    """None where Arrow refuses a line, or where rows and lines are not one to one (blank or doubled lines).

    A block with a line that is no object is not shown to it: `null` as the first one ends the process (Arrow 47409)."""
    count = lines.count(b"\n") + (not lines.endswith(b"\n"))
    if count != lines.count(b"\n{") + lines.startswith(b"{"):
        return None
    schema = pa.schema([(name, fields.types[name]) for name in fields.names])
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
            record = json.loads(line.decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            rejects.append(Reject(source, number, None, "invalid_utf8", shorten(str(error))))
        except (ValueError, RecursionError) as error:
            rejects.append(Reject(source, number, None, "bad_json", shorten(str(error))))
        else:
            if isinstance(record, dict):
                records.append((number, record))
            else:
                kind = type(record).__name__
                rejects.append(Reject(source, number, None, "bad_json", f"a {kind}, wanted an object"))
    block = from_records(source, fields, records)
    return Block(source, block.table, rejects + block.rejects)
