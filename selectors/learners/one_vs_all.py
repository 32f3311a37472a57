"""A linear classifier for each class against all others: support vector machines with squared hinge loss.

min over w of |w|^2 / 2 + C sum_i c_i max(0, 1 - y_i (w x_i + b))^2, solved by Newton's method in the primal (Chapelle
2007, "Training a support vector machine in the primal"): only rows within the margin count, and the step is exact as
long as they stay the same. O(rows dim^2) a step and class, or O(rows^2 dim) where rows are fewer. Rows of a class and
rows of all others have equal sums of c_i. Distances from the boundary are no probabilities."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
COST = 1.0  # C, on vectors of unit length
STEPS, SETTLED = 30, 1e-8


def fit_one_vs_all(x: Floats, y: npt.NDArray[np.int64], classes: int, weights: Floats, cost: float = COST) -> Floats:
    """[dim + 1, classes], the last row the biases, which are penalized as a constant feature; `weights` [rows] of rows.

    A class without rows is minus infinity everywhere."""
    x = np.concatenate([x, np.ones((len(x), 1))], 1)
    found = np.zeros((x.shape[1], classes))
    for kind in range(classes):
        mine = y == kind
        ours, theirs = weights[mine].sum(), weights[~mine].sum()
        if not ours:
            found[-1, kind] = -np.inf
            continue
        total = weights.sum() / 2
        shares = np.where(mine, weights * total / ours, weights * total / theirs if theirs else 0)
        found[:, kind] = _newton(x, np.where(mine, 1.0, -1.0), cost * shares)
    return found


def _newton(x: Floats, y: Floats, costs: Floats) -> Floats:
    """[dim] the weights of one class; halves its step where the loss would rise."""
    w = np.zeros(x.shape[1])
    loss = _loss(w, x, y, costs)
    for _ in range(STEPS):
        active = (y * (x @ w) < 1) & (costs > 0)
        aim = _least_squares(x[active], y[active], 2 * costs[active])
        step = aim - w
        while (after := _loss(w + step, x, y, costs)) > loss + 1e-12 and np.abs(step).max() > SETTLED:
            step /= 2
        w, gain, loss = w + step, loss - after, after
        if gain <= SETTLED * max(1.0, loss):
            break
    return w


def _least_squares(x: Floats, y: Floats, costs: Floats) -> Floats:
    """[dim] argmin |w|^2 / 2 + sum c (y - w x)^2 / 2, by the smaller of two systems."""
    if len(x) < x.shape[1]:
        return np.asarray(x.T @ np.linalg.solve(x @ x.T + np.diag(1 / costs), y))
    return np.asarray(np.linalg.solve(np.eye(x.shape[1]) + (x.T * costs) @ x, (x.T * costs) @ y))


def _loss(w: Floats, x: Floats, y: Floats, costs: Floats) -> float:
    return float(w @ w / 2 + costs @ np.maximum(0, 1 - y * (x @ w)) ** 2)


def distances(x: npt.NDArray[np.floating], fitted: Floats) -> Floats:
    """[rows, classes] decision values: 1 is the margin of the class, -1 that of all others."""
    return np.asarray(np.asarray(x, np.float64) @ fitted[:-1] + fitted[-1])
