"""Hierarchical k-means with resampling, and quotas down its tree (Vo et al. 2024, arXiv:2405.15613, sections 3.2-3.3).

Level 1 clusters the vectors, each further level the centres of the one before. After each level's k-means, centres are
learned again from the `resample` rows nearest to each of them, several times, so that dense regions weigh no more than
sparse ones, and everything is assigned anew. A budget is filled like water from the top: each cluster gets the same,
or all it has. O(levels x rounds x rows x clusters x dim)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tamis.selectors.chance import uniform
from tamis.selectors.vectors.k_means import Vectors, k_means, nearest

Labels = npt.NDArray[np.int64]
ROUNDS = 10  # of resampling at each level, as published
SHARE = 0.5  # of the mean cluster's rows are resampled, about as published


def tree(vectors: npt.NDArray[np.floating], levels: Sequence[int], seed: int) -> tuple[Vectors, list[Labels]]:
    """Centres of the lowest level, and of each further one the number of the cluster that each one below belongs to.
    Every cluster holds something."""
    above: list[Labels] = []
    below: npt.NDArray[np.floating] = vectors
    lowest = np.zeros((0, vectors.shape[1]), np.float32)
    for level, count in enumerate(levels):
        labels, centres = _resampled(below, count, seed + level)
        if level:
            above.append(labels)
        else:
            lowest = centres
        below = centres
    return lowest, above


def _resampled(vectors: npt.NDArray[np.floating], count: int, seed: int) -> tuple[Labels, Vectors]:
    labels, centres, far = k_means(vectors, count, seed)
    rows = max(1, int(SHARE * len(vectors) / max(1, len(centres))))
    for _ in range(ROUNDS if len(centres) > 1 else 0):
        keys: list[npt.NDArray[Any]] = [far, labels]
        order = np.lexsort(keys)
        sizes = np.bincount(labels, minlength=len(centres))
        turn = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        _, centres, _ = k_means(vectors[np.sort(order[turn < rows])], count, seed)
        labels, far = nearest(vectors, centres)
        used, labels = np.unique(labels, return_inverse=True)
        centres = centres[used]
    return labels, centres


def quotas(lowest: Labels, above: Sequence[Labels], budget: int, seed: int, step: int) -> Labels:
    """[lowest clusters] how many of each, of their sizes: from the top of the tree each cluster's share of its
    parent's, never above its size."""
    sizes = [lowest]  # rows below each cluster, by level
    for labels in above:
        told = np.bincount(labels, weights=sizes[-1], minlength=int(labels.max(initial=-1)) + 1)
        sizes.append(told.astype(np.int64))
    shares = _filled(sizes[-1], budget, seed, step, len(sizes))
    for level in range(len(above), 0, -1):
        parents = above[level - 1]
        below = np.zeros(len(parents), np.int64)
        for parent, quota in enumerate(shares.tolist()):
            mine = np.flatnonzero(parents == parent)
            below[mine] = _filled(sizes[level - 1][mine], quota, seed, step, level, mine)
        shares = below
    return shares


def _filled(sizes: Labels, budget: int, seed: int, step: int, level: int, names: Labels | None = None) -> Labels:
    numbers = np.arange(len(sizes)) if names is None else names
    chance = uniform(numbers.astype(np.uint64), seed, step, f"cluster_balance remainder {level}")
    return water_fill(sizes, budget, chance)


def water_fill(sizes: Labels, budget: int, chance: npt.NDArray[np.float64]) -> Labels:
    """[clusters] how many of each: min(level, size), summing to the budget or to all there is."""
    if budget >= sizes.sum():
        return sizes.astype(np.int64)
    low, high = 0, int(sizes.max(initial=0))  # the highest whole level that costs no more than the budget
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if np.minimum(sizes, middle).sum() <= budget else (low, middle - 1)
    filled = np.minimum(sizes, low).astype(np.int64)
    more = np.flatnonzero(sizes > low)
    filled[more[np.argsort(chance[more], kind="stable")[: budget - int(filled.sum())]]] += 1
    return filled
