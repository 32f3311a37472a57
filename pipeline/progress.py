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


class Counter:
    """Counts items of one stage: a bar that is redrawn on a terminal, a line at the start and end elsewhere."""

    def __init__(self, label: str, total: int, unit: str) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done = 0
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._live = sys.stderr.isatty() and not _quiet.is_set()

    def add(self, count: int) -> None:
        with self._lock:
            self.done += count
            if self._live:
                self._draw()

    def _draw(self) -> None:
        share = self.done / self.total if self.total else 1.0
        seconds = time.monotonic() - self._began
        left = f"{seconds / share - seconds:4.0f} s left" if share > 0 else ""
        bar = "█" * round(20 * share) + "░" * (20 - round(20 * share))
        print(
            f"\r{self.label:<28} {bar} {self.done:,}/{self.total:,} {self.unit} {left}\033[K", end="", file=sys.stderr
        )

    def end(self) -> None:
        seconds = time.monotonic() - self._began
        if self._live:
            print("\r\033[K", end="", file=sys.stderr)
        say(f"{self.label:<28} {self.done:>10,} {self.unit}  {seconds:6.1f} s")
