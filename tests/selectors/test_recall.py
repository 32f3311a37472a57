"""Spikes in an order tell recall and number: against closed forms, and against what was drawn."""

import numpy as np
import pytest
from scipy import stats

from tamis.selectors.recall import BY_CHANCE, FEWEST, WIDER, Recall, most_unseen, share


def among(pool: np.ndarray, spikes: np.ndarray) -> Recall:
    above = (pool[None, :] > spikes[:, None]).sum(1)
    return Recall.of(above, np.ones(len(spikes), bool), len(pool))


def drawn(seed: int, true: int, others: int, spikes: int, apart: float) -> Recall:
    """Kinds whose scores are normal, `apart` standard deviations from each other."""
    draw = np.random.default_rng(seed)
    pool = np.concatenate([draw.normal(apart, 1, true), draw.normal(0, 1, others)])
    return among(pool, draw.normal(apart, 1, spikes))


@pytest.mark.parametrize("true", [30, 150, 1000])
def test_intervals_of_ninety_percent_hold_the_truth_in_nine_of_ten(true: int) -> None:
    found = [drawn(seed, true, 5000, 200, 6.0).number() for seed in range(200)]
    told = [one for one in found if one is not None]
    assert len(told) == 200 and 0.85 <= np.mean([one.low <= true <= one.high for one in told]) <= 0.97
    assert 0.95 <= np.median([one.value for one in told]) / true <= 1.05
    if true > 100:
        assert np.mean([(one.high - one.low) / true for one in told]) < 0.25


def test_recall_at_a_budget_is_the_truth_within_its_interval() -> None:
    inside = []
    for seed in range(200):
        draw = np.random.default_rng(seed)
        pool, spikes = draw.normal(0, 1, 5000), draw.normal(2, 1, 150)
        chosen = 400
        line = np.sort(pool)[::-1][chosen - 1]
        found = among(pool, spikes).at(chosen)
        inside.append(found.low <= 1 - stats.norm.cdf(line - 2) <= found.high)
    assert np.mean(inside) >= 0.85


def test_where_nothing_is_of_the_kind_it_says_none_and_how_many_there_are_at_most() -> None:
    found = [drawn(seed, 0, 20_000, 100, 6.0) for seed in range(100)]
    assert sum(one.none for one in found) >= 98
    most = [number.high for one in found if (number := one.number()) is not None]
    assert len(most) == 100 and max(most) < 10
    some = [drawn(seed, 30, 20_000, 100, 6.0) for seed in range(100)]
    assert sum(one.none for one in some) <= 1


def test_where_others_stand_too_the_line_rises_and_the_number_is_no_less_than_the_truth() -> None:
    ratios = []
    lines, at_eighty = [], []
    for seed in range(60):
        found = drawn(seed, 200, 20_000, 200, 3.0)
        number = found.number()
        assert number is not None and found.line is not None
        lines.append(found.line / 200)
        ratios.append(number.value / 200)
        at_eighty.append(found.ranks[159] / 0.8 / 200)
    assert np.median(at_eighty) > 1.9, "half of what stands above the lowest line are others"
    assert np.median(lines) < 0.7 and 1.0 < np.median(ratios) < 1.5


def test_crowding_is_the_rank_sum_of_both() -> None:
    found = drawn(3, 100, 300, 80, 1.0)
    some = 60
    above = int(found.ranks[some - 1])
    spikes = found.ranks[: some - 1].astype(float)
    places = np.arange(above) + 0.5  # of the pool's samples among themselves
    lower = (places[:, None] > spikes[None, :]).mean()
    # a pool sample of place p lies below each spike that at most p samples of the pool stand above
    z = (lower - 0.5) / np.sqrt((above + some) / (12 * above * (some - 1)))
    assert found.crowded(some) == pytest.approx(z, rel=1e-9)


def test_the_most_that_may_be_unseen_is_that_of_the_beta_binomial() -> None:
    for above, line, spikes in ((0, 80, 100), (3, 20, 100), (1, 16, 20)):
        most = int(most_unseen(above, line, spikes))
        a, b = line, spikes - line + 1
        assert stats.betabinom(most, a, b).cdf(above) >= 0.05 > stats.betabinom(most + 1, a, b).cdf(above)


def test_the_interval_of_a_number_is_that_of_the_beta_negative_binomial() -> None:
    for above, line, spikes in ((20, 80, 100), (100, 160, 200), (1000, 160, 200)):
        found = Recall(np.append(np.full(line, above), np.full(spikes - line, 10**6)), line, 10**6)
        number = found.number()
        a, b = line, spikes - line + 1
        exact, tail = stats.betanbinom(above, a, b), stats.norm.sf(1.645 * WIDER)
        assert number is not None and found.line == line
        assert number.low == pytest.approx(above + exact.ppf(tail), rel=0.03, abs=1)
        assert number.high == pytest.approx(above + exact.ppf(1 - tail), rel=0.03, abs=1)


def test_too_few_spikes_tell_no_number_and_those_that_may_not_be_chosen_are_never_found() -> None:
    few = Recall.of(np.arange(FEWEST - 1), np.ones(FEWEST - 1, bool), 100)
    assert few.line is None and few.number() is None and not few.none and few.at(100).value == 1
    barred = Recall.of(np.arange(40), np.arange(40) < 10, 100)
    assert barred.at(100).value == 0.25 and barred.reach(0.25) == 10 and barred.reach(0.5) is None
    assert Recall.of(np.arange(40), np.arange(40) < 3, 100).number() is None


def test_a_curve_rises_to_all_and_a_number_is_at_most_the_pool() -> None:
    found = drawn(0, 50, 500, 60, 0.0)
    budgets = [budget for budget, _ in found.curve()]
    values = [told.value for _, told in found.curve()]
    assert budgets[0] == 1 and budgets[-1] == 550 and budgets == sorted(set(budgets)) and values == sorted(values)
    number = found.number()
    assert number is not None and number.value <= 550 and number.high <= 550
    assert found.reach(0.5) is not None and found.at(found.reach(0.5) or 0).value >= 0.5
    empty = Recall.of(np.zeros(30, np.int64), np.ones(30, bool), 0)
    assert empty.none and empty.number() is not None and empty.curve()[0][0] == 1


def test_a_share_has_wilsons_interval() -> None:
    found = share(8, 10)
    low, high = 0.5407, 0.9307  # of 8 in 10 at z = 1.645, by the formula's closed form
    assert (found.value, found.low, found.high) == (0.8, pytest.approx(low, abs=0.01), pytest.approx(high, abs=0.01))
    assert share(0, 0) == share(0, 0) and share(0, 0).high == 1 and BY_CHANCE == 3


def test_what_may_not_be_chosen_is_found_by_no_budget_and_few_at_the_top_are_no_number() -> None:
    some = Recall.of(np.arange(60), np.arange(60) < 36, 500)
    assert some.at(501).value == some.at(10**6).value == 0.6
    mixed = Recall.of(np.append(np.zeros(25, np.int64), np.arange(50, 400, 10)), np.ones(60, bool), 5000)
    number = mixed.number()
    assert not mixed.none and mixed.line == 26 and number is not None and number.value == pytest.approx(50 * 61 / 26)
