"""A block: some rows of one source file as an Arrow table, beside the rows that could not be read and why.

Readers differ in how they get rows; what makes a row usable is decided here, once, for all of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tamis.pipeline.files.plain_json import json_text
from tamis.pipeline.recipe.limits import Limits
from tamis.pipeline.recipe.source import Source

DETAIL_CHARS = 160  # of a parser's message or an offending value, in the rejects
UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
LONGEST_DAYS = 999_999_999  # of a span, for Python
FIRST_DAY, LAST_DAY = (date(1, 1, 1) - date(1970, 1, 1)).days, (date(9999, 12, 31) - date(1970, 1, 1)).days + 1
JSON_TEXT = pa.large_string()  # of a kept field whose values have no one Arrow type: each is JSON, texts are quoted


class Reject(NamedTuple):
    source: str
    position: int | None  # None: the whole file
    key: str | None
    reason: str
    detail: str | None
    related_id: int | None = None


@dataclass
class Block:
    """Fields `position`, `key` (unless the source has none), `text`, then the kept ones under the pool's names."""

    source: str
    table: pa.Table = field(default_factory=lambda: pa.table({}))
    rejects: list[Reject] = field(default_factory=list)
    uri: str | None = None  # where the bytes lie, if not in the source file itself


@dataclass(frozen=True)
class Fields:
    """What to read from one source: names there, and the types that its first rows showed."""

    key: str | None
    text: str
    keep: dict[str, str]  # pool's name -> name in the source
    types: dict[str, pa.DataType]  # by name in the source
    limits: Limits = field(default_factory=Limits)

    @classmethod
    def of(cls, source: Source, types: dict[str, pa.DataType]) -> "Fields":
        return cls(key=source.key, text=source.text, keep=source.keep, types=types, limits=source.limits)

    @property
    def needed(self) -> list[str]:
        """Without these there are no samples; of a file without a kept field that one is null."""
        return [self.text, *([self.key] if self.key else [])]

    @property
    def names(self) -> list[str]:
        """Each wanted field of the source once, the text first."""
        return list(dict.fromkeys([*self.needed, *self.keep.values()]))


