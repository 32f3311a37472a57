"""Files whose bytes are known as they were written, so that damage is found and not built upon.

Each file that is written whole gets a line in the `.sealed` of its home: a run's folder for all that is in it, else its
own folder. The line comes when the bytes are safe on the disk, and then they are put in place: so a kill at any moment
leaves what a line speaks of. A file without one, where others have theirs, was never finished.

While a run works, what an earlier process made is held against its line when it is first used; who only looks does not
pay for that (`tamis verify` does it all). What nothing could make anew is checked by whoever reads it."""

import fcntl
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from tamis.pipeline.errors import DamageFound
from tamis.pipeline.progress import say

SEALS = ".sealed"
DEEPEST = 5  # folders of a run's that a file may lie in
OF_A_RUN = "request.json"
WORTH_DROPPING = 64  # lines


class Seal(NamedTuple):
    size: int
    digest: str


_at_work = 0
_made = 0
_one = threading.Lock()
_good: dict[str, tuple[int, int]] = {}  # files that this process wrote or checked, as they were then


@contextmanager
def checking() -> Iterator[None]:
    """What earlier processes made is checked on first use inside."""
    global _at_work  # noqa: PLW0603  threads of one run share it
    with _one:
        _at_work += 1
    try:
        yield
    finally:
        with _one:
            _at_work -= 1


def seal(path: Path, size: int, digest: str) -> None:
    """Note what a file will be, whose bytes are safe on the disk and are put in place next."""
    global _made  # noqa: PLW0603
    with _one:
        _made += 1
    home = _home(path)
    line = seal_line(path.relative_to(home).as_posix(), size, digest)
    handle = os.open(home / SEALS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)  # of a shared file system: there two could write to one place
        os.write(handle, line.encode())
        os.fsync(handle)
    finally:
        os.close(handle)


def made_so_far() -> int:
    """Files that this process has made whole."""
    return _made


def seal_line(name: str, size: int, digest: str) -> str:
    return json.dumps([name, size, digest]) + "\n"


def seal_of(path: Path) -> Seal | None:
    """As it was written last; None where that is not known."""
    known = _seals_of(path)
    return known[-1] if known else None


def is_whole(path: Path, digest: str | None = None) -> bool:
    """Whether a file is there as it was written; `digest`: by who knows it. What nobody sealed is whole if it is not
    empty."""
    try:
        state = path.stat()
    except FileNotFoundError:
        return False
    if digest is None:
        known = seal_of(path)
        if known is None:
            return state.st_size > 0 and not (_home(path) / SEALS).exists()
        if known.size != state.st_size:
            return False
        digest = known.digest
    if not _at_work or _good.get(str(path)) == (state.st_size, state.st_mtime_ns):
        return state.st_size > 0
    from tamis.pipeline.files.atomic import digest_file

    if digest_file(path) != digest:
        return False
    remember(path)
    return True


def made_anew(path: Path) -> bool:
    """Whether a file is to be made: it is not there, or it is not as it was written, which is said."""
    if is_whole(path):
        return False
    if path.exists():
        say(f"{path}: damaged; it is made anew")
    return True


def check(path: Path, digest: str) -> Path:
    """The path, where its bytes are those. Raises DamageFound."""
    if _at_work and path.exists() and not is_whole(path, digest):
        raise DamageFound(
            f"{path}: damaged: not the bytes that were written. Restore it, or delete it and run again: what it was "
            "made of is read anew"
        )
    return path


def sound(path: Path) -> Path:
    """The path of what nothing could make anew (answers, takedowns), where its bytes are any that were written there:
    checked by whoever reads it. Raises DamageFound."""
    known = _seals_of(path)
    if not known:
        return path
    state = path.stat()
    if _good.get(str(path)) != (state.st_size, state.st_mtime_ns):
        from tamis.pipeline.files.atomic import digest_file

        if digest_file(path) not in {one.digest for one in known}:
            raise DamageFound(
                f"{path}: damaged: not the bytes that were written, and nothing makes them anew. Restore it from a copy"
            )
        remember(path)
    return path


def remember(path: Path) -> None:
    """What lies there is as it was written; this process need not look again."""
    state = path.stat()
    _good[str(path)] = state.st_size, state.st_mtime_ns


def _home(path: Path) -> Path:
    for folder in list(path.parents)[:DEEPEST]:
        if (folder / OF_A_RUN).exists():
            return folder
    return path.parent


def _seals_of(path: Path) -> list[Seal]:
    """All that were ever written there, the latest last."""
    home = _home(path)
    try:
        now = _as_of(home / SEALS)
    except OSError:
        return []
    return _seals(home, *now).get(path.relative_to(home).as_posix(), [])


def worth_keeping(home: Path, digest_of: Callable[[Path], str]) -> list[tuple[str, Seal]] | None:
    """The lines of a folder without those of files that are gone, or that others were written over since; None where
    too few would go. The store's lock is held."""
    every = _seals(home, *_as_of(home / SEALS))
    kept = []
    for name, seals in every.items():
        if not (home / name).is_file():
            continue
        now = digest_of(home / name) if len(seals) > 1 else ""
        there = [one for one in seals if one.digest == now]
        kept += [(name, one) for one in there[-1:] or seals]  # of what is damaged all
    return kept if sum(map(len, every.values())) - len(kept) >= WORTH_DROPPING else None


def _as_of(path: Path) -> tuple[int, int]:
    state = path.stat()
    return state.st_size, state.st_mtime_ns


@lru_cache(maxsize=64)
def _seals(home: Path, _size: int, _changed_ns: int) -> dict[str, list[Seal]]:
    """By name, the latest last; a line that a kill cut short is passed over."""
    found: dict[str, list[Seal]] = {}
    for line in (home / SEALS).read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            name, size, digest = json.loads(line)
            found.setdefault(str(name), []).append(Seal(int(size), str(digest)))
        except (ValueError, TypeError):
            continue
    return found
