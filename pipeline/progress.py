"""What a person sees while it works: bars on a terminal, plain lines elsewhere, all on stderr."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_quiet = threading.Event()


def say(line: str) -> None:
    if not _quiet.is_set():
        print(line, file=sys.stderr, flush=True)


@contextmanager
def hushed() -> Iterator[None]:
    """Say nothing inside: for calls from Python that report by their result."""
    _quiet.set()
    try:
        yield
    finally:
        _quiet.clear()


def visible(text: str) -> str:
    """On one line and without control characters: untrusted text must not steer a terminal."""
    return " ".join("".join(char if char.isprintable() or char.isspace() else "\ufffd" for char in text).split())


class Counter:
    """Counts items of one stage: a bar that is redrawn on a terminal, a line at the end elsewhere.

    `total` is in items, or in any other measure (bytes) whose growth is given to `add` beside the items."""

    def __init__(self, label: str, total: int, unit: str) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done = self._measured = 0
        self._note = ""
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._live = sys.stderr.isatty() and not _quiet.is_set()

    def add(self, count: int, measured: int | None = None, note: str = "") -> None:
        with self._lock:
            self.done += count
            self._measured += count if measured is None else measured
            self._note = note
            if self._live:
                self._draw()

    def _draw(self) -> None:
        share = min(1.0, self._measured / self.total) if self.total else 1.0
        left = f"{self._seconds / share - self._seconds:4.0f} s left" if share > 0 else ""
        bar = "█" * round(20 * share) + "░" * (20 - round(20 * share))
        told = "  ".join(filter(None, [f"{self.done:,} {self.unit}", self._rate, left, self._note]))
        print(f"\r{self.label:<28} {bar} {told}\033[K", end="", file=sys.stderr)

    @property
    def _seconds(self) -> float:
        return time.monotonic() - self._began

    @property
    def _rate(self) -> str:
        return f"{self.done / max(self._seconds, 1e-9):,.0f}/s" if self.unit == "images" else ""

    def end(self) -> None:
        if self._live:
            print("\r\033[K", end="", file=sys.stderr)
        told = "  ".join(filter(None, [f"{self._seconds:6.1f} s", self._rate, self._note]))
        say(f"{self.label:<28} {self.done:>10,} {self.unit}  {told}")
