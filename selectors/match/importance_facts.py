"""What a choice by importance did: divergence from the target, coverage, lengths, and the n-grams gained and lost.

KL reduction as in Xie et al. 2023 (section 4): KL(target || pool) - KL(target || selection) over n-gram buckets, 1e-10
added inside the logarithms. A selection's shares are smoothed by the pool's, as Witten and Bell 1991: of N n-grams in T
buckets T / (N + T) is the pool's; else a good choice of 20 texts, which lacks most of the target's n-grams, would look
worse than none. Buckets are merged to 10,000 first, so that figures of different settings can be compared.
One pass over the features of the candidates; 48 bytes a bucket."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tamis.selectors.contract import Choice, ChosenShard, Floats, Masks
from tamis.selectors.texts.ngrams import Ngrams, flat
from tamis.selectors.texts.tokens import share_alone

Counts = npt.NDArray[np.int64]
KL_BUCKETS = 10_000
KL_FLOOR = 1e-10
SMOOTHING = 0.5  # added to each bucket where a distribution is a model
MOST_TOKENS = 1 << 16  # lengths are counted exactly up to here, and as this beyond
NAMED = 12  # n-grams named as most gained, and as most lost
MANY_ALONE = 0.05  # share of letters of scripts without spaces from which it is said
GROUPS = ("pool", "selection", "random")


@dataclass
class Tally:
    """Counts of candidates, chosen ones, and a random subset of the same size; adds up over shards in any order."""

    buckets: dict[str, Counts]  # group -> [buckets]
    lengths: dict[str, Counts]  # group -> [MOST_TOKENS + 1] texts by their number of tokens
    log_sums: list[tuple[float, float, float]]  # by shard, in order: largest score m, sum e^(s - m), sum e^(2 (s - m))

    @classmethod
    def empty(cls, buckets: int) -> "Tally":
        return cls(
            {group: np.zeros(buckets, np.int64) for group in GROUPS[1:]},
            {group: np.zeros(MOST_TOKENS + 1, np.int64) for group in GROUPS},
            [],
        )

    def add(self, ngrams: Ngrams, batch: pa.RecordBatch, masks: Masks) -> None:
        from tamis.selectors.loops.buckets import add_counts

        lengths = np.minimum(batch["n_tokens"].to_numpy(), MOST_TOKENS)
        for group, mask in masks.items():
            if mask.any():
                if group in self.buckets:  # the pool's were counted when fitting
                    add_counts(flat(batch.filter(pa.array(mask)), ngrams)[0], self.buckets[group])
                self.lengths[group] += np.bincount(lengths[mask], minlength=MOST_TOKENS + 1)

    def add_scores(self, scores: Floats) -> None:
        finite = scores[np.isfinite(scores)]
        if len(finite):
            top = float(finite.max())
            weights = np.exp(finite - top)
            self.log_sums.append((top, float(weights.sum()), float((weights**2).sum())))

    def merge(self, other: "Tally") -> None:
        for mine, theirs in ((self.buckets, other.buckets), (self.lengths, other.lengths)):
            for group in mine:
                mine[group] += theirs[group]
        self.log_sums += other.log_sums


class Weighed(Protocol):
    """What was learned, as far as it is told of."""

    @property
    def ngrams(self) -> Ngrams: ...
    @property
    def pool_counts(self) -> Counts: ...  # [buckets]
    @property
    def target_counts(self) -> Counts: ...  # [targets, buckets]
    @property
    def log_ratio(self) -> Floats: ...  # [targets, buckets] nats


def facts(fitted: Weighed, choice: Choice) -> dict[str, Any]:
    """Figures for manifest and report, in one more pass over the features, shard by shard."""
    total, texts = Tally.empty(fitted.ngrams.buckets), []

    def one(shard: ChosenShard) -> tuple[Tally, list[str]]:
        tally = Tally.empty(fitted.ngrams.buckets)
        tally.add_scores(shard.scores())
        for batch, masks in shard.batches():
            tally.add(fitted.ngrams, batch, masks)
        return tally, shard.texts()

    for tally, some in choice.map(one):
        total.merge(tally)
        texts += some
    return figures(fitted, total, texts)


def figures(fitted: Weighed, tally: Tally, texts: Sequence[str]) -> dict[str, Any]:
    """The same from what was counted; `texts` are some pool and chosen texts to name n-grams from."""
    target = fitted.target_counts.sum(axis=0)
    pool, chosen, random = fitted.pool_counts, tally.buckets["selection"], tally.buckets["random"]
    kl = {
        name: divergence(target, counts, pool)
        for name, counts in (("pool", pool), ("selection", chosen), ("random", random))
    }
    gained, lost = _most_moved(fitted, pool, chosen, texts)
    return {
        **_said(fitted, texts),
        "kl_target_pool": kl["pool"],
        "kl_target_selection": kl["selection"],
        "kl_target_random": kl["random"],
        "kl_reduction": _minus(kl["pool"], kl["selection"]),
        "kl_reduction_random": _minus(kl["pool"], kl["random"]),
        "target_coverage_pool": coverage(target, pool),
        "target_coverage_selection": coverage(target, chosen),
        "effective_sample_size": effective_sample_size(tally.log_sums),
        "tokens": {group: _length_facts(counts) for group, counts in tally.lengths.items()},
        "ngrams_gained": gained,
        "ngrams_lost": lost,
    }


def _said(fitted: Weighed, texts: Sequence[str]) -> dict[str, list[str]]:
    """Where the published tokens meet scripts without spaces."""
    share = share_alone(texts) if fitted.ngrams.tokens == "published" else 0.0
    if share < MANY_ALONE:
        return {}
    told = f"{share:.0%} of the letters are of scripts without spaces: the published tokens take a clause of these as "
    return {"said": [told + "one word, so the choice among such texts is by chance; `tokens: tamis` takes each letter"]}


def divergence(target: Counts, other: Counts, pool: Counts | None = None) -> float | None:
    """KL(target || other) in nats over merged buckets, the other smoothed by the pool where that is given; None where
    one of them is empty."""
    if not target.sum() or not other.sum():
        return None
    p, q = (folded / folded.sum() for folded in (fold(target), fold(other)))
    if pool is not None:
        size, kinds = int(other.sum()), int((fold(other) > 0).sum())
        q = (size * q + kinds * fold(pool) / max(1, pool.sum())) / (size + kinds)
    return float(np.dot(p, np.log(p + KL_FLOOR) - np.log(q + KL_FLOOR)))


def cross_entropy(target: Counts, other: Counts) -> float:
    """Nats that an n-gram of the target costs under the other's counts with SMOOTHING added to each bucket."""
    part = target / max(1, target.sum())
    model = (other + SMOOTHING) / (other.sum() + SMOOTHING * len(other))
    return float(-(part * np.log(model)).sum())


