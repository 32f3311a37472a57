"""Images of folders and tars as rows: where the bytes lie, the key, captions and fields. Nothing is decoded here.

A row's key is its path below the pool's root without the last suffix, so a folder and a tar of it give the same keys.
What lies beside an image under the same key is its sidecar (`.txt` a caption, `.json` fields); a file that is neither
image nor sidecar is a reject, so that files and members = samples + rejects + sidecars, to the file."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from tamis.pipeline.decode.decoders import Encoded
from tamis.pipeline.decode.worker import read_bytes
from tamis.pipeline.errors import Unusable
from tamis.pipeline.read.blocks import Reject, shorten
from tamis.pipeline.read.images.tars import Member, members, read_range
from tamis.pipeline.read.sources import IMAGE_SUFFIXES, SourceFile, key_of_path
from tamis.pipeline.recipe.recipe import Source

CAPTION_FILES = ("txt", "caption", "text")  # suffixes of sidecars that hold a caption
SIDECAR_BYTES = 16 << 20  # more is no caption


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


def lost(source: str, position: int | None, key: str | None, reason: str, detail: str) -> Reject:
    return Reject(source, position, key, reason, shorten(detail))


def folder_rows(source: Source, files: list[SourceFile]) -> Iterator[Item]:
    for (key, _), some in groupby(files, key=lambda file: (key_of_path(file.path, file.root), file.root)):
        yield from _one_key(source, key, [Place(1, file.path, file.path, Encoded(file.path)) for file in some])


def tar_rows(source: Source, path: Path) -> Iterator[Item]:
    """Rows in the order in which keys first appear."""
    found, problem = members(path)
    yield from member_rows(source, path, found)
    if problem:
        yield lost(str(path), None, None, "truncated" if found else "unreadable_file", problem)


def member_rows(source: Source, path: Path, found: list[Member]) -> Iterator[Item]:
    keys: dict[str, list[Member]] = {}
    for member in found:
        if member.problem:
            yield lost(str(path), member.number, without_suffix(member.name), member.problem, member.detail)
        elif not any(part.startswith(".") for part in member.name.split("/")):
            keys.setdefault(without_suffix(member.name), []).append(member)
    for key, some in keys.items():
        places = [Place(m.number, str(path), m.name, Encoded(str(path), m.offset, m.size)) for m in some]
        yield from _one_key(source, key, places, inside=str(path))


class Place(NamedTuple):
    """A file or member: its position, the file that holds it, its own name, and where its bytes are."""

    position: int
    source: str
    name: str
    where: Encoded


def _one_key(source: Source, key: str, places: list[Place], inside: str | None = None) -> Iterator[Item]:
    """Everything under one key: its images, each with the sidecars."""
    images = [place for place in places if suffix(place.name) in IMAGE_SUFFIXES]
    if not images:
        for place in places:
            detail = f"{PurePosixPath(place.name).name!r} is no image, and none bears its name"
            yield lost(place.source, place.position, key, "no_image", detail)
        return
    others = {suffix(place.name)[1:]: place.where for place in places if place not in images}
    try:
        captions, fields = _beside(source, others)
    except Unusable as error:
        for place in images:
            yield lost(place.source, place.position, key, *error.args)
        return
    fields["label"] = label_of(key)
    for place in images:
        uri = f"{inside}#{place.name}" if inside else place.name
        yield Row(place.source, place.position, key, uri, place.where, captions, fields)


def label_of(key: str) -> str | None:
    """The first folder of a key."""
    return key.split("/", maxsplit=1)[0] or None if "/" in key else None


def _beside(source: Source, others: dict[str, Encoded]) -> tuple[list[dict[str, str]], dict[str, Any]]:
    """Captions and fields of the sidecars. Raises Unusable."""
    names = source.captions or ["txt"]
    files = {name for name in names if name in CAPTION_FILES and (name in others or name == "txt")}
    wanted = [name for name in [*names, *source.keep.values()] if name not in files and name != "label"]
    fields: dict[str, Any] = {}
    if wanted and "json" in others:
        try:
            fields = json.loads(_sidecar(others["json"]))
        except (ValueError, RecursionError) as error:
            raise Unusable("bad_json", f"the sidecar .json: {error}") from error
        if not isinstance(fields, dict):
            raise Unusable("bad_json", f"the sidecar .json holds a {type(fields).__name__}, wanted an object")
    captions = []
    for name in names:
        given = _sidecar(others[name]) if name in files and name in others else fields.get(name)
        captions += captions_of(given, name)
    return captions, {name: fields.get(name) for name in wanted}


def _sidecar(place: Encoded) -> str:
    """Its text; nothing where it is too large to be one. Raises Unusable."""
    try:
        size = os.path.getsize(place.path) if place.offset is None else place.size or 0
        data = b""
        if size <= SIDECAR_BYTES:
            data = (
                read_bytes(place.path, None, None)
                if place.offset is None
                else read_range(place.path, place.offset, size)
            )
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unusable("invalid_utf8", f"a sidecar: {error}") from error
    except OSError as error:
        raise Unusable("unreadable_file", f"a sidecar: {error}") from error


def captions_of(given: Any, name: str) -> list[dict[str, str]]:
    """A caption, or a list of them; blank ones are none."""
    texts = given if isinstance(given, list) else [given]
    return [{"text": text, "source": name} for text in texts if isinstance(text, str) and text.strip()]


def suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def without_suffix(name: str) -> str:
    path = PurePosixPath(name)
    return str(path.parent / path.stem) if path.name else name
