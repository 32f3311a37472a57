"""What a selector says of target samples is what a fit without them and their near-copies says, as if they lay in the
pool."""

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tamis.pipeline.columns.hashed import made, ngrams_maker
from tamis.pipeline.read.identity import content_hashes, sample_ids
from tamis.selectors.chance import uniform
from tamis.selectors.contract import SEEN
from tamis.selectors.learners.folds import fold_of
from tamis.selectors.match import density_ratio
from tamis.selectors.match.density_ratio import DensityRatio
from tamis.selectors.match.importance import ImportanceResampling
from tamis.selectors.match.norm_sim import NormSim
from tamis.selectors.match.target_clusters import TargetClusters
from tamis.selectors.rows import contents_of, hashes_of
from tamis.selectors.vectors.codes import counts
from tamis.selectors.vectors.columns import as_column

WORDS = [
    "wave",
    "salt",
    "boat",
    "harbour",
    "tide",
    "sail",
    "court",
    "judge",
    "appeal",
    "statute",
    "clause",
    "party",
    "oven",
    "flour",
    "butter",
    "pan",
]


def texts(draw: np.random.Generator, count: int, first: int) -> list[str]:
    return [" ".join(draw.choice(WORDS[first : first + 8], 12)) for _ in range(count)]


def text_batch(some: list[str], selector: ImportanceResampling, prefix: str) -> pa.RecordBatch:
    array = pa.array(some, pa.string())
    tokens, buckets = made(ngrams_maker(selector.map), pa.record_batch({"text": array}))
    ids = pa.array(sample_ids(prefix, [str(i) for i in range(len(some))]))
    named = {"sample_id": ids, "content_hash": content_hashes(array), "text": array}
    return pa.record_batch({**named, "n_tokens": tokens, "ngrams": buckets})


@pytest.mark.parametrize(
    "settings",
    [{}, {"form": "published", "min_length": 0}, {"smoothing": 0.5, "weight": "mean"}, {"occurrences": "all"}, {"targets": [1.0, 3.0]}],
)  # fmt: skip
def test_ngrams_without_a_family_are_those_of_a_new_fit(settings: dict[str, Any]) -> None:
    draw = np.random.default_rng(1)
    selector = ImportanceResampling(**settings)
    pool = text_batch([*texts(draw, 60, 0), *texts(draw, 60, 8)], selector, "p")
    target = text_batch([*texts(draw, 9, 0), *texts(draw, 9, 4)], selector, "t")
    sources = np.repeat([0, 1], 9)
    families = np.array([0, 0, 1, 2, 3, 4, 5, 6, 6, 6, 7, 8, 9, 10, 11, 12, 13, 13])
    parts = [target.slice(0, 9), target.slice(9, 9)]
    fitted = selector.fit([pool], [[part] for part in parts])
    told = fitted.unseen(target, families, sources)
    for row in range(target.num_rows):
        others = [target.filter(pa.array((sources == n) & (families != families[row]))) for n in range(2)]
        mine = target.slice(row, 1)
        again = selector.fit_counts(
            selector.count([pool, mine]), [[one] for one in others], [selector.sampled(pool, pool.num_rows)]
        )
        again = replace(again, priors=fitted.priors)  # what shrinks the mean is kept
        assert told.score[:, row] == pytest.approx(again.scores(mine)[:, 0], rel=1e-9, abs=1e-12), row
    apart = text_batch(texts(draw, 5, 2), selector, "h")
    with_it = [replace(selector.fit_counts(selector.count([pool, apart.slice(n, 1)]), [[part] for part in parts]), priors=fitted.priors) for n in range(5)]  # fmt: skip
    told = fitted.unseen(apart, None, np.zeros(5, np.int64))
    for row, one in enumerate(with_it):
        assert told.score[:, row] == pytest.approx(one.scores(apart.slice(row, 1))[:, 0], rel=1e-9, abs=1e-12)


def test_a_short_text_may_not_be_chosen_and_one_without_ngrams_is_no_number() -> None:
    selector = ImportanceResampling(min_length=3, in_target="exclude")
    draw = np.random.default_rng(0)
    pool = text_batch(texts(draw, 30, 0), selector, "p")
    target = text_batch([*texts(draw, 3, 0), "two words", ""], selector, "t")
    told = selector.fit([pool], [[target]]).unseen(target, np.arange(5), np.zeros(5, np.int64))
    assert told.barred == [None, None, None, "too_short", "too_short"], "that it is in the target is no hindrance"
    assert np.isfinite(told.score[0, :4]).all() and np.isnan(told.score[0, 4])


def vector_batch(vectors: np.ndarray, prefix: str) -> pa.RecordBatch:
    names = pa.array([f"{prefix}{n}" for n in range(len(vectors))])
    ids = pa.array(sample_ids(prefix, names.to_pylist()))
    return pa.record_batch({"sample_id": ids, "content_hash": content_hashes(names), "v": as_column(vectors)})


