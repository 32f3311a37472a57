"""Finding source files: globs and folders, sorted, grouped by what is read together.

A group is some whole files: about 256 MB of small ones, or one large one. Groups are what an incremental run adds
and what a changed file replaces; a group is read whole and becomes one or more shards."""

import glob
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tamis.pipeline.errors import SourceError
from tamis.pipeline.recipe import Source

GROUP_BYTES = 256 << 20  # small files are read together up to this many bytes
SUFFIXES = {"jsonl": (".jsonl", ".json", ".ndjson"), "csv": (".csv", ".tsv"), "texts": (".txt", ".md", ".text")}
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
    for path in source.paths:
        plain = os.path.exists(path) or not glob.has_magic(path)
        matches = [path] if plain else [m for m in sorted(glob.glob(path, recursive=True)) if os.path.isfile(m)]
        if not matches:
            raise SourceError(f"source {path}: the glob finds no file. Check the path; it is relative to the recipe.")
        for match in matches:
            for file in _files_under(source, Path(match)):
                found.setdefault(str(file), match if os.path.isdir(match) else _fixed_folder(path))
    return [_stat(path, root) for path, root in sorted(found.items())]


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
    wanted = SUFFIXES.get(source.format, (f".{source.format}",))
    files = [file for file in path.rglob("*") if has_suffix(file.name, wanted) and file.is_file()]
    files = [file for file in files if not _is_ours(file.relative_to(path), path)]
    if not files:
        raise SourceError(f"source {path}: the folder holds no {source.format} file ({', '.join(wanted)}).")
    return files


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
    state = os.stat(path)
    return SourceFile(path=path, size=state.st_size, mtime_ns=state.st_mtime_ns, root=root)


def grouped(files: list[SourceFile]) -> Iterator[list[SourceFile]]:
    """Split files into groups of at most GROUP_BYTES, in order; a larger file is a group alone."""
    group: list[SourceFile] = []
    size = 0
    for file in files:
        if group and size + file.size > GROUP_BYTES:
            yield group
            group, size = [], 0
        group.append(file)
        size += file.size
    if group:
        yield group
