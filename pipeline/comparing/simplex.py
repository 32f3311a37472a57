"""Weights that add up to 1, found by trying some, learning from what they were worth, and trying where it looks better.

Meta-rater (Zhuang et al. 2025, arXiv:2504.14194) draws weights by chance, fits a regression of what they are worth, and
takes the mean of the best foretold; CLIMB (Diao et al. 2025, arXiv:2504.13161) adds rounds. The regression here is a
Gaussian process with a width a weight and noise of its own (scikit-learn), which needs fewer trials than trees."""

from typing import Any

import numpy as np
import numpy.typing as npt

from tamis.pipeline.recipe.extras import MissingExtra

ROUNDS = (24, 12, 8)  # trials each
CANDIDATES = 4096
BEST = 64  # of the candidates, whose mean is the last trial
APART = 0.1  # of two proposals of one round, as a sum of differences
Weights = npt.NDArray[np.float64]  # [trials, scores], rows that add up to 1


def first_trials(size: int) -> Weights:
    """Each score alone, and others drawn evenly."""
    drawn = np.random.default_rng(0).dirichlet(np.ones(size), max(0, ROUNDS[0] - size))
    return np.concatenate([np.eye(size), drawn])[: max(ROUNDS[0], size)]


def next_trials(tried: Weights, costs: npt.NDArray[np.float64], count: int) -> Weights:
    """The candidates of the lowest foretold cost, no two alike; `costs` [trials]."""
    candidates, foretold = _foretold(tried, costs)
    found: list[Any] = []
    for row in np.argsort(foretold, kind="stable").tolist():
        if all(np.abs(candidates[row] - other).sum() > APART for other in [*tried, *found]):
            found.append(candidates[row])
        if len(found) == count:
            break
    return np.array(found).reshape(-1, tried.shape[1])


def settled(tried: Weights, costs: npt.NDArray[np.float64]) -> Weights:
    """[1, scores] the mean of the best foretold."""
    candidates, foretold = _foretold(tried, costs)
    return candidates[np.argsort(foretold, kind="stable")[:BEST]].mean(0, keepdims=True)


def _foretold(tried: Weights, costs: npt.NDArray[np.float64]) -> tuple[Weights, npt.NDArray[np.float64]]:
    """Candidates, and what a process that has seen the trials says of each."""
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
    except ImportError as error:
        raise MissingExtra("tune: search", "classify") from error
    import warnings

    size = tried.shape[1]
    candidates = np.random.default_rng(len(tried)).dirichlet(np.ones(size), CANDIDATES)
    kernel = ConstantKernel(1.0) * RBF(np.full(size, 0.5), (0.05, 20.0)) + WhiteKernel(0.01, (1e-6, 1.0))
    process = GaussianProcessRegressor(kernel, normalize_y=True, n_restarts_optimizer=2, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a weight that says nothing has no width
        process.fit(tried, costs)
    return candidates, process.predict(candidates)
