"""Copies of a sample: never on both sides of a measure, and asked once."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tamis.pipeline.explain.probe import figures
from tamis.selectors.active.self_paced import paces
from tamis.selectors.budget import Budget, Fraction
from tamis.selectors.catalog import build
from tamis.selectors.learners.folds import alike, fold_of
from tamis.selectors.learners.heads import out_of_folds
from tamis.selectors.vectors.columns import as_column

COPIES = 10


def noise(kinds: int = 150) -> tuple[Any, Any]:
    """[kinds * COPIES, 64] vectors without a pattern, each COPIES times with the same class, and the classes."""
    draw = np.random.default_rng(3)
    vectors, classes = draw.normal(size=(kinds, 64)).astype(np.float32), draw.integers(0, 4, kinds)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.repeat(vectors, COPIES, 0), np.repeat(classes, COPIES)


def batch_of(vectors: Any, labels: list[str | None], contents: Any = None) -> pa.RecordBatch:
    draw = np.random.default_rng(1)
    arrays = {
        "sample_id": pa.array(draw.permutation(len(vectors)).astype(np.uint64) + 1),
        "v": as_column(vectors),
        "labels": pa.array(labels, pa.string()),
    }
    if contents is not None:
        hashes = [int(one).to_bytes(16, "little") for one in contents]
        arrays["content_hash"] = pa.array(hashes, pa.binary(16))
    return pa.record_batch(arrays)


@pytest.mark.parametrize("kind", ["gda", "logistic"])
def test_a_head_tells_noise_with_copies_no_better_than_chance(kind: Any) -> None:
    vectors, classes = noise()
    ids = np.arange(len(vectors), dtype=np.uint64)
    told = out_of_folds(vectors.astype(np.float64), classes, 4, ids, kind).argmax(1)
    assert (told == classes).mean() < 0.4, "by chance a quarter"
    assert (paces(vectors.astype(np.float64), classes, 4, ids, 0.9) == 0).all(), "nothing is claimed"


def test_what_has_the_same_content_stands_in_one_fold_though_its_vectors_differ_a_little() -> None:
    vectors, classes = noise()
    shaken = vectors + np.random.default_rng(0).normal(size=vectors.shape) * 1e-4
    contents = np.repeat(np.arange(len(vectors) // COPIES, dtype=np.uint64), COPIES)
    fold = fold_of(alike(shaken, contents)).reshape(-1, COPIES)
    assert (fold == fold[:, :1]).all() and len(np.unique(fold)) == 5
    assert len(np.unique(alike(shaken))) == len(vectors) and len(np.unique(alike(vectors))) == len(fold)
    found = figures(shaken, classes, contents, 4)
    assert found["balanced"] < 0.4 and found["purity"] < 0.4


def test_neighbours_of_labels_in_doubt_are_other_samples() -> None:
    """Copies with one label are one voice; a copy that was labeled otherwise speaks."""
    vectors, classes = noise(60)
    classes = np.repeat(np.arange(4), len(vectors) // 4)
    centres = np.random.default_rng(0).normal(size=(4, 64))
    vectors = (centres[classes] + vectors).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels = [str(one) for one in classes]
    labels[:COPIES] = ["3"] * COPIES  # the first sample and all of its copies
    found = build("label_errors", {"column": "v"}).rank([batch_of(vectors, list(labels))], Fraction(1.0))
    doubted = batch_of(vectors, list(labels))["sample_id"].to_numpy()[:COPIES]
    ranks = dict(zip(found.ids.tolist(), found.ranks.tolist(), strict=True))
    assert all(0 < ranks[one] <= 2 * COPIES for one in doubted.tolist()), "all of them, among the first"


@pytest.mark.parametrize("name", ["active", "self_paced", "typical_clusters"])
@pytest.mark.parametrize("by", ["vector", "content"])
def test_of_copies_one_is_asked_and_of_what_is_labeled_none(name: str, by: str) -> None:
    vectors, classes = noise()
    if by == "content":
        vectors = vectors + np.random.default_rng(0).normal(size=vectors.shape).astype(np.float32) * 1e-2
    of = np.arange(len(vectors)) // COPIES
    labels: list[str | None] = [None] * len(vectors)
    for place in range(0, 40 * COPIES, COPIES):
        labels[place] = str(classes[place])
    batch = batch_of(vectors, labels, of if by == "content" else None)
    found = build(name, {"column": "v"}).rank([batch], Budget(60))
    place_of = {sample_id: place for place, sample_id in enumerate(batch["sample_id"].to_pylist())}
    asked = [of[place_of[one]] for one in found.ids[found.ranks > 0].tolist()]
    assert len(asked) == len(set(asked)) == 60 and min(asked) >= 40
    everything = build(name, {"column": "v"}).rank([batch], Budget(5000))
    assert (everything.ranks > 0).sum() == 110
    reasons = dict(zip(everything.ids.tolist(), everything.barred(batch.take(pa.array(np.argsort(batch["sample_id"])))), strict=True))  # fmt: skip
    copy = batch["sample_id"][COPIES + 1].as_py()
    if name != "self_paced":  # which may believe it instead
        assert reasons[copy] == "duplicate"
    spoken = dict(zip(everything.ids.tolist(), everything.related.tolist(), strict=True))
    assert spoken[copy] == batch["sample_id"][COPIES].as_py(), "the labeled one speaks for it"
    assert "copies of others" in str(everything.facts["said"])
