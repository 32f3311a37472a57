"""A decoding worker: reads tasks from stdin, decodes images one by one, leaves arrays in shared memory, answers.

A process of its own, because decoders of untrusted images may crash, hang or eat memory; started as a plain program,
so that nothing of the parent is copied or imported. Messages are a length, JSON, and raw image bytes if any."""

import json
import mmap
import os
import stat
import struct
import sys
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np

from tamis.pipeline.decode.plans import shape_of
from tamis.pipeline.errors import Unusable

HEADER = struct.Struct("<II")  # bytes of JSON, bytes that follow it
MAX_BYTES = 512 << 20  # of one encoded image; more is no photo


def send(pipe: IO[bytes], message: Any, data: bytes = b"") -> None:
    text = json.dumps(message).encode()
    pipe.write(HEADER.pack(len(text), len(data)))
    pipe.write(text)
    pipe.write(data)
    pipe.flush()


def receive(pipe: IO[bytes]) -> tuple[Any, bytes] | None:
    """The next message, or None at the end."""
    head = pipe.read(HEADER.size)
    if len(head) < HEADER.size:
        return None
    size, more = HEADER.unpack(head)
    text = pipe.read(size)
    data = pipe.read(more)
    return (json.loads(text), data) if len(text) == size and len(data) == more else None


@lru_cache(maxsize=8)
def _opened(path: str) -> BinaryIO:
    return Path(path).open("rb", buffering=0)


def read_bytes(path: str, offset: int | None, size: int | None) -> bytes:
    """A whole file, or a range of one. Raises Unusable; never waits for a pipe or reads a device."""
    try:
        if offset is not None and (size or 0) <= MAX_BYTES:
            return os.pread(_opened(path).fileno(), size or 0, offset)
        if offset is None:
            state = os.stat(path)
            if not stat.S_ISREG(state.st_mode):
                raise Unusable("not_a_file", f"{path}: a folder, pipe or device")
            if state.st_size <= MAX_BYTES:
                return Path(path).read_bytes()
    except (FileNotFoundError, ValueError) as error:  # a NUL in the name is a ValueError
        if os.path.lexists(path.replace("\0", "")):
            raise Unusable("unreadable_file", f"{path}: a link to nothing") from error
        raise Unusable("missing_image", f"no file {path!r}") from error
    except OSError as error:
        raise Unusable("unreadable_file", f"{path}: {error.strerror}") from error
    raise Unusable("undecodable", f"more than {MAX_BYTES >> 20} MB")


class Worker:
    """Plans say what to leave of each image; slots are rows of the shared memory, plan after plan in each slab."""

    def __init__(self, plans: list[dict[str, Any]], rows: int, slabs: int, memory: int, hashed: bool) -> None:

        from tamis.pipeline.decode import (
            pixels,  # here, since the parent imports this file, too, and may do without Pillow
        )

        self.pixels = pixels
        self.plans, self.hashed = plans, hashed
        self.slabs = views(plans, rows, slabs, memory)
        self.last: tuple[Any, dict[Any, Any], list[Any]] | None = None

    def one(
        self,
        path: str,
        offset: int | None,
        size: int | None,
        data: bytes | None,
        slab: int,
        row: int,
        box: list[float] | None = None,
    ) -> Any:
        """[width, height, bytes, content hash] of an image, or [reason, detail]."""
        try:
            images, facts = self._decoded((path, offset, size, data))
            for array, plan in zip(self.slabs[slab], self.plans, strict=True):
                image = images[plan.get("scaled_to")]
                array[row] = self.pixels.prepared(image if box is None else self.pixels.cropped(image, box), plan)
        except Unusable as error:
            return list(error.args)
        except MemoryError:
            return ["undecodable", "not enough memory to decode it"]
        except Exception as error:  # noqa: BLE001  one image never costs its batch
            return ["undecodable", f"{type(error).__name__}: {error}"]
        return facts

    def _decoded(self, place: tuple[str, int | None, int | None, bytes | None]) -> Any:
        """The image by the scales that plans want, and its facts; the last one is kept, since crops of one image come
        one after another. Raises Unusable."""
        if self.last is None or self.last[0] != place:
            path, offset, size, data = place
            given = read_bytes(path, offset, size) if data is None else data
            scales = {plan.get("scaled_to") for plan in self.plans} or {None}
            images = {scale: self.pixels.decode(given, scale) for scale in sorted(scales, key=str)}
            _, width, height = next(iter(images.values()))
            facts = [width, height, len(given), _content_hash(given) if self.hashed else ""]
            self.last = (place, {scale: image for scale, (image, _, _) in images.items()}, facts)
        return self.last[1:]


def _content_hash(data: bytes) -> str:
    import xxhash

    return xxhash.xxh3_128_hexdigest(data)


def views(plans: list[dict[str, Any]], rows: int, slabs: int, memory: int) -> list[list[Any]]:
    """Of each slab one array a plan, [rows, ...], over the shared memory behind a file descriptor."""
    if not plans:
        return [[] for _ in range(slabs)]
    buffer = mmap.mmap(memory, slab_bytes(plans, rows) * slabs)
    arrays: list[list[Any]] = []
    first = 0
    for _ in range(slabs):
        arrays.append([])
        for plan in plans:
            shape, kind = shape_of(plan)
            count = rows * int(np.prod(shape))
            arrays[-1].append(np.frombuffer(buffer, kind, count, first).reshape(rows, *shape))
            first += count * np.dtype(kind).itemsize
            first += -first % 64
    return arrays


def slab_bytes(plans: list[dict[str, Any]], rows: int) -> int:
    sizes = [rows * int(np.prod(shape)) * np.dtype(kind).itemsize for shape, kind in map(shape_of, plans)]
    return sum(size + -size % 64 for size in sizes)


def main() -> None:
    """Serve tasks until stdin ends."""
    out, sys.stdout = sys.stdout.buffer, sys.stderr  # a decoder that prints must not break the protocol
    settings, _ = receive(sys.stdin.buffer) or ({}, b"")
    worker = Worker(**settings)
    send(out, "ready")
    while (message := receive(sys.stdin.buffer)) is not None:
        task, data = message
        answers, first = [], 0
        for path, offset, size, inline, row, box in task["images"]:
            given = data[first : first + inline] if inline is not None else None
            first += inline or 0
            answers.append(worker.one(path, offset, size, given, task["slab"], row, box))
        send(out, answers)


if __name__ == "__main__":
    main()