def fold(counts: Counts) -> Counts:
    """[at most KL_BUCKETS] counts, neighbouring buckets merged."""
    if len(counts) <= KL_BUCKETS:
        return counts
    return np.add.reduceat(counts, np.arange(KL_BUCKETS) * len(counts) // KL_BUCKETS)


def coverage(target: Counts, other: Counts) -> float | None:
    """Share of the target's n-gram mass in buckets that the other has at all."""
    return float(target[other > 0].sum() / target.sum()) if target.sum() else None


def effective_sample_size(log_sums: Sequence[tuple[float, float, float]]) -> float | None:
    """(sum w)^2 / sum w^2 of w = exp(score): how many equal weights would be worth as much (Kish 1965)."""
    if not log_sums:
        return None
    top = max(m for m, _, _ in log_sums)
    first = sum(one * np.exp(m - top) for m, one, _ in log_sums)
    second = sum(two * np.exp(2 * (m - top)) for m, _, two in log_sums)
    return float(first**2 / second)


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def _length_facts(counts: Counts) -> dict[str, float] | None:
    total = int(counts.sum())
    if not total:
        return None
    below = np.cumsum(counts)
    tokens = np.arange(len(counts))
    return {
        "texts": total,
        "mean": float((counts * tokens).sum() / total),
        **{f"p{share}": int(np.searchsorted(below, total * share / 100)) for share in (10, 50, 90)},
    }


def _most_moved(
    fitted: Weighed, pool: Counts, chosen: Counts, texts: Sequence[str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """N-grams whose bucket's share of the selection differs most from its share of the pool, by its part of the KL."""
    if not pool.sum() or not chosen.sum():
        return [], []
    names = _names(fitted, texts)
    buckets = np.array(sorted(names), np.int64)
    if not len(buckets):
        return [], []
    p, q = pool[buckets] / pool.sum(), chosen[buckets] / chosen.sum()
    moved = (q - p) * (np.log(q + KL_FLOOR) - np.log(p + KL_FLOOR)) * np.sign(q - p)
    order = np.argsort(moved, kind="stable")

    def rows(places: npt.NDArray[np.int64]) -> list[dict[str, Any]]:
        return [
            {"ngram": names[int(buckets[i])], "pool": float(p[i]), "selection": float(q[i])} for i in places.tolist()
        ]

    return rows(order[::-1][:NAMED]), rows(order[:NAMED])


def _names(fitted: Weighed, texts: Sequence[str]) -> dict[int, str]:
    """A name for each bucket that the texts fill: its first n-gram in them, words rather than punctuation."""
    names: dict[int, str] = {}
    for text in texts:
        for name, bucket in zip(*fitted.ngrams.named(text), strict=True):
            if name[0].isalpha():
                names.setdefault(int(bucket), name)
    return names
