"""Which few columns make up a vector: argmin over nu of |W nu - t|^2 / 2 + penalty |nu|_1, by coordinate descent.

Tibshirani 1996; each coordinate in turn has a closed form, soft thresholding (Friedman, Hastie, Tibshirani 2010). On
the Gram matrix: O(columns^2) a sweep. Where columns repeat each other nu is one of several."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
SWEEPS, SETTLED = 10_000, 1e-9


def lasso(w: Floats, t: Floats, penalty: float, *, nonnegative: bool) -> Floats:
    """[columns] from w [dim, columns] and t [dim]."""
    gram, aim = w.T @ w, w.T @ t
    nu = np.zeros(w.shape[1])
    left = aim.copy()  # aim - gram @ nu
    for _ in range(SWEEPS):
        moved = 0.0
        for place in np.flatnonzero(np.diag(gram) > 0).tolist():
            pull = left[place] + gram[place, place] * nu[place]
            size = max(0.0, (pull if nonnegative else abs(pull)) - penalty) / gram[place, place]
            value = size if nonnegative else np.sign(pull) * size
            change = value - nu[place]
            if change:
                left -= gram[:, place] * change
                nu[place] = value
                moved = max(moved, abs(change))
        if moved <= SETTLED * max(1.0, float(np.abs(nu).max())):
            break
    return nu
