"""Finding source files: globs and folders, sorted, grouped by what is read together.

A group is some whole files: about 256 MB of small ones, or one large one. Groups are what an incremental run adds
and what a changed file replaces; a group is read whole and becomes one or more shards."""

import glob
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from tamis.pipeline.errors import SourceError
from tamis.pipeline.files.atomic import fingerprint
from tamis.pipeline.files.patterns import fits, fixed_folder, is_pattern, literally
from tamis.pipeline.files.urls import as_url, filesystem, info_of_web, is_web, version_of, without_secrets
from tamis.pipeline.read.tables.saved import saved_files
from tamis.pipeline.read.walk import Links, Problem, below, special
from tamis.pipeline.recipe.source import Source

GROUP_BYTES = 256 << 20  # small files are read together up to this many bytes
GROUP_IMAGES = 10_000  # files of a folder of images that are read together, and images of a shard
SUFFIXES = {
    "jsonl": (".jsonl", ".json", ".ndjson"),
    "csv": (".csv", ".tsv"),
    "texts": (".txt", ".md", ".text"),
    "webdataset": (".tar",),
    "img2dataset": (".parquet", ".tar"),
}
IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2", ".avif",
)  # fmt: skip
REMOTE = ("jsonl", "csv", "parquet")  # formats that are read from a URL, too
READ_BY_KEY = ("images", "img2dataset")  # files of one name belong together
PACKED = (".gz", ".zst", ".bz2", ".xz")


@dataclass(frozen=True)
class SourceFile:
    """One file as it was when we looked: unchanged size and time count as unchanged content."""

    path: str
    size: int
    mtime_ns: int
    root: str  # keys of files without keys are paths below this
    problem: Problem | None = None  # it is not read: reason and detail of the reject that stands for it

    def record(self) -> dict[str, Any]:
        told = {name: value for name, value in asdict(self).items() if value is not None}
        return told if self.problem is None else {**told, "problem": list(self.problem)}


def find_files(source: Source, beside: Counter[str] | None = None) -> list[SourceFile]:
    """All files of a source, sorted by path, those that can't be read with why. `beside` is told how many other
    files lie in its folders, by suffix or name. Raises SourceError where a path or glob finds none."""
    found: dict[str, tuple[str, Problem | None]] = {}
    there: list[SourceFile] = []
    for path in source.paths:
        if (url := as_url(path)) is not None:
            there += _files_at(source, url)
            continue
        for match, root, problem in _matches(source, path):
            if problem:
                found.setdefault(match, (root, problem))
                continue
            for file, why in _files_under(source, Path(match), beside):
                found.setdefault(file, (match if os.path.isdir(match) else root, why))
    if source.format == "images":
        found = _with_sidecars(source, found)
        return [_stat(path, *found[path]) for path in sorted(found, key=lambda path: _by_key(path, found[path][0]))]
    local = [_stat(path, root, problem) for path, (root, problem) in sorted(found.items())]
    return [*local, *sorted(there, key=lambda file: file.path)]


def _matches(source: Source, path: str) -> Iterator[tuple[str, str, Problem | None]]:
    """(file or folder, root of the keys, why it can't be read) of a path that may be a pattern."""
    plain = literally(path)
    if os.path.lexists(plain):  # also where its name has wildcards in it
        if not os.path.exists(plain):
            raise SourceError(f"source {plain}: a link to nothing ({os.readlink(plain)}).")
        if not (os.path.isdir(plain) or os.path.isfile(plain)):
            raise SourceError(f"source {plain}: is {special(plain)[1]}; save what it gives to a file first.")
        yield plain, str(Path(plain).parent), None
        return
    if not is_pattern(path):
        raise SourceError(f"source {plain}: no such file or folder. Paths are relative to the recipe's folder.")
    root = fixed_folder(path)
    links = Links(root, source.follow_links)
    if "**" in path:  # links in circles would be followed for ever
        some = [(file, why) for file, why in below(Path(root), source.follow_links) if fits(file, path) or why]
    else:
        some = [links.judge(match) or (match, None) for match in sorted(glob.glob(path))]
        if source.format != "hf":
            some = [(match, why) for match, why in some if why or not os.path.isdir(match)]
    yield from ((match, root, why) for match, why in some)
    if not some:
        raise SourceError(f"source {plain}: the glob finds no file. Check the path; it is relative to the recipe.")


