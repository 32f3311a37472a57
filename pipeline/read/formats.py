"""Which reader reads which format: the blocks of a source's files, as calls that any thread may make.

Images have readers of their own (images/rows.py), since each is decoded before it is a row."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow as pa

from tamis.pipeline.files.bytes_in import UNPACKERS, Truncated, pieces
from tamis.pipeline.files.inside import spelled
from tamis.pipeline.files.urls import fetched
from tamis.pipeline.read.blocks import Block, Fields, from_records, rejected
from tamis.pipeline.read.chunking import chunked
from tamis.pipeline.read.sources import SourceFile
from tamis.pipeline.read.tables import columnar, delimited, jsonl
from tamis.pipeline.recipe.recipe import Source


def block_calls(
    source: Source, files: list[SourceFile], types: dict[str, pa.DataType]
) -> Iterator[Callable[[], Block]]:
    """One call for each block of the files, in order; calls may run in any thread."""
    for file in files:
        if file.problem:
            yield partial(rejected, spelled(file.path), None, None, *file.problem)
            continue
        path = fetched(file.path, file.mtime_ns)
        told = spelled(file.path)
        for call in _calls_of(source, path, Path(file.root), types):
            named = call if str(path) == told else partial(_as_from, call, told)
            yield partial(chunked, named, source.chunk.words) if source.chunk else named


def _as_from(call: Callable[[], Block], told: str) -> Block:
    """A block of a fetched file speaks of where that came from; of one whose name is no text, by its spelling."""
    block = call()
    rejects = [reject._replace(source=told) for reject in block.rejects]
    return replace(block, source=told, uri=told if block.uri else None, rejects=rejects)


def _calls_of(source: Source, path: Path, root: Path, types: dict[str, pa.DataType]) -> Iterator[Callable[[], Block]]:
    natural = {origin: types[name] for name, origin in source.keep.items()}
    natural[source.text] = pa.string()
    if source.format == "jsonl":
        key = {source.key: key_type(path, source.key)} if source.key else {}
        yield from jsonl.blocks(path, Fields.of(source, {**key, **natural}))
    elif source.format == "texts":
        fields = Fields(key="path", text="text", keep={}, types={"path": pa.string(), "text": pa.string()})
        yield partial(text_file_block, path, root, fields)
    else:
        if source.key:
            natural.setdefault(source.key, pa.string())
        fields = Fields.of(source, natural)
        if source.format == "csv":
            blocks = delimited.csv_blocks(path, fields)
        elif source.format == "hf":
            blocks = columnar.table_blocks(path, root, fields, columnar.arrow_batches)
        else:
            blocks = columnar.table_blocks(path, root, fields, columnar.parquet_batches)
        for block in blocks:
            yield partial(_same, block)


def _same(block: Block) -> Block:
    return block


def key_type(path: Path, name: str) -> pa.DataType:
    """Integer keys are parsed as integers and stored as text; anything else is text."""
    values = [value for value in jsonl.sniff(path, [name])[name] if value is not None]
    whole = bool(values) and all(isinstance(value, int) and not isinstance(value, bool) for value in values)
    return pa.int64() if whole else pa.string()


def text_file_block(path: Path, root: Path, fields: Fields) -> Block:
    """A whole file as one sample; its key is the path below the root without the last suffix."""
    source = str(path)
    name = path.name.removesuffix(path.suffix) if path.suffix.lower() in UNPACKERS else path.name
    key = str(path.relative_to(root).parent / Path(name).stem) if path.is_relative_to(root) else Path(name).stem
    key = spelled(key)
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
