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
NEARBY = 1024  # more candidates, around the best that was tried
APART, NEW = 0.05, 0.01  # of two proposals of one round, and of what was tried; as sums of differences
DIGITS = 3  # of a weight
Weights = npt.NDArray[np.float64]  # [trials, scores], rows that add up to 1


def first_trials(size: int) -> Weights:
    """Each score alone, and others drawn evenly."""
    drawn = np.random.default_rng(0).dirichlet(np.ones(size), max(0, ROUNDS[0] - size))
    return _different(np.concatenate([np.eye(size), drawn]))


def next_trials(tried: Weights, costs: npt.NDArray[np.float64], count: int) -> Weights:
    """The candidates of the lowest foretold cost, no two alike, as many as there are; `costs` [trials]."""
    candidates, foretold = _foretold(tried, costs)
    found: list[Any] = []
    for row in np.argsort(foretold, kind="stable").tolist():
        new = np.abs(tried - candidates[row]).sum(1).min() > NEW
        if new and all(np.abs(candidates[row] - other).sum() > APART for other in found):
            found.append(candidates[row])
        if len(found) == count:
            break
    return _different(np.array(found).reshape(-1, tried.shape[1]))


def settled(tried: Weights, costs: npt.NDArray[np.float64]) -> Weights:
    """[1, scores] the mean of the best foretold."""
    candidates, foretold = _foretold(tried, costs)
    return candidates[np.argsort(foretold, kind="stable")[:BEST]].mean(0, keepdims=True)


def _different(trials: Weights) -> Weights:
    """Without those that are the same once they are rounded, in their order."""
    firsts = np.unique(trials.round(DIGITS), axis=0, return_index=True)[1]
    return trials[np.sort(firsts)]


def _foretold(tried: Weights, costs: npt.NDArray[np.float64]) -> tuple[Weights, npt.NDArray[np.float64]]:
    """Candidates, and what a process that has seen the trials says of each."""
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
    except ImportError as error:
        raise MissingExtra("tune: search", "classify") from error
    import warnings

    size, draw = tried.shape[1], np.random.default_rng(len(tried))
    near = draw.dirichlet(np.ones(size), NEARBY)
    around = 0.8 * tried[int(np.argmin(costs))] + 0.2 * near
    candidates = np.concatenate([tried, around, draw.dirichlet(np.ones(size), CANDIDATES)])
    kernel = ConstantKernel(1.0) * RBF(np.full(size, 0.5), (0.05, 20.0)) + WhiteKernel(0.01, (1e-6, 1.0))
    process = GaussianProcessRegressor(kernel, normalize_y=True, n_restarts_optimizer=2, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a weight that says nothing has no width
        process.fit(tried, costs)
    return candidates, process.predict(candidates)
