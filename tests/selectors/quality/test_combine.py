"""Several scores as one, against scipy's ranks and plain z-scores; missing values; what can't be combined."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import rankdata

from tamis.pipeline import open_run
from tamis.selectors.quality.combine import Combine
from tests_support import Runner, write_jsonl


def batches_of(a: np.ndarray, b: np.ndarray, size: int) -> list[pa.RecordBatch]:
    ids = pa.array(np.arange(len(a), dtype=np.uint64))
    whole = pa.record_batch({"sample_id": ids, "a": pa.array(a, from_pandas=True), "b": pa.array(b)})
    return [whole.slice(first, size) for first in range(0, len(a), size)]


def scores(asked: Combine, batches: list[pa.RecordBatch]) -> np.ndarray:
    fitted = asked.fit(batches, [])
    return np.concatenate([fitted.score(batch) for batch in batches])


@pytest.fixture
def drawn() -> tuple[np.ndarray, np.ndarray]:
    chance = np.random.default_rng(0)
    return chance.normal(5, 2, 500), chance.integers(0, 20, 500)


def test_ranks_are_those_of_scipy(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = drawn
    ranks = [(rankdata(values) - 0.5) / 500 for values in (-a, b.astype(float))]
    for by, told in (("rank", np.mean(ranks, axis=0)), ("max", np.max(ranks, axis=0))):
        found = scores(Combine(scores=["-a", "b"], by=by), batches_of(a, b, 64))  # type: ignore[arg-type]
        assert np.allclose(found, told, atol=1e-9)
    weighted = scores(Combine(scores=["-a", "b"], weights=[3, 1]), batches_of(a, b, 500))
    assert np.allclose(weighted, (3 * ranks[0] + ranks[1]) / 4, atol=1e-9)


def test_z_scores_whatever_the_batches(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = drawn
    told = ((b - b.mean()) / b.std() - (a - a.mean()) / a.std()) / 2
    for size in (7, 500):
        assert np.allclose(scores(Combine(scores=["-a", "b"], by="z"), batches_of(a, b, size)), told, atol=1e-9)
    assert np.allclose(
        scores(Combine(scores=["a", "b"], by="z"), batches_of(a, np.ones(500), 99)) * 2 * a.std(), a - a.mean()
    )


def test_a_column_of_one_value_says_nothing_whatever_the_batches(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    flat = np.full(500, 0.1)
    found = [scores(Combine(scores=["a", "b"], by="z"), batches_of(flat, drawn[1], size)) for size in (7, 100, 500)]
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[0], found[2]) and np.ptp(found[0]) > 0


def test_what_lacks_a_score_is_not_scorable(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = drawn
    a[::5] = np.nan
    for by in ("rank", "max", "z"):
        found = scores(Combine(scores=["a", "b"], by=by), batches_of(a, b, 100))  # type: ignore[arg-type]
        assert np.array_equal(np.isnan(found), np.isnan(a))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"scores": ["a"]}, "two different ones or more"),
        ({"scores": ["a", "-a"]}, "two different ones or more"),
        ({"scores": ["a", "b"], "weights": [1]}, "wanted 2 numbers of 0 and more"),
        ({"scores": ["a", "b"], "weights": [float("nan"), 1]}, "wanted 2 numbers of 0 and more"),
        ({"scores": ["a", "b"], "weights": [0, 0]}, "wanted 2 numbers of 0 and more"),
        ({"scores": ["a", "b"], "weights": [1, 1], "by": "max"}, "has none"),
    ],
)
def test_what_can_not_be_combined_is_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Combine(**settings)


def test_the_ledger_tells_each_part(run_in: Runner, tmp_path: Path) -> None:
    records = [{"id": f"k{n}", "text": f"text {n}", "good": n, "long": (n * 7) % 50} for n in range(50)]
    write_jsonl(tmp_path / "pool.jsonl", records)
    outcome = run_in(
        tmp_path,
        pool=[{"format": "jsonl", "path": "pool.jsonl", "key": "id", "keep": ["good", "long"]}],
        target=[],
        steps=[{"combine": {"scores": ["good", "-long"], "budget": 5}}],
        emit=["keys"],
    )
    best = sorted(records, key=lambda row: row["long"] - row["good"])[:5]  # type: ignore[operator]
    result = open_run(outcome.folder)
    assert set(result.selection()["key"].to_pylist()) == {row["id"] for row in best}
    assert "good 0." in result.why(best[0]["id"]) and "-long 0." in result.why(best[0]["id"])
