"""Paths that may be patterns: `*`, `?` and `[...]` are a recipe's own; those in the name of a folder are its name."""

import glob
import os
import re
from fnmatch import fnmatchcase
from pathlib import Path

ESCAPED = re.compile(r"\[([*?[])\]")  # as glob.escape writes them


def pattern_below(folder: Path, path: str) -> str:
    """A path as someone gives it, relative to a folder, as one absolute pattern, the same from wherever it is given:
    links of the folder and `..` are resolved; links that the path itself goes through keep their names."""
    place = os.path.join(glob.escape(os.path.realpath(folder)), os.path.expanduser(path))
    head, dots, tail = place.rpartition("/..")
    if dots and tail[:1] in ("", "/") and os.path.isdir(above := literally(head + dots)):
        place = glob.escape(os.path.realpath(above)) + tail
    return place if dots and "/.." in place else os.path.normpath(place)


def matching(folder: Path, path: str) -> list[Path]:
    """What a path below a folder names: itself where it is there, else all that fits it as a pattern, sorted."""
    pattern = pattern_below(folder, path)
    plain = Path(literally(pattern))
    return [plain] if plain.exists() else sorted(Path(name) for name in glob.glob(pattern, recursive=True))


def literally(pattern: str) -> str:
    """The path that a pattern is when its wildcards are characters."""
    return ESCAPED.sub(r"\1", pattern)


def is_pattern(path: str) -> bool:
    """Whether it has wildcards that nobody escaped."""
    return glob.has_magic(ESCAPED.sub("", path))


def fits(path: str, pattern: str) -> bool:
    """Whether a path is one of a pattern's, whose `**` are any number of folders, none of them hidden."""
    return _fits(path.split("/"), pattern.split("/"))


def _fits(parts: list[str], wanted: list[str]) -> bool:
    if not wanted or not parts:
        return not wanted and not parts
    if wanted[0] == "**":
        return _fits(parts, wanted[1:]) or (not parts[0].startswith(".") and _fits(parts[1:], wanted))
    return fnmatchcase(parts[0], wanted[0]) and _fits(parts[1:], wanted[1:])


def fixed_folder(pattern: str) -> str:
    """The folder before the first wildcard: keys of `texts/**/*.txt` are paths below `texts`."""
    folder = Path(pattern).parent
    while is_pattern(str(folder)):
        folder = folder.parent
    return literally(str(folder))
