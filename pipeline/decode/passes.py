"""One pass over blocks of images: decoded once, for the pool's record and everything that is to be made of them.

While one block is at the model the next ones are being decoded."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tamis.pipeline.decode.decoders import Decoded, Decoders, Encoded
from tamis.pipeline.parallel import at_model


class TooLarge(Exception):
    """The batch does not fit the accelerator's memory."""


class AtWork(Protocol):
    """What is made of each image: a column being filled, or proposals of objects."""

    name: str

    @property
    def plan(self) -> dict[str, Any]:
        """What decoding workers leave of each image for it."""

    @property
    def heavy(self) -> bool:
        """Whether a model makes the values, rather than the workers."""

    @property
    def batch(self) -> int:
        """Images at once."""

    def halve(self) -> bool:
        """A smaller batch from here on; False where it can't be smaller."""

    def look_at(self, decoded: Decoded) -> None:
        """Called with each block before it is worked on."""

    def start(self, array: Any, lost: npt.NDArray[np.bool_]) -> Callable[[], Any]:
        """Begin with a block of prepared images; the call gives what is made of them. Raises TooLarge."""


class Kept(AtWork, Protocol):
    """One whose values are written beside each shard while that is read."""

    def write_part(self, name: str, digest: str, ids: pa.ChunkedArray, values: pa.ChunkedArray) -> None:
        """Write the part of a shard whole."""


class ImagePass:
    """Blocks of images through decoding workers, and from there to all that is at work."""

    def __init__(self, at_work: Iterable[AtWork], hashed: bool = True) -> None:
        self.at_work = list(at_work)
        self.decoders = Decoders([one.plan for one in self.at_work], hashed)
        self.waited = 0.0  # seconds in which nothing was decoded and the model had nothing to do
        self.began = time.monotonic()

    def __enter__(self) -> "ImagePass":
        return self

    def __exit__(self, *_: object) -> None:
        self.decoders.__exit__()

    def blocks(self, blocks: Iterable[tuple[Any, list[Encoded]]]) -> Iterator[tuple[Any, list[list[Any]], list[Any]]]:
        """(caller's, facts of each image, values of each that is at work) of each block, in order. Raises TooLarge."""
        pending: tuple[Any, Decoded, list[Callable[[], Any]]] | None = None
        stream = self.decoders.blocks(blocks)
        while True:
            began = time.monotonic()
            about_and_decoded = next(stream, None)
            self.waited += time.monotonic() - began
            started = None
            if about_and_decoded is not None:
                about, decoded = about_and_decoded
                lost = np.array([len(fact) == 2 for fact in decoded.facts], bool)
                with at_model:
                    for one, array in zip(self.at_work, decoded.arrays, strict=True):
                        one.look_at(decoded)
                        array[lost] = 0  # a lost image leaves nothing of the block before it
                    coming = [one.start(array, lost) for one, array in zip(self.at_work, decoded.arrays, strict=True)]
                started = (about, decoded, coming)
            if pending is not None:
                about, decoded, coming = pending
                made = [call() for call in coming]
                decoded.release()
                yield about, decoded.facts, made
            if started is None:
                return
            pending = started

    @property
    def share_waited(self) -> float:
        return self.waited / max(time.monotonic() - self.began, 1e-9)

    @property
    def note(self) -> str:
        """For a counter: how long models had nothing to do; empty where none is at work."""
        return f"the model waited {self.share_waited:.0%}" if any(one.heavy for one in self.at_work) else ""


def retried(at_work: Iterable[AtWork], work: Callable[[], Any], say: Callable[[str], None]) -> Any:
    """Do a shard's work; where memory runs out, again from its beginning with half the batch."""
    while True:
        try:
            return work()
        except TooLarge:
            halved = [one for one in at_work if one.heavy and one.halve()]
            if not halved:
                raise
            sizes = ", ".join(f"{one.name}: {one.batch}" for one in halved)
            say(f"out of memory: the shard begins again with a smaller batch ({sizes})")
