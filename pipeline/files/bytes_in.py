"""Bytes of a source file in pieces, unpacked as they are read; a damaged file gives what comes before the damage."""

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import zstandard

from tamis.pipeline.machine import memory_bytes

RAW_BYTES = 4 << 10  # of a packed file fed at a time: what a damaged place can cost of the good bytes before it
LONGEST_WINDOW = 1 << 31  # zstd itself has no longer one
LEAST_WINDOW = 1 << 27  # what zstd takes without being told
BLOCK_BYTES = 2 << 20  # handed on at a time: small enough for memory, large enough for a parser's start-up


class Truncated(Exception):
    """A compressed stream ends early (all bytes before were handed on) or is damaged (all but a few KB were)."""


UNPACKERS: dict[str, Callable[[], Any]] = {
    ".gz": lambda: zlib.decompressobj(wbits=31),
    ".zst": lambda: zstandard.ZstdDecompressor(max_window_size=_window()).decompressobj(),
    ".bz2": bz2.BZ2Decompressor,
    ".xz": lzma.LZMADecompressor,
}


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


def _unpacked(file: Any, new_unpacker: Callable[[], Any], padded: bool) -> Iterator[bytes]:
    unpacker = new_unpacker()
    fresh = True  # nothing fed since the last stream ended: the file may end here
    while raw := file.read(RAW_BYTES):
        if fresh and padded and file.tell() > len(raw):
            raw = raw.lstrip(b"\0")
        while raw:  # a file may hold several streams, one after another
            fresh = False
            try:
                piece = unpacker.decompress(raw)
            except (zlib.error, zstandard.ZstdError, OSError, EOFError, lzma.LZMAError, ValueError) as error:
                if "too much memory" in str(error):  # sound, but made with `zstd --long`
                    raise OSError(
                        f"packed with a window of more than {_window() >> 20:,} MB, an eighth of this machine's "
                        "memory: unpack it, or pack it again without --long"
                    ) from error
                raise Truncated(f"damaged: {error}") from error
            if piece:
                yield piece
            if not unpacker.eof:
                break
            rest = unpacker.unused_data
            raw = rest.lstrip(b"\0") if padded else rest  # gzip and xz may be filled up with zeros
            unpacker, fresh = new_unpacker(), True
    if not file.tell():
        raise Truncated("the file is empty, and no packed file is")
    if not fresh:
        raise Truncated("the file ends in the middle of a compressed stream")


def line_blocks(path: Path) -> Iterator[tuple[bytes, int]]:
    """Yield (whole lines, number of the first line from 1), about BLOCK_BYTES each.

    The last line may lack its newline. Raises Truncated as `pieces` does; then `args[1]` is the number of the line
    that was cut."""
    held: list[bytes] = []
    held_bytes = 0
    first = 1
    try:
        for piece in pieces(path):
            held.append(piece)
            held_bytes += len(piece)
            if held_bytes < BLOCK_BYTES or b"\n" not in piece:
                continue
            joined = b"".join(held)
            cut = joined.rindex(b"\n") + 1
            lines = joined[:cut]
            yield lines, first
            first += lines.count(b"\n")
            held, held_bytes = [joined[cut:]], len(joined) - cut
    except Truncated as error:
        joined = b"".join(held)
        cut = joined.rfind(b"\n") + 1
        if cut:
            yield joined[:cut], first
        raise Truncated(str(error), first + joined[:cut].count(b"\n")) from error
    if last := b"".join(held):
        yield last, first
