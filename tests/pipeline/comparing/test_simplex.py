"""A search over weights: later rounds lie nearer to the best, and the last trial is as good as what was tried."""

import numpy as np
import pytest

from tamis.pipeline.comparing.simplex import APART, ROUNDS, Weights, first_trials, next_trials, settled

BEST = np.array([0.6, 0.3, 0.1, 0.0])


def cost(trials: Weights, draw: np.random.Generator, noise: float = 0.01) -> np.ndarray:
    return ((trials - BEST) ** 2).sum(1) + noise * draw.normal(size=len(trials))


def test_every_trial_adds_up_and_each_score_is_tried_alone() -> None:
    first = first_trials(4)
    assert first.shape == (ROUNDS[0], 4) and np.allclose(first.sum(1), 1) and (first >= 0).all()
    assert (first[:4] == np.eye(4)).all()
    assert first_trials(40).shape == (40, 40)
    two = first_trials(2).round(3)
    assert len(np.unique(two, axis=0)) == len(two) >= 20


@pytest.mark.parametrize("seed", range(3))
def test_rounds_come_nearer(seed: int) -> None:
    draw = np.random.default_rng(seed)
    tried = first_trials(4)
    costs = cost(tried, draw)
    means = [costs.mean()]
    for count in ROUNDS[1:]:
        more = next_trials(tried, costs, count)
        assert len(more) == count and np.allclose(more.sum(1), 1)
        apart = np.abs(more[:, None] - more[None]).sum(2)[~np.eye(count, dtype=bool)]
        assert apart.min() > APART
        means.append(cost(more, draw).mean())
        tried, costs = np.concatenate([tried, more]), np.append(costs, cost(more, draw))
    assert means[1] < means[0] / 2 and means[2] < means[0] / 2
    last = settled(tried, costs)
    plain = cost(last, draw, noise=0)[0]
    assert plain < 0.01 and plain < np.median(cost(tried, draw, noise=0))
    assert (settled(tried, costs) == last).all()


def test_two_scores_and_a_corner_are_no_trouble() -> None:
    draw = np.random.default_rng(1)
    tried = first_trials(2)
    costs = 1 - tried[:, 0] + 0.001 * draw.normal(size=len(tried))
    for count in ROUNDS[1:]:
        more = next_trials(tried, costs, count)
        assert 0 < len(more) <= count
        tried, costs = np.concatenate([tried, more]), np.append(costs, 1 - more[:, 0])
    assert settled(tried, costs)[0, 0] > 0.97
