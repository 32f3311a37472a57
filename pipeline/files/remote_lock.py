"""Locks on object storage: numbered objects, each of which only one process can create (conditional put).

The holder shows a sign of life. Whoever has seen none for STALE_S seconds creates the next number; the former holder,
should it still live, finds that number at its next sign and ends. So no clock of two machines is ever compared."""

import json
import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tamis.pipeline.errors import RunFailed, StoreError
from tamis.pipeline.files.mirror import Mirror
from tamis.pipeline.files.urls import without_secrets
from tamis.pipeline.progress import say

BEAT_S = 20.0  # between signs of life, and between rounds of putting up what is new
STALE_S = 120.0


class Lock:
    """A lock that is held: its number, and a sign of life."""

    def __init__(self, mirror: Mirror, number: int) -> None:
        self.mirror, self.number, self.beats, self._last = mirror, number, 0, 0.0

    def beat(self) -> None:
        """A sign of life, where one is due. Raises RunFailed where another has taken over."""
        if self._last and time.monotonic() - self._last < BEAT_S / 2:
            return
        if max(_numbers(self.mirror)) > self.number:
            raise RunFailed(f"store {self.mirror.url}: another process took it over, for this one gave no sign of life")
        self.beats += 1
        _write(self.mirror, f"{self.number:06d}.beat", str(self.beats))
        self._last = time.monotonic()

    def free(self) -> None:
        _write(self.mirror, f"{self.number:06d}.free", "")
        for number in _numbers(self.mirror):
            if number < self.number:
                for ending in ("", ".beat", ".free"):
                    place = f"{self.mirror.root}/.lock/{number:06d}{ending}"
                    self.mirror.call(partial(self.mirror.system.rm_file, place), absent=True)


@contextmanager
def lease(mirror: Mirror) -> Iterator[Lock]:
    held = _acquired(mirror)
    try:
        yield held
    finally:
        held.free()


def _acquired(mirror: Mirror) -> Lock:
    """Wait until the lock is free, or its holder gives no sign of life."""
    seen, since, told = "", time.monotonic(), False
    while True:
        number = max(_numbers(mirror), default=0)
        if not number or _read(mirror, f"{number:06d}.free") is not None or _of_a_dead_one(mirror, number):
            if (held := _created(mirror, number + 1)) is not None:
                return held
            continue
        beat = f"{number} {_read(mirror, f'{number:06d}.beat')}"
        if beat != seen:
            seen, since = beat, time.monotonic()
        elif time.monotonic() - since > STALE_S:
            if (held := _created(mirror, number + 1)) is not None:
                return held
        elif not told:
            say(f"another run works in {mirror.url}; waiting for it to end (Ctrl-C to give up)")
            told = True
        time.sleep(min(1.0, STALE_S / 4))


def _created(mirror: Mirror, number: int) -> Lock | None:
    """The lock of this number, if we are the one that could create it."""
    mine = json.dumps({"host": socket.gethostname(), "process": os.getpid(), "token": uuid.uuid4().hex})
    try:
        mirror.system.pipe_file(f"{mirror.root}/.lock/{number:06d}", mine.encode(), mode="create")
    except (FileExistsError, OSError) as error:
        if _read(mirror, f"{number:06d}") is None:  # nobody has it: it was no rival that kept us from it
            told = " ".join(without_secrets(f"{type(error).__name__}: {error}").split())[:200]
            raise StoreError(f"store {mirror.url}: can't be written ({told})") from error
    if _read(mirror, f"{number:06d}") != mine:
        return None
    held = Lock(mirror, number)
    held.beat()
    return held


def _of_a_dead_one(mirror: Mirror, number: int) -> bool:
    """Whether the holder was a process of this machine that is no more."""
    try:
        holder = json.loads(_read(mirror, f"{number:06d}") or "{}")
    except ValueError:
        return False
    if not isinstance(holder, dict) or not isinstance(holder.get("process"), int):
        return False
    return holder.get("host") == socket.gethostname() and not Path(f"/proc/{holder['process']}").exists()


def _numbers(mirror: Mirror) -> list[int]:
    mirror.system.invalidate_cache()
    found = mirror.call(lambda: mirror.system.ls(f"{mirror.root}/.lock", detail=False), absent=True) or []
    names = {str(path).rpartition("/")[2] for path in found}
    return sorted(int(name) for name in names if name.isdigit())


def _read(mirror: Mirror, name: str) -> str | None:
    mirror.system.invalidate_cache()
    found = mirror.call(lambda: mirror.system.cat_file(f"{mirror.root}/.lock/{name}"), absent=True)
    return None if found is None else bytes(found).decode()


def _write(mirror: Mirror, name: str, text: str) -> None:
    mirror.call(lambda: mirror.system.pipe_file(f"{mirror.root}/.lock/{name}", text.encode() or b" "))
