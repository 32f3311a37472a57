"""faiss on a GPU, where there is one: which of many vectors are nearest to each of many others.

It finds some candidates in float32; which of them is nearest is decided in float64 (vector_loops.py), and rows with
more near ones than candidates are left to the processor: so a GPU chooses what a processor chooses. Without a GPU
numpy's products and one reading of them do the same (docs/benchmarks/cleaning.md has both)."""

import os
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

CANDIDATES = 8
DRIVERS = ("/dev/nvidiactl", "/dev/dxg")  # of Linux, and of Linux under Windows
WORTH = 1 << 18  # products; fewer take a processor about a millisecond, as long as the way to a GPU
Vectors = npt.NDArray[np.float32]
Search = Callable[[Vectors, Vectors, int, bool], tuple[Vectors, npt.NDArray[np.int64]]]


@lru_cache(maxsize=1)
def search() -> Search | None:
    """(some, others, count, squared) -> values and places [some, count], nearest first, by squared distance or by inner
    product; None where faiss or a GPU is missing."""
    if find_spec("faiss") is None or not any(map(os.path.exists, DRIVERS)):  # torch and faiss take seconds to import
        return None
    if find_spec("torch") is not None:
        import torch  # noqa: F401  before faiss: the other way round they crash
    import faiss

    if not getattr(faiss, "get_num_gpus", int)():
        return None
    resources = faiss.StandardGpuResources()

    def on_gpu(some: Vectors, others: Vectors, count: int, squared: bool) -> Any:
        metric = faiss.METRIC_L2 if squared else faiss.METRIC_INNER_PRODUCT
        return faiss.knn_gpu(resources, some, others, count, metric=metric)

    return on_gpu


def best_among(
    some: Vectors, others: Vectors, margins: npt.NDArray[np.floating], squared: bool
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.bool_]] | None:
    """[some] place of the nearest of `others`, its value in float64, and whether that is sure: no candidate is left out
    that is within the margin. None where the processor is to do it."""
    find = search() if len(some) * len(others) >= WORTH else None
    if find is None:
        return None
    from tamis.selectors.loops.products import best_of

    count = min(CANDIDATES, len(others))
    values, places = find(np.ascontiguousarray(some), np.ascontiguousarray(others), count, squared)
    chosen, best = np.zeros(len(some), np.int64), np.zeros(len(some))
    sure = np.ones(len(some), bool)
    if count < len(others):
        sure = np.abs(values[:, -1] - values[:, 0]) > margins
    best_of(np.sort(places, axis=1), some, others, squared, chosen, best)
    return chosen, best, sure
