"""Which reader reads which format: the blocks of a source's files, as calls that any thread may make.

Images have readers of their own (images/rows.py), since each is decoded before it is a row."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from tamis.pipeline.files.bytes_in import BLOCK_BYTES, UNPACKERS, TooLong, Truncated, whole
from tamis.pipeline.files.inside import spelled
from tamis.pipeline.files.urls import fetched
from tamis.pipeline.read.blocks import Block, Fields, Reject, from_columns, rejected, too_long
from tamis.pipeline.read.chunking import chunked
from tamis.pipeline.read.sources import SourceFile
from tamis.pipeline.read.tables import columnar, delimited, jsonl
from tamis.pipeline.recipe.source import Source

TEXT_FIELDS = Fields(key="path", text="text", keep={}, types={"path": pa.string(), "text": pa.string()})
FILES = 256  # small ones that are read together


def block_calls(
    source: Source, files: list[SourceFile], types: dict[str, pa.DataType]
) -> Iterator[Callable[[], Block]]:
    """One call for each block of the files, in order; calls may run in any thread."""
    if source.format == "texts":
        for call in text_calls(source, files):
            yield partial(chunked, call, source.chunk.words) if source.chunk else call
        return
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


class TextFile(NamedTuple):
    """A text's name as it is told, its file, and where it is read."""

    told: str
    path: Path
    root: Path

    @property
    def key(self) -> str:
        """The path below the root without the last suffix."""
        path = self.path
        name = path.name.removesuffix(path.suffix) if path.suffix.lower() in UNPACKERS else path.name
        inside = path.is_relative_to(self.root)
        return spelled(str(path.relative_to(self.root).parent / Path(name).stem) if inside else Path(name).stem)


def text_calls(source: Source, files: Iterable[SourceFile]) -> Iterator[Callable[[], Block]]:
    """Some files a call: each is one sample, and most are small."""
    some: list[TextFile] = []
    size = 0
    for file in files:
        if file.problem:
            yield partial(rejected, spelled(file.path), None, None, *file.problem)
            continue
        if some and (len(some) >= FILES or size + file.size > BLOCK_BYTES):
            yield partial(text_files_block, some, source)
            some, size = [], 0
        some.append(TextFile(spelled(file.path), Path(file.path), Path(file.root)))
        size += file.size
    if some:
        yield partial(text_files_block, some, source)


def text_files_block(files: list[TextFile], source: Source) -> Block:
    """Whole files as a sample each."""
    texts: list[str | None] = []
    rejects: list[tuple[int, Reject]] = []
    for number, file in enumerate(files):
        problem: tuple[int | None, str, object] | None = None
        try:
            texts.append(whole(file.path, source.limits.record).decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            problem = 1, "invalid_utf8", error
        except TooLong:
            problem = 1, *too_long(source.limits.record)
        except Truncated as error:
            problem = 1, "truncated", error
        except OSError as error:
            problem = None, "unreadable_file", error
        if problem:
            texts.append(None)
            rejects += [(number, one) for one in rejected(file.told, problem[0], file.key, *problem[1:]).rejects]
    read = [number for number, text in enumerate(texts) if text is not None]
    columns = {
        "path": pa.chunked_array([pa.array([files[number].key for number in read], pa.string())]),
        "text": pa.chunked_array([pa.array([texts[number] for number in read], pa.string())]),
    }
    fields = replace(TEXT_FIELDS, limits=source.limits)
    block = from_columns("", fields, columns, pa.array(read, pa.int64()))
    places = [files[number].told for number in block.table["position"].to_pylist()]
    table = block.table.drop_columns("position")
    table = table.append_column("position", pa.array([1] * len(places), pa.int64()))
    for name in ("source", "uri"):
        table = table.append_column(name, pa.array(places, pa.string()))
    for one in block.rejects:
        number = one.position or 0
        rejects.append((number, one._replace(source=files[number].told, position=1)))
    return Block("", table, [one for _, one in sorted(rejects, key=lambda pair: pair[0])])
