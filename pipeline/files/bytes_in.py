"""Bytes of a source file in pieces, unpacked as they are read; a damaged file gives what comes before the damage.

A packed file may hold a million times its size: no more than about BLOCK_BYTES is unpacked at once, and a line that is
longer than a record may be is passed over, whatever it takes to reach its end."""

import bz2
import lzma
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tamis.pipeline.machine import memory_bytes

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

RAW_BYTES = 4 << 10  # of a packed file fed at a time: what a damaged place can cost of the good bytes before it
LONGEST_WINDOW = 1 << 31  # zstd itself has no longer one
LEAST_WINDOW = 1 << 27  # what zstd takes without being told
BLOCK_BYTES = 2 << 20  # handed on at a time: small enough for memory, large enough for a parser's start-up
BLOCK_LINES = 1 << 16  # and no more lines than that: each may be a reject
MOST_RECORD = 64 << 20  # bytes of a line, a text or a value, where a source does not say otherwise


class Truncated(Exception):
    """A compressed stream ends early (all bytes before were handed on) or is damaged (all but a few KB were)."""


class TooLong(Exception):
    """A file has more bytes than were asked for."""


OVERLONG = b"\0"  # what `line_blocks` gives for a line that is longer than a record may be: the very object


class _Zlib:
    """gzip as the others are."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, raw: bytes, most: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + raw, most)


def _zstd() -> Any:
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _window().bit_length() - 1})


UNPACKERS: dict[str, Callable[[], Any]] = {
    ".gz": _Zlib, ".zst": _zstd, ".bz2": bz2.BZ2Decompressor, ".xz": lzma.LZMADecompressor,
}  # fmt: skip


def _window() -> int:
    """The most that a .zst may ask to look back: what `--long=31` makes, where that is an eighth of the memory."""
    whole = memory_bytes()
    return LONGEST_WINDOW if whole is None else max(LEAST_WINDOW, min(LONGEST_WINDOW, whole // 8))


def pieces(path: Path) -> Iterator[bytes]:
    """Yield a file's bytes, unpacked by its suffix. Raises Truncated at the end where a stream is cut or damaged."""
    with path.open("rb", buffering=1 << 20) as file:
        if path.suffix.lower() not in UNPACKERS:
            while piece := file.read(BLOCK_BYTES):
                yield piece
            return
        kind = path.suffix.lower()
        yield from _unpacked(file, UNPACKERS[kind], padded=kind in (".gz", ".xz"))


def whole(path: Path, most: int) -> bytes:
    """All of them. Raises TooLong, Truncated, OSError."""
    held: list[bytes] = []
    size = 0
    for piece in pieces(path):
        held.append(piece)
        size += len(piece)
        if size > most:
            raise TooLong(f"more than {most >> 20:,} MiB")
    return b"".join(held)


def _unpacked(file: Any, new_unpacker: Callable[[], Any], padded: bool) -> Iterator[bytes]:
    unpacker = new_unpacker()
    fresh = True  # nothing fed since the last stream ended: the file may end here
    while raw := file.read(RAW_BYTES):
        if fresh and padded and file.tell() > len(raw):
            raw = raw.lstrip(b"\0")
        while raw:  # a file may hold several streams, one after another
            fresh = False
            given, raw = raw, b""
            while True:  # what was fed may hold more than is wanted at once
                try:
                    piece = unpacker.decompress(given, BLOCK_BYTES)
                except (zlib.error, zstd.ZstdError, OSError, EOFError, lzma.LZMAError, ValueError) as error:
                    if "too much memory" in str(error):  # sound, but made with `zstd --long`
                        raise OSError(
                            f"packed with a window of more than {_window() >> 20:,} MB, an eighth of this machine's "
                            "memory: unpack it, or pack it again without --long"
                        ) from error
                    raise Truncated(f"damaged: {error}") from error
                if piece:
                    yield piece
                given = b""
                if unpacker.eof or unpacker.needs_input:
                    break
            if unpacker.eof:
                rest = unpacker.unused_data
                raw = rest.lstrip(b"\0") if padded else rest  # gzip and xz may be filled up with zeros
                unpacker, fresh = new_unpacker(), True
    if not file.tell():
        raise Truncated("the file is empty, and no packed file is")
    if not fresh:
        raise Truncated("the file ends in the middle of a compressed stream")


def line_blocks(path: Path, most: int = MOST_RECORD) -> Iterator[tuple[bytes, int]]:
    """Yield (whole lines, number of the first line from 1), about BLOCK_BYTES and at most about BLOCK_LINES each.

    The last line may lack its newline. A line of more than `most` bytes is OVERLONG alone, with its number. Raises
    Truncated as `pieces` does; then `args[1]` is the number of the line that was cut."""
    held: list[bytes] = []
    held_bytes = tail = 0  # tail: bytes of the line that has not ended yet
    first, passing = 1, False  # passing: over a line that is too long
    try:
        for given in pieces(path):
            piece = given
            if passing:
                end = piece.find(b"\n") + 1
                if not end:
                    continue
                yield OVERLONG, first
                piece, first, passing = piece[end:], first + 1, False
                if not piece:
                    continue
            held.append(piece)
            held_bytes += len(piece)
            end = piece.rfind(b"\n") + 1
            tail = len(piece) - end if end else tail + len(piece)
            if tail > most:
                joined = b"".join(held)
                cut = joined.rfind(b"\n") + 1
                for lines, count in _few(joined[:cut], most):
                    yield lines, first
                    first += count
                held, held_bytes, tail, passing = [], 0, 0, True
            elif held_bytes >= BLOCK_BYTES and end:
                joined = b"".join(held)
                cut = joined.rindex(b"\n") + 1
                for lines, count in _few(joined[:cut], most):
                    yield lines, first
                    first += count
                held, held_bytes = [joined[cut:]], len(joined) - cut
    except Truncated as error:
        joined = b"".join(held)
        cut = joined.rfind(b"\n") + 1
        for lines, count in _few(joined[:cut], most):
            yield lines, first
            first += count
        raise Truncated(str(error), first) from error
    if passing:
        yield OVERLONG, first
    joined = b"".join(held)
    for lines, count in _few(joined, most):
        yield lines, first
        first += count


def _few(lines: bytes, most: int) -> Iterator[tuple[bytes, int]]:
    """Whole lines in pieces of at most about BLOCK_LINES, each with its number of newlines; OVERLONG for long ones."""
    if len(lines) > most:
        at = 0
        for long in re.finditer(rb"[^\n]{%d,}\n?" % (most + 1), lines):
            yield from _halved(lines[at : long.start()])
            yield OVERLONG, 1
            at = long.end()
        lines = lines[at:]
    yield from _halved(lines)


def _halved(lines: bytes) -> Iterator[tuple[bytes, int]]:
    count = lines.count(b"\n")
    if count <= BLOCK_LINES:
        if lines:
            yield lines, count
        return
    middle = lines.index(b"\n", len(lines) // 2) + 1
    yield from _halved(lines[:middle])
    yield from _halved(lines[middle:])
