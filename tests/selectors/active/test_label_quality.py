"""Labels that are doubted, labels that samples give themselves: as the peers compute them, and never a person's changed."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.svm import LinearSVC

from tamis.pipeline.errors import RecipeError
from tamis.selectors.active.self_paced import Claims
from tamis.selectors.budget import Budget
from tamis.selectors.catalog import build
from tamis.selectors.learners.confident_learning import by_class, by_noise_rate, off_diagonal
from tamis.selectors.learners.one_vs_all import distances, fit_one_vs_all
from tamis.selectors.vectors.columns import as_column
from tests_support import Runner, write_jsonl


@pytest.fixture(scope="module")
def digits() -> tuple[Any, Any]:
    """[1797, 32] vectors of unit length, and the digits."""
    x, y = load_digits(return_X_y=True)
    x = PCA(32, random_state=0).fit_transform(x)
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32), y


@pytest.fixture(scope="module")
def flipped(digits: tuple[Any, Any]) -> tuple[Any, Any]:
    """Labels of which a tenth are wrong, and which."""
    draw, y = np.random.default_rng(0), digits[1]
    wrong = draw.random(len(y)) < 0.1
    return np.where(wrong, (y + draw.integers(1, 10, len(y))) % 10, y), wrong


def batch_of(vectors: Any, labels: list[str | None]) -> pa.RecordBatch:
    ids = pa.array(range(1, len(vectors) + 1), pa.uint64())
    return pa.record_batch({"sample_id": ids, "v": as_column(vectors), "labels": pa.array(labels, pa.string())})


def some_labels(y: Any, a_class: int, seed: int) -> list[str | None]:
    draw, labels = np.random.default_rng(seed), [None] * len(y)
    for kind in np.unique(y):
        for place in draw.choice(np.flatnonzero(y == kind), a_class, replace=False).tolist():
            labels[place] = str(kind)  # type: ignore[call-overload]
    return labels


@pytest.mark.peer
def test_confident_learning_flags_what_cleanlab_does(flipped: tuple[Any, Any]) -> None:
    from cleanlab.filter import find_label_issues

    given, wrong = flipped
    head, folds = LogisticRegression(C=1, max_iter=1000), StratifiedKFold(5, shuffle=True, random_state=0)
    x = load_digits(return_X_y=True)[0] / 16
    shares = cross_val_predict(head, x, given, cv=folds, method="predict_proba")
    ours = {
        "prune_by_noise_rate": by_noise_rate(given, shares), "prune_by_class": by_class(given, shares),
        "both": by_noise_rate(given, shares) & by_class(given, shares), "confident_learning": off_diagonal(given, shares),
    }  # fmt: skip
    for rule, flags in ours.items():
        theirs = find_label_issues(given, shares, filter_by=rule, n_jobs=1)  # forks: other tests have left threads
        assert abs(int(flags.sum()) - int(theirs.sum())) <= 2, (rule, flags.sum(), theirs.sum())
        assert (flags != theirs).sum() <= 4, "where counts end in equal fractions, which is rounded up is a toss"
    assert wrong[ours["confident_learning"]].mean() > 0.97
    assert (ours["prune_by_class"] & wrong).sum() > 0.95 * wrong.sum()


def test_labels_in_doubt_are_asked_again_worst_first_and_weigh_little(
    digits: tuple[Any, Any], flipped: tuple[Any, Any]
) -> None:
    given, wrong = flipped
    batch = batch_of(digits[0], [str(label) for label in given])
    found = build("label_errors", {"column": "v"}).rank(iter([batch]), Budget(10_000))
    asked = found.ranks > 0
    assert wrong[asked].mean() > 0.75 and asked[wrong].mean() > 0.95
    first = found.ranks[asked & wrong]
    assert np.median(first) < np.median(found.ranks[asked & ~wrong])
    assert found.weight[wrong].mean() < 0.1 and found.weight[~wrong].mean() > 0.85
    few = build("label_errors", {"column": "v"}).rank(iter([batch]), Budget(20))
    assert (few.ranks > 0).sum() == 20 and wrong[few.ranks > 0].mean() == 1.0
    text = few.details(batch)[int(np.flatnonzero(few.ranks == 1)[0])]
    assert text and text.startswith("labeled ") and "by head and neighbours" in text


def test_labels_that_are_right_are_left_alone(digits: tuple[Any, Any]) -> None:
    batch = batch_of(digits[0], [str(label) for label in digits[1]])
    found = build("label_errors", {"column": "v"}).rank(iter([batch]), Budget(10_000))
    assert (found.ranks > 0).mean() < 0.05
    assert set(np.array(found.reasons)[found.reason[found.reason >= 0]]) == {"label_stands"}


@pytest.mark.parametrize(("kinds", "each"), [(2, 5), (3, 4), (10, 3), (4, 1)])
def test_few_labels_that_lie_apart_are_not_in_doubt(kinds: int, each: int) -> None:
    draw = np.random.default_rng(0)
    y = np.repeat(np.arange(kinds), each)
    x = (np.eye(16)[y] + draw.normal(size=(len(y), 16)) * 0.05).astype(np.float32)
    found = build("label_errors", {"column": "v"}).rank(iter([batch_of(x, [str(one) for one in y])]), Budget(99))
    assert not (found.ranks > 0).any() and (each > 1 or (found.weight == 1).all())


def test_what_was_confirmed_is_not_asked_again(digits: tuple[Any, Any], flipped: tuple[Any, Any]) -> None:
    batch = batch_of(digits[0], [str(label) for label in flipped[0]])
    asked = build("label_errors", {"column": "v"}).rank(iter([batch]), Budget(30)).ranks > 0
    again = batch.append_column("labels_confirmed", pa.array(asked))
    found = build("label_errors", {"column": "v"}).rank(iter([again]), Budget(30))
    assert not (found.ranks[asked] > 0).any() and (found.weight[asked] == 1).all() and (found.ranks > 0).sum() == 30
    why = np.array(found.reasons)[found.reason[asked]]
    assert set(why) == {"confirmed"} and found.facts["confirmed"] == 30
    assert "30 of these were confirmed: two rounds gave the same label" in found.facts["said"]


def test_one_against_all_is_liblinears_squared_hinge(digits: tuple[Any, Any]) -> None:
    x, y = digits[0][:200].astype(np.float64), digits[1][:200]
    for rows in (20, 200):  # by the smaller system, and by the larger
        fitted = fit_one_vs_all(x[:rows], y[:rows], 10, np.ones(rows))
        for kind in (0, 3):
            theirs = LinearSVC(loss="squared_hinge", class_weight="balanced", tol=1e-10, max_iter=200_000)
            theirs.fit(x[:rows], y[:rows] == kind)
            np.testing.assert_allclose(fitted[:-1, kind], theirs.coef_[0], atol=1e-6)
            np.testing.assert_allclose(fitted[-1, kind], theirs.intercept_[0], atol=1e-6)


@pytest.mark.parametrize("a_class", [1, 2, 5, 10, 20, 40])
def test_what_labels_itself_is_right_as_often_as_asked(digits: tuple[Any, Any], a_class: int) -> None:
    x, y = digits
    precision, argmax, believed = [], [], 0
    for seed in range(4):
        labels = some_labels(y, a_class, seed)
        batch = batch_of(x, labels)
        found = build("self_paced", {"column": "v"}).rank(iter([batch]), Budget(15))
        told = np.array([*found.classes, ""])[found.label]
        person = np.array([label is not None for label in labels])
        assert (told[person] == y[person].astype(str)).all() and (found.weight[person] == 1).all()
        assert not found.believed[person].any() and not (found.ranks[found.believed] > 0).any()
        assert ((found.weight[found.believed] > 0) & (found.weight[found.believed] <= 1)).all()
        assert (found.ranks > 0).sum() == 15 and not (found.ranks[person] > 0).any()
        believed += int(found.believed.sum())
        if found.believed.any():
            precision.append((told[found.believed] == y[found.believed].astype(str)).mean())
            fitted = fit_one_vs_all(x[person].astype(float), y[person], 10, np.ones(int(person.sum())))
            argmax.append((distances(x[~person], fitted).argmax(1) == y[~person]).mean())
    assert a_class < 20 or believed > 4 * 1000, "with labels enough most of the pool labels itself"
    assert not precision or np.mean(precision) > max(0.95, float(np.mean(argmax))), (precision, argmax)


def test_claims_grow_with_the_pace_and_a_pace_of_zero_is_pure_asking(digits: tuple[Any, Any]) -> None:
    x, y = digits
    labels = some_labels(y, 5, 0)
    person = np.array([label is not None for label in labels])
    apart = distances(x, fit_one_vs_all(x[person].astype(float), y[person], 10, np.ones(50)))
    claims = [Claims(apart, np.full(10, pace)).count for pace in (0.0, 0.2, 0.5, 0.9)]
    assert all((more >= fewer).all() for fewer, more in pairwise(claims)) and not claims[0].any()
    found = build("self_paced", {"column": "v", "pace": 0.0}).rank(iter([batch_of(x, labels)]), Budget(10))
    assert not found.believed.any() and (found.ranks > 0).sum() == 10


def test_a_label_that_all_else_speaks_against_is_shown_and_kept(digits: tuple[Any, Any]) -> None:
    x, y = digits
    labels = some_labels(y, 40, 0)
    odd = next(place for place, label in enumerate(labels) if label == "0")
    labels[odd] = "7"
    found = build("self_paced", {"column": "v"}).rank(iter([batch_of(x, labels)]), Budget(5))
    assert found.facts["contradicted_labels"][f"{odd + 1:016x}"] == "labeled 7, claimed by 0"
    assert found.classes[found.label[odd]] == "7" and found.weight[odd] == 1


def test_the_manifest_of_labels_says_weight_and_by_whom(
    run_in: Runner, tmp_path: Path, digits: tuple[Any, Any]
) -> None:
    x, y = digits
    keys = [f"d{place:04d}" for place in range(len(y))]
    write_jsonl(tmp_path / "pool.jsonl", [{"id": key, "part": "a", "text": key} for key in keys])
    np.savez(tmp_path / "vectors.npz", key=np.array(keys), vector=x)
    rows = [f"{key},{label}" for key, label in zip(keys, some_labels(y, 20, 0), strict=True) if label]
    (tmp_path / "labels.csv").write_text("\n".join(["key,label", *rows]))
    recipe: dict[str, Any] = {"columns": {"v": {"embed": "precomputed", "path": "vectors.npz"}}, "target": []}
    steps = [{"self_paced": {"column": "v", "budget": 30}}]
    outcome = run_in(tmp_path, **recipe, labels="labels.csv", steps=steps, emit=["labels", "keys"])
    table = pq.read_table(outcome.folder / "exports" / "labels.parquet").to_pylist()
    by = {who: [row for row in table if row["by"] == who] for who in ("user", "model")}
    truth = dict(zip(keys, y.astype(str).tolist(), strict=True))
    assert len(by["user"]) == 200 and all(row["weight"] == 1 for row in by["user"])
    assert len(by["model"]) > 1000 and all(0 < row["weight"] <= 1 for row in by["model"])
    assert np.mean([row["label"] == truth[row["key"]] for row in by["model"]]) > 0.95
    asked = set((outcome.folder / "exports" / "selection.keys.txt").read_text().split())
    assert not asked & {row["key"] for row in table}, "what is asked is not believed"
    manifest = json.loads((outcome.folder / "manifest.json").read_text())
    assert manifest["steps"][0]["reasons"]["chosen"] == 30
    with pytest.raises(RecipeError, match="no step tells labels"):
        run_in(tmp_path, name="bad", **recipe, steps=[{"random": {"budget": 5}}], emit=["labels"])
