"""An ordered map over threads that looks only a few items ahead, so memory stays bounded whatever the input's length.

Threads suffice: parsing, compression and the compiled loops run outside the interpreter's lock."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from tamis.pipeline.machine import cores

A = TypeVar("A")
B = TypeVar("B")

at_model = threading.RLock()  # one shard at a time: a model has the machine to itself


def ordered_map(function: Callable[[A], B], items: Iterable[A], ahead: int = 2) -> Iterator[B]:
    """Yield function(item) in the items' order; at most cores() + ahead items are under way or waiting."""
    pool = ThreadPoolExecutor(cores(), thread_name_prefix="tamis")
    waiting: deque[Future[B]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= cores() + ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
