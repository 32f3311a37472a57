"""A weighted sample that keeps sums: leverages against their definition, errors far below chance's, unbiased weights."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tamis.pipeline import open_run
from tamis.selectors.balance.sensitivity import Sensitivity
from tamis.selectors.budget import Budget, Fraction
from tamis.selectors.ranked import Ranked
from tests_support import Runner, write_jsonl


def batches_of(rows: np.ndarray, size: int = 4096, **more: np.ndarray) -> list[pa.RecordBatch]:
    flat = pa.FixedSizeListArray.from_arrays(pa.array(rows.astype(np.float32).ravel()), rows.shape[1])
    ids = pa.array(np.arange(len(rows), dtype=np.uint64))
    whole = pa.record_batch({"sample_id": ids, "v": flat, **{name: pa.array(told) for name, told in more.items()}})
    return [whole.slice(first, size) for first in range(0, len(rows), size)]


def drawn(rows: np.ndarray, budget: int, **settings: object) -> Ranked:
    return Sensitivity(column="v", **settings).rank(batches_of(rows), Budget(budget))  # type: ignore[arg-type]


def heavy(seed: int = 0, count: int = 20_000) -> np.ndarray:
    """Rows in 16 coordinates, of which a hundredth are long."""
    rows = np.random.default_rng(seed).normal(size=(count, 16))
    rows[: count // 100] *= 100
    return rows.astype(np.float32).astype(np.float64)


def worst(rows: np.ndarray, picks: np.ndarray, weights: np.ndarray) -> float:
    """Largest relative error of ||Ax||^2 over all x."""
    values, vectors = np.linalg.eigh(rows.T @ rows)
    scaled = rows @ (vectors / np.sqrt(values))
    some = scaled[picks]
    return float(np.abs(np.linalg.eigvalsh((some * weights[:, None]).T @ some) - 1).max())


def test_scores_are_leverages_and_sum_to_the_rank() -> None:
    rows = heavy()
    rows[:, 15] = rows[:, 3] - 2 * rows[:, 4]
    found = drawn(rows.astype(np.float32), 500)
    exact = rows.astype(np.float32).astype(np.float64)
    told = np.einsum("ij,ji->i", exact, np.linalg.pinv(exact, rcond=1e-6))
    assert np.allclose(found.values, told, atol=1e-6)
    assert found.values.sum() == pytest.approx(15, abs=1e-6) and found.facts["sum"] == pytest.approx(15, abs=1e-6)


def test_sums_of_squares_are_kept_where_chance_does_not() -> None:
    rows, chance = heavy(), np.random.default_rng(1)
    found = drawn(rows, 500)
    picks = np.flatnonzero(found.ranks > 0)
    assert len(picks) == 500 and found.values.sum() == pytest.approx(16, abs=1e-6)
    assert worst(rows, picks, found.counts[picks]) < 0.03
    uniform = chance.permutation(len(rows))[:500]
    assert worst(rows, uniform, np.full(500, len(rows) / 500)) > 1


@pytest.mark.parametrize("power", [1, 2])
def test_weighted_sums_are_right_in_the_mean(power: int) -> None:
    rows = heavy(3, 400)
    x = np.random.default_rng(4).normal(size=16)
    told = np.abs(rows @ x) ** power
    sums = []
    for seed in range(200):
        found = drawn(rows, 40, power=power, seed=seed)
        picks = found.ranks > 0
        sums.append((told[picks] * found.counts[picks]).sum())
    error = np.std(sums) / np.sqrt(len(sums))
    assert abs(np.mean(sums) - told.sum()) < 3 * error < 0.05 * told.sum()


def test_lewis_weights_are_their_own_leverages() -> None:
    rows = heavy(5, 500)
    found = drawn(rows, 50, power=1)
    scaled = rows / np.sqrt(found.values)[:, None]
    leverage = np.einsum("ij,ji->i", scaled, np.linalg.pinv(scaled))
    assert np.allclose(leverage, found.values, rtol=1e-4) and found.values.sum() == pytest.approx(16, abs=1e-3)


def test_zero_rows_are_never_drawn_and_flat_scores_are_told() -> None:
    rows = np.random.default_rng(0).normal(size=(1000, 8))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows[::2] = 0
    found = drawn(rows, 800)
    assert (found.ranks > 0).sum() == 500 and not (found.ranks[::2] > 0).any()
    assert "chance is nearly as good" in found.facts["said"][1]
    assert drawn(np.zeros((5, 3)), 2).facts["said"] == ["no sample has coordinates other than zeros"]
    assert len(Sensitivity(column="v").rank([], Fraction(0.5)).ids) == 0


def test_further_numbers_are_coordinates_too() -> None:
    rows, price = heavy(1, 300), np.random.default_rng(2).normal(size=300)
    price[7] = 500
    batches = batches_of(rows, 64, price=price)
    found = Sensitivity(column="v", beside=["price"]).rank(batches, Budget(30))
    whole = np.column_stack([rows, price])
    assert np.allclose(found.values, np.einsum("ij,ji->i", whole, np.linalg.pinv(whole)), atol=1e-6)
    assert found.ranks[7] > 0 and found.counts[7] == 1


def test_coordinates_of_other_scales_take_nothing_away() -> None:
    chance = np.random.default_rng(0)
    rows = chance.normal(size=(500, 8))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    batches = batches_of(rows, 64, price=chance.uniform(1e6, 1e9, 500))
    for power in (1, 2):
        found = Sensitivity(column="v", beside=["price"], power=power).rank(batches, Budget(30))  # type: ignore[arg-type]
        assert found.values.sum() == pytest.approx(9, abs=1e-3)


def test_what_earlier_runs_chose_is_no_candidate() -> None:
    batch = batches_of(heavy(0, 100))[0]
    labels = pa.array(["" if n < 50 else None for n in range(100)], pa.string())
    missing = pa.array([n < 20 for n in range(100)])
    vectors = pa.FixedSizeListArray.from_arrays(batch["v"].values, 16, mask=missing)
    given = pa.record_batch({"sample_id": batch["sample_id"], "v": vectors, "labels": labels})
    found = Sensitivity(column="v").rank([given], Fraction(0.5))
    assert (found.ranks > 0).sum() == 25 and found.candidates == 50 and not found.ranks[:50].any()
    assert {found.reasons[place] for place in found.reason[:50]} == {"already_labeled"}


def test_other_budgets_and_what_holds_no_vectors_are_refused() -> None:
    batches = batches_of(np.eye(3))
    with pytest.raises(ValueError, match="draws a number of rows, not tokens"):
        Sensitivity(column="v").rank(batches, Budget(3, "tokens"))
    with pytest.raises(ValueError, match="`embed:` in `columns` makes one"):
        Sensitivity(column="sample_id").rank(batches, Budget(3))


def test_weights_go_into_ledger_and_exports(run_in: Runner, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(200, 4))
    write_jsonl(tmp_path / "pool.jsonl", [{"id": f"p{n}", "text": f"text {n}", "y": float(n % 7)} for n in range(200)])
    np.savez(tmp_path / "v.npz", key=np.array([f"p{n}" for n in range(200)]), v=rows)
    outcome = run_in(
        tmp_path,
        pool=[{"format": "jsonl", "path": "pool.jsonl", "key": "id", "keep": ["y"]}],
        target=[],
        columns={"v": {"embed": "precomputed", "path": "v.npz", "vector": "v"}},
        steps=[{"sensitivity": {"column": "v", "beside": ["y"], "budget": 40}}],
        emit=["jsonl"],
    )
    chosen = open_run(outcome.folder).selection()
    weights = chosen["weight"].to_numpy()
    assert len(weights) == 40 and weights.min() >= 1 and weights.sum() == pytest.approx(200, rel=0.3)
    assert outcome.manifest["steps"][0]["spent"] == 40, "what a sample stands for costs nothing"
    exported = (outcome.folder / "exports" / "selection.jsonl").read_text().splitlines()
    assert f'"weight":{weights[0]}' in exported[0].replace(" ", "")
