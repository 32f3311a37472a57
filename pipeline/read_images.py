"""Images of every kind of source as rows: where the bytes lie, the key, captions and fields. Nothing is decoded here.

A row's key is its path below the pool's root without the last suffix, so a folder and a tar of it give the same keys.
What lies beside an image under the same key is its sidecar (`.txt` a caption, `.json` fields); a file that is neither
image nor sidecar is a reject, so that files and members = samples + rejects + sidecars, to the file."""

import csv
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby, islice
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tamis.pipeline import read_others
from tamis.pipeline.blocks import Reject, shorten
from tamis.pipeline.bytes_in import Truncated, line_blocks
from tamis.pipeline.decoding import Encoded
from tamis.pipeline.recipe import Source
from tamis.pipeline.sources import IMAGE_SUFFIXES, SourceFile, key_of_path
from tamis.pipeline.tars import Member, members, read_range

CAPTION_FILES = ("txt", "caption", "text")  # suffixes of sidecars that hold a caption
SIDECAR_BYTES = 16 << 20
SNIFF_ROWS = 200
TABLE_ROWS = 64  # rows of a table with image bytes read at once: 64 photos of 1 MB
IMAGE_FIELDS = ("jpg", "jpeg", "png", "webp")  # img2dataset's own name for the bytes in a Parquet file


@dataclass(frozen=True)
class Row:
    """One image as its source names it, not yet decoded."""

    source: str
    position: int
    key: str | None
    uri: str
    image: Encoded
    captions: list[dict[str, str]] = field(default_factory=list)  # of text and source
    fields: dict[str, Any] = field(default_factory=dict)  # by the source's names


Item = Row | Reject


def image_rows(source: Source, files: list[SourceFile]) -> Iterator[Item]:
    """Rows and rejects of one group of files, in order."""
    if source.format == "images":
        yield from _folder_rows(source, files)
        return
    for stem, some in groupby(files, key=lambda file: file.path.removesuffix(Path(file.path).suffix)):
        paths = [Path(file.path) for file in some]
        try:
            if source.format == "webdataset":
                for path in paths:
                    yield from _tar_rows(source, path)
            elif source.format == "img2dataset":
                yield from _downloaded_rows(source, Path(stem), paths)
            else:
                for path in paths:
                    yield from _table_rows(source, path)
        except Truncated as error:
            yield Reject(str(paths[0]), error.args[1], None, "truncated", shorten(error.args[0]))
        except (OSError, pa.ArrowException) as error:
            yield Reject(str(paths[0]), None, None, "unreadable_file", shorten(str(error)))


def _folder_rows(source: Source, files: list[SourceFile]) -> Iterator[Item]:
    for key, some in groupby(files, key=lambda file: key_of_path(file.path, file.root)):
        paths = [file.path for file in some]
        yield from _one_key(source, key, [(1, path, path, Encoded(path)) for path in paths])


def _tar_rows(source: Source, path: Path) -> Iterator[Item]:
    """Rows in the order in which keys first appear."""
    found, problem = members(path)
    yield from _member_rows(source, path, found)
    if problem:
        yield Reject(str(path), None, None, "truncated" if found else "unreadable_file", shorten(problem))


def _member_rows(source: Source, path: Path, found: list[Member]) -> Iterator[Item]:
    keys: dict[str, list[Member]] = {}
    for member in found:
        if member.problem:
            yield _lost(str(path), member.number, member.name, member.problem, member.detail)
        elif not PurePosixPath(member.name).name.startswith("."):
            keys.setdefault(_without_suffix(member.name), []).append(member)
    for key, some in keys.items():
        places = [(m.number, str(path), m.name, Encoded(str(path), m.offset, m.size)) for m in some]
        yield from _one_key(source, key, places, inside=str(path))


def _lost(source: str, position: int | None, name: str, reason: str, detail: str) -> Reject:
    shown = name.encode("utf-8", "backslashreplace").decode()
    return Reject(
        source.encode("utf-8", "backslashreplace").decode(), position, _without_suffix(shown), reason, shorten(detail)
    )


