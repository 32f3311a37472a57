"""Types of the kept fields: what the first rows of every source show, brought together.

Whole and real numbers meet as real ones, lists and structs that differ as JSON, anything else that differs as text.
Lists and structs of a file with a schema keep their types; of JSON lines, where later rows may have other keys, each is
kept as JSON and given out as what it was. Later rows that don't fit are rejected as `wrong_type`, and say so."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from tamis.pipeline.files.urls import fetched
from tamis.pipeline.read.blocks import JSON_TEXT
from tamis.pipeline.read.images import rows
from tamis.pipeline.read.sources import SourceFile
from tamis.pipeline.read.tables import columnar, delimited, jsonl
from tamis.pipeline.recipe.source import Source

SNIFF_SCHEMAS = 500  # files of a source whose schemas are looked at
SNIFF_TABLES = 8  # files of a source that are looked into until each field has shown a value
EMPTY_LIST = pa.list_(pa.null())


def settle_types(
    sources: list[Source], files: list[tuple[int, list[SourceFile]]], recorded: list[list[str]] | None
) -> tuple[dict[str, pa.DataType], list[list[str]]]:
    """Type of each kept field in the pool, and the same as [name, type] pairs for the pool's record."""
    types = {name: _decode(kind) for name, kind in recorded} if recorded is not None else {}
    known = set(types)
    for number, found in files:
        source = sources[number]
        seen = _seen(source, found) if set(source.keep) - known else {}
        for name, origin in source.keep.items():
            if name not in known:
                kind = seen.get(origin)
                types[name] = _meet(types.get(name), kind)
        if source.chunk:
            types.setdefault("parent", pa.string())
    settled = {name: pa.string() if kind is None else kind for name, kind in types.items()}
    return settled, [[name, _encode(kind)] for name, kind in settled.items()]


def _seen(source: Source, files: list[SourceFile]) -> dict[str, pa.DataType | None]:
    """By the source's names; None where nothing shows a type."""
    origins = list(dict.fromkeys(source.keep.values()))
    readable = [file for file in files if not file.problem]
    if source.reads_images:
        return {name: _infer(values) for name, values in rows.sniff(source, readable[: rows.SNIFF_FILES]).items()}
    if source.format in ("parquet", "hf"):
        return _of_schemas(origins, readable)
    kinds: dict[str, pa.DataType | None] = dict.fromkeys(origins)
    for most in (jsonl.SNIFF_LINES, None):  # what the first rows don't show, a larger part of each file may
        for file in readable[:SNIFF_TABLES]:
            if unsettled := [name for name, kind in kinds.items() if kind in (None, EMPTY_LIST)]:
                path = fetched(file.path, file.mtime_ns)
                for name, kind in _shown(source, path, unsettled, most).items():
                    kinds[name] = kind or kinds[name]
        if source.format != "jsonl":
            break
    return {name: None if kind is None else _plain(kind) for name, kind in kinds.items()}


def _of_schemas(origins: list[str], files: list[SourceFile]) -> dict[str, pa.DataType | None]:
    """Of files that say their types: what the schemas of all of them, or of SNIFF_SCHEMAS, have in common."""
    kinds: dict[str, pa.DataType | None] = dict.fromkeys(origins)
    for file in files[:: -(-len(files) // SNIFF_SCHEMAS) or 1]:
        schema = columnar.schema_of(fetched(file.path, file.mtime_ns))
        for name in origins:
            if schema.names.count(name) == 1:
                kinds[name] = _meet(kinds[name], _native(schema.field(name).type))
    for name in [name for name in origins if kinds[name] is None]:  # of the place of the files, perhaps
        said = [columnar.hive_values(Path(file.path), Path(file.root)).get(name) for file in files]
        kinds[name] = _infer(delimited.numbers_of(said))
    return kinds


def _shown(source: Source, path: Path, names: list[str], most: int | None) -> dict[str, pa.DataType | None]:
    """Types that the first rows of one file show."""
    values = jsonl.sniff(path, names, most) if source.format == "jsonl" else delimited.sniff_csv(path, names)
    return {name: _infer(some) for name, some in values.items()}


def _infer(values: list[Any]) -> pa.DataType | None:
    if all(value is None for value in values):
        return None
    try:
        return pa.array(values).type
    except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError, OverflowError):
        nested = any(isinstance(value, list | dict) for value in values)
        return JSON_TEXT if nested else pa.string()  # mixed


def _plain(kind: pa.DataType) -> pa.DataType:
    """Of what was inferred from values: later ones may have other keys, or anything in a list that was empty."""
    if (
        pa.types.is_struct(kind)
        or kind == EMPTY_LIST
        or (pa.types.is_list(kind) and pa.types.is_nested(kind.value_type))
    ):
        return JSON_TEXT
    return kind


def _native(kind: pa.DataType) -> pa.DataType:
    """Of what a file's schema says, which holds for all of its rows."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_null(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return pa.binary()
    return kind if _has_one_form(kind) else JSON_TEXT


def _has_one_form(kind: pa.DataType) -> bool:
    """Whether DuckDB, and who reads the selection, have this type, too."""
    if pa.types.is_struct(kind):
        names = {kind.field(i).name.casefold() for i in range(kind.num_fields)}
        told = len(names) == kind.num_fields > 0 and "" not in names  # DuckDB would rename the others
        return told and all(_has_one_form(kind.field(i).type) for i in range(kind.num_fields))
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        return _has_one_form(kind.value_type)
    return not (pa.types.is_nested(kind) or pa.types.is_dictionary(kind) or pa.types.is_null(kind))


def _meet(a: pa.DataType | None, b: pa.DataType | None) -> pa.DataType | None:
    if a is None or b is None or a == b:
        return a or b
    if all(map(pa.types.is_integer, (a, b))):
        return pa.int64()
    if all(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in (a, b)):
        return pa.float64()
    return JSON_TEXT if any(kind == JSON_TEXT or pa.types.is_nested(kind) for kind in (a, b)) else pa.string()


def _encode(kind: pa.DataType) -> str:
    """Arrow's own bytes of a schema in hex: exact for nested types, too."""
    return pa.schema([pa.field("f", kind)]).serialize().to_pybytes().hex()


def _decode(kind: str) -> pa.DataType:
    return pa.ipc.read_schema(pa.py_buffer(bytes.fromhex(kind))).field("f").type
