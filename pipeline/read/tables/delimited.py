"""CSV and tab-separated files, record by record, since only so each bad record keeps its line number."""

import csv
import io
import math
import re
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from tamis.pipeline.errors import Unusable
from tamis.pipeline.files.bytes_in import BLOCK_BYTES, MOST_RECORD, Truncated, pieces
from tamis.pipeline.read.blocks import Block, Fields, Reject, from_records, shorten, too_long, whole_file

BATCH_ROWS = 4096
SNIFF_ROWS = 10_000  # a code such as 02134 may come late among numbers
DIGITS = 20  # of a whole number that 64 bits may hold, with its sign
WHOLE = re.compile(r"-?(?:0|[1-9][0-9]*)")
REAL = re.compile(r"-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-][0-9]+)?")
csv.field_size_limit(1 << 34)  # a record has its limit
ENDLESS = "\0\n"  # stands for a line that is too long: the very object


def csv_blocks(path: Path, fields: Fields) -> Iterator[Block]:
    """Blocks of a CSV or TSV file with a header; a record's position is the line that it ends on."""
    source = str(path)
    records: list[tuple[int, dict[str, Any]]] = []
    rejects: list[Reject] = []
    line, held = 0, 0
    try:
        reader = CsvReader(path, fields.limits.record)
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

    def __init__(self, path: Path, most: int = MOST_RECORD) -> None:
        self._most = most
        self._ahead: deque[str] = deque()  # lines to be read again
        self._taken: list[str] = []  # of the record at hand
        self._held = 0  # characters of these
        self._lines = _text_lines(path, most)
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
            self._held += len(line)
            if line is ENDLESS or self._held > self._most:
                raise csv.Error(too_long(self._most)[1])
            yield line

    def __iter__(self) -> Iterator[tuple[int, dict[str, str] | Unusable]]:
        while True:
            self._taken.clear()
            self._held = 0
            try:
                row = next(self._read)
            except StopIteration:
                return
            except csv.Error as error:
                self._line += 1
                reason = "over_limit" if self._taken[0] is ENDLESS else "bad_row"
                where = f"; it opens on line {self._line:,}" if len(self._taken) > 1 else ""
                self._ahead.extendleft(reversed(self._taken[1:]))
                self._read = self._reader()
                yield self._line, Unusable(reason, f"{error}{where}")
                continue
            self._line += len(self._taken)
            if problem := csv_problem(row, self.header):
                yield self._line, Unusable(*problem)
            elif row:
                yield self._line, dict(zip(self.header, row, strict=True))


def _text_lines(path: Path, most: int) -> Iterator[str]:
    """Lines with their ends, undecodable bytes as lone surrogates, which are rejected later, row by row; ENDLESS for
    one of more than `most` characters."""
    stream = io.BufferedReader(_Pieces(path), 1 << 20)
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
    while line := text.readline(most):
        if len(line) == most and line[-1] not in "\r\n":
            while line and line[-1] not in "\r\n":
                line = text.readline(BLOCK_BYTES)
            line = ENDLESS
        yield line


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
        for _, (_, row) in zip(range(SNIFF_ROWS), CsvReader(path), strict=False):
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
        fits = len(value) <= DIGITS and WHOLE.fullmatch(value) and -(1 << 63) <= int(value) < 1 << 63
        return int(value) if fits else value
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
