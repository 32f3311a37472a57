"""Hierarchical k-means with resampling, and quotas down its tree (Vo et al. 2024, arXiv:2405.15613, sections 3.2-3.3).

Level 1 clusters the vectors, each further level the centres of the one before. After each level's k-means, centres are
learned again from the `resample` rows nearest to each of them, several times, so that dense regions weigh no more than
sparse ones, and everything is assigned anew. A budget is filled like water from the top: each cluster gets the same,
or all it has. O(levels x rounds x rows x clusters x dim)."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from tamis.selectors.chance import uniform
from tamis.selectors.k_means import Vectors, k_means, nearest

Labels = npt.NDArray[np.int64]
ROUNDS = 10  # of resampling at each level, as published
SHARE = 0.5  # of the mean cluster's rows are resampled, about as published


def tree(
    vectors: npt.NDArray[np.floating], levels: Sequence[int], seed: int
) -> tuple[list[Labels], npt.NDArray[np.float32]]:
    """Of each level, from the lowest, the number of the cluster that each row or cluster below belongs to; and [rows]
    squared distance to the own lowest centre. Every cluster holds something."""
    labels: list[Labels] = []
    below: npt.NDArray[np.floating] = vectors
    far = np.zeros(len(vectors), np.float32)
    for level, count in enumerate(levels):
        told, centres, apart = _resampled(below, count, seed + level)
        labels.append(told)
        far = apart if level == 0 else far
        below = centres
    return labels, far


def _resampled(
    vectors: npt.NDArray[np.floating], count: int, seed: int
) -> tuple[Labels, Vectors, npt.NDArray[np.float32]]:
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
    return labels, centres, far


def quotas(labels: Sequence[Labels], budget: int, seed: int, step: int) -> Labels:
    """[lowest clusters] how many of each: from the top each cluster's share of its parent's, never above its size."""
    sizes = [np.bincount(labels[0])]  # rows below each cluster, by level
    for below, above in pairwise(labels):
        sizes.append(np.bincount(above, weights=sizes[-1], minlength=int(above.max()) + 1).astype(np.int64))
        assert len(sizes[-2]) == len(above), f"{len(below)} rows lie below {len(above)} clusters"
    top = _filled(sizes[-1], budget, seed, step, len(sizes))
    for level in range(len(labels) - 1, 0, -1):
        parents = labels[level]
        told = np.zeros(len(parents), np.int64)
        for parent, quota in enumerate(top.tolist()):
            mine = np.flatnonzero(parents == parent)
            told[mine] = _filled(sizes[level - 1][mine], quota, seed, step, level, mine)
        top = told
    return top


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
