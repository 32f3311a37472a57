"""Importance resampling: equal to the published package, exact in its accounts, drawn as the closed form says."""

import gzip
import itertools
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tamis.pipeline.columns.hashed import made, ngrams_maker
from tamis.pipeline.read.identity import content_hashes, sample_ids
from tamis.selectors.chance import gumbel
from tamis.selectors.match.importance import FittedImportance, ImportanceResampling, log_ratio
from tamis.selectors.match.importance_facts import coverage, divergence, effective_sample_size, fold


def batch_of(texts: list[str], selector: ImportanceResampling) -> pa.RecordBatch:
    array = pa.array(texts, pa.string())
    source = pa.record_batch({"text": array})
    tokens, buckets = made(ngrams_maker(selector.map), source)
    ids = pa.array(sample_ids("", [str(i) for i in range(len(texts))]))
    return pa.record_batch(
        {"sample_id": ids, "content_hash": content_hashes(array), "text": array, "n_tokens": tokens, "ngrams": buckets}
    )


def fitted(pool: list[str], target: list[str], **settings: Any) -> tuple[FittedImportance, pa.RecordBatch]:
    selector = ImportanceResampling(**settings)
    batch = batch_of(pool, selector)
    return selector.fit([batch], [[batch_of(target, selector)]]), batch


POOL = ["the cat sat on the mat", "a dog ran", "stocks fell on monday", "the cat ran and ran", "bonds rose"]
TARGET = ["my cat sat", "the cat"]


PEER = """
import json, sys
from data_selection import HashedNgramDSIR
if __name__ == "__main__":
    pool, target, cache = sys.argv[1:4]
    text = lambda record: record["text"]
    dsir = HashedNgramDSIR([pool], [target], cache_dir=cache, raw_parse_example_fn=text, target_parse_example_fn=text,
                           num_proc=1, min_example_length=0)
    dsir.fit_importance_estimator(num_tokens_to_fit="all")
    dsir.compute_importance_weights()
"""


