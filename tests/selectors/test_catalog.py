"""Chance, budgets, quotas, and the catalog's refusals."""

from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tamis.selectors.balance.quota import Quota, largest_remainders
from tamis.selectors.budget import Budget, Fraction, parse_budget
from tamis.selectors.catalog import build
from tamis.selectors.chance import uniform
from tamis.selectors.match.quality_mask import looks_like_prose
from tamis.selectors.reference import example, steps


def test_chance_is_uniform_and_belongs_to_the_sample() -> None:
    ids = np.arange(200_000, dtype=np.uint64)
    numbers = uniform(ids, 0, 0, "test")
    assert abs(numbers.mean() - 0.5) < 0.003
    assert 0 < numbers.min() < numbers.max() < 1
    assert (np.histogram(numbers, 50, (0, 1))[0] > 3700).all()
    np.testing.assert_array_equal(uniform(ids[::-1], 0, 0, "test"), numbers[::-1])
    for other in [(1, 0, "test"), (0, 1, "test"), (0, 0, "other")]:
        assert abs(np.corrcoef(uniform(ids, *other), numbers)[0, 1]) < 0.02


@given(st.dictionaries(st.text(max_size=3), st.floats(0.01, 100), min_size=1, max_size=6), st.integers(0, 10_000))
def test_quotas_sum_to_the_budget_and_are_near_their_shares(shares: dict[str, float], budget: int) -> None:
    quotas = largest_remainders(shares, budget)
    assert sum(quotas.values()) == budget
    scale = sum(shares.values())
    assert all(abs(quotas[name] - budget * share / scale) < 1 + 1e-6 * budget for name, share in shares.items())


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"budget": 5}, Budget(5)),
        ({"budget": {"tokens": 9, "by": "n"}}, Budget(9, "tokens", "n")),
        ({"budget": {"bytes": 9}}, Budget(9, "bytes")),
        ({"fraction": 0.5}, Fraction(0.5)),
        ({}, None),
    ],
)
def test_budgets_are_read(settings: dict[str, Any], wanted: Any) -> None:
    assert parse_budget(settings) == wanted
    assert settings == {}


@pytest.mark.parametrize(
    "settings",
    [{"budget": -1}, {"budget": 1.5}, {"budget": True}, {"budget": {"apples": 1}}, {"budget": {"rows": 1, "bytes": 2}},
     {"fraction": 1.5}, {"fraction": -0.1}, {"budget": 1, "fraction": 0.1}, {"budget": "many"}],
)  # fmt: skip
def test_wrong_budgets_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"budget|fraction"):
        parse_budget(settings)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("importance_sampling", {}, "did you mean 'importance_resampling'"),
        ("importance_resampling", {"ngram": 2}, "did you mean 'ngrams'"),
        ("importance_resampling", {"ngrams": "two"}, "ngrams: Input should be a valid integer"),
        ("importance_resampling", {"step": 3}, "unknown setting 'step'"),
        ("random", {"buget": 3}, "did you mean 'budget'"),
        ("quota", {"by": "x"}, "shares: missing"),
        ("quota", {"by": "x", "shares": {"a": -1.0}}, "positive"),
    ],
)
def test_the_catalog_says_what_is_wrong(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(name, settings)


def test_repeats_need_a_positive_number_of_epochs() -> None:
    with pytest.raises(ValueError, match="max_epochs"):
        Quota(by="x", shares={"a": 1.0}, max_epochs=0)


def test_prose_passes_the_quality_mask_and_tables_do_not() -> None:
    prose = (
        "The committee met on Tuesday to discuss the harbour works, and after a long debate it was agreed that "
        "dredging should begin before winter. Several members doubted whether the contractor could finish in time, "
        "but the engineer explained that most of the silt lies near the northern quay, where the water is shallow."
    )
    assert looks_like_prose(prose)
    assert not looks_like_prose("1 2 3 4 5 6 7 8 9 0 " * 10)
    assert not looks_like_prose("too short")
    assert not looks_like_prose("spam " * 100)


@pytest.mark.parametrize("title", sorted(steps()))
def test_the_example_of_each_step_is_one(title: str) -> None:
    (step,) = yaml.safe_load(example(title, steps()[title]))
    name, settings = next(iter(step.items()))
    asked = {key: value for key, value in settings.items() if key not in ("budget", "where")}
    assert type(build(name, asked)) is steps()[title]
    assert ("budget" in settings) == ("budget" in steps()[title].budgets)
