"""Images that tables name or hold: Parquet, Hugging Face, JSONL, CSV, and the shards of img2dataset."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from tamis.pipeline.decode.decoders import Encoded
from tamis.pipeline.errors import Unusable
from tamis.pipeline.files.bytes_in import MOST_RECORD, OVERLONG, line_blocks
from tamis.pipeline.read.blocks import Reject, shorten, too_long
from tamis.pipeline.read.images.folders import (
    Item,
    Row,
    captions_of,
    folder_rows,
    label_of,
    lost,
    member_rows,
    suffix,
    tar_rows,
    without_suffix,
)
from tamis.pipeline.read.images.tars import Member, members
from tamis.pipeline.read.sources import IMAGE_SUFFIXES, SourceFile, key_of_path
from tamis.pipeline.read.tables import columnar, delimited
from tamis.pipeline.read.tables.jsonl import record_of
from tamis.pipeline.read.walk import Links
from tamis.pipeline.recipe.source import Source

TABLE_ROWS = 64  # rows of a table with image bytes read at once: 64 photos of 1 MB
IMAGE_FIELDS = ("jpg", "jpeg", "png", "webp")  # img2dataset's own name for the bytes in a Parquet file

Record = dict[str, Any] | Unusable  # a row by field, or why there is none


def downloaded_rows(source: Source, stem: Path, paths: list[Path]) -> Iterator[Item]:
    """A shard of img2dataset: its table says what was downloaded; a tar, a folder or the table itself holds it."""
    manifests = [path for path in paths if path.suffix.lower() == ".parquet"]
    tars = [path for path in paths if path.suffix.lower() == ".tar"]
    records: list[tuple[int, Record]] = []  # of 10,000 rows, without images in most cases
    try:
        records = [row for path in manifests for row in _records(path, stem.parent, None, [])]
    except (OSError, pa.ArrowException) as error:
        yield lost(str(manifests[0]), None, None, "unreadable_file", str(error))
        manifests = []
    if not manifests:
        for path in tars:
            yield from tar_rows(source, path)
        return
    links = Links(str(stem), source.follow_links)
    found: dict[str, list[Member]] = {}
    for member in members(tars[0])[0] if tars else []:
        found.setdefault(without_suffix(member.name), []).append(member)
    told: set[str] = set()
    for position, record in records:
        if isinstance(record, Unusable):
            yield lost(str(manifests[0]), position, None, *record.args)
            continue
        told.add(str(record.get("key", position)))
        item = _downloaded(source, stem, manifests[0], tars, position, record, found)
        bad = links.judge(item.source) if isinstance(item, Row) and item.image.offset is None else None
        yield lost(item.source, item.position, item.key, *bad[1]) if bad else item
    rest = [member for key, some in found.items() if key not in told for member in some]
    if tars:  # what the table doesn't speak of
        yield from member_rows(source, tars[0], rest)
    elif stem.is_dir():
        files = []
        for file in sorted(stem.iterdir()):
            if file.stem not in told and not file.name.startswith("."):
                if bad := links.judge(str(file)):
                    yield lost(bad[0], None, None, *bad[1])
                else:
                    files.append(SourceFile(str(file), 0, 0, str(stem)))
        yield from folder_rows(source, files)


def _downloaded(
    source: Source,
    stem: Path,
    table: Path,
    tars: list[Path],
    position: int,
    record: dict[str, Any],
    found: dict[str, list[Member]],
) -> Item:
    key = str(record.get("key", position))
    if record.get("status", "success") != "success":
        detail = f"{record['status']}: {record.get('error_message') or 'no message'}"
        return lost(str(table), position, key, "download_failed", detail)
    captions = [caption for name in source.captions or ["caption"] for caption in captions_of(record.get(name), name)]
    mine = found.get(key, [])
    for member in mine:
        if suffix(member.name) in IMAGE_SUFFIXES and not member.problem:
            image = Encoded(str(tars[0]), member.offset, member.size)
            return Row(str(tars[0]), member.number, key, f"{tars[0]}#{member.name}", image, captions, record)
    for name in IMAGE_FIELDS:
        if isinstance(record.get(name), bytes):
            uri = f"{table}#{name}"
            return Row(str(table), position, key, uri, Encoded(uri, data=record[name]), captions, record)
    if os.path.basename(key) == key and key not in ("", ".", "..") and "\0" not in key:  # a name inside the folder
        for ending in IMAGE_SUFFIXES:
            file = stem / f"{key}{ending}"
            if file.is_file():
                return Row(str(file), 1, key, str(file), Encoded(str(file)), captions, record)
    detail = next((f"{m.problem}: {m.detail}" for m in mine if m.problem), "not among the shard's files")
    return lost(str(table), position, key, "missing_image", detail)


def table_rows(source: Source, path: Path, root: Path) -> Iterator[Item]:
    """Rows of a table whose field `image` holds bytes, or a path beside the table."""
    real = os.path.join(os.path.realpath(root), "")
    needed = [str(source.image), *source.captions, *([source.key] if source.key else [])]
    names = list(dict.fromkeys([*needed, *source.keep.values()]))
    for position, record in _records(path, root, names, needed, source.format):
        if isinstance(record, Unusable):
            yield lost(str(path), position, None, *record.args)
            continue
        key = None if source.key is None or record.get(source.key) is None else str(record[source.key])
        if source.key and key is None:
            yield lost(str(path), position, None, "missing_field", f"field {source.key!r} is absent or null")
            continue
        item = _table_row(source, path, position, key, record)
        by_path = isinstance(item, Row) and item.image.data is None
        if by_path and not source.follow_links and _leads_out(item, real):
            told = f"a path out of the pool, which `follow_links: true` follows: {record.get(str(source.image))}"
            item = lost(str(path), position, item.key, "link", told)
        yield item


def _leads_out(item: Item, real: str) -> bool:
    try:
        return isinstance(item, Row) and not (os.path.realpath(item.image.path) + os.sep).startswith(real)
    except (ValueError, OSError):  # no path at all, as its decode will say
        return False


def _table_row(source: Source, path: Path, position: int, key: str | None, record: dict[str, Any]) -> Item:
    image = record.get(str(source.image))
    if isinstance(image, dict):  # Hugging Face: bytes, or else a path
        image = image.get("bytes") or image.get("path")
    captions = [caption for name in source.captions for caption in captions_of(record.get(name), name)]
    if isinstance(image, bytes):
        uri = f"{path}#{source.image}"
        return Row(str(path), position, key, uri, Encoded(uri, data=image), captions, record)
    if not isinstance(image, str) or not image.strip():
        return Reject(str(path), position, key, "missing_field", f"field {source.image!r} holds no image and no path")
    if "://" in image:
        detail = f"{shorten(image)} is an address: download it first, for instance with img2dataset"
        return Reject(str(path), position, key, "missing_image", detail)
    place = os.path.normpath(path.parent / image)
    key = key_of_path(place, str(path.parent)) if key is None else key
    return Row(str(path), position, key, place, Encoded(place), captions, {"label": label_of(key), **record})


def _records(
    path: Path, root: Path, names: list[str] | None, needed: list[str], kind: str = "parquet"
) -> Iterator[tuple[int, Record]]:
    """(position, record) of each row; `names` None: all fields. Raises Unusable where the whole table can't be used."""
    if kind == "jsonl":
        yield from _json_records(path, names or [])
    elif kind == "csv":
        yield from _csv_records(path)
    else:
        position = 1
        for batch in _batches(path, root, names, needed, kind):
            for record in columnar.dicts_of(batch):
                yield position, record
                position += 1


