"""What a person sees: results on stdout; while it works bars on a terminal, plain lines elsewhere, on stderr.

Words of a pool, a file's name or a library go through `inert` on every way to a terminal: none may move its cursor, set
its title, or turn the order of what is read around."""

import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TextIO

STEERS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)  # C0 without tab and newline, DEL, C1; marks, embeddings, overrides and isolates of direction; halves; tags
told_without: list[Callable[[str], str]] = []  # what takes out of a text what nobody is to see
_quiet = threading.Event()


def inert(text: str) -> str:
    """The text with what would steer a terminal shown as JSON writes it, so that JSON stays the same JSON."""
    for hide in told_without:
        text = hide(text)
    return text if text.isascii() and text.isprintable() else STEERS.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code > 0xFFFF:
        code -= 0x10000
        return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
    return f"\\u{code:04x}"


def show(text: object = "", out: TextIO | None = None) -> None:
    """A result, on stdout or `out`."""
    print(inert(str(text)), file=out or sys.stdout)


def say(line: str) -> None:
    if not _quiet.is_set():
        print(inert(line), file=sys.stderr, flush=True)


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
    return " ".join(inert(" ".join(text.split())).split())


def joined(lines: Iterable[str]) -> str:
    """As many lines as were given: what comes from elsewhere can't begin one."""
    return "\n".join("\\n".join(line.splitlines()) for line in lines)


class Counter:
    """Counts items of one stage: a bar that is redrawn on a terminal, a line at the end elsewhere.

    `total` is in items, or in any other measure (bytes) whose growth is given to `add` beside the items."""

    def __init__(self, label: str, total: int, unit: str) -> None:
        self.label, self.total, self.unit = inert(label), total, unit
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
        told = "  ".join(filter(None, [f"{self.done:,} {self.unit}", self._rate, left, inert(self._note)]))
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