def _one_key(
    source: Source, key: str, places: list[tuple[int, str, str, Encoded]], inside: str | None = None
) -> Iterator[Item]:
    """Everything under one key, given as (position, source, name, where): its images, each with the sidecars."""
    images = [place for place in places if _suffix(place[2]) in IMAGE_SUFFIXES]
    others = {_suffix(place[2])[1:]: place[3] for place in places if place not in images} if images else {}
    for position, origin, name, _ in places if not images else []:
        detail = f"{PurePosixPath(name).name!r} is no image, and none bears its name"
        yield _lost(origin, position, key, "no_image", detail)
    if not images:
        return
    try:
        key.encode()
        captions, fields = _beside(source, others)
    except UnicodeError as error:
        detail = f"the name or a caption is not UTF-8: {error}"
        for position, origin, _, _ in images:
            yield _lost(origin, position, key, "invalid_utf8", detail)
        return
    except ValueError as error:
        for position, origin, _, _ in images:
            yield _lost(origin, position, key, "bad_json", str(error))
        return
    if "/" in key:
        fields["label"] = key.split("/", maxsplit=1)[0]
    for position, origin, name, encoded in images:
        yield Row(origin, position, key, f"{inside}#{name}" if inside else name, encoded, captions, fields)


def _beside(source: Source, others: dict[str, Encoded]) -> tuple[list[dict[str, str]], dict[str, Any]]:
    """Captions and fields of the sidecars. Raises ValueError, UnicodeError."""
    names = source.captions or ["txt"]
    wanted = [name for name in [*names, *source.keep.values()] if name not in CAPTION_FILES and name != "label"]
    fields: dict[str, Any] = {}
    if wanted and "json" in others:
        fields = json.loads(_sidecar(others["json"]))
        if not isinstance(fields, dict):
            raise ValueError(f"the sidecar .json holds a {type(fields).__name__}, wanted an object")
    captions = []
    for name in names:
        given = _sidecar(others[name]) if name in CAPTION_FILES and name in others else fields.get(name)
        captions += _captions(given, name)
    return captions, {name: fields.get(name) for name in wanted}


def _sidecar(place: Encoded) -> str:
    if place.offset is None:
        data = Path(place.path).read_bytes() if os.path.getsize(place.path) <= SIDECAR_BYTES else b""
    else:
        data = read_range(place.path, place.offset, min(place.size or 0, SIDECAR_BYTES))
    return data.decode("utf-8-sig")


def _captions(given: Any, name: str) -> list[dict[str, str]]:
    """A caption, or a list of them; blank ones are none."""
    texts = given if isinstance(given, list) else [given]
    return [{"text": text, "source": name} for text in texts if isinstance(text, str) and text.strip()]


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _without_suffix(name: str) -> str:
    path = PurePosixPath(name)
    return str(path.parent / path.stem) if path.name else name


def _downloaded_rows(source: Source, stem: Path, paths: list[Path]) -> Iterator[Item]:
    """A shard of img2dataset: its table says what was downloaded, a tar, a folder or the table itself holds it."""
    tables = [path for path in paths if path.suffix == ".parquet"]
    tars = [path for path in paths if path.suffix == ".tar"]
    if not tables:
        for path in tars:
            yield from _tar_rows(source, path)
        return
    found, problem = members(tars[0]) if tars else ([], None)
    by_key: dict[str, list[Member]] = {}
    for member in found:
        by_key.setdefault(_without_suffix(member.name), []).append(member)
    for position, record in _table_records(tables[0], None):
        key = str(record.get("key", position))
        if record.get("status", "success") != "success":
            detail = f"{record['status']}: {record.get('error_message') or 'no message'}"
            yield _lost(str(tables[0]), position, key, "download_failed", detail)
            continue
        captions = [c for name in source.captions or ["caption"] for c in _captions(record.get(name), name)]
        mine = by_key.pop(key, [])
        usable = [m for m in mine if _suffix(m.name) in IMAGE_SUFFIXES and not m.problem]
        if usable:
            image = Encoded(str(tars[0]), usable[0].offset, usable[0].size)
            yield Row(str(tars[0]), usable[0].number, key, f"{tars[0]}#{usable[0].name}", image, captions, record)
        elif held := next((record[name] for name in IMAGE_FIELDS if isinstance(record.get(name), bytes)), None):
            uri = f"{tables[0]}#{next(name for name in IMAGE_FIELDS if record.get(name) is held)}"
            yield Row(str(tables[0]), position, key, uri, Encoded(uri, data=held), captions, record)
        elif lying := next((p for p in sorted(stem.glob(f"{key}.*")) if p.suffix.lower() in IMAGE_SUFFIXES), None):
            yield Row(str(lying), 1, key, str(lying), Encoded(str(lying)), captions, record)
        else:
            problems = next((f"{m.problem}: {m.detail}" for m in mine if m.problem), "not among the shard's files")
            yield _lost(str(tables[0]), position, key, "missing_image", problems)
    if tars:  # what the table doesn't speak of
        yield from _member_rows(source, tars[0], [member for some in by_key.values() for member in some])
    if problem:
        yield Reject(str(tars[0]), None, None, "truncated", shorten(problem))


