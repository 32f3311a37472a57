"""Importance resampling on embeddings: finds what was planted, against scikit-learn, and whatever the order of rows."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tamis.selectors.catalog import build
from tamis.selectors.learners.folds import fold_of
from tamis.selectors.learners.logistic import fit_logistic, principal
from tamis.selectors.match.density_ratio import DensityRatio, divergence
from tamis.selectors.rows import contents_of, hashes_of
from tamis.selectors.vectors.codes import counts, fit_centres, nearest_two, soft
from tamis.selectors.vectors.columns import as_array, as_column
from tests_support import Runner, write_jsonl


def batch_of(vectors: np.ndarray, first_id: int = 0) -> pa.RecordBatch:
    ids = (np.arange(first_id, first_id + len(vectors), dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)).astype(
        np.uint64
    )
    hashes = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(16), len(ids), [None, pa.py_buffer(np.repeat(ids, 2).tobytes())]
    )
    return pa.record_batch({"sample_id": pa.array(ids), "content_hash": hashes, "v": as_column(vectors)})


def planted(seed: int = 0) -> tuple[pa.RecordBatch, pa.RecordBatch, np.ndarray]:
    """Ten clusters on the sphere; the target has 40 rows of two of them, which are a tenth of the pool each."""
    chance = np.random.default_rng(seed)
    centres = chance.normal(size=(10, 32))
    cluster = np.repeat(np.arange(10), 100)
    pool = centres[cluster] + 0.4 * chance.normal(size=(1000, 32))
    target = centres[np.repeat([3, 7], 20)] + 0.4 * chance.normal(size=(40, 32))
    return batch_of(pool), batch_of(target, 10_000), np.isin(cluster, [3, 7])


@pytest.mark.parametrize("ratio", ["codes", "logistic"])
def test_what_was_planted_is_found(ratio: str) -> None:
    pool, target, is_mine = planted()
    selector = build("importance_resampling", {"features": "v", "ratio": ratio})
    assert isinstance(selector, DensityRatio)
    scores = selector.fit([pool], [[target]]).score(pool)
    assert is_mine[np.argsort(-scores)[:200]].mean() > 0.97


@pytest.mark.parametrize("ratio", ["codes", "logistic"])
def test_scores_do_not_depend_on_batches_or_the_order_of_rows(ratio: str) -> None:
    pool, target, _ = planted()
    selector = DensityRatio(features="v", ratio=ratio)  # type: ignore[arg-type]
    whole = selector.fit([pool], [[target]]).score(pool)
    order = np.random.default_rng(1).permutation(len(whole))
    turned = pool.take(pa.array(order))
    pieces = [turned.slice(i, 130) for i in range(0, 1000, 130)]
    again = selector.fit(pieces, [[target.slice(20), target.slice(0, 20)]])
    assert np.array_equal(np.concatenate([again.score(piece) for piece in pieces]), whole[order])


def test_rows_without_a_vector_are_not_scorable_and_a_target_without_any_is_refused() -> None:
    pool, target, _ = planted()
    some = pa.record_batch(
        {**{n: pool[n] for n in ("sample_id", "content_hash")}, "v": as_column(np.zeros((1000, 32)))}
    )
    learned = DensityRatio(features="v").fit([pool], [[target]])
    assert np.isnan(learned.score(some)).all()
    with pytest.raises(ValueError, match="no sample of the target has a vector"):
        DensityRatio(features="v").fit([pool], [[some]])


def test_newtons_weights_are_scikit_learns() -> None:
    from sklearn.linear_model import LogisticRegression

    chance = np.random.default_rng(0)
    ours, theirs = chance.normal(size=(500, 12)), chance.normal(0.5, 1, size=(40, 12))
    x, y = np.concatenate([ours, theirs]), np.repeat([0, 1], [500, 40])
    wanted = LogisticRegression(C=1.0, class_weight="balanced", tol=1e-10, max_iter=5000).fit(x, y)
    found = fit_logistic(ours, theirs)
    assert np.allclose(found[:-1], wanted.coef_[0], atol=1e-5) and np.isclose(
        found[-1], wanted.intercept_[0], atol=1e-5
    )


def test_each_row_is_scored_by_a_discriminator_that_never_saw_it() -> None:
    """A row that alone is like itself would be pushed down by one that was told it is of the pool."""
    pool, target, _ = planted()
    learned = DensityRatio(features="v", ratio="logistic").fit([pool], [[target]])
    ids = pool["sample_id"].to_numpy()
    folds = fold_of(contents_of(hashes_of(pool)), 0, 0)
    assert len(learned.weights) == 5 and set(folds.tolist()) == {0, 1, 2, 3, 4}
    centres = learned.centres
    x = (soft(as_array(pool["v"])[0], centres) - learned.mean) @ learned.directions
    y = (soft(as_array(target["v"])[0], centres) - learned.mean) @ learned.directions
    order = np.argsort(ids)
    mine = x[order][folds[order] != 2]
    wanted = fit_logistic(mine, y[np.argsort(target["sample_id"].to_numpy())])
    assert np.allclose(learned.weights[2], wanted, atol=1e-6)


def test_the_nearest_two_are_the_largest_products() -> None:
    chance = np.random.default_rng(0)
    vectors, centres = chance.normal(size=(50, 8)).astype(np.float32), chance.normal(size=(9, 8)).astype(np.float32)
    assert np.array_equal(nearest_two(vectors, centres), np.argsort(-(vectors @ centres.T), axis=1)[:, :2])


def test_counts_are_the_sums_of_soft_codes() -> None:
    vectors = np.random.default_rng(0).normal(size=(100, 8)).astype(np.float32)
    centres = fit_centres(vectors, np.arange(100, dtype=np.uint64), 0, 0)
    assert centres.shape == (8, 12, 8) and np.allclose(np.linalg.norm(centres, axis=2), 1, atol=1e-5)
    assert np.allclose(counts(vectors, centres).ravel(), soft(vectors, centres).sum(0), atol=1e-4)


def test_equal_vectors_are_no_trouble() -> None:
    same = batch_of(np.ones((50, 4)))
    scores = DensityRatio(features="v").fit([same], [[batch_of(np.ones((5, 4)), 900)]]).score(same)
    assert np.isfinite(scores).all() and len(set(scores.tolist())) == 1


def test_principal_directions_are_orthogonal_and_scaled_together() -> None:
    rows = np.random.default_rng(0).normal(size=(300, 10)) * np.arange(1, 11)
    mean, directions = principal(rows, 4)
    projected = (rows - mean) @ directions
    assert np.isclose((projected**2).sum(1).mean(), 1)
    cross = directions.T @ directions
    assert np.abs(cross - np.diag(np.diag(cross))).max() < 1e-12


def test_a_small_selection_is_not_further_from_the_target_than_nothing_known() -> None:
    pool, target = np.full((1, 256), 100.0), np.eye(1, 256) * 50
    few = np.eye(1, 256) * 20
    assert divergence(target, few, pool) < divergence(target, pool, pool)  # type: ignore[operator]
    assert divergence(target, np.zeros((1, 256)), pool) is None


def test_settings_of_the_other_kind_are_refused(run_in: Runner, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown setting 'form'"):
        build("importance_resampling", {"features": "look", "form": "published"})
    with pytest.raises(ValueError, match="unknown setting 'ratio'"):
        build("importance_resampling", {"ratio": "codes"})
    write_jsonl(tmp_path / "pool.jsonl", [{"id": "a", "text": "b", "part": "c"}])
    write_jsonl(tmp_path / "target.jsonl", [{"text": "b"}])
    with pytest.raises(Exception, match="no field or column 'look'"):
        run_in(tmp_path, steps=[{"importance_resampling": {"features": "look", "budget": 1}}])
