"""Types of the kept fields: what the first rows of every source show, brought together.

Whole and real numbers meet as real ones; anything else that differs meets as text. Later rows that don't fit are
rejected as `wrong_type`, and say so."""

from typing import Any

import pyarrow as pa

from tamis.pipeline.files.urls import fetched
from tamis.pipeline.read import jsonl, tables
from tamis.pipeline.read.images import rows
from tamis.pipeline.read.sources import SourceFile
from tamis.pipeline.recipe.recipe import Source

SNIFF_FILES = 400  # of a folder: some images with their sidecars


def settle_types(
    sources: list[Source], files: list[tuple[int, list[SourceFile]]], recorded: list[list[str]] | None
) -> tuple[dict[str, pa.DataType], list[list[str]]]:
    """Type of each kept field in the pool, and the same as [name, type] pairs for the pool's record."""
    types = {name: _decode(kind) for name, kind in recorded} if recorded is not None else {}
    for number, found in files:
        new = [name for name in sources[number].keep if recorded is None or name not in types]
        for name, kind in _seen(sources[number], found).items():
            if name in new:
                types[name] = _meet(types[name], kind) if name in types else kind
        if sources[number].chunk:
            types.setdefault("parent", pa.string())
    return types, [[name, _encode(kind)] for name, kind in types.items()]


def _seen(source: Source, files: list[SourceFile]) -> dict[str, pa.DataType]:
    origins = list(source.keep.values())
    if not origins:
        return {}
    path = fetched(files[0].path, files[0].mtime_ns)
    if source.reads_images:
        kinds = {name: _infer(values) for name, values in rows.sniff(source, files[:SNIFF_FILES]).items()}
    elif source.format in ("parquet", "hf"):
        schema = tables.schema_of(path)
        kinds = {name: _plain(schema.field(name).type) for name in origins if name in schema.names}
    else:
        sniffed = (jsonl.sniff if source.format == "jsonl" else tables.sniff_csv)(path, origins)
        kinds = {name: _infer(values) for name, values in sniffed.items()}
    return {name: kinds.get(origin, pa.string()) for name, origin in source.keep.items()}


def _infer(values: list[Any]) -> pa.DataType:
    try:
        kind = pa.array(values).type
    except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError, OverflowError):
        return pa.string()  # mixed: kept as JSON text
    return _plain(kind)


def _plain(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if (
        pa.types.is_struct(kind)
        or pa.types.is_map(kind)
        or (pa.types.is_list(kind) and pa.types.is_nested(kind.value_type))
    ):
        return pa.string()  # kept as JSON text: later rows may have other keys
    if pa.types.is_null(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    return kind


def _meet(a: pa.DataType, b: pa.DataType) -> pa.DataType:
    if a == b:
        return a
    numbers = all(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in (a, b))
    return pa.float64() if numbers else pa.string()


def _encode(kind: pa.DataType) -> str:
    """Arrow's own bytes of a schema in hex: exact for nested types, too."""
    return pa.schema([pa.field("f", kind)]).serialize().to_pybytes().hex()


def _decode(kind: str) -> pa.DataType:
    return pa.ipc.read_schema(pa.py_buffer(bytes.fromhex(kind))).field("f").type