def _batches(path: Path, root: Path, names: list[str] | None, needed: list[str], kind: str) -> Iterator[Any]:
    if names is None:
        yield from columnar.open_parquet(path).iter_batches(batch_size=TABLE_ROWS, use_threads=False)
        return
    read = columnar.arrow_batches if kind == "hf" else columnar.parquet_batches
    for batch in read(path, root, names, TABLE_ROWS):
        if isinstance(batch, columnar.Unread):
            raise Unusable("over_limit", batch.why)
        if missing := [name for name in needed if name not in batch.column_names]:
            raise Unusable("missing_field", f"no field {missing[0]!r}; {columnar.told_fields(path)}")
        yield batch


def _json_records(path: Path, names: list[str]) -> Iterator[tuple[int, Record]]:
    for lines, first in line_blocks(path):
        if lines is OVERLONG:
            yield first, Unusable(*too_long(MOST_RECORD))
            continue
        for number, line in enumerate(lines.split(b"\n"), first):
            if line.strip(b" \t\r"):
                try:
                    yield number, record_of(line, names)
                except Unusable as error:
                    yield number, error


def _csv_records(path: Path) -> Iterator[tuple[int, Record]]:
    for number, row in delimited.CsvReader(path):
        yield number, row if isinstance(row, Unusable) else {name: value or None for name, value in row.items()}
