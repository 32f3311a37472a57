"""CLIP score, negCLIPLoss, NormSim and the clusters of a target, against the formulas in float64."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tamis.selectors import passes
from tamis.selectors.budget import Budget, Fraction
from tamis.selectors.catalog import build
from tamis.selectors.match.norm_sim import NormSim
from tamis.selectors.match.target_clusters import TargetClusters
from tamis.selectors.quality.clip_score import ClipScore, StoredClipScore
from tamis.selectors.quality.neg_clip_loss import NegClipLoss
from tamis.selectors.vectors.columns import as_array, as_column, unit
from tamis.selectors.vectors.k_means import Sample
from tamis.selectors.vectors.nearest import best_match


def pairs(count: int, dim: int = 64, seed: int = 0, noise: float = 1.0) -> tuple[Any, Any]:
    draw = np.random.default_rng(seed)
    images = draw.normal(size=(count, dim))
    texts = images + noise * draw.normal(size=(count, dim))
    return (some / np.linalg.norm(some, axis=1, keepdims=True) for some in (images, texts))  # type: ignore[return-value]


def batch_of(images: Any, texts: Any = None, first: int = 0) -> pa.RecordBatch:
    ids = ((np.arange(first, first + len(images), dtype=np.uint64) * 7919) % 100_003).astype(np.uint64)
    columns = {"sample_id": pa.array(ids), "clip.image": as_column(np.asarray(images, np.float32))}
    if texts is not None:
        columns["clip.text"] = as_column(np.asarray(texts, np.float32))
    return pa.record_batch(columns)


def held(batch: pa.RecordBatch) -> tuple[Any, Any]:
    """What the columns hold, as unit vectors in float64."""
    return tuple(  # type: ignore[return-value]
        some / np.linalg.norm(some, axis=1, keepdims=True)
        for some in (as_array(batch[name])[0].astype(np.float64) for name in ("clip.image", "clip.text"))
    )


def test_clip_score_is_the_cosine() -> None:
    batch = batch_of(*pairs(300))
    images, texts = held(batch)
    assert ClipScore().fit([], []).score(batch) == pytest.approx((images * texts).sum(1), abs=1e-6)
    lost = batch_of([[1, 0], [0, 0], [1, 0]], [[1, 0], [1, 0], [0, 0]])
    told = ClipScore(at_least=0.5)
    assert told.score(lost)[0] == pytest.approx(1) and np.isnan(told.score(lost)[1:]).all()
    assert told.barred(batch_of([[1, 0], [1, 0]], [[1, 0], [0, 1]])) == [None, "below_threshold"]
    with pytest.raises(ValueError, match="not of one model"):
        ClipScore().score(batch_of([[1, 0]], [[1, 0, 0]]))
    with pytest.raises(ValueError, match="wanted a column of vectors"):
        ClipScore(text="sample_id").score(batch)
    assert isinstance(build("clip_score", {"column": "s", "ties": "include"}), StoredClipScore)


def plain_neg_clip_loss(images: Any, texts: Any, temperature: float) -> Any:
    """The equation, in float64, the whole matrix at once."""
    logits = images @ texts.T / temperature
    top = logits.max()
    rows, columns = (top + np.log(np.exp(logits - top).sum(axis)) for axis in (1, 0))
    return np.diag(logits) * temperature - temperature / 2 * (rows + columns)


@pytest.mark.parametrize("temperature", [0.01, 0.07])
def test_neg_clip_loss_is_the_equation(temperature: float) -> None:
    batch = batch_of(*pairs(2048, noise=3.0))
    plain = plain_neg_clip_loss(*held(batch), temperature)
    step = NegClipLoss(temperature=temperature, batch=4096, partitions=3)
    fitted = step.rank([batch], Fraction(1.0))
    assert fitted.score(batch) == pytest.approx(plain, abs=3e-6)
    order = np.random.default_rng(1).permutation(2048)
    again = step.rank([batch.take(pa.array(order[:900])), batch.take(pa.array(order[900:]))], Fraction(1.0))
    assert np.array_equal(again.score(batch), fitted.score(batch))
    in_order = fitted.score(batch)[np.argsort(-fitted.order_keys(batch, None)[0])]
    assert (np.diff(in_order) <= 0).all() and len(np.unique(in_order)) > 1500


def test_partitions_are_equal_but_for_one_pair_and_the_mean_of_them_is_near_the_whole() -> None:
    batch = batch_of(*pairs(2050, noise=3.0))
    whole = NegClipLoss(batch=4096).rank([batch], Fraction(1.0)).score(batch)
    parts = NegClipLoss(batch=512, partitions=8).rank([batch], Fraction(1.0))
    assert parts.facts["batches"] == 4
    ranks = [np.argsort(np.argsort(some)) for some in (whole, parts.score(batch))]
    assert np.corrcoef(*ranks)[0, 1] > 0.97


def test_few_pairs_are_held_at_once_and_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = batch_of(*pairs(1000, noise=3.0))
    step = NegClipLoss(batch=128, partitions=2)
    whole = step.rank([batch], Fraction(1.0)).score(batch)
    monkeypatch.setattr(passes, "HELD_BYTES", 1)
    assert np.array_equal(step.rank([batch.slice(300), batch.slice(0, 300)], Fraction(1.0)).score(batch), whole)


def test_a_caption_that_fits_everything_falls() -> None:
    """Planted: the mean of all images as the caption of some. Plain CLIP scores rank it high, negCLIPLoss low."""
    draw = np.random.default_rng(5)
    base = draw.normal(size=64)
    images = base + 0.7 * draw.normal(size=(1000, 64))
    texts = images + 1.2 * draw.normal(size=(1000, 64))
    texts[:50] = images.mean(0)
    batch = batch_of(images, texts)
    both = (ClipScore().score(batch), NegClipLoss().rank([batch], Fraction(1.0)).score(batch))
    shares = [np.argsort(np.argsort(-scores))[:50].mean() / 1000 for scores in both]
    assert shares[0] < 0.25 and shares[1] > 0.5


def test_pairs_without_a_vector_and_pools_of_none_or_one() -> None:
    batch = batch_of([[1, 0], [0, 0], [0, 1], [0, 1]], [[1, 0], [1, 0], [float("nan"), 0], [0, 1]])
    fitted = NegClipLoss().rank([batch], Budget(2))
    assert np.isfinite(fitted.score(batch)).tolist() == [True, False, False, True]
    assert fitted.barred(batch) == [None, "not_scorable", "not_scorable", None]
    assert NegClipLoss().rank([batch.slice(0, 1)], Budget(1)).score(batch)[0] == pytest.approx(0, abs=1e-6)
    assert len(NegClipLoss().rank([], Budget(1)).ids) == 0
    assert NegClipLoss().rank([batch.slice(1, 1)], Budget(1)).barred(batch.slice(1, 1)) == ["not_scorable"]
    for wrong in ({"temperature": 0.0}, {"batch": 0}, {"partitions": 0}):
        with pytest.raises(ValueError, match="must be"):
            NegClipLoss(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("p", [2, "inf"])
def test_norm_sim_is_the_norm_of_the_cosines(p: Any) -> None:
    batch, target = batch_of(next(iter(pairs(200)))), batch_of(next(iter(pairs(500, seed=9))))
    mine, others = (as_array(some["clip.image"])[0].astype(np.float64) for some in (batch, target))
    mine, others = (some / np.linalg.norm(some, axis=1, keepdims=True) for some in (mine, others))
    cosines = np.abs(mine @ others.T)
    wanted = np.sqrt((cosines**2).sum(1)) if p == 2 else cosines.max(1)
    fitted = NormSim(column="clip.image", p=p).fit([batch], [[target.slice(0, 300)], [target.slice(300)]])
    assert fitted.score(batch) == pytest.approx(wanted, abs=2e-6)
    assert np.isnan(fitted.score(batch_of([[0.0] * 64]))).all()
    with pytest.raises(ValueError, match="no sample of the target"):
        NormSim(column="clip.image", p=p).fit([batch], [[batch_of([[0.0] * 64])]])
    with pytest.raises(ValueError, match="have 64 numbers"):
        fitted.score(batch_of([[1.0, 0.0]]))


def test_clusters_of_a_target_keep_what_lies_beside_it() -> None:
    draw = np.random.default_rng(2)
    centres = np.eye(8)
    of = np.repeat(np.arange(8), 50)
    pool = batch_of(centres[of] + 0.05 * draw.normal(size=(400, 8)))
    target = batch_of(centres[[1, 4, 4]] + 0.05 * draw.normal(size=(3, 8)))
    fitted = TargetClusters(column="clip.image", clusters=8).fit([pool.slice(0, 100), pool.slice(100)], [[target]])
    kept = [reason is None for reason in fitted.barred(pool)]
    assert kept == np.isin(of, [1, 4]).tolist()
    assert fitted.tell(None)["of_target"] == 2
    everything = TargetClusters(column="clip.image", clusters=1).fit([pool], [[target]])
    assert everything.barred(pool) == [None] * 400
    few = TargetClusters(column="clip.image", clusters=50).fit([pool.slice(0, 3)], [[target]])
    assert len(few.centres) <= 3
    assert len(TargetClusters(column="clip.image", clusters=2).fit([], [[target]]).centres) == 0


def test_a_sample_by_hash_knows_no_order() -> None:
    ids = np.arange(30_000, dtype=np.uint64) * np.uint64(2654435761)
    vectors = np.arange(30_000, dtype=np.float16)[:, None]
    found = []
    for order in (np.arange(30_000), np.random.default_rng(0).permutation(30_000)):
        sample = Sample(5000, 0, 1, "test")
        for first in range(0, 30_000, 1000):
            some = order[first : first + 1000]
            sample.add(ids[some], vectors[some])
        found.append(sample.vectors())
    assert len(found[0]) == 5000 and np.array_equal(found[0], found[1])


def test_the_nearest_is_the_nearest_and_no_thread_or_neighbour_tells_otherwise() -> None:
    """Of nearly equal ones, too: item by item, in blocks, and in float64 all at once."""
    draw = np.random.default_rng(4)
    items = np.array([[1, 0.00195], [1, 0]], np.float32)
    place, found = best_match(unit(np.array([[1, 0]], np.float32)), unit(items))
    assert place.tolist() == [1] and found[0] == 1
    base = unit(draw.normal(size=(50, 32)))
    for noise in (0.05, 1e-4):
        others = unit(base[draw.integers(0, 50, 3000)] + noise * draw.normal(size=(3000, 32)))
        some = unit(base[draw.integers(0, 50, 500)] + noise * draw.normal(size=(500, 32)))
        whole = some.astype(np.float64) @ others.astype(np.float64).T
        place, found = best_match(some, others)
        assert found == pytest.approx(whole.max(1), abs=5e-6)
        assert noise < 0.01 or np.array_equal(place, whole.argmax(1))
        alone = [best_match(some[row : row + 1], others) for row in range(200)]
        assert [int(one[0][0]) for one in alone] == place[:200].tolist()
    assert best_match(some, others[:0])[1].max() == -np.inf
