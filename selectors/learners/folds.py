"""Which fold a sample is judged in: by its content, so that nothing is judged by what saw its copy."""

from typing import Any

import numpy as np
import numpy.typing as npt
from xxhash import xxh3_64_intdigest

from tamis.selectors.chance import Ids, uniform

FOLDS = 5


def fold_of(contents: Ids, seed: int = 0, step: int = 0, purpose: str = "fold") -> npt.NDArray[np.int64]:
    """[rows] from 0 to FOLDS - 1, the same for the same content."""
    return (uniform(contents, seed, step, purpose) * FOLDS).astype(np.int64)


def alike(vectors: npt.NDArray[np.floating[Any]], contents: Ids | None = None) -> Ids:
    """[rows] a number that samples share if their vectors are equal to the last bit, or their contents are."""
    rows = np.ascontiguousarray(vectors)
    found = np.fromiter(map(xxh3_64_intdigest, rows), np.uint64, len(rows))
    if contents is None:
        return found
    _, first, which = np.unique(contents, return_index=True, return_inverse=True)
    return found[first][which.reshape(-1)]