@pytest.mark.peer
def test_published_weights_equal_the_packages(real_texts: Path, tmp_path: Path) -> None:
    """At least 2,000 real documents of all domains, within rtol 1e-9 of data-selection 1.0.3 with nltk 3.9.1."""
    import nltk

    assert nltk.__version__ == "3.9.1", "other versions tokenize otherwise"
    pool, target = [], []
    for path in sorted(real_texts.glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            docs = [json.loads(line)["text"] for line in itertools.islice(lines, 170)]
        pool += docs[:150]
        target += docs[150:] if "medical" in path.name else []
    assert len(pool) >= 2000
    for name, texts in (("pool", pool), ("target", target)):
        lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
        (tmp_path / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    script = tmp_path / "peer.py"
    script.write_text(PEER)
    paths = [str(tmp_path / name) for name in ("pool.jsonl", "target.jsonl", "cache")]
    subprocess.run([sys.executable, str(script), *paths], check=True, capture_output=True)
    theirs = np.concatenate(
        [np.load(path) for path in sorted((tmp_path / "cache" / "log_importance_weights").glob("*.npy"))]
    )
    learned, batch = fitted(pool, target, form="published", min_length=0)
    np.testing.assert_allclose(learned.score(batch), theirs, rtol=1e-9)


def test_gumbel_top_k_draws_as_sequential_sampling_without_replacement() -> None:
    """Inclusion probabilities of 2 of 5 with unequal weights, within 3 sigma of the enumerated ones."""
    weights = np.array([0.05, 0.1, 0.2, 0.25, 0.4])
    exact = np.zeros(5)
    for a, b in itertools.permutations(range(5), 2):
        probability = weights[a] * weights[b] / (1 - weights[a])
        exact[[a, b]] += probability
    draws = 40_000
    ids = np.arange(draws * 5, dtype=np.uint64)
    keys = np.log(weights) + gumbel(ids, 0, 0, "gumbel/0").reshape(draws, 5)
    found = np.zeros(5)
    np.add.at(found, np.argsort(-keys, axis=1)[:, :2].ravel(), 1)
    sigma = np.sqrt(exact * (1 - exact) / draws)
    assert (np.abs(found / draws - exact) < 3 * sigma).all()


@pytest.mark.parametrize("settings", [{}, {"form": "published", "min_length": 0}, {"weight": "sum"}, {"ngrams": 3}])
def test_the_account_of_a_score_is_exact(settings: dict[str, Any]) -> None:
    learned, batch = fitted(POOL, TARGET, **settings)
    for text, score in zip(POOL, learned.score(batch), strict=True):
        assert math.fsum(value for _, _, value in learned.explain(text)) == pytest.approx(score, rel=1e-12)


def test_a_score_in_the_default_form_is_the_mean_smoothed_log_ratio_of_distinct_ngrams() -> None:
    """The definition in plain Python, on texts whose n-grams share no bucket."""
    learned, batch = fitted(POOL, TARGET)

    def ngrams(text: str) -> set[str]:
        words = text.split()
        return {*words, *(f"{a} {b}" for a, b in itertools.pairwise(words))}

    pool, target = [ngrams(text) for text in POOL], [ngrams(text) for text in TARGET]
    n_pool, n_target = sum(map(len, pool)), sum(map(len, target))

    def weight(name: str) -> float:
        seen = sum(name in text for text in target)
        expected = sum(name in text for text in pool) * n_target / n_pool
        return math.log((seen + 0.5) / (expected + 0.5))

    wanted = [sum(map(weight, text)) / len(text) for text in pool]
    np.testing.assert_allclose(learned.score(batch), wanted, rtol=1e-12)


def test_published_smoothing_gives_an_empty_bucket_its_floor() -> None:
    ratio = log_ratio(np.array([0, 10]), np.array([1, 9999]), smoothing=0)
    assert ratio[0] == pytest.approx(math.log(1e-8) - math.log(1e-4 + 1e-8))


def test_noise_enters_the_order_and_never_the_score() -> None:
    quiet, batch = fitted(POOL, TARGET, form="published", min_length=0, choose="top")
    noisy, _ = fitted(POOL, TARGET, form="published", min_length=0)
    np.testing.assert_array_equal(quiet.score(batch), noisy.score(batch))
    scores = noisy.scores(batch)
    assert (noisy.order_keys(batch, scores) != scores).all()
    np.testing.assert_array_equal(quiet.order_keys(batch, scores), scores)


def test_separate_targets_take_their_proportions_by_size_or_as_given() -> None:
    selector = ImportanceResampling(targets="by_size")
    batch = batch_of(POOL, selector)
    targets = [[batch_of(["a b c"], selector)], [batch_of(["d"], selector)]]
    learned = selector.fit([batch], targets)
    assert learned.scores(batch).shape == (2, len(POOL))
    np.testing.assert_allclose(learned.proportions, [5 / 6, 1 / 6])  # 5 n-grams against 1
    with pytest.raises(ValueError, match="3 proportions for 2"):
        ImportanceResampling(targets=[1, 1, 1]).fit([batch], targets)


def test_a_target_text_found_in_the_pool_is_marked_or_barred() -> None:
    learned, batch = fitted([*POOL, TARGET[0]], TARGET, in_target="exclude")
    assert learned.is_in_target(batch).tolist() == [False] * 5 + [True]
    assert learned.barred(batch) == [None] * 5 + ["in_target"]


def test_short_texts_and_non_prose_are_barred_when_asked() -> None:
    learned, batch = fitted(POOL, TARGET, form="published")
    assert learned.barred(batch) == ["too_short"] * 5  # the published minimum is 100 tokens
    learned, batch = fitted(POOL, TARGET, quality_mask=True)
    assert set(learned.barred(batch)) == {"low_quality"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"choose": "sample"}, "needs a `temperature`"),
        ({"temperature": 1.0}, "leave it out"),
        ({"targets": []}, "proportions"),
        ({"smoothing": -1.0}, "negative"),
        ({"buckets": 1}, "buckets"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ImportanceResampling(**settings)


def test_divergence_is_the_formula_of_the_authors() -> None:
    p, q = np.array([8, 2]), np.array([5, 5])
    wanted = 0.8 * (math.log(0.8 + 1e-10) - math.log(0.5 + 1e-10)) + 0.2 * (
        math.log(0.2 + 1e-10) - math.log(0.5 + 1e-10)
    )
    assert divergence(p, q) == pytest.approx(wanted, rel=1e-12)
    assert divergence(p, np.array([0, 0])) is None


def test_facts_of_counts() -> None:
    assert coverage(np.array([3, 1, 0]), np.array([1, 0, 5])) == 0.75
    assert fold(np.ones(1 << 20, np.int64)).sum() == 1 << 20
    assert len(fold(np.ones(1 << 20, np.int64))) == 10_000
    equal = [(0.0, 4.0, 4.0), (0.0, 6.0, 6.0)]  # ten weights of 1
    assert effective_sample_size(equal) == pytest.approx(10)
    assert effective_sample_size([(5.0, 1.0, 1.0), (-500.0, 3.0, 3.0)]) == pytest.approx(1)