def _table_rows(source: Source, path: Path) -> Iterator[Item]:
    """Rows of a table whose field `image` holds bytes, or a path beside the table."""
    needed = [source.image, *source.captions, *([source.key] if source.key else []), *source.keep.values()]
    for position, record in _table_records(path, [str(name) for name in needed], source.format):
        if isinstance(record, str):
            reason, _, detail = record.partition("|")
            yield Reject(str(path), position, None, reason, detail)
            continue
        key = None if source.key is None or record.get(source.key) is None else str(record[source.key])
        if source.key and key is None:
            yield Reject(str(path), position, None, "missing_field", f"field {source.key!r} is absent or null")
            continue
        yield _table_row(source, path, position, key, record)


def _table_row(source: Source, path: Path, position: int, key: str | None, record: dict[str, Any]) -> Item:
    image = record.get(str(source.image))
    if isinstance(image, dict):  # Hugging Face: bytes, or else a path
        image = image.get("bytes") or image.get("path")
    captions = [caption for name in source.captions for caption in _captions(record.get(name), name)]
    if isinstance(image, bytes):
        uri = f"{path}#{source.image}"
        return Row(str(path), position, key, uri, Encoded(uri, data=image), captions, record)
    if not isinstance(image, str) or not image.strip():
        return Reject(str(path), position, key, "missing_field", f"field {source.image!r} holds no image and no path")
    if "://" in image:
        detail = f"{shorten(image)} is an address: download it first, for instance with img2dataset"
        return Reject(str(path), position, key, "missing_image", detail)
    place = Path(os.path.normpath(path.parent / image))
    key = key_of_path(str(place), str(path.parent)) if key is None else key
    fields = {"label": key.split("/")[0] if "/" in key else None, **record}
    return Row(str(path), position, key, str(place), Encoded(str(place)), captions, fields)


def _table_records(path: Path, names: list[str] | None, kind: str = "parquet") -> Iterator[tuple[int, Any]]:
    """(position, record) of each row, or (position, "reason|detail") of one that can't be read."""
    if kind == "jsonl":
        yield from _json_records(path)
    elif kind == "csv":
        yield from _csv_records(path)
    else:
        position = 1
        for batch in _batches(path, names, kind):
            for record in batch.to_pylist():
                yield position, record
                position += 1


def _batches(path: Path, names: list[str] | None, kind: str) -> Iterator[Any]:
    if kind == "hf":
        yield from read_others.arrow_batches(path, names or [])
        return
    file = pq.ParquetFile(path)
    held = file.schema_arrow.names
    if names and (missing := [name for name in names if name not in held]):
        raise pa.ArrowInvalid(f"no field {missing[0]!r}; the file has {', '.join(held)}")
    yield from file.iter_batches(batch_size=TABLE_ROWS, columns=names, use_threads=False)


def _json_records(path: Path) -> Iterator[tuple[int, Any]]:
    for lines, first in line_blocks(path):
        for number, line in enumerate(lines.split(b"\n"), first):
            if line.strip(b" \t\r"):
                try:
                    record = json.loads(line.decode("utf-8-sig"))
                except UnicodeDecodeError as error:
                    record = f"invalid_utf8|{shorten(str(error))}"
                except (ValueError, RecursionError) as error:
                    record = f"bad_json|{shorten(str(error))}"
                else:
                    if not isinstance(record, dict):
                        record = f"bad_json|a {type(record).__name__}, wanted an object"
                yield number, record


def _csv_records(path: Path) -> Iterator[tuple[int, Any]]:
    reader = read_others.csv_reader(path)
    header: list[str] = next(reader, [])
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:  # a stray quote: this record is lost, the reader goes on with the next line
            yield reader.line_num, f"bad_row|{shorten(str(error))}"
            continue
        if problem := read_others.csv_problem(row, header):
            yield reader.line_num, "|".join(problem)
        elif row:
            yield reader.line_num, {name: value or None for name, value in zip(header, row, strict=True)}


def sniff(source: Source, files: list[SourceFile]) -> dict[str, list[Any]]:
    """Values of the kept fields in the first rows, for settling their types."""
    some = [item.fields for item in islice(image_rows(source, files), SNIFF_ROWS) if isinstance(item, Row)]
    return {name: [fields.get(name) for fields in some] for name in source.keep.values()}
