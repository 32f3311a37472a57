"""Budgets of sources: the published toy, few sources against many, and never a sample above the budget."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Lasso

from tamis.pipeline.errors import RecipeError
from tamis.selectors.balance.source_budgets import allocate
from tamis.selectors.budget import Budget, parse_budget
from tamis.selectors.catalog import build
from tamis.selectors.learners.lasso import lasso
from tamis.selectors.vectors.columns import as_column
from tests_support import Runner, write_jsonl

DIM, TASKS = 5, 40


def toy(seed: int = 0) -> tuple[Any, Any]:
    """40 tasks in 5 dimensions; the target is half of the first and .3 of the second, which are large."""
    w = np.random.default_rng(seed).normal(size=(DIM, TASKS)) * 0.25
    w[:, :2] = np.eye(DIM)[:, :2] * 3
    return w, 0.5 * w[:, 0] + 0.3 * w[:, 1]


def test_lasso_is_scikit_learns() -> None:
    draw = np.random.default_rng(0)
    w, t = draw.normal(size=(30, 12)), draw.normal(size=30)
    for penalty in (0.1, 1.0, 5.0):
        for nonnegative in (False, True):
            theirs = Lasso(alpha=penalty / 30, positive=nonnegative, fit_intercept=False, tol=1e-12, max_iter=100_000)
            ours = lasso(w, t, penalty, nonnegative=nonnegative)
            np.testing.assert_allclose(ours, theirs.fit(w, t).coef_, atol=1e-4)


def test_the_toy_has_two_sources_where_least_squares_has_forty() -> None:
    w, t = toy()
    few, many = lasso(w, t, 1e-3 * DIM, nonnegative=False), np.linalg.pinv(w) @ t
    assert np.flatnonzero(np.abs(few) > 1e-6).tolist() == [0, 1]
    assert np.abs(few).sum() == pytest.approx(0.8, abs=2e-3)
    assert (np.abs(many) > 1e-6).sum() == 40 and np.abs(many).sum() > 0.8


def error(nu: Any, total: int, by: Any, seed: int) -> float:
    """Squared error of the target's weights as nu of the sources', each a regression on so many noisy samples."""
    w, t = toy()
    counts = allocate(by, total, np.ones(TASKS), DIM + 2, np.full(TASKS, 10**6))
    draw, found = np.random.default_rng(seed), np.zeros(DIM)
    for task, count in enumerate(counts.tolist()):
        x = draw.normal(size=(count, DIM))
        y = x @ w[:, task] + draw.normal(size=count)
        found += nu[task] * np.linalg.lstsq(x, y, rcond=None)[0]
    return float(((found - t) ** 2).sum())


def test_the_same_error_needs_fewer_samples_than_by_squares_or_evenly() -> None:
    w, t = toy()
    few, many = lasso(w, t, 1e-3 * DIM, nonnegative=False), np.linalg.pinv(w) @ t
    half = {"lasso": (few, np.abs(few)), "squares": (many, many**2), "evenly": (many, np.ones(TASKS))}
    errors = {name: np.mean([error(nu, 1000, by, seed) for seed in range(60)]) for name, (nu, by) in half.items()}
    twice = {name: np.mean([error(nu, 2000, by, seed) for seed in range(60)]) for name, (nu, by) in half.items()}
    assert errors["lasso"] < min(errors["squares"], errors["evenly"])
    assert errors["lasso"] < twice["evenly"], "half of the samples do as well"


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.tuples(st.floats(0, 10), st.integers(0, 50), st.sampled_from([1, 2, 7, 13])), min_size=1, max_size=12),
    st.integers(0, 600), st.integers(0, 8),
)  # fmt: skip
def test_allocations_are_within_floor_and_size_and_spend_what_they_can(
    sources: list[tuple[float, int, int]], total: int, floor: int
) -> None:
    weights, most, costs = (np.array(column) for column in zip(*sources, strict=True))
    counts = allocate(weights.astype(float), total, costs.astype(float), floor, most)
    assert (counts >= 0).all() and (counts <= most).all() and (counts * costs).sum() <= total
    if (np.minimum(floor, most) * costs).sum() <= total:
        assert (counts >= np.minimum(floor, most)).all()
    left = total - (counts * costs).sum()
    assert not ((counts < most) & (costs <= left)).any(), "nothing that could be paid is left"


def test_dearer_sources_get_less_by_the_root_of_their_price() -> None:
    counts = allocate(np.array([1.0, 1.0]), 50_000, np.array([1.0, 4.0]), 0, np.array([10**6, 10**6]))
    assert counts[0] / counts[1] == pytest.approx(2, rel=1e-3) and counts @ [1, 4] <= 50_000


def batch(vectors: Any, parts: list[str], **more: Any) -> pa.RecordBatch:
    ids = pa.array(np.arange(1, len(vectors) + 1), pa.uint64())
    return pa.record_batch({"sample_id": ids, "v": as_column(vectors.astype(np.float32)), "part": parts, **more})


def test_the_budget_goes_to_the_sources_that_make_up_the_target() -> None:
    draw = np.random.default_rng(1)
    centres = draw.normal(size=(12, 32))
    parts = np.repeat(np.arange(12), 200)
    pool = batch(centres[parts] + draw.normal(size=(2400, 32)), [f"s{part:02d}" for part in parts])
    kinds = np.repeat([3, 3, 7], 100)
    target = batch(centres[kinds] + draw.normal(size=(300, 32)), ["t"] * 300)
    found = build("source_budgets", {"column": "v", "by": "part", "floor": 5}).fit([pool], [[target]])
    counts = found.quotas(Budget(300))
    assert sum(counts.values()) == 300 and min(counts.values()) == 5
    assert sorted(counts, key=lambda name: -counts[name])[:2] == ["s03", "s07"] and counts["s03"] > counts["s07"] > 50
    full = found.quotas(Budget(1000))
    assert full["s03"] == full["s07"] == 200 and sum(full.values()) == 1000, "what they can't fill goes to the others"


def test_sources_that_teach_the_targets_task_get_the_budget() -> None:
    draw = np.random.default_rng(2)
    x = draw.normal(size=(3000, 16)).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    parts = np.arange(3000) % 6
    tasks = draw.normal(size=(6, 16))
    y = (x * tasks[parts]).sum(1) + draw.normal(size=3000) * 0.05
    pool = batch(x, [f"s{part}" for part in parts], y=pa.array(y))
    xt = x[:600]
    target = batch(xt, ["t"] * 600, y=pa.array(xt @ (-0.8 * tasks[4])))
    found = build("source_budgets", {"column": "v", "by": "part", "predict": "y", "floor": 0}).fit([pool], [[target]])
    counts = found.quotas(Budget(400))
    assert counts["s4"] > 320, "its relevance is negative, and it teaches the most"
    said = batch(x, [f"s{part}" for part in parts], y=pa.array(np.where(y > 0, "yes", "no")))
    asked = batch(xt, ["t"] * 600, y=pa.array(np.where(xt @ tasks[4] > 0, "yes", "no")))
    found = build("source_budgets", {"column": "v", "by": "part", "predict": "y", "floor": 0}).fit([said], [[asked]])
    assert max(counts := found.quotas(Budget(400)), key=lambda name: counts[name]) == "s4"


def test_a_run_spends_money_by_source(run_in: Runner, tmp_path: Any) -> None:
    draw = np.random.default_rng(3)
    keys = [f"k{number:03d}" for number in range(120)]
    parts = ["abc"[number % 3] for number in range(120)]
    vectors = np.eye(6)[[number % 3 for number in range(120)]] + draw.normal(size=(120, 6)) * 0.1
    write_jsonl(tmp_path / "pool.jsonl", [{"id": k, "part": p, "text": k} for k, p in zip(keys, parts, strict=True)])
    write_jsonl(tmp_path / "target.jsonl", [{"id": "k000", "text": "k000"}, {"id": "k003", "text": "k003"}])
    np.savez(tmp_path / "vectors.npz", key=np.array(keys), vector=vectors)
    recipe: dict[str, Any] = {
        "columns": {"v": {"embed": "precomputed", "path": "vectors.npz"}},
        "target": [{"format": "jsonl", "path": "target.jsonl", "key": "id"}],
    }
    money = {"cost": 25.0, "by": "part", "prices": {"a": 1, "b": 0.5, "c": 0.25}}
    step = {"source_budgets": {"column": "v", "by": "part", "floor": 4, "budget": money}}
    outcome = run_in(tmp_path, **recipe, steps=[step], emit=[])
    kept = pq.read_table(outcome.folder / "selection.parquet", columns=["part"])["part"].to_pylist()
    spent = sum(money["prices"][part] for part in kept)  # type: ignore[index]
    assert 24.5 < spent <= 25 and kept.count("a") >= 21 and min(kept.count("b"), kept.count("c")) >= 4
    less = {**money, "prices": {"a": 1}}
    with pytest.raises(RecipeError, match="prices lack 'b', 'c'"):
        run_in(tmp_path, name="bad", **recipe, steps=[{"source_budgets": {**step["source_budgets"], "budget": less}}])


def test_prices_are_by_kind_and_minutes_by_field_or_each() -> None:
    rows = pa.record_batch({"part": ["a", "b"], "long": [1.5, 2.0]})
    priced = parse_budget({"budget": {"cost": 3, "by": "part", "prices": {"a": 1, "b": 0.25}}})
    assert priced is not None and priced.costs(rows).tolist() == [10_000, 2500]
    timed = parse_budget({"budget": {"minutes": 3, "by": "long"}})
    assert timed is not None and timed.costs(rows).tolist() == [90_000, 120_000]
    each = parse_budget({"budget": {"minutes": 3, "each": 0.5}})
    assert each is not None and each.costs(rows).tolist() == [30_000, 30_000] and each.field is None
    kinds = parse_budget({"budget": {"minutes": 3, "by": "part", "prices": {"a": 2, "b": 1}}})
    assert kinds is not None and kinds.costs(rows).tolist() == [120_000, 60_000]
    for wrong in ({"cost": 3, "prices": {"a": 1}}, {"minutes": 3}, {"minutes": 3, "each": -1}, {"rows": 3, "by": "p", "prices": {"a": 1}}):  # fmt: skip
        with pytest.raises(ValueError, match=r"prices|minutes|wanted|add"):
            parse_budget({"budget": wrong})


def test_a_source_that_scatters_is_as_near_as_one_that_does_not() -> None:
    """Means of sources that scatter are short; of unit length they are told by where they point."""
    draw = np.random.default_rng(0)

    def batch(kind: str, count: int, first: int, *towards: float, scatter: float) -> pa.RecordBatch:
        vectors = scatter * draw.normal(size=(count, 8))
        vectors[:, : len(towards)] += towards
        ids = pa.array(range(first, first + count), pa.uint64())
        return pa.record_batch({"sample_id": ids, "v": as_column(vectors.astype(np.float32)), "s": [kind] * count})

    pool = [
        batch("near", 2000, 1, 1.0, scatter=1.0), batch("far", 2000, 2001, 1.0, 0.7, scatter=0.05),
        batch("other", 2000, 4001, 0, 0, 1.0, scatter=0.3), batch("more", 2000, 6001, 0, 0, 0, 1.0, scatter=0.3),
    ]  # fmt: skip
    target = batch("t", 400, 9001, 1.0, scatter=1.0)
    fitted = build("source_budgets", {"column": "v", "by": "s", "penalty": 0.1}).fit(pool, [[target]])
    relevance = {row[0]: row[2] for row in fitted.facts["table"]["rows"]}
    assert relevance["near"] > 0.1 and relevance["far"] == relevance["other"] == 0
