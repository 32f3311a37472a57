"""Walking a pool's folder: one rule for hidden files, stores, links and what is neither file nor folder.

Links are followed inside of the pool's root, at any depth; one that leaves it, leads to nothing or in a circle is a
reject, and nothing behind it is read. `follow_links` follows those that leave, too."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tamis.pipeline.errors import SourceError

Problem = tuple[str, str]  # reason and detail of the reject that stands for the file


LONGEST_PATH = 3840  # bytes; Linux opens none of 4,096, and the file's own name is to come


class Way(NamedTuple):
    """Where the folders on the way to something really lie, or the first link on it that can't be followed."""

    folders: tuple[str, ...]
    bad: tuple[str, Problem] | None = None


class Links:
    """Judges what lies below a root by the links on the way to it."""

    def __init__(self, root: str, follow: bool) -> None:
        self.root, self.follow = root, follow
        self.real = os.path.realpath(root)
        self._ways: dict[str, Way] = {}

    def judge(self, path: str) -> tuple[str, Problem] | None:
        """The first link on the way to a path, the path itself among them, that can't be followed, and why."""
        way = self._way_to(os.path.dirname(path))
        if way.bad or not os.path.islink(path):
            return way.bad
        problem = self._problem(path, way)
        return (path, problem) if problem else None

    def _way_to(self, folder: str) -> Way:
        new: list[str] = []
        while len(folder) > len(self.root) and folder not in self._ways:
            new.append(folder)
            folder = os.path.dirname(folder)
        way = self._ways.get(folder, Way((self.real,)))
        for one in reversed(new):
            if not way.bad:
                problem = self._problem(one, way)
                way = Way((), (one, problem)) if problem else Way((*way.folders, os.path.realpath(one)))
            self._ways[one] = way
        return way

    def _problem(self, path: str, above: Way) -> Problem | None:
        if not os.path.islink(path):
            return None
        real = os.path.realpath(path)
        if not os.path.exists(real):
            return "link", f"a link to nothing: {os.readlink(path)}"
        if real in above.folders:
            return "link", f"a link in a circle, to {real}"
        if not self.follow and not (real + os.sep).startswith(os.path.join(self.real, "")):
            return "link", f"a link out of {self.root}, to {real}; `follow_links: true` follows it"
        return None


def below(root: Path, follow: bool) -> Iterator[tuple[str, Problem | None]]:
    """Every file below a folder that is not hidden, in order of names, with why it can't be read, if so; links to
    folders that are not followed, too. Raises SourceError where a folder can't be listed."""
    links = Links(str(root), follow)
    ways = [iter(_entries(str(root)))]  # of folders in folders, however deep
    while ways:
        entry = next(ways[-1], None)
        if entry is None:
            ways.pop()
            continue
        bad = links.judge(entry.path) if entry.is_symlink() else None
        if bad:
            yield bad
        elif entry.is_dir():
            if len(os.fsencode(entry.path)) > LONGEST_PATH:
                yield entry.path, ("unreadable_file", "a folder whose path is longer than a file's may be")
            elif not is_store(Path(entry.path)):
                ways.append(iter(_entries(entry.path)))
        else:
            yield entry.path, None if entry.is_file() else special(entry.path)


def _entries(folder: str) -> list["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as listed:
            return sorted((entry for entry in listed if entry.name[0] != "."), key=lambda entry: entry.name)
    except OSError as error:
        raise SourceError(f"source {folder}: {error.strerror}. Mend it; what lies in there would go unseen.") from error


def special(path: str) -> Problem:
    """Why what is neither file nor folder is not read: opening a pipe would wait for ever."""
    mode = os.stat(path).st_mode
    kinds = ((stat.S_ISFIFO, "pipe"), (stat.S_ISSOCK, "socket"), (stat.S_ISCHR, "device"), (stat.S_ISBLK, "device"))
    return "not_a_file", "a " + next((name for is_one, name in kinds if is_one(mode)), "special file")


def is_store(folder: Path) -> bool:
    """A store of tamis: results are no sources."""
    return (folder / ".lock").exists() and (folder / "runs").is_dir()