def shorten(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    text = " ".join(text.encode("utf-8", "replace").decode().split())
    return text if len(text) <= DETAIL_CHARS else text[: DETAIL_CHARS - 1] + "…"


def whole_file(source: str, reason: str, detail: str) -> Block:
    """A block that says: nothing more can be read from this file."""
    return rejected(source, None, None, reason, detail)


def too_long(most: int) -> tuple[str, str]:
    """Reason and detail of what passes a limit."""
    return "over_limit", f"more than {most / (1 << 20):,.4g} MiB; `limits: {{record: ...}}` of the source allows more"


def rejected(source: str, position: int | None, key: str | None, reason: str, detail: object) -> Block:
    """A block of a single reject."""
    return Block(source, rejects=[Reject(source, position, key, reason, shorten(str(detail)))])


def from_columns(source: str, fields: Fields, columns: dict[str, pa.ChunkedArray], positions: pa.Array) -> Block:
    """Make a block of columns that were read by the source's names; rows that can't be used become rejects."""
    arrays: dict[str, Any] = {"position": positions}
    if fields.key:
        keys = columns[fields.key]
        if pa.types.is_floating(keys.type):  # what is not a number is no key
            keys = pc.if_else(pc.is_nan(keys), None, keys)
        arrays["key"] = keys.cast(pa.string())
    arrays["text"] = columns[fields.text].cast(pa.string())
    for name, origin in fields.keep.items():
        arrays[name] = columns[origin]
    table = pa.table(arrays)
    rejects: list[Reject] = []
    table = _drop_long(source, table, fields.limits.record, rejects)
    table = _drop_invalid_utf8(source, table, rejects)
    table = _drop_far_dates(source, table, list(fields.keep), rejects)
    for name, asked in (("key", fields.key), ("text", fields.text)):
        if asked and table[name].null_count:
            missing = pc.is_null(table[name])
            table = _reject(source, table, missing, "missing_field", f"field {asked!r} is absent or null", rejects)
    table = _reject(source, table, _blank(table["text"]), "empty_text", f"field {fields.text!r}", rejects)
    return Block(source, table, rejects)


def from_records(source: str, fields: Fields, records: Sequence[tuple[int, dict[str, Any]]]) -> Block:
    """The slow way, one Python dict a row, with a reason for each row that doesn't fit."""
    good: list[tuple[int, dict[str, Any]]] = []
    rejects: list[Reject] = []
    for position, record in records:
        row, problem = _fit(record, fields)
        if problem:
            key = row.get(fields.key) if fields.key else None
            rejects.append(Reject(source, position, key, *problem))
        else:
            good.append((position, row))
    columns = {
        name: pa.chunked_array([pa.array([row[name] for _, row in good], _slow_type(fields, name))])
        for name in fields.names
    }
    block = from_columns(source, fields, columns, pa.array([position for position, _ in good], pa.int64()))
    return Block(source, block.table, rejects + block.rejects)


def _slow_type(fields: Fields, name: str) -> pa.DataType:
    return pa.string() if name in (fields.text, fields.key) else fields.types[name]


def _fit(record: dict[str, Any], fields: Fields) -> tuple[dict[str, Any], tuple[str, str] | None]:
    """The wanted fields of one record in their types, or the reason why they don't fit."""
    row: dict[str, Any] = {}
    for name in sorted(fields.names, key=lambda name: name != fields.key):  # the key first: rejects name it
        value = record.get(name)
        if name in (fields.text, fields.key):
            if isinstance(value, int) and not isinstance(value, bool) and name != fields.text:
                value = str(value)
            if value is not None and not isinstance(value, str):
                kind = type(value).__name__
                return row, ("wrong_type", shorten(f"field {name!r} is {kind}, wanted text: {value!r}"))
        row[name] = value
        problem = unfit(name, value, _slow_type(fields, name), row)
        if problem:
            row.pop(name)
            return row, problem
    return row, None


def unfit(name: str, value: Any, wanted: pa.DataType, row: dict[str, Any]) -> tuple[str, str] | None:
    if value is None:
        return None
    if wanted == JSON_TEXT or (wanted == pa.string() and not isinstance(value, str)):
        row[name] = value = json_text(value)
    try:
        fits = _same_kind(value, wanted) and pa.array([value], wanted) is not None
    except UnicodeEncodeError as error:
        return "invalid_utf8", shorten(f"field {name!r}: {error}")
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, TypeError):
        fits = False
    if fits:
        return None
    return "wrong_type", shorten(f"field {name!r}: wanted {wanted} as in the source's first rows, found {value!r}")


def _same_kind(value: Any, wanted: pa.DataType) -> bool:
    """Arrow would cut 2.5 to a whole 2, inside of lists too, leave out a struct's other fields, and take True for 1."""
    if value is None:
        return True
    if pa.types.is_list(wanted) or pa.types.is_fixed_size_list(wanted):
        return isinstance(value, list) and all(_same_kind(one, wanted.value_type) for one in value)
    if pa.types.is_struct(wanted):
        types = {field.name: field.type for field in wanted}
        return isinstance(value, dict) and all(n in types and _same_kind(one, types[n]) for n, one in value.items())
    if pa.types.is_boolean(wanted):
        return isinstance(value, bool)
    if pa.types.is_integer(wanted) or pa.types.is_floating(wanted):
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if isinstance(value, bool) or not (whole or (pa.types.is_floating(wanted) and isinstance(value, float))):
            return False
        return pa.types.is_integer(wanted) or not isinstance(value, int) or int(float(value)) == value
    return not pa.types.is_decimal(wanted) or isinstance(value, Decimal)


def _drop_long(source: str, table: pa.Table, most: int, rejects: list[Reject]) -> pa.Table:
    """Rows with a text that is longer than a record may be."""
    for name in table.column_names:
        if table[name].type in (pa.string(), pa.large_string(), pa.binary()) and table[name].nbytes > most:
            long = pc.greater(pc.binary_length(table[name]), most).fill_null(False)
            reason, detail = too_long(most)
            table = _reject(source, table, long, reason, f"field {name!r}: {detail}", rejects, with_key=name != "key")
    return table


