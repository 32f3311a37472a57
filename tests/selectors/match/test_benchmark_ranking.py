"""Each benchmark ranks the pool by itself: plain ranks of plain cosines, the best of them or their mean, step and column
alike."""

from pathlib import Path

import numpy as np
import pytest
from planted import batch_of, kinds_of_vectors

from tamis.pipeline import open_run
from tamis.pipeline.errors import RecipeError
from tamis.selectors.match.benchmark_ranking import BenchmarkRanking
from tamis.selectors.vectors.columns import as_array, as_column, unit
from tests_support import Runner

KEYS = "select key, score, detail from ledger join pool using (sample_id) order by score desc, key"


def as_kept(vectors: np.ndarray) -> np.ndarray:
    return unit(as_array(as_column(vectors))[0])


@pytest.mark.parametrize("by", ["best", "mean"])
def test_it_is_the_plain_rank_by_each_benchmark(by: str) -> None:
    draw = np.random.default_rng(1)
    pool, benchmarks = draw.normal(size=(200, 6)), [draw.normal(size=(count, 6)) for count in (1, 4, 30)]
    pool[7] = pool[3]
    targets = [[batch_of(some, f"b{number}-")] for number, some in enumerate(benchmarks)]
    batches = [batch_of(pool[:90], "p"), batch_of(pool[90:], "q")]
    step = BenchmarkRanking(column="v", by=by)  # type: ignore[arg-type]  # checked there
    fitted = step.fit(batches, targets)
    found = np.concatenate([fitted.score(batch) for batch in batches])
    near = [np.round((as_kept(pool) @ as_kept(some).T).max(1), 6) for some in benchmarks]
    ranks = np.stack([[((one < it).sum() + (one <= it).sum()) / 400 for it in one] for one in near])
    wanted = ranks.max(0) if by == "best" else ranks.mean(0)
    assert np.abs(found - wanted).max() < 0.006  # a half's rounding swaps neighbours
    assert found[7] == found[3]


def test_a_benchmark_near_to_everything_gets_no_more_than_one_apart() -> None:
    draw = np.random.default_rng(2)
    middle, apart = np.eye(8)[0], np.eye(8)[1]
    crowd = middle + 0.2 * draw.normal(size=(180, 8))
    few = 0.5 * apart + 0.5 * draw.normal(size=(20, 8))
    batch = batch_of(np.concatenate([crowd, few]), "p")
    fitted = BenchmarkRanking(column="v").fit([batch], [[batch_of(middle[None], "a")], [batch_of(apart[None], "b")]])
    first = np.argsort(-fitted.score(batch))[:20]
    by_cosine = np.argsort(-np.maximum(batch_of_cosines(batch, middle), batch_of_cosines(batch, apart)))[:20]
    assert (first >= 180).sum() >= 8 and (by_cosine >= 180).sum() == 0
    assert {detail.split(":")[0][-1] for detail in fitted.scored(batch).detail or [] if detail} == {"1", "2"}


def batch_of_cosines(batch: object, direction: np.ndarray) -> np.ndarray:
    return as_array(batch["v"])[0] @ direction  # type: ignore[index]  # a record batch


def test_a_benchmark_without_vectors_or_of_another_model_is_refused() -> None:
    pool = [batch_of(np.eye(3), "p")]
    with pytest.raises(ValueError, match="source 2: no sample has a vector in 'v'"):
        BenchmarkRanking(column="v").fit(pool, [pool, [batch_of(np.zeros((2, 3)), "b")]])
    with pytest.raises(ValueError, match="have 4 numbers, the pool's 3"):
        BenchmarkRanking(column="v").fit(pool, [[batch_of(np.eye(4), "b")]])


def test_step_and_column_say_the_same(run_in: Runner, tmp_path: Path) -> None:
    parts = kinds_of_vectors(tmp_path)
    lines = (tmp_path / "target.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "other.jsonl").write_text("".join(lines[1::2]))  # the second kind
    (tmp_path / "target.jsonl").write_text("".join(lines[0::2]))
    parts["target"] = [{"format": "jsonl", "path": f"{name}.jsonl", "key": "id"} for name in ("target", "other")]
    parts["columns"]["like"] = {"benchmarks": "best", "features": "v"}
    step = run_in(tmp_path, **parts, name="step", steps=[{"benchmark_ranking": {"column": "v", "budget": 12}}])
    column = run_in(
        tmp_path, **parts, name="column", steps=[{"threshold": {"column": "like", "keep": "high", "budget": 12}}]
    )
    one, other = (open_run(run.folder).sql(KEYS).to_pylist() for run in (step, column))
    assert [row["key"] for row in one] == [row["key"] for row in other]
    assert [row["score"] for row in one] == pytest.approx([row["score"] for row in other], abs=1e-6)
    kinds = [int(row["key"][1:]) // 30 for row in one[:12]]
    assert set(kinds) == {0, 1} and 4 <= sum(kinds) <= 8
    assert one[0]["detail"].startswith("nearest to benchmark ")


def test_a_column_that_is_not_there_is_one_line(run_in: Runner, tmp_path: Path) -> None:
    parts = kinds_of_vectors(tmp_path)
    with pytest.raises(RecipeError, match="no field or column 'w'"):
        run_in(tmp_path, **parts, steps=[{"benchmark_ranking": {"column": "w", "budget": 5}}])
