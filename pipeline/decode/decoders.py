"""Decoding in worker processes, in blocks, in order: the arrays come through shared memory, the facts as messages.

Blocks of 256 images are cut into tasks of 32; a few blocks are under way at once, so workers never wait for the
model and memory stays bounded. A worker that dies or hangs costs its task's images a second try, one by one; the
one that does it again is the culprit, and alone is lost."""

import mmap
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tamis.pipeline.decode.worker import receive, send, slab_bytes, views
from tamis.pipeline.errors import RunFailed
from tamis.pipeline.machine import cores

BLOCK_IMAGES = 256  # 38 MB as 224 x 224 pixels
TASK_IMAGES = 32  # 10-100 ms of work for one message
SLABS = 4  # blocks under way: one at the model, the others being decoded
TASK_SECONDS = 120.0
ONE_SECONDS = 30.0
START_TRIES = 3
LOST = "the decoder crashed or took too long on it"


@dataclass(frozen=True)
class Encoded:
    """Where an image's bytes lie: a file, a range of one, or here; with `box`, only that part of it is wanted."""

    path: str
    offset: int | None = None
    size: int | None = None
    data: bytes | None = None
    box: tuple[float, float, float, float] | None = None  # xyxy, pixels as displayed


@dataclass(frozen=True)
class Decoded:
    """One block: of each image [width, height, bytes, content hash] or [reason, detail]; the arrays are valid until
    `release` is called."""

    images: list[Any]
    facts: list[list[Any]]
    arrays: list[Any]  # one a plan, [images, ...]; rows of lost images hold nothing of use
    release: Callable[[], None]


class Decoders:
    """A pool of workers for the given plans. Use as a context manager; `blocks` may be called again and again."""

    def __init__(self, plans: list[dict[str, Any]], hashed: bool = True, workers: int | None = None) -> None:
        self.plans, self.hashed = plans, hashed
        size = max(slab_bytes(plans, BLOCK_IMAGES) * SLABS, mmap.PAGESIZE)
        place = "/dev/shm" if os.access("/dev/shm", os.W_OK) and _free("/dev/shm") > 2 * size else None  # noqa: S108
        self._file = tempfile.TemporaryFile(dir=place)  # noqa: SIM115  has no name, so no kill leaves it behind
        self._file.truncate(size)
        self._slabs = views(plans, BLOCK_IMAGES, SLABS, self._file.fileno())
        self._free = deque(range(SLABS))
        self._tasks: queue.Queue[tuple[list[Any], bytes, int, Future[list[Any]]] | None] = queue.Queue()
        self._threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(workers or cores())]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> "Decoders":
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(queue.Empty):
            while True:
                self._tasks.get_nowait()
        for _thread in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()
        self._slabs.clear()
        self._file.close()

    def blocks(self, blocks: Iterable[tuple[Any, list[Encoded]]]) -> Iterator[tuple[Any, Decoded]]:
        """Decode blocks of at most BLOCK_IMAGES, each with something of the caller's, and yield them in order."""
        waiting: deque[tuple[Any, list[Encoded], int, list[Future[list[Any]]]]] = deque()
        for about, images in blocks:
            while not self._free:
                yield self._done(*waiting.popleft())
            slab = self._free.popleft()
            waiting.append((about, images, slab, self._submit(images, slab)))
        while waiting:
            yield self._done(*waiting.popleft())

    def _submit(self, images: list[Encoded], slab: int) -> list[Future[list[Any]]]:
        assert len(images) <= BLOCK_IMAGES
        futures = []
        for first in range(0, len(images), TASK_IMAGES):
            some = images[first : first + TASK_IMAGES]
            rows = [
                [image.path, image.offset, image.size, len_or_none(image.data), first + row, image.box]
                for row, image in enumerate(some)
            ]
            future: Future[list[Any]] = Future()
            self._tasks.put((rows, b"".join(image.data or b"" for image in some), slab, future))
            futures.append(future)
        return futures

    def _done(
        self, about: Any, images: list[Encoded], slab: int, futures: list[Future[list[Any]]]
    ) -> tuple[Any, Decoded]:
        facts = [fact for future in futures for fact in future.result()]
        arrays = [array[: len(images)] for array in self._slabs[slab]]
        return about, Decoded(images, facts, arrays, lambda: self._free.append(slab))

    def _serve(self) -> None:
        """One thread for each worker: hand it tasks, and start another when it is gone."""
        worker: _Process | None = None
        while (task := self._tasks.get()) is not None:
            rows, data, slab, future = task
            try:
                worker = worker or self._start()
                answers = worker.ask(rows, data, slab, TASK_SECONDS)
                if answers is None:
                    worker = None
                    answers = self._one_by_one(rows, data, slab)
                future.set_result(answers)
            except BaseException as error:  # noqa: BLE001  handed to whoever waits for the block
                future.set_exception(error)
        if worker:
            worker.stop()

    def _one_by_one(self, rows: list[Any], data: bytes, slab: int) -> list[Any]:
        answers, first, worker = [], 0, None
        for row in rows:
            inline = data[first : first + (row[3] or 0)]
            first += row[3] or 0
            worker = worker or self._start()
            answer = worker.ask([row], inline, slab, ONE_SECONDS)
            if answer is None:
                worker = None
            answers += answer or [["undecodable", LOST]]
        if worker:
            worker.stop()
        return answers

    def _start(self) -> "_Process":
        settings = {"plans": self.plans, "rows": BLOCK_IMAGES, "slabs": SLABS, "hashed": self.hashed}
        for _ in range(START_TRIES):
            worker = _Process({**settings, "memory": self._file.fileno()})
            if worker.ready:
                return worker
        raise RunFailed(
            "a decoding worker can't be started; is the extra there? pip install 'tamis[vision]' "
            "(python -c 'import tamis.pipeline.decode.pixels' says what is missing)"
        )


def len_or_none(data: bytes | None) -> int | None:
    return None if data is None else len(data)


def _free(place: str) -> int:
    state = os.statvfs(place)
    return state.f_bavail * state.f_frsize


class _Process:
    """One worker process; it holds no lock and no terminal, so it may be killed at any time."""

    def __init__(self, settings: dict[str, Any]) -> None:
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", "from tamis.pipeline.decode.worker import main; main()"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            pass_fds=[settings["memory"]], env={**os.environ, **threads}, start_new_session=True,
        )  # fmt: skip
        self.ready = self._talk(settings, b"", TASK_SECONDS) == "ready"

    def ask(self, rows: list[Any], data: bytes, slab: int, seconds: float) -> list[Any] | None:
        """The worker's answers, one a row; None if it died or was too slow, and is gone."""
        return self._talk({"slab": slab, "images": rows}, data, seconds)

    def _talk(self, message: Any, data: bytes, seconds: float) -> Any:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        answer = None
        late = threading.Timer(seconds, self._process.kill)  # ends a worker that hangs, and with it the wait below
        late.start()
        with suppress(OSError, ValueError):
            send(stdin, message, data)
            answer = receive(stdout)
        late.cancel()
        if answer is None:
            self._process.kill()
            self.stop()
            return None
        return answer[0]

    def stop(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                if pipe:
                    pipe.close()
        self._process.wait()
