"""Codes of vectors: the nearest two of 256 centres, in each of eight k-means quantisers.

Spherical k-means (Dhillon and Modha 2001) from eight random starts. One quantiser alone draws its borders by chance;
eight of them, averaged, see twice as well (docs/benchmarks/precision.md). Fitting 20,000 vectors of 580 numbers takes
seconds, coding a million some minutes a core: 2,048 products each."""

from typing import Any

import numpy as np
import numpy.typing as npt

from tamis.selectors.chance import Ids, uniform
from tamis.selectors.vectors.columns import Vectors

QUANTISERS, CENTRES, ROUNDS = 8, 256, 15
SHARES = np.array([2 / 3, 1 / 3])  # of a vector's weight that its nearest and second nearest centre get
Centres = npt.NDArray[np.float32]  # [quantisers, centres, dim], of unit length


def fit_centres(vectors: Vectors, ids: Ids, seed: int, step: int) -> Centres:
    """Centres of all quantisers, the same for any order of the rows; eight rows to a centre, two centres at least."""
    order = np.argsort(ids, kind="stable")
    vectors, ids = vectors[order], ids[order]
    count = min(CENTRES, max(2, len(vectors) // 8))
    return np.stack([_spherical(vectors, ids, count, seed, step, f"codes/{number}") for number in range(QUANTISERS)])


def _spherical(vectors: Vectors, ids: Ids, count: int, seed: int, step: int, purpose: str) -> Centres:
    start = np.argsort(uniform(ids, seed, step, purpose), kind="stable")
    centres = vectors[start[np.arange(count) % len(start)]].copy()
    for _ in range(ROUNDS):
        products = vectors @ centres.T
        nearest = products.argmax(1)
        sums = _sums(vectors, nearest, count)
        sizes = np.linalg.norm(sums, axis=1)
        empty = np.flatnonzero(sizes == 0)
        if len(empty):  # a centre without vectors moves to those that are worst served
            worst = np.argsort(products.max(1), kind="stable")[: len(empty)]
            sums[empty[: len(worst)]] = vectors[worst]
            sizes = np.linalg.norm(sums, axis=1)
        centres = (sums / np.where(sizes, sizes, 1)[:, None]).astype(np.float32)
    return centres


def _sums(vectors: Vectors, owner: npt.NDArray[np.int64], count: int) -> Vectors:
    """[count, dim] sums of the vectors by owner: sorted first, five times as fast as adding them one by one."""
    order = np.argsort(owner, kind="stable")
    begins = np.flatnonzero(np.diff(owner[order], prepend=-1))
    sums = np.zeros((count, vectors.shape[1]), np.float32)
    sums[owner[order][begins]] = np.add.reduceat(vectors[order], begins, axis=0)
    return sums


def nearest_two(vectors: Vectors, centres: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """[rows, 2] nearest and second nearest of one quantiser's centres."""
    products = vectors @ centres.T
    first = products.argmax(1)
    products[np.arange(len(products)), first] = -np.inf
    return np.stack([first, products.argmax(1)], axis=1)


def counts(vectors: Vectors, centres: Centres) -> npt.NDArray[np.float64]:
    """[quantisers, centres] weight of the vectors that each centre gets."""
    out = np.zeros(centres.shape[:2])
    for number, some in enumerate(centres):
        pairs = nearest_two(vectors, some)
        for rank, share in enumerate(SHARES):
            out[number] += share * np.bincount(pairs[:, rank], minlength=len(some))
    return out


def soft(vectors: Vectors, centres: Centres) -> npt.NDArray[np.float32]:
    """[rows, quantisers * centres] each row's shares, side by side for all quantisers."""
    out = np.zeros((len(vectors), centres.shape[0] * centres.shape[1]), np.float32)
    rows: Any = np.arange(len(vectors))[:, None]
    for number, some in enumerate(centres):
        out[rows, number * centres.shape[1] + nearest_two(vectors, some)] = SHARES
    return out
