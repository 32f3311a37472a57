"""Which reader reads which format of images; their rows and rejects, each of which can be stored as text."""

import csv
from collections.abc import Iterator
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from tamis.pipeline.errors import Unusable
from tamis.pipeline.files.bytes_in import Truncated
from tamis.pipeline.read.blocks import Reject, shorten
from tamis.pipeline.read.images.folders import Item, Row, folder_rows, lost, tar_rows
from tamis.pipeline.read.images.tables import downloaded_rows, table_rows
from tamis.pipeline.read.sources import SourceFile
from tamis.pipeline.recipe.source import Source

SNIFF_ROWS = 200
SNIFF_FILES = 400  # of a folder: some images with their sidecars


def image_rows(source: Source, files: list[SourceFile]) -> Iterator[Item]:
    """Rows and rejects of one group of files, in order; each can be stored as text."""
    if source.format == "images":
        yield from map(_storable, folder_rows(source, files))
        return
    for file in files:
        if file.problem:
            yield _storable(Reject(file.path, None, None, *file.problem))
    files = [file for file in files if not file.problem]
    for stem, together in groupby(files, key=lambda file: file.path.removesuffix(Path(file.path).suffix)):
        some = list(together)
        paths = [Path(file.path) for file in some]
        try:
            if source.format == "webdataset":
                for path in paths:
                    yield from map(_storable, tar_rows(source, path, dotted=True))
            elif source.format == "img2dataset":
                yield from map(_storable, downloaded_rows(source, Path(stem), paths))
            else:
                for file in some:
                    yield from map(_storable, table_rows(source, Path(file.path), Path(file.root)))
        except Truncated as error:
            place = error.args[1] if len(error.args) > 1 else None
            yield Reject(str(paths[0]), place, None, "truncated", shorten(error.args[0]))
        except Unusable as error:
            yield Reject(str(paths[0]), None, None, error.args[0], shorten(error.args[1]))
        except (OSError, pa.ArrowException, csv.Error) as error:
            yield Reject(str(paths[0]), None, None, "unreadable_file", shorten(str(error)))


def _storable(item: Item) -> Item:
    """A row whose names or captions are no text (lone surrogates, bytes of other encodings) is a reject."""
    if isinstance(item, Row):
        try:
            for text in (item.source, item.uri, item.key or "", *(caption["text"] for caption in item.captions)):
                text.encode()
        except UnicodeEncodeError as error:
            item = lost(item.source, item.position, item.key, "invalid_utf8", f"its name or a caption: {error}")
        else:
            return item
    return item._replace(source=_shown(item.source), key=None if item.key is None else _shown(item.key))


def _shown(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()


def sniff(source: Source, files: list[SourceFile]) -> dict[str, list[Any]]:
    """Values of the kept fields in the first rows, for settling their types."""
    some = [item.fields for item in islice(image_rows(source, files), SNIFF_ROWS) if isinstance(item, Row)]
    return {name: [fields.get(name) for fields in some] for name in source.keep.values()}