def _files_at(source: Source, url: str) -> list[SourceFile]:
    """Files of a URL, a glob, or all of the format below a folder."""
    if source.format not in REMOTE or source.reads_images:
        told = f"from a URL come {', '.join(REMOTE)}; read images and the like from a file system"
        raise SourceError(f"source {url}: {told}")
    if is_web(url):
        info = info_of_web(url)
        return [SourceFile(url, info["size"], _version(info), url)]
    system, path = filesystem(url)
    wanted = suffixes_of(source.format)
    try:
        system.invalidate_cache()
        if system.isfile(path):  # also where its name has wildcards in it
            infos = {path: system.info(path)}
        elif glob.has_magic(path):
            infos = system.glob(path, detail=True)
        else:
            infos = {p: i for p, i in system.find(path, detail=True).items() if has_suffix(p, wanted)}
    except Exception as error:
        told = " ".join(without_secrets(str(error)).split())[:200]
        raise SourceError(f"source {url}: can't be listed ({told})") from error
    scheme = url.partition("://")[0]
    files = []
    for name, info in infos.items():
        if info["type"] == "file":
            files.append(SourceFile(f"{scheme}://{name.lstrip('/')}", info["size"], _version(info), url))
    if not files:
        raise SourceError(f"source {url}: no {source.format} file is there")
    return files


def _version(info: dict[str, Any]) -> int:
    """What stands where a file has its time."""
    return int(fingerprint(version_of(info)), 16) >> 1


def key_of_path(path: str, root: str) -> str:
    """The path below the root without the last suffix, with `/` whatever the system."""
    place = Path(path)
    below = place.relative_to(root) if place.is_relative_to(root) else place
    return (below.parent / below.stem).as_posix()


def _by_key(path: str, root: str) -> tuple[str, str, str]:
    """An image and its sidecars stand together."""
    return key_of_path(path, root), root, path


def _with_sidecars(
    source: Source, found: dict[str, tuple[str, Problem | None]]
) -> dict[str, tuple[str, Problem | None]]:
    """A glob such as `photos/*.jpg` finds images alone; captions and fields that lie beside them come along."""
    links: dict[str, Links] = {}
    beside: dict[str, tuple[str, Problem | None]] = {}
    for path, (root, problem) in found.items():
        for ending in () if problem else (".txt", ".json"):
            other = str(Path(path).with_suffix(ending))
            if other not in found and os.path.isfile(other):
                bad = links.setdefault(root, Links(root, source.follow_links)).judge(other)
                beside[other] = (root, bad[1] if bad else None)
    return beside | found


def _files_under(source: Source, path: Path, beside: Counter[str] | None) -> Iterator[tuple[str, Problem | None]]:
    """Files of a file or folder that the recipe names, which may be a link."""
    if not path.is_dir():
        yield str(path), None
        return
    if source.format == "hf":
        yield from ((str(file), None) for file in saved_files(path, source.splits))
        return
    wanted = suffixes_of(source.format)
    some = False
    for file, problem in below(path, source.follow_links):
        told = problem is not None and problem[0] in ("link", "unreadable_file") and not os.path.isfile(file)
        mine = has_suffix(file, wanted) or told
        some = some or mine  # a link that may have led to a folder of such files is told, too
        if mine or source.format == "images":
            yield file, problem
        elif beside is not None:
            beside[_suffix(file) or Path(file).name] += 1
    if not some:
        raise SourceError(f"source {path}: the folder holds no {source.format} file ({', '.join(wanted)}).")


def suffixes_of(kind: str) -> tuple[str, ...]:
    return IMAGE_SUFFIXES if kind == "images" else SUFFIXES.get(kind, (f".{kind}",))


def has_suffix(name: str, wanted: tuple[str, ...]) -> bool:
    """Whether a file's name ends so, in capitals or not, packed or not."""
    return _unpacked(name).endswith(wanted)


def _unpacked(name: str) -> str:
    name = name.lower()
    for packed in PACKED:
        name = name.removesuffix(packed)
    return name


def _suffix(name: str) -> str:
    return Path(_unpacked(name)).suffix


def _stat(path: str, root: str, problem: Problem | None) -> SourceFile:
    state = os.lstat(path) if problem else os.stat(path)
    return SourceFile(path, 0 if problem else state.st_size, state.st_mtime_ns, root, problem)


def grouped(files: list[SourceFile], kind: str) -> Iterator[list[SourceFile]]:
    """Split a source's files into groups, in order: of GROUP_IMAGES files of a folder of images, else of GROUP_BYTES;
    a larger file is a group alone. What belongs to one image, or one shard of img2dataset, stays together."""
    by_key = kind in READ_BY_KEY
    group: list[SourceFile] = []
    size, most = 0, GROUP_IMAGES if kind == "images" else GROUP_BYTES
    for _, some in groupby(
        files, key=lambda file: (key_of_path(file.path, file.root), file.root) if by_key else file.path
    ):
        together = list(some)
        more = len(together) if kind == "images" else sum(file.size for file in together)
        if group and size + more > most:
            yield group
            group, size = [], 0
        group += together
        size += more
    if group:
        yield group