def _drop_invalid_utf8(source: str, table: pa.Table, rejects: list[Reject]) -> pa.Table:
    try:
        table.validate(full=True)
    except pa.ArrowInvalid:
        for name in table.column_names:
            if pa.types.is_nested(table[name].type):
                table = _drop_unsayable(source, table, name, rejects)
            elif table[name].type in (pa.string(), JSON_TEXT):
                raw = table[name].cast(pa.binary()).to_pylist()
                bad = pa.array([value is not None and not _is_utf8(value) for value in raw], pa.bool_())
                detail = f"field {name!r} holds bytes that are not UTF-8"
                table = _reject(source, table, bad, "invalid_utf8", detail, rejects, with_key=name != "key")
    return table


def _drop_unsayable(source: str, table: pa.Table, name: str, rejects: list[Reject]) -> pa.Table:
    """Rows whose list or struct holds what Python can't have: bytes that are no text, the year 10000."""
    bad = []
    for row in range(table.num_rows):
        try:
            table[name].slice(row, 1).to_pylist()
        except (ValueError, OverflowError):
            bad.append(True)
        else:
            bad.append(False)
    detail = f"field {name!r} holds bytes that are not UTF-8, or a date that no calendar has"
    return _reject(source, table, pa.array(bad, pa.bool_()), "wrong_type", detail, rejects)


def _drop_far_dates(source: str, table: pa.Table, names: Sequence[str], rejects: list[Reject]) -> pa.Table:
    """Dates and times outside of the years 1 to 9999, and spans beyond Python's: Arrow can hold them and hardly anybody
    else."""
    for name in names:
        kind = table[name].type
        if pa.types.is_nested(kind):
            try:
                table[name].to_pylist()
            except (ValueError, OverflowError):
                table = _drop_unsayable(source, table, name, rejects)
        elif pa.types.is_date(kind) or (pa.types.is_timestamp(kind) and kind.unit != "ns"):  # those end in 2262
            days = table[name].cast(pa.int32() if kind == pa.date32() else pa.int64()).cast(pa.int64())
            a_day = {pa.date32(): 1, pa.date64(): 86_400_000}.get(kind) or 86_400 * UNITS[kind.unit]
            first, last = (day * a_day for day in (FIRST_DAY, LAST_DAY))
            far = pc.or_(pc.less(days, first), pc.greater_equal(days, last)).fill_null(False)
            table = _reject(source, table, far, "wrong_type", f"field {name!r}: not of the years 1 to 9999", rejects)
        elif pa.types.is_duration(kind) and kind.unit in ("s", "ms"):  # of others 64 bits hold no more
            most = LONGEST_DAYS * 86_400 * UNITS[kind.unit]
            spans = table[name].cast(pa.int64())
            far = pc.or_(pc.less(spans, -most), pc.greater(spans, most)).fill_null(False)
            table = _reject(source, table, far, "wrong_type", f"field {name!r}: longer than 2.7 million years", rejects)
    return table


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _blank(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Which texts are nothing but white space. Only those that begin with it are trimmed: a copy costs time."""
    begins = pc.utf8_slice_codeunits(texts, 0, 1)
    suspects = pc.equal(pc.utf8_trim_whitespace(begins), "")
    if not pc.any(suspects).as_py():
        return suspects
    trimmed = pc.utf8_trim_whitespace(pc.if_else(suspects, texts, "x"))
    return pc.equal(trimmed, "")


def _reject(
    source: str, table: pa.Table, bad: Any, reason: str, detail: str, rejects: list[Reject], with_key: bool = True
) -> pa.Table:
    """Move the rows where `bad` is true from the table to the rejects."""
    mask = np.asarray(bad.combine_chunks() if isinstance(bad, pa.ChunkedArray) else bad)
    if not mask.any():
        return table
    out = table.filter(pa.array(mask))
    keys = out["key"].to_pylist() if "key" in out.column_names and with_key else [None] * len(out)
    for position, key in zip(out["position"].to_pylist(), keys, strict=True):
        rejects.append(Reject(source, position, key, reason, detail))
    return table.filter(pa.array(~mask))
