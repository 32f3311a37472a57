"""Scores that samples of the target would have, had the fit not seen them, as if each lay in the pool.

N-gram counts add up, so leaving a family (a sample with its near-copies) out is a subtraction: its counts from the
target's, and the sample's own added to the pool's. That gives the log ratios of a new fit; what shrinks their mean
(shrinkage.py) is kept, for one family hardly moves it. O(n-grams) time, 130 bytes an n-gram."""

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tamis.selectors.contract import Floats
from tamis.selectors.match.importance_facts import Weighed
from tamis.selectors.match.log_ratio import log_ratio
from tamis.selectors.match.shrinkage import evidence
from tamis.selectors.texts.ngrams import flat

Counts = npt.NDArray[np.int64]


class Shrunk(Weighed, Protocol):
    """What was learned, as far as it is needed here."""

    @property
    def priors(self) -> Floats: ...  # [targets, 2]
    @property
    def settings(self) -> Any: ...


def unseen_scores(fitted: Shrunk, batch: pa.RecordBatch, families: Counts | None, sources: Counts) -> Floats:
    """[targets, rows]; `families` [rows]: whose members the fit is to forget, all of them rows of the batch; None: it
    has seen none. `sources` [rows]: number of the target that each is of."""
    settings, width = fitted.settings, fitted.ngrams.buckets
    buckets, places = flat(batch, fitted.ngrams)
    buckets, sizes = buckets.astype(np.int64), np.diff(places)
    rows = np.repeat(np.arange(len(sizes)), sizes)
    own, whole = _times(rows * width + buckets), sizes[rows]
    pool, pool_total = fitted.pool_counts[buckets] + own, fitted.pool_counts.sum() + whole
    scores = []
    for number, (target, prior) in enumerate(zip(fitted.target_counts, fitted.priors, strict=True)):
        seen, seen_total = target[buckets], np.full(len(buckets), target.sum())
        if families is not None:
            mine = sources == number if len(fitted.target_counts) > 1 else np.ones(len(sizes), bool)
            taken, total = _of_families(families, mine, rows, buckets, width)
            seen, seen_total = seen - taken, seen_total - total
        ratio = log_ratio(seen, pool, settings.chosen("smoothing"), (seen_total, pool_total))
        if settings.chosen("weight") == "shrunk":
            weight = evidence(seen, pool, seen_total / np.maximum(1, pool_total))
            told = np.bincount(rows, weight * (ratio - prior[0]), len(sizes))
            scores.append(told / (np.bincount(rows, weight, len(sizes)) + prior[1]))
            continue
        summed = np.bincount(rows, ratio, len(sizes))
        scores.append(summed if settings.chosen("weight") == "sum" else summed / np.maximum(sizes, 1))
    found = np.stack(scores)
    return found if settings.chosen("weight") == "sum" else np.where(sizes > 0, found, np.nan)


def _of_families(
    families: Counts, mine: npt.NDArray[np.bool_], rows: Counts, buckets: Counts, width: int
) -> tuple[Counts, Counts]:
    """[n-grams] how often the family of the n-gram's row has it in one target, and how many it has there."""
    _, number = np.unique(families, return_inverse=True)
    of = number[rows]
    counted = mine[rows]
    keys, place = np.unique(of * width + buckets, return_inverse=True)
    taken = np.bincount(place, counted, len(keys)).astype(np.int64)[place]
    total = np.bincount(of, counted, int(number.max(initial=0)) + 1).astype(np.int64)[of]
    return taken, total


def _times(keys: Counts) -> Counts:
    """[keys] how often each occurs."""
    _, place, counts = np.unique(keys, return_inverse=True, return_counts=True)
    return np.asarray(counts[place], np.int64)
