"""How much more frequent an n-gram is in the target than in the pool: a log ratio for each bucket."""

from typing import Any

import numpy as np
import numpy.typing as npt

from tamis.selectors.contract import Floats

Counts = npt.NDArray[np.int64]
FLOOR = 1e-8  # added to both probabilities by the published method, so that an empty bucket has a logarithm


def log_ratio(target: Counts, pool: Counts, smoothing: float, totals: tuple[Any, Any] | None = None) -> Floats:
    """[buckets] natural log of target over pool frequency; `totals` of both, where these are not the sums.

    With smoothing a: log((t + a) / (e + a)), e = the target's count if it were distributed as the pool; a bucket
    that neither has shown is worth nothing. Without: log(p_t + 1e-8) - log(p_p + 1e-8), as published."""
    target_total, pool_total = (np.maximum(1, some) for some in totals or (target.sum(), pool.sum()))
    if smoothing == 0:
        return np.log(target / target_total + FLOOR) - np.log(pool / pool_total + FLOOR)
    expected = pool * (target_total / pool_total)
    return np.log((target + smoothing) / (expected + smoothing))
