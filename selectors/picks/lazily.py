"""The best of many rows whose values are known from above: only what may still win is looked at (Minoux 1978)."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from tamis.selectors.contract import Floats, Rows

FIRST_LOOK = 32  # rows looked at at once, twice as many each further time
MOST_LOOK = 256


def best_row(bounds: Floats, looked: npt.NDArray[np.bool_], values: Callable[[Rows], Floats]) -> int:
    """The row of the largest value, of equal ones the first. `bounds` [rows] are not below the values, and are these
    where `looked` [rows]; both are brought up to date. `values` tells those of some rows."""
    size = FIRST_LOOK
    while not looked[place := int(bounds.argmax())]:
        open_ = np.flatnonzero(~looked)
        size = min(size, len(open_))
        some = np.sort(open_[np.argpartition(-bounds[open_], size - 1)[:size]])
        bounds[some] = values(some)
        looked[some], size = True, min(2 * size, MOST_LOOK)
    return place
