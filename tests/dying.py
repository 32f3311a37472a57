"""A command in a child process that dies at its n-th change to a folder, as by SIGKILL: no handler runs, no file is
closed.

Every change that Python makes is an audit event before it is made: a file opened to be written, a rename, something
taken away. What Arrow writes goes beside its place first, so the rename tells of it. A folder that is taken away loses
its files in whatever order the file system lists them, so that order is drawn, too. The child is forked, warm."""

import json
import os
import select
import signal
import sys
import threading
import traceback
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

CHANGES = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir")
TO_WRITE = os.O_WRONLY | os.O_RDWR | os.O_CREAT
LONGEST_S = 120  # of a command that takes a second; a child that hangs is killed where it stands


class Death(NamedTuple):
    """Of a child."""

    at: int | None  # its n-th change, from 1; None: it lives to its end
    half: bool = False  # what it is about to put in place is half written
    order: int = 0  # in which folders are listed


def changes_of(command: Callable[[], Any], folder: Path) -> int:
    """Carry a command out in a child, to its end; returns how many changes it made to the folder."""
    told = _in_a_child(command, folder, Death(None))
    assert told is not None, "the child was killed by someone else, or hung"
    return told


def killed(command: Callable[[], Any], folder: Path, death: Death) -> bool:
    """Carry it out as far as it comes. Returns whether it died: its threads may make fewer changes than were counted."""
    return _in_a_child(command, folder, death) is None


def _in_a_child(command: Callable[[], Any], folder: Path, death: Death) -> int | None:
    """The changes that it made; None: it was killed. Raises AssertionError with what the child raised."""
    reads, writes = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of 3.12: Arrow's threads wait in this process
        process = os.fork()
    if process == 0:
        _live(command, folder, death, writes)
    os.close(writes)
    told = b""
    while select.select([reads], [], [], LONGEST_S)[0] and (some := os.read(reads, 1 << 16)):
        told += some
    os.close(reads)
    if not told:
        os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    answer = json.loads(told) if told else {"changes": None}
    assert "raised" not in answer, answer["raised"]
    changes: int | None = answer["changes"]
    return changes


def _live(command: Callable[[], Any], folder: Path, death: Death, writes: int) -> None:
    """All of the child; never returns."""
    answer: dict[str, Any] = {}
    try:
        _list_by(death.order)
        changes = _count(folder, death)
        command()
        answer = {"changes": len(changes)}
    except BaseException:  # noqa: BLE001  whatever it is, it is told, and no test goes on in the child
        answer = {"raised": traceback.format_exc()}
    os.write(writes, json.dumps(answer).encode())
    os._exit(0)


def _count(folder: Path, death: Death) -> list[str]:
    """From here on this process counts its changes, and dies at one of them."""
    changes: list[str] = []
    one = threading.RLock()  # tearing a file is a change, too

    def seen(event: str, arguments: tuple[Any, ...]) -> None:
        if event in CHANGES and _is_change(event, arguments, str(folder)):
            with one:
                changes.append(event)
                if len(changes) == death.at:
                    if death.half:
                        _tear(event, arguments)
                    os._exit(1)

    sys.addaudithook(seen)
    return changes


def _is_change(event: str, arguments: tuple[Any, ...], folder: str) -> bool:
    name = arguments[0]
    if not isinstance(name, str) or (event == "open" and not arguments[2] & TO_WRITE):
        return False
    beside = event in ("os.remove", "os.rmdir") and arguments[-1] != -1  # of a folder that is taken away whole
    return beside or name.startswith(folder)


def _tear(event: str, arguments: tuple[Any, ...]) -> None:
    """As if it died a little earlier: the file is not all there yet, the line not at its end."""
    if event == "os.rename" and os.path.isfile(arguments[0]):
        os.truncate(arguments[0], os.path.getsize(arguments[0]) // 2)
    elif event == "open" and arguments[2] & os.O_APPEND:
        with open(arguments[0], "a") as file:
            file.write('{"stage": "re')


def _list_by(order: int) -> None:
    """From here on folders are listed in an order of their own, as good as any other."""
    listed = os.scandir

    @contextmanager
    def scandir(path: Any = ".") -> Iterator[Iterator[os.DirEntry[Any]]]:
        with listed(path) as entries:
            yield iter(sorted(entries, key=lambda entry: zlib.crc32(f"{order} {entry.name}".encode())))

    os.scandir = scandir  # type: ignore[assignment]
