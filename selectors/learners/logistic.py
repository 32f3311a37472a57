"""Regularised logistic regression by Newton's method, classes balanced, and principal directions to see it through.

For some thousand rows and a few hundred features: 10 steps, each one matrix product and one solve; about a second."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
PENALTY = 1.0  # of the squared weights, against the sum of balanced log losses: scikit-learn's C = 1
STEPS, CLOSE = 50, 1e-8


def fit_logistic(
    ours: npt.NDArray[np.floating], theirs: npt.NDArray[np.floating], start: Floats | None = None, steps: int = STEPS
) -> Floats:
    """[features + 1] weights of log odds that a row is of `theirs`; the last is the constant, which is not penalised.
    `start`: weights that are near, from which few `steps` do.

    Both sides weigh half of all rows, whatever their sizes."""
    x = np.concatenate([ours, theirs]).astype(np.float64)
    x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    is_theirs = np.arange(len(x)) >= len(ours)
    share = np.where(is_theirs, len(x) / (2 * max(len(theirs), 1)), len(x) / (2 * max(len(ours), 1)))
    penalty = np.full(x.shape[1], PENALTY)
    penalty[-1] = 0
    weights = np.zeros(x.shape[1]) if start is None else start
    for _ in range(steps):
        odds = 1 / (1 + np.exp(-np.clip(x @ weights, -30, 30)))
        gradient = x.T @ (share * (odds - is_theirs)) + penalty * weights
        curve = (x * (share * np.maximum(odds * (1 - odds), 1e-9))[:, None]).T @ x + np.diag(penalty + 1e-12)
        move = np.linalg.solve(curve, gradient)
        weights = weights - move
        if np.abs(move).max() < CLOSE:
            break
    return weights


def principal(rows: npt.NDArray[np.floating], most: int) -> tuple[Floats, Floats]:
    """Mean [features], and [features, at most `most`] directions of largest variance, scaled together so that the rows'
    mean squared length becomes 1. Signs are fixed: the largest entry of each is positive."""
    mean = rows.mean(0, dtype=np.float64)
    centred = rows - mean.astype(rows.dtype)
    covariance = (centred.T @ centred).astype(np.float64) / max(len(rows), 1)
    values, directions = np.linalg.eigh(covariance)
    directions = directions[:, ::-1][:, :most]
    largest = np.abs(directions).argmax(0)
    directions = directions * np.sign(directions[largest, np.arange(directions.shape[1])])
    kept = values[::-1][:most].sum()
    return mean, directions / np.sqrt(kept if kept > 0 else 1.0)
