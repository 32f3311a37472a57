"""Importance resampling: equal to the published package, exact in its accounts, drawn as the closed form says."""

import gzip
import itertools
import json
import math
import random
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
from tamis.selectors.match.shrinkage import evidence, prior
from tamis.selectors.texts.ngrams import Ngrams
from tests_support import Runner, write_jsonl


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


@pytest.mark.parametrize(
    "settings", [{}, {"form": "published", "min_length": 0}, {"weight": "sum"}, {"weight": "mean"}, {"ngrams": 3}]
)
def test_the_account_of_a_score_is_exact(settings: dict[str, Any]) -> None:
    learned, batch = fitted(POOL, TARGET, **settings)
    for text, score in zip(POOL, learned.score(batch), strict=True):
        assert math.fsum(value for _, _, value in learned.explain(text)) == pytest.approx(score, rel=1e-12)


@pytest.mark.parametrize("weight", ["mean", "shrunk"])
def test_a_score_is_the_mean_smoothed_log_ratio_of_distinct_ngrams_shrunk_by_default(weight: Any) -> None:
    """The definition in plain Python, on texts whose n-grams share no bucket."""
    learned, batch = fitted(POOL, TARGET, weight=weight)

    def ngrams(text: str) -> set[str]:
        words = text.split()
        return {*words, *(f"{a} {b}" for a, b in itertools.pairwise(words))}

    pool, target = [ngrams(text) for text in POOL], [ngrams(text) for text in TARGET]
    n_pool, n_target = sum(map(len, pool)), sum(map(len, target))

    def counted(name: str) -> tuple[int, float]:
        return sum(name in text for text in target), sum(name in text for text in pool) * n_target / n_pool

    def ratio(name: str) -> float:
        seen, expected = counted(name)
        return math.log((seen + 0.25) / (expected + 0.25))

    def told(name: str) -> float:
        return sum(counted(name)) / (sum(counted(name)) + 0.02)

    wanted = [sum(map(ratio, text)) / len(text) for text in pool]
    if weight == "shrunk":
        every = [name for text in pool for name in text]
        mu = sum(told(name) * ratio(name) for name in every) / sum(map(told, every))
        mean, k = learned.priors[0]
        assert mean == pytest.approx(mu, rel=1e-12) and k > 0
        wanted = [sum(told(n) * (ratio(n) - mu) for n in text) / (sum(map(told, text)) + k) for text in pool]
    np.testing.assert_allclose(learned.score(batch), wanted, rtol=1e-12)


def test_the_pools_weight_is_the_ratio_of_variances_that_texts_were_drawn_with() -> None:
    """Texts of a true mean each, and n-grams around it: k by moments is sigma^2 / tau^2, whatever the lengths."""
    draw = np.random.default_rng(0)
    settings, sigma, tau = Ngrams(order=1, buckets=1 << 16), 1.5, 0.5
    ratio = np.linspace(-6, 6, settings.buckets)
    rows = []
    for mean in draw.normal(0, tau, 4000):
        wanted = draw.normal(mean, sigma, int(draw.integers(5, 400)))
        rows.append(np.searchsorted(ratio, wanted).clip(0, settings.buckets - 1).astype(settings.dtype))
    pool = np.bincount(np.concatenate(rows), minlength=settings.buckets)
    batch = pa.record_batch({"ngrams": pa.array([row.tobytes() for row in rows], pa.binary())})
    mu, k = prior(ratio, np.ones(settings.buckets), pool, [batch], settings)
    assert mu == pytest.approx(0, abs=0.05) and k == pytest.approx(sigma**2 / tau**2, rel=0.1)


def test_short_texts_do_not_win_where_the_pool_lacks_the_kind() -> None:
    """Words drawn by chance, whatever the length: four words have the most extreme means, and must not fill the choice."""
    draw = random.Random(0)
    words = [f"w{n}" for n in range(1500)]
    common = [1 / (n + 3) for n in range(1500)]

    def topic(seed: int) -> list[float]:
        odds = list(common)
        for place in random.Random(seed).sample(range(1500), 150):
            odds[place] *= 6
        return odds

    topics = [topic(seed) for seed in range(6)]
    lengths = [(4, 12, 40, 120)[n % 4] for n in range(2000)]
    pool = [" ".join(draw.choices(words, topics[n % 5], k=length)) for n, length in enumerate(lengths)]
    target = [" ".join(draw.choices(words, topics[5], k=150)) for _ in range(100)]
    shares = {}
    for weight in ("mean", "shrunk"):
        learned, batch = fitted(pool, target, weight=weight)
        best = np.argsort(-learned.score(batch))[:100]
        shares[weight] = np.mean([lengths[place] <= 12 for place in best])
    assert shares["mean"] > 0.8 and shares["shrunk"] < 0.3


def test_the_published_tokens_say_where_they_are_chance(run_in: Runner, workplace: Path) -> None:
    rows = [{"text": f"今天天气很好，我们去公园散步{n}。"} for n in range(40)]
    write_jsonl(workplace / "zh.jsonl", rows)
    source = {"format": "jsonl", "path": "zh.jsonl"}
    said = {}
    for form in ("published", "tamis"):
        step = {"importance_resampling": {"form": form, "min_length": 0, "budget": 10}}
        outcome = run_in(workplace, name=form, pool=[source], target=[source], steps=[step], emit=[])
        said[form] = outcome.manifest["steps"][0]["facts"].get("said", [])
    assert "by chance" in said["published"][0] and not said["tamis"]


def test_an_ngram_that_pool_and_target_hardly_show_tells_nothing() -> None:
    target, pool = np.array([5, 0, 0, 1]), np.array([10, 1_000_000, 0, 0])
    assert evidence(target, pool).tolist() == pytest.approx([1, 1, 0, 0.98], abs=0.005)


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


@pytest.mark.parametrize("count", [5, 20, 50, 200])
def test_a_good_choice_looks_better_than_none_however_small_it_is(count: int) -> None:
    """Zipf's words of two kinds; the target is of one, and so is the choice, which lacks most of its words."""
    draw = np.random.default_rng(count)
    zipf = 1 / np.arange(1, 20_001)
    mine, other = (draw.permutation(zipf) / zipf.sum() for _ in range(2))
    target, good, pool = (draw.multinomial(150 * texts, shares) for texts, shares in ((200, mine), (count, mine), (5000, (mine + 9 * other) / 10)))  # fmt: skip
    by_chance = draw.multinomial(150 * count, (mine + 9 * other) / 10)
    none, told, random = (divergence(target, one, pool) for one in (pool, good, by_chance))
    assert told < random and told < none, "a good choice is nearer to the target than the pool is"
    assert random < none + 0.6, "and what chance chose is not far behind"
