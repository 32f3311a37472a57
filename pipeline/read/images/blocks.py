"""Rows of images become blocks: decoded once, with their sizes, hashes and the vectors of every column to be filled."""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

import pyarrow as pa

from tamis.pipeline.decode.decoders import BLOCK_IMAGES, Encoded
from tamis.pipeline.decode.passes import ImagePass, Kept
from tamis.pipeline.progress import Counter
from tamis.pipeline.read.blocks import Block, Reject, shorten, unfit
from tamis.pipeline.read.images.folders import Item, Row
from tamis.pipeline.read.images.rows import image_rows
from tamis.pipeline.read.shards import vectors_field
from tamis.pipeline.read.sources import SourceFile
from tamis.pipeline.recipe.source import Source
from tamis.pipeline.schemas import CAPTIONS


def image_blocks(
    source: Source, files: list[SourceFile], types: dict[str, pa.DataType], fillings: Sequence[Kept], skip: int
) -> Iterator[tuple[Block, int]]:
    """(block, rows of the group consumed so far); `skip` rows were consumed by an earlier process.

    A block's table has the values of each column to be filled in fields named by `vectors_field`."""
    items = islice(image_rows(source, files), skip, None)
    counter = Counter(
        "decode" + "".join(f" + {filling.name}" for filling in fillings), sum(f.size for f in files), "images"
    )
    consumed = skip
    with ImagePass(fillings) as work:
        for some, facts, values in work.blocks(_cut(items)):
            block = _block(source, types, some, facts, values)
            consumed += len(some)
            counter.add(block.table.num_rows, sum(map(_size, some)), work.note)
            yield block, consumed
    counter.end()


def _cut(items: Iterator[Item]) -> Iterator[tuple[list[Item], list[Encoded]]]:
    """Blocks of BLOCK_IMAGES images with the rejects among them; always cut at the same rows."""
    some: list[Item] = []
    images: list[Encoded] = []
    for item in items:
        some.append(item)
        if isinstance(item, Row):
            images.append(item.image)
        if len(images) == BLOCK_IMAGES or len(some) == 4 * BLOCK_IMAGES:
            yield some, images
            some, images = [], []
    if some:
        yield some, images


def _size(item: Item) -> int:
    if not isinstance(item, Row):
        return 0
    if item.image.data is not None:
        return len(item.image.data)
    if item.image.size is not None:
        return item.image.size
    with suppress(OSError, ValueError):
        return os.path.getsize(item.image.path)
    return 0


def _block(
    source: Source, types: dict[str, pa.DataType], items: list[Item], facts: list[list[Any]], values: list[pa.Array]
) -> Block:
    """The usable rows as a table, the others as rejects, in the order of the source."""
    rejects: list[Reject] = []
    good: list[tuple[int, Row, list[Any], dict[str, Any]]] = []
    decoded = iter(enumerate(facts))
    kept_types = {origin: types[name] for name, origin in source.keep.items()}
    for item in items:
        if isinstance(item, Reject):
            rejects.append(item)
            continue
        place, fact = next(decoded)
        fields, problem = _fields(item, kept_types)
        if len(fact) == 2:
            problem = (fact[0], shorten(fact[1]))
        if problem:
            rejects.append(Reject(item.source, item.position, item.key, *problem))
        else:
            good.append((place, item, fact, fields))
    rows = [row for _, row, _, _ in good]
    arrays = {
        "source": pa.array([row.source for row in rows], pa.string()),
        "position": pa.array([row.position for row in rows], pa.int64()),
        "key": pa.array([row.key for row in rows], pa.string()),
        "uri": pa.array([row.uri for row in rows], pa.string()),
        "offset": pa.array([row.image.offset for row in rows], pa.int64()),
        "text": pa.array([row.captions[0]["text"] if row.captions else None for row in rows], pa.string()),
        "captions": pa.array([row.captions for row in rows], CAPTIONS),
        "width": pa.array([fact[0] for _, _, fact, _ in good], pa.int32()),
        "height": pa.array([fact[1] for _, _, fact, _ in good], pa.int32()),
        "n_bytes": pa.array([fact[2] for _, _, fact, _ in good], pa.int64()),
        "content_hash": pa.array([bytes.fromhex(fact[3]) for _, _, fact, _ in good], pa.binary(16)),
    }
    for name, origin in source.keep.items():
        arrays[name] = pa.array([fields[origin] for _, _, _, fields in good], types[name])
    places = pa.array([place for place, _, _, _ in good], pa.int64())
    for number, column in enumerate(values):
        arrays[vectors_field(number)] = column.take(places)
    return Block("", pa.table(arrays), rejects)


def _fields(row: Row, types: dict[str, pa.DataType]) -> tuple[dict[str, Any], tuple[str, str] | None]:
    fields = {name: row.fields.get(name) for name in types}
    for name, wanted in types.items():
        if problem := unfit(name, fields[name], wanted, fields):
            return fields, problem
    return fields, None
