"""Optimal transport to the target: a linear program's value, one mass for a crowd of copies, picks by their mass."""

import re
from pathlib import Path

import numpy as np
import pytest
from planted import batch_of, kinds_of_vectors
from scipy.optimize import linprog

from tamis.pipeline import open_run
from tamis.selectors.budget import Budget
from tamis.selectors.match.tsds import Moved, Tsds, _nearest, transport
from tamis.selectors.picks.beside import gather_both
from tamis.selectors.vectors.columns import unit
from tests_support import Runner


def moved(target: np.ndarray, pool: np.ndarray, **settings: float) -> Moved:
    given, wanted, _ = gather_both([batch_of(target, "t", beside=True), batch_of(pool, "p")], "v", Budget(5))
    step = Tsds(column="v", **settings)  # type: ignore[arg-type]  # numbers by name
    return transport(step, given, _nearest(given, wanted, step.neighbours))


def program(target: np.ndarray, pool: np.ndarray, alpha: float, scale: float, bandwidth: float) -> float:
    """The least of the objective, as a plain linear program over gamma and the largest deviation."""
    mine, theirs = (unit(vectors.astype(np.float16).astype(np.float32)) for vectors in (target, pool))
    apart = np.sqrt(np.maximum(0, 2 - 2 * mine @ theirs.T))
    rho = np.maximum(0, 1 - (2 - 2 * theirs @ theirs.T) / bandwidth**2).sum(1)
    count, width = apart.shape
    even = 1 / (rho * count * (1 / rho).sum())
    costs = np.append((alpha / scale * apart).ravel(), (1 - alpha) * count)
    rows = np.zeros((count, count * width + 1))
    for row in range(count):
        rows[row, row * width : (row + 1) * width] = 1
    deviations = np.hstack([np.kron(np.eye(count), np.diag(rho)), -np.ones((count * width, 1))])
    other = np.hstack([-np.kron(np.eye(count), np.diag(rho)), -np.ones((count * width, 1))])
    bounds = np.tile(rho * even, count)
    found = linprog(
        costs, np.vstack([deviations, other]), np.append(bounds, -bounds), rows, np.full(count, 1 / count), (0, None)
    )
    return float(found.fun)


@pytest.mark.parametrize("alpha", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("scale", [0.05, 0.2, 5.0])
def test_it_is_the_linear_programs_optimum(alpha: float, scale: float) -> None:
    draw = np.random.default_rng(int(100 * alpha + 10 * scale))
    target, pool = unit(draw.normal(size=(4, 5))), unit(draw.normal(size=(24, 5)))
    pool[20:] = pool[3]  # a crowd
    found = moved(target, pool, alpha=alpha, scale=scale)
    assert found.objective == pytest.approx(program(target, pool, alpha, scale, 0.75), abs=2e-4)
    assert found.mass.sum() == pytest.approx(1)


def test_a_crowd_of_copies_has_the_mass_of_one() -> None:
    target = np.eye(4)[:1]
    once = unit(np.array([[1, 0.2, 0, 0], [1, 0, 0.3, 0], [1, 0, 0, 0.3], [0, 1, 0, 0.0]]))
    crowded = np.concatenate([once, np.repeat(once[:1], 9, axis=0)])
    settings = {"scale": 0.2, "bandwidth": 0.2}
    plain, found = moved(target, once, **settings), moved(target, crowded, **settings)
    assert found.mass[0] + found.mass[4:].sum() == pytest.approx(plain.mass[0], abs=1e-6)
    assert found.density[0] == pytest.approx(10)


def test_what_is_far_has_no_mass_until_distances_are_scaled_down() -> None:
    draw = np.random.default_rng(5)
    target = np.tile([1.0, 0, 0], (3, 1))
    pool = unit(
        np.concatenate([np.tile([1.0, 0, 0], (5, 1)), np.tile([-1.0, 0, 0], (95, 1))])
        + 0.1 * draw.normal(size=(100, 3))
    )
    near, wide = moved(target, pool, scale=0.5), moved(target, pool, scale=1e6)
    assert set(np.flatnonzero(near.mass)) == set(range(5))
    assert len(np.flatnonzero(wide.mass)) == 100


def test_picks_are_drawn_by_mass_and_the_nearest_follow() -> None:
    draw = np.random.default_rng(7)
    target, pool = unit(draw.normal(size=(3, 6))), unit(draw.normal(size=(60, 6)))
    batches = [batch_of(target, "t", beside=True), batch_of(pool, "p")]
    taken = np.zeros(60)
    for seed in range(400):
        found = Tsds(column="v", scale=0.5, seed=seed).rank(batches, Budget(1))
        taken[np.flatnonzero(found.ranks)] += 1
    mass = moved(target, pool, scale=0.5).mass
    assert np.abs(taken / 400 - mass).max() < 4 * np.sqrt(0.25 / 400)
    more = Tsds(column="v", scale=0.5).rank(batches, Budget(40))
    order = np.argsort(more.ranks)[-40:]
    with_mass = int((mass > 0).sum())
    assert set(order[:with_mass]) == set(np.flatnonzero(mass))
    near = (unit(pool.astype(np.float32)) @ target.T.astype(np.float32)).max(1)
    assert (np.diff(near[order[with_mass:]]) < 1e-3).all()
    assert f"{with_mass:,} have a share" in more.facts["said"][0]


def test_settings_out_of_range_are_refused() -> None:
    for wrong in ({"alpha": 0.0}, {"scale": 0.0}, {"bandwidth": -1.0}, {"neighbours": 0}):
        with pytest.raises(ValueError, match="must be"):
            Tsds(column="v", **wrong)  # type: ignore[arg-type]  # numbers by name


def test_a_run_says_for_whom_each_pick_is(run_in: Runner, tmp_path: Path) -> None:
    steps = [{"tsds": {"column": "v", "scale": 0.02, "budget": 8}}]
    outcome = run_in(tmp_path, **kinds_of_vectors(tmp_path), steps=steps)
    rows = (
        open_run(outcome.folder)
        .sql("select key, detail from ledger join pool using (sample_id) where kept")
        .to_pylist()
    )
    assert len(rows) == 8 and {int(row["key"][1:]) // 30 for row in rows} == {0, 1}
    assert all(
        re.match(r"for t[0-5] of the target \(distance [0-9.]+\), one of [0-9.]+ alike", row["detail"]) for row in rows
    )
    assert outcome.manifest["steps"][0]["facts"]["target"] == 6
