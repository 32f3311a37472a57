"""Confident learning: which labels are likely wrong, from probabilities of a model that did not see them.

Northcutt, Jiang, Chuang 2021 (arXiv:1911.00068). A row counts for class j where p_j reaches t_j, the mean p_j of the
rows that are labeled j (equations 1 and 2); C[s, y] counts rows labeled s that count for y. Scaled to the counts of
labels it says how many labels s are really y; so many are pruned, those for which y leads s most. O(rows x classes)."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
ROUNDING = 1e-6  # so much below its threshold a probability still reaches it


def thresholds(given: Labels, shares: Floats) -> Floats:
    """[classes] t_j; 1 for a class that no label names."""
    return np.array([
        shares[given == kind, kind].mean() if (given == kind).any() else 1.0 for kind in range(shares.shape[1])
    ])  # fmt: skip


def counted_for(given: Labels, shares: Floats) -> Labels:
    """[rows] the class that a row counts for: the likeliest of those it reaches; -1: none."""
    reached = shares >= thresholds(given, shares) - ROUNDING
    return np.where(reached.any(1), np.where(reached, shares, -1).argmax(1), -1)


def joint(given: Labels, shares: Floats) -> Labels:
    """[labeled, true] how many labels s are y, each row summing to the number of labels s: C, calibrated.

    Nothing is 0 on the diagonal before scaling, and fractions are rounded so that rows keep their sums."""
    classes = shares.shape[1]
    found = counted_for(given, shares)
    counts = np.zeros((classes, classes))
    np.add.at(counts, (given[found >= 0], found[found >= 0]), 1)
    np.fill_diagonal(counts, np.maximum(np.diag(counts), 1))
    labels = np.bincount(given, minlength=classes)
    scaled = counts / counts.sum(1, keepdims=True) * labels[:, None]
    return np.stack([_rounded(row, int(total)) for row, total in zip(scaled, labels, strict=True)])


def _rounded(row: Floats, total: int) -> Labels:
    """Whole numbers near these that sum to `total`: those with the largest remainders go up."""
    whole = np.floor(row).astype(np.int64)
    up = np.lexsort((-np.arange(len(row)), whole - row))[: max(0, total - int(whole.sum()))]
    whole[up] += 1
    return whole


def by_noise_rate(given: Labels, shares: Floats) -> Mask:
    """[rows] likely wrong: of each pair s, y as many labels s as are really y, those for which y leads s most."""
    wrong = np.zeros(len(given), bool)
    pairs = joint(given, shares)
    for kind in range(shares.shape[1]):
        rows = np.flatnonzero(given == kind)
        for other in range(shares.shape[1]):
            count = int(pairs[kind, other])
            if other != kind and count:
                lead = shares[rows, other] - shares[rows, kind]
                wrong[rows[lead >= np.sort(lead)[-count]]] = True
    return wrong & (shares.argmax(1) != given)


def by_class(given: Labels, shares: Floats) -> Mask:
    """[rows] likely wrong: of each label as many as are really something else, the least confident ones."""
    wrong = np.zeros(len(given), bool)
    pairs = joint(given, shares)
    for kind in range(shares.shape[1]):
        rows = np.flatnonzero(given == kind)
        count = len(rows) - int(pairs[kind, kind])
        if count:
            own = shares[rows, kind]
            wrong[rows[own <= np.sort(own)[count - 1]]] = True
    return wrong & (shares.argmax(1) != given)


def off_diagonal(given: Labels, shares: Floats) -> Mask:
    """[rows] that count for another class than their label."""
    found = counted_for(given, shares)
    return (found >= 0) & (found != given)
