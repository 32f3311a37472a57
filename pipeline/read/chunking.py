"""Cutting texts into pieces of so many words, each a sample of its own: key `parent#0`, `parent#1`, ...

A word is what white space parts, and each letter of a script without spaces, with the marks that follow it. A piece is
a slice of the text as it stands, white space inside and all: tamis selects, it never rewrites."""

import re
from collections.abc import Callable, Iterator
from functools import cache

import pyarrow as pa

from tamis.pipeline.read.blocks import Block
from tamis.pipeline.read.identity import content_hashes
from tamis.selectors.texts.scripts import KANA_MARKS
from tamis.selectors.texts.tokens import letters_alone

SPACED = re.compile(r"\S+")


@cache
def _alone() -> re.Pattern[str]:
    return re.compile(f"[{letters_alone()}]")


@cache
def _word() -> re.Pattern[str]:
    alone = letters_alone()
    return re.compile(rf"[{alone}](?:[^\w\s]|[{KANA_MARKS}])*|[^\s{alone}]+")


def slices(text: str, words: int) -> Iterator[str]:
    """Pieces from the first to the last character of so many words each."""
    word = SPACED if text.isascii() or not _alone().search(text) else _word()
    spans = [match.span() for match in word.finditer(text)]
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
