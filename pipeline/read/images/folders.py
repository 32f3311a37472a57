"""Images of folders and tars as rows: where the bytes lie, the key, captions and fields. Nothing is decoded here.

A row's key is its path below the pool's root without the last suffix, so a folder and a tar of it give the same keys.
What lies beside an image under the same key is its sidecar (`.txt` a caption, `.json` fields); a file that is neither
image nor sidecar is a reject, so that files and members = samples + rejects + sidecars, to the file."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from tamis.pipeline.decode.decoders import Encoded
from tamis.pipeline.decode.worker import read_bytes
from tamis.pipeline.errors import Unusable
from tamis.pipeline.files.plain_json import load_record
from tamis.pipeline.progress import say, visible
from tamis.pipeline.read.blocks import Reject, shorten
from tamis.pipeline.read.images.tars import BEHIND, Member, members, read_range
from tamis.pipeline.read.sources import IMAGE_SUFFIXES, SourceFile, key_of_path
from tamis.pipeline.recipe.source import Source

CAPTION_FILES = ("txt", "caption", "text")  # suffixes of sidecars that hold a caption
NUMBER_FILES = ("cls", "cls2", "index", "inx", "id")  # that WebDataset reads as whole numbers
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
    for (key, _), together in groupby(files, key=lambda file: (key_of_path(file.path, file.root), file.root)):
        some = list(together)
        images = [file.path for file in some if suffix(file.path) in IMAGE_SUFFIXES and not file.problem]
        barred = [file for file in some if file.problem]
        beside = next((file for file in barred if images and suffix(file.path) not in IMAGE_SUFFIXES), None)
        for file in barred:
            if file.problem and file is not beside:
                yield lost(file.path, None, key, *file.problem)
        if beside and beside.problem:  # a caption that can't be read: the image is none without it
            yield from (lost(path, 1, key, beside.problem[0], f"a sidecar: {beside.problem[1]}") for path in images)
        else:
            places = [Place(1, file.path, file.path, Encoded(file.path)) for file in some if not file.problem]
            yield from _one_key(source, key, places)


def tar_rows(source: Source, path: Path, dotted: bool = False) -> Iterator[Item]:
    """Rows in the order in which keys first appear; `dotted`: in WebDataset a name ends at its first dot."""
    found, problem = members(path)
    yield from member_rows(source, path, found, dotted)
    if problem:
        reason = "trailing_data" if problem.startswith(BEHIND) else "truncated" if found else "unreadable_file"
        yield lost(str(path), None, None, reason, problem)


def member_rows(source: Source, path: Path, found: list[Member], dotted: bool = False) -> Iterator[Item]:
    keys: dict[str, list[Member]] = {}
    beside: list[str] = []
    for member in found:
        if member.problem:
            yield lost(str(path), member.number, without_suffix(member.name), member.problem, member.detail)
        elif not any(part.startswith(".") for part in member.name.split("/")):
            key = to_first_dot(member.name) if dotted else without_suffix(member.name)
            keys.setdefault(key, []).append(member)
    for key, some in keys.items():
        names = [m.name for m in some if suffix(m.name) not in IMAGE_SUFFIXES]
        if twice := [name for name in names if names.count(name) > 1]:  # which image is which one's?
            yield lost(str(path), some[0].number, key, "key_conflict", f"the tar has {twice[0]!r} more than once")
            continue
        places = [Place(m.number, str(path), m.name, Encoded(str(path), m.offset, m.size)) for m in some]
        together = list(_parted(source, key, places)) if dotted else [(key, places)]
        beside += [p.name for p in places if suffix(p.name) in IMAGE_SUFFIXES and not any(p in s for _, s in together)]
        for name, mine in together:
            if mine:
                yield from _one_key(source, name, mine, inside=str(path))
            else:
                yield lost(str(path), some[0].number, name, "missing_image", f"no member {name}.{source.image}")
    if beside:
        told = f"{len(beside):,} images are read as parts of other samples, such as {visible(beside[0])}"
        say(f"{path.name}: {told}: in a WebDataset names end at their first dot")


def _parted(source: Source, key: str, places: list["Place"]) -> Iterator[tuple[str, list["Place"]]]:
    """What WebDataset reads as one sample. Its image is the one that `image` names (`left.jpg`), else the one whose
    name has a single dot (`jpg` beside `seg.png`): other images belong to it, as masks do. Where there is none such,
    each image is a sample of its own (`left`, `right`), and what has a single dot belongs to all of them."""
    endings = {place.name: place.name[len(key) + 1 :] for place in places}
    images = [place for place in places if suffix(place.name) in IMAGE_SUFFIXES]
    if source.image:
        mine = [place for place in images if endings[place.name] == source.image]
    else:
        mine = [place for place in images if "." not in endings[place.name]]
    others = [place for place in places if place not in images]
    if mine or not images or source.image:
        yield key, [*mine, *others] if mine or not images else []
        return
    shared = [place for place in others if "." not in endings[place.name]]
    by_stem: dict[str, list[Place]] = {}
    for place in places:
        if place not in shared:
            by_stem.setdefault(without_suffix(place.name), []).append(place)
    for stem, some in by_stem.items():
        own = {suffix(place.name) for place in some}
        yield stem, [*some, *(place for place in shared if suffix(place.name) not in own)]


def to_first_dot(name: str) -> str:
    """The path with the name up to its first dot."""
    folder, slash, base = name.rpartition("/")
    return folder + slash + base.partition(".")[0]


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
    others = {endings(key, place.name): place.where for place in places if place not in images}
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
            fields, twice = load_record(_sidecar(others["json"]))
            if doubled := [name for name in wanted if name in twice]:
                raise ValueError(f"field {doubled[0]!r} stands in it more than once")
        except ValueError as error:
            raise Unusable("bad_json", f"the sidecar .json: {error}") from error
        if not isinstance(fields, dict):
            raise Unusable("bad_json", f"the sidecar .json holds a {type(fields).__name__}, wanted an object")
    captions = []
    for name in names:
        given = _sidecar(others[name]) if name in files and name in others else fields.get(name)
        captions += captions_of(given, name)
    kept = [name for name in source.keep.values() if name != "label"]
    return captions, {name: fields[name] if name in fields else _own_file(others, name) for name in kept}


def _own_file(others: dict[str, Encoded], name: str) -> Any:
    """A field that has a file of its own: `cls`, `id`, `index` hold a whole number in WebDataset, others text."""
    if name not in others:
        return None
    text = _sidecar(others[name]).strip()
    if name not in NUMBER_FILES:
        return text
    try:
        return int(text)
    except ValueError as error:
        raise Unusable("wrong_type", f".{name}: wanted a whole number, found {shorten(text)!r}") from error


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
    """A caption, or a list of them; what is blank or no text is none."""
    texts = given if isinstance(given, list) else [given]
    return [{"text": text, "source": name} for text in texts if isinstance(text, str) and text.strip()]


def suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def endings(key: str, name: str) -> str:
    """What a name adds to its key: `txt`, `seg.png`; of names with several keys the last suffix."""
    return name[len(key) + 1 :].lower() if name.startswith(f"{key}.") else suffix(name)[1:]


def without_suffix(name: str) -> str:
    path = PurePosixPath(name)
    return str(path.parent / path.stem) if path.name else name
