"""Finding source files: globs and folders, sorted, grouped by what is read together.

A group is some whole files: about 256 MB of small ones, or one large one. Groups are what an incremental run adds
and what a changed file replaces; a group is read whole and becomes one or more shards."""

import glob
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from tamis.pipeline.errors import SourceError
from tamis.pipeline.files.atomic import fingerprint
from tamis.pipeline.files.urls import as_url, filesystem, version_of
from tamis.pipeline.recipe.recipe import Source

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

    def record(self) -> dict[str, Any]:
        return asdict(self)


def find_files(source: Source) -> list[SourceFile]:
    """All files of a source, sorted by path. Raises SourceError where a path or glob finds none."""
    found: dict[str, str] = {}
    there: list[SourceFile] = []
    for path in source.paths:
        if (url := as_url(path)) is not None:
            there += _files_at(source, url)
            continue
        plain = os.path.exists(path) or not glob.has_magic(path)
        wanted = is_no_folder if source.format == "images" else os.path.isfile
        matches = [path] if plain else [m for m in sorted(glob.glob(path, recursive=True)) if wanted(m)]
        if not matches:
            raise SourceError(f"source {path}: the glob finds no file. Check the path; it is relative to the recipe.")
        for match in matches:
            for file in _files_under(source, Path(match)):
                found.setdefault(str(file), match if os.path.isdir(match) else _fixed_folder(path))
    if source.format == "images":
        return [_stat(*item) for item in sorted(_with_sidecars(found).items(), key=lambda item: _by_key(*item))]
    return [*(_stat(path, root) for path, root in sorted(found.items())), *sorted(there, key=lambda file: file.path)]


def _files_at(source: Source, url: str) -> list[SourceFile]:
    """Files of a URL, a glob, or all of the format below a folder."""
    if source.format not in REMOTE or source.reads_images:
        told = f"from a URL come {', '.join(REMOTE)}; read images and the like from a file system"
        raise SourceError(f"source {url}: {told}")
    system, path = filesystem(url)
    wanted = SUFFIXES.get(source.format, (f".{source.format}",))
    try:
        system.invalidate_cache()
        if glob.has_magic(path):
            infos = system.glob(path, detail=True)
        elif system.isfile(path):
            infos = {path: system.info(path)}
        else:
            infos = {p: i for p, i in system.find(path, detail=True).items() if has_suffix(p, wanted)}
    except Exception as error:
        raise SourceError(f"source {url}: can't be listed ({' '.join(str(error).split())[:200]})") from error
    scheme = url.partition("://")[0]
    files = []
    for name, info in infos.items():
        if info["type"] == "file":
            version = int(fingerprint(version_of(info)), 16) >> 1  # stands where a file has its time
            files.append(SourceFile(f"{scheme}://{name.lstrip('/')}", info["size"], version, url))
    if not files:
        raise SourceError(f"source {url}: no {source.format} file is there")
    return files


def key_of_path(path: str, root: str) -> str:
    """The path below the root without the last suffix, with `/` whatever the system."""
    place = Path(path)
    below = place.relative_to(root) if place.is_relative_to(root) else place
    return (below.parent / below.stem).as_posix()


def _by_key(path: str, root: str) -> tuple[str, str, str]:
    """An image and its sidecars stand together."""
    return key_of_path(path, root), root, path


def _with_sidecars(found: dict[str, str]) -> dict[str, str]:
    """A glob such as `photos/*.jpg` finds images alone; captions and fields that lie beside them come along."""
    beside = {str(Path(path).with_suffix(suffix)): root for path, root in found.items() for suffix in (".txt", ".json")}
    return {path: root for path, root in beside.items() if path not in found and os.path.isfile(path)} | found


def is_no_folder(path: str) -> bool:
    return os.path.lexists(path) and not os.path.isdir(path)


def _fixed_folder(path: str) -> str:
    """The folder before the first wildcard: keys of `texts/**/*.txt` are paths below `texts`."""
    folder = Path(path).parent
    while glob.has_magic(str(folder)):
        folder = folder.parent
    return str(folder)


def _files_under(source: Source, path: Path) -> list[Path]:
    if not path.exists():
        raise SourceError(f"source {path}: no such file or folder. Paths are relative to the recipe's folder.")
    if path.is_file():
        return [path]
    if source.format == "hf":
        return hf_arrow_files(path)
    if source.format == "images":
        return _all_files(path)
    wanted = SUFFIXES.get(source.format, (f".{source.format}",))
    files = [file for file in path.rglob("*") if has_suffix(file.name, wanted) and file.is_file()]
    files = [file for file in files if not _is_ours(file.relative_to(path), path)]
    if not files:
        raise SourceError(f"source {path}: the folder holds no {source.format} file ({', '.join(wanted)}).")
    return files


def _all_files(root: Path) -> list[Path]:
    """Every file that is not hidden: an image, a sidecar, or a reject; a link to a folder is a reject, too."""
    files = []
    for folder, below, names in os.walk(root, onerror=_refuse):
        place = Path(folder)
        names += [name for name in below if (place / name).is_symlink()]
        below[:] = sorted(name for name in set(below) - set(names) if name[0] != "." and not is_store(place / name))
        files += [place / name for name in names if not name.startswith(".")]  # links to nothing, too
    if not any(file.suffix.lower() in IMAGE_SUFFIXES for file in files):
        raise SourceError(f"source {root}: the folder holds no image ({', '.join(IMAGE_SUFFIXES)}).")
    return files


def _refuse(error: OSError) -> None:
    raise SourceError(f"source {error.filename}: {error.strerror}. Mend it; what lies in there would go unseen.")


def _is_ours(file: Path, root: Path) -> bool:
    """Hidden files, and what lies in a store of tamis below the pool's folder: results are no sources."""
    hidden = any(part.startswith(".") for part in file.parts)
    return hidden or any(is_store(root / parent) for parent in file.parents)


def is_store(folder: Path) -> bool:
    return (folder / ".lock").exists() and (folder / "runs").is_dir()


def has_suffix(name: str, wanted: tuple[str, ...]) -> bool:
    for packed in PACKED:
        name = name.removesuffix(packed)
    return name.endswith(wanted)


def hf_arrow_files(folder: Path) -> list[Path]:
    """The Arrow files of a dataset that `datasets` saved with `save_to_disk` (one split, or a dict of splits)."""
    files = sorted(folder.rglob("*.arrow"))
    files = [file for file in files if not file.name.startswith("cache-")]
    if not files or not list(folder.rglob("dataset_info.json")):
        raise SourceError(f"source {folder}: not a dataset saved on disk (wanted dataset_info.json and *.arrow).")
    return files


def _stat(path: str, root: str) -> SourceFile:
    try:
        state = os.stat(path)
    except OSError:
        state = os.lstat(path)  # a link to nothing, or to itself: a reject later
    return SourceFile(path=path, size=state.st_size, mtime_ns=state.st_mtime_ns, root=root)


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
