"""Cutting texts into pieces of so many words, each a sample of its own: key `parent#0`, `parent#1`, ...

A piece is a slice of the text as it stands, white space inside and all: tamis selects, it never rewrites."""

import re
from collections.abc import Callable, Iterator

import pyarrow as pa

from tamis.pipeline.read.blocks import Block
from tamis.pipeline.read.identity import content_hashes

WORD = re.compile(r"\S+")


def slices(text: str, words: int) -> Iterator[str]:
    """Pieces from the first to the last character of `words` white-space separated words."""
    spans = [match.span() for match in WORD.finditer(text)]
    for first in range(0, len(spans), words):
        last = min(first + words, len(spans)) - 1
        yield text[spans[first][0] : spans[last][1]]


def chunked(call: Callable[[], Block], words: int) -> Block:
    """The block of `call` with each row cut; the key of the whole text is kept as `parent`."""
    block = call()
    table = block.table
    if not table.num_rows:
        return block
    texts = table["text"].combine_chunks()
    parents = (
        table["key"].to_pylist()
        if "key" in table.column_names
        else [h.hex() for h in content_hashes(texts).to_pylist()]
    )
    rows, keys, pieces = [], [], []
    for row, (parent, text) in enumerate(zip(parents, texts.to_pylist(), strict=True)):
        for number, piece in enumerate(slices(text, words)):
            rows.append(row)
            keys.append(f"{parent}#{number}")
            pieces.append(piece)
    cut = table.take(pa.array(rows, pa.int64()))
    arrays = {name: cut[name] for name in cut.column_names}
    arrays |= {"key": pa.array(keys), "text": pa.array(pieces), "parent": pa.array([parents[row] for row in rows])}
    return Block(block.source, pa.table(arrays), block.rejects, block.uri)
