"""The mean of few n-grams is a noisy mean: how much each n-gram tells, and how far a text's mean is drawn to the
pool's.

An n-gram weighs w = x / (x + 0.02), x the counts of the target that were seen and expected: one that neither pool nor
target has shown but once tells nothing, and must not dilute what the others say. A text whose weights sum to W has the
score sum of w (r - mu) / (W + k): r the log ratio, mu its mean over the pool, k = sigma^2 / tau^2 with sigma^2 the
variance of r within texts and tau^2 that of their true means, times the order of the n-grams, for a pair of words
repeats what each of the two has told. It is the mean that a normal prior expects (the James-Stein shrinkage of
empirical Bayes, Efron and Morris 1973, with variances by moments): how many nats an n-gram of the text lies above those
of the pool, as far as that many n-grams can tell. At most 20,000 texts of the pool and 2,000 n-grams of each, chosen by
hash, tell the variances."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tamis.selectors.chance import uniform
from tamis.selectors.contract import Floats
from tamis.selectors.texts.ngrams import Ngrams, flat

Counts = npt.NDArray[np.int64]
TOLD_BY_FEW = 0.02  # counts at which an n-gram weighs a half
SAMPLED, MOST_NGRAMS, ROWS = 20_000, 2_000, 1_024  # texts, n-grams of each, and texts at once
LONG = 100  # n-grams of a text whose mean tells of the spread of means
FEWEST = 30  # such texts; where there are fewer, the longer half of all
LEAST, MOST = 1e-6, 200.0  # of k; the most where means differ by no more than chance


def sampled(batch: pa.RecordBatch, candidates: int, dtype: type) -> pa.RecordBatch:
    """The n-grams of what the batch has in the sample, by a hash of ids; twice as many as are used, for not all
    candidates may be in the step's scope."""
    by_chance = uniform(batch["sample_id"].to_numpy(), 0, 0, "shrinkage")
    mask = by_chance < 2 * SAMPLED / max(1, candidates)
    first = pc.binary_slice(batch["ngrams"].filter(pa.array(mask)), 0, MOST_NGRAMS * np.dtype(dtype).itemsize)
    return pa.record_batch({"by_chance": by_chance[mask], "ngrams": first})


def drawn(sample: Iterable[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """The texts of the smallest hashes, in their order, so that sums have the same last digit however the pool lies."""
    batches = [batch for batch in sample if batch.num_rows]
    if not batches:
        return []
    whole = pa.Table.from_batches(batches)
    order = np.argsort(whole["by_chance"].to_numpy(), kind="stable")[:SAMPLED]
    large = whole.set_column(1, "ngrams", whole["ngrams"].cast(pa.large_binary()))
    some = [large.take(pa.array(order[first : first + ROWS])) for first in range(0, len(order), ROWS)]
    return [table.combine_chunks().to_batches()[0] for table in some]


def evidence(target: Counts, pool: Counts, scale: Floats | None = None) -> Floats:
    """[buckets] 0 to 1: how much is known of a bucket's log ratio; `scale`: the target's size over the pool's."""
    told = target + pool * (target.sum() / max(1, pool.sum()) if scale is None else scale)
    return np.asarray(told / (told + TOLD_BY_FEW))


def prior(ratio: Floats, weight: Floats, pool: Counts, sample: Iterable[pa.RecordBatch], ngrams: Ngrams) -> Floats:
    """[2] mu, the pool's mean of `ratio` [buckets], and k, the weight that it has in each text's score."""
    from tamis.selectors.loops.buckets import gather_sums

    known = pool * weight
    mu = float((known * ratio).sum() / max(known.sum(), np.finfo(float).tiny))
    above = ratio - mu
    told = []
    for batch in sample:
        buckets, places = flat(batch, ngrams)
        sums = [gather_sums(buckets, places, table) for table in (weight, weight * above, weight * above**2)]
        told.append(np.stack([*sums, np.diff(places)]))
    counts, first, second, length = np.concatenate(told, axis=1) if told else np.zeros((4, 0))
    there = counts > 1
    long = there & (length >= LONG)
    if long.sum() < FEWEST:
        long = there & (length >= np.median(length[there])) if there.any() else there
    if long.sum() < 2:
        return np.array([mu, MOST])
    counts, first, second = counts[long], first[long], second[long]
    means = first / counts
    within = (second - counts * means**2).sum() / (counts - 1).sum()
    between = means.var() - (within / counts).mean()
    return np.array([mu, min(MOST, max(ngrams.order * within / between, LEAST)) if between > 0 else MOST])