@pytest.fixture
def vectors() -> tuple[pa.RecordBatch, pa.RecordBatch, np.ndarray]:
    draw = np.random.default_rng(2)
    pool = draw.normal(size=(300, 12)) + np.eye(12)[draw.integers(0, 3, 300)] * 4
    target = draw.normal(size=(40, 12)) + np.eye(12)[0] * 4
    target[1] = target[0] + 0.01
    target[39] = 0  # no vector
    families = np.arange(40)
    families[1] = 0
    return vector_batch(pool, "p"), vector_batch(target, "t"), families


@pytest.mark.parametrize("p", [2, "inf"])
def test_a_norm_without_a_family_is_that_of_the_others(p: Any, vectors: tuple[Any, Any, Any]) -> None:
    pool, target, families = vectors
    selector = NormSim(column="v", p=p)
    told = selector.fit([pool], [[target]]).unseen(target, families, np.zeros(40, np.int64))
    for row in (0, 1, 2, 17):
        others = target.filter(pa.array(families != families[row]))
        again = selector.fit([pool], [[others]]).score(target.slice(row, 1))
        assert told.score[row] == pytest.approx(again[0], abs=2e-6)
    assert np.isnan(told.score[39])


def test_codes_without_a_family_are_counted_anew(vectors: tuple[Any, Any, Any]) -> None:
    pool, target, families = vectors
    fitted = DensityRatio(features="v").fit([pool], [[target]])
    told = fitted.unseen(target, families, np.zeros(40, np.int64))
    rows = np.stack([np.asarray(value or [0] * 12, np.float32) for value in target["v"].to_pylist()])
    for row in (0, 1, 5):
        left = rows[(families != families[row]) & (np.arange(40) < 39)]
        own = counts(rows[row : row + 1], fitted.centres)
        again = replace(fitted, target_counts=counts(left, fitted.centres), pool_counts=fitted.pool_counts + own).score(
            target.slice(row, 1)
        )
        assert told.score[row] == pytest.approx(again[0], abs=1e-6)
    assert np.isnan(told.score[39])
    held = fitted.unseen(target, None, np.zeros(40, np.int64))
    assert held.score[2] > told.score[2], "where nothing is taken out of the target it speaks for itself"


def test_of_a_large_target_those_are_taken_out_that_were_counted(vectors: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pool, target, _ = vectors
    monkeypatch.setattr(density_ratio, "FIT_ROWS", 20)
    fitted = DensityRatio(features="v").fit([pool], [[target]])
    assert fitted.target_counts.sum(1) == pytest.approx(20) and 0 < fitted.drawn_up_to < 1
    one = np.zeros(40, np.int64)
    told = fitted.unseen(target, np.arange(40), one)
    counted = uniform(target["sample_id"].to_numpy(), 0, 0, "fit") <= fitted.drawn_up_to
    counted[39] = False  # it has no vector
    assert counted.sum() == 20
    held = fitted.unseen(target, None, one)
    same = np.isclose(told.score, held.score, equal_nan=True)
    assert same[~counted].all() and not same[counted].any(), "what was not counted has nothing to be taken out"


def test_a_discriminator_judges_by_a_fit_that_lacks_the_fold_and_says_where_none_does(
    vectors: tuple[Any, Any, Any],
) -> None:
    pool, target, families = vectors
    fitted = DensityRatio(features="v", ratio="logistic").fit([pool], [[target]])
    contents = contents_of(hashes_of(target))
    fold = fold_of(contents, 0, 0)
    families = families.copy()
    families[1] = 1
    other = int(np.flatnonzero(fold != fold[3])[0])
    families[other] = families[3]
    told = fitted.unseen(target, families, np.zeros(40, np.int64))
    assert told.barred[3] == SEEN and told.barred[other] == SEEN
    assert sum(one == SEEN for one in told.barred) == 2 and np.isnan(told.score[39])
    seen = fitted.score(target)
    free = np.array([one is None for one in told.barred]) & np.isfinite(told.score)
    assert told.score[free].mean() < seen[free].mean(), "what a fit has seen it finds likelier"
    pools = fitted.score(pool)
    kind = np.array([vector[0] > 0.5 for vector in pool["v"].to_pylist()])
    assert abs(np.median(told.score[free]) - np.median(pools[kind])) < 1.5 * np.std(pools[kind])


def test_a_cluster_counts_where_another_family_hits_it(vectors: tuple[Any, Any, Any]) -> None:
    pool, target, families = vectors
    fitted = TargetClusters(column="v", clusters=40).fit([pool], [[target]])
    told = fitted.unseen(target, families, np.zeros(40, np.int64))
    hits = fitted.score(target)
    alone = np.flatnonzero(hits == 1)
    assert len(alone) and all(told.barred[row] == "no_target_near" for row in alone)
    assert (told.score[:39] <= hits[:39] - 1).all() and told.barred[39] is None and np.isnan(told.score[39])
    assert fitted.unseen(target, None, np.zeros(40, np.int64)).score[:39].tolist() == hits[:39].tolist()
