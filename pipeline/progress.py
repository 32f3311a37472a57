"""What a person sees: results on stdout; while it works bars on a terminal, plain lines elsewhere, on stderr.

Words of a pool, a file's name or a library go through `inert` on every way to a terminal: none may move its cursor, set
its title, or turn the order of what is read around."""

import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from shutil import get_terminal_size
from typing import TextIO

STEERS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)  # C0 without tab and newline, DEL, C1; marks, embeddings, overrides and isolates of direction; halves; tags
heard_by: list[Callable[[str], None]] = []  # who is told each line besides, such as a flow run's log
told_without: list[Callable[[str], str]] = []  # what takes out of a text what nobody is to see
SILENT, LONGEST_SILENCE = 5.0, 60.0  # seconds after which work that is under way is told of
REDRAW, REDRAWN = 0.1, 1.0  # seconds between two drawings of a bar; of work that counts nothing
FEW = ("shards", "extras", "models")  # what takes many seconds each
LEAST_TIMED = 1.0  # seconds of work of which a rate is told
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
        _seen.at = time.monotonic()
        print(inert(line), file=sys.stderr, flush=True)
        for hear in heard_by:
            hear(inert(line))


@contextmanager
def heard(hear: Callable[[str], None]) -> Iterator[None]:
    """What is said inside is told there, too."""
    heard_by.append(hear)
    try:
        yield
    finally:
        heard_by.remove(hear)


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


def counted(number: int, what: str, wide: int = 0) -> str:
    """1 shard, 2 shards."""
    return f"{number:>{wide},} {what.removesuffix('s') if number == 1 else what}"


def coming(what: str) -> None:
    """What is worked on next, for whoever watches a bar."""
    _seen.then = what


class _Seen:
    """What a watcher has seen last, and what comes next."""

    at = 0.0
    then = ""


_seen = _Seen()


def _is_live() -> bool:
    return sys.stderr.isatty() and not _quiet.is_set()


def _redraw(text: str) -> None:
    """In place of the line that is drawn, on a terminal; never wider than that."""
    wide = get_terminal_size((100, 24)).columns - 1
    then = f"   then {_seen.then}" if _seen.then else ""
    told = inert(text + then if len(text + then) <= wide else text)[:wide]
    print(f"\r{told}\033[K", end="", file=sys.stderr, flush=True)


@contextmanager
def still(label: str, *, ends: bool = True) -> Iterator[None]:
    """Tell of work that is silent for SILENT seconds, and then again and again; `ends`: and how long it took."""
    over, began, shown = threading.Event(), time.monotonic(), threading.Event()

    def watch() -> None:
        pause = SILENT
        while not over.wait(min(REDRAWN, SILENT)):
            now = time.monotonic()
            if now - max(began, _seen.at) < (pause if not _is_live() else REDRAWN if shown.is_set() else SILENT):
                continue
            shown.set()
            if _is_live():
                _redraw(f"{label:<40} {now - began:6.0f} s")
            else:
                say(f"{label:<40} … {now - began:.0f} s")
                pause = min(2 * pause, LONGEST_SILENCE)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        if shown.is_set():
            if _is_live():
                print("\r\033[K", end="", file=sys.stderr)
            if ends:
                say(f"{label:<40} {'':>10} {'':<6}  {time.monotonic() - began:6.1f} s")


class Counter:
    """Counts items of one stage: a bar that is redrawn on a terminal, elsewhere a line now and then; a line at the end.

    `total` is in items, or in any other measure (bytes) whose growth is given to `add` beside the items; 0: not known.
    `rows`: how many rows the items hold together, if they are not rows themselves."""

    def __init__(self, label: str, total: int, unit: str, rows: int = 0) -> None:
        self.label, self.total, self.unit, self.rows = inert(label), total, unit, rows
        self.done = self._measured = 0
        self._note = ""
        self._lock = threading.Lock()
        self._began = self._drawn = time.monotonic()

    def add(self, count: int, measured: int | None = None, note: str = "") -> None:
        with self._lock:
            self.done += count
            self._measured += count if measured is None else measured
            self._note = note or self._note
            now = time.monotonic()
            if _is_live():
                if now - self._drawn >= REDRAW:
                    self._drawn = _seen.at = now
                    _redraw(self._line(bar=True))
            elif now - max(self._drawn, _seen.at) >= SILENT:
                self._drawn = now
                say(self._line(bar=False))

    @property
    def _share(self) -> float:
        return min(1.0, self._measured / self.total) if self.total else 0.0

    def _line(self, *, bar: bool) -> str:
        share = self._share
        left = f"{max(0.0, self._seconds / share - self._seconds):,.0f} s left" if share > 0 else ""
        told = "  ".join(filter(None, [f"{self.done:,} {self.unit}", self._of_rows, self._rate, left, self._note]))
        if not bar:
            return "  ".join(filter(None, [f"{self.label:<40}", f"{share:.0%}" if self.total else "", told]))
        room = get_terminal_size((100, 24)).columns - len(self.label) - len(told) - 6  # what is left is the bar's
        long = max(0, min(20, room)) if self.total else 0
        full = round(long * share)
        return "  ".join(filter(None, [self.label, "█" * full + "░" * (long - full), told]))

    @property
    def _of_rows(self) -> str:
        return f"{round(self.rows * self._share):,} rows" if self.rows else ""

    @property
    def _seconds(self) -> float:
        return time.monotonic() - self._began

    @property
    def _rate(self) -> str:
        """A second; of work that took a moment it tells nothing."""
        worked = self.rows * self._share if self.rows else self.done * (self.unit not in FEW)
        return f"{worked / self._seconds:,.0f}/s" if worked and self._seconds >= LEAST_TIMED else ""

    def end(self) -> None:
        if _is_live():
            print("\r\033[K", end="", file=sys.stderr)
        told = "  ".join(filter(None, [f"{self._seconds:6.1f} s", self._rate, self._note]))
        say(f"{self.label:<40} {counted(self.done, self.unit, 10)}  {told}")
