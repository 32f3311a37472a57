"""How well selections serve a target, and what they share: each measure in one pass over the pool for all of them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tamis.pipeline.choose.batches import side_by_side
from tamis.pipeline.choose.drawn import Drawn
from tamis.pipeline.columns.hashed import ngrams_maker
from tamis.pipeline.making import make_parts
from tamis.pipeline.store.runs import Run
from tamis.selectors.contract import Inputs
from tamis.selectors.match.importance_facts import coverage, divergence
from tamis.selectors.rows import contents_of, hashes_of
from tamis.selectors.texts.ngrams import Ngrams, flat
from tamis.selectors.vectors.columns import as_array

Ids = npt.NDArray[np.uint64]
Chosen = Mapping[str, Ids]
Figures = dict[str, dict[str, float]]  # by selection; "" is the whole pool
NGRAMS = Ngrams(order=2, buckets=1 << 18)  # unigrams and bigrams, with repetition
MOST_TARGETS = 2000  # that nearest samples are looked for of
SMOOTHING = 0.5  # added to each bucket that target or pool have, where a distribution is a model


def by_ngrams(run: Run, chosen: Chosen) -> Figures:
    """KL reduction and n-gram coverage, as reports have them; and `target_nats`, how many nats an n-gram of the target
    costs under the selection's smoothed distribution of n-grams, a model of one line."""
    from tamis.selectors.loops.buckets import add_counts

    folders = {of_target: _ngram_folder(run, of_target) for of_target in (False, True)}
    counts = {name: np.zeros(NGRAMS.buckets, np.int64) for name in ("target", "", *chosen)}
    assert run.target is not None
    for batch in _ngrams(run.target.parts, folders[True]):
        add_counts(flat(batch, NGRAMS)[0], counts["target"])
    for batch in _ngrams(run.pool.parts, folders[False]):
        add_counts(flat(batch, NGRAMS)[0], counts[""])
        ids = batch["sample_id"].to_numpy()
        for name, mine in chosen.items():
            mask = _among(ids, mine)
            if mask.any():
                add_counts(flat(batch.filter(pa.array(mask)), NGRAMS)[0], counts[name])
    target = counts.pop("target")
    whole = divergence(target, counts[""]) or 0.0
    seen = (target > 0) | (counts[""] > 0)
    return {
        name: {
            "kl_reduction": whole - (divergence(target, mine) or 0.0) if mine.sum() else 0.0,
            "ngram_coverage": coverage(target, mine) or 0.0,
            "target_nats": nats(target[seen], mine[seen]),
        }
        for name, mine in counts.items()
    }


def nats(target: npt.NDArray[np.int64], other: npt.NDArray[np.int64]) -> float:
    """Cross-entropy of the target's n-grams under the other's counts with SMOOTHING added."""
    share = target / max(1, target.sum())
    model = (other + SMOOTHING) / (other.sum() + SMOOTHING * len(other))
    return float(-(share * np.log(model)).sum())


def by_vectors(run: Run, column: str, chosen: Chosen) -> Figures:
    """`served`: the share of the target that has a chosen sample as near as half of the target's samples have their
    nearest of the target; `nearness`: the mean cosine of a target sample to the nearest chosen one."""
    contents, target = _target_vectors(run, column)
    if len(target) < 2:
        return {}
    inside = target @ target.T
    np.fill_diagonal(inside, -1)
    line = float(np.median(inside.max(1)))
    best = {name: np.full(len(target), -1.0, np.float32) for name in ("", *chosen)}
    for part in run.pool.parts:
        for batch in side_by_side(run, part, Inputs(fields=(column, "content_hash")), of_target=False):
            vectors, there = as_array(batch[column])
            mine = batch["sample_id"].to_numpy()
            close = target @ vectors.T
            close[:, ~there] = -1
            same = contents[:, None] == contents_of(hashes_of(batch))
            close[same] = -1  # a target sample that lies in the pool, too, doesn't serve itself
            for name, held in best.items():
                mask = np.ones(len(mine), bool) if not name else _among(mine, chosen[name])
                if mask.any():
                    np.maximum(held, close[:, mask].max(1), out=held)
    return {
        name: {"served": float((held >= line).mean()), "nearness": float(held.mean())} for name, held in best.items()
    }


def duplicates(run: Run, chosen: Chosen) -> dict[str, int]:
    """How many chosen samples have the content of another chosen one."""
    hashes: dict[str, list[bytes]] = {name: [] for name in chosen}
    for part in run.pool.parts:
        for batch in pq.ParquetFile(part.path).iter_batches(columns=["sample_id", "content_hash"]):
            ids = batch["sample_id"].to_numpy()
            for name, mine in chosen.items():
                mask = _among(ids, mine)
                if mask.any():
                    hashes[name] += batch["content_hash"].filter(pa.array(mask)).to_pylist()
    return {name: len(found) - len(set(found)) for name, found in hashes.items()}


def overlap(sets: list[Ids]) -> list[list[float]]:
    """[selections, selections] share of the row's samples that the column has, too."""
    return [[len(np.intersect1d(a, b)) / max(1, len(a)) for b in sets] for a in sets]


def _among(ids: Ids, chosen: Ids) -> npt.NDArray[np.bool_]:
    if not len(chosen):
        return np.zeros(len(ids), bool)
    return np.asarray(chosen[np.minimum(np.searchsorted(chosen, ids), len(chosen) - 1)] == ids)


def _ngram_folder(run: Run, of_target: bool) -> Any:
    maker = ngrams_maker(NGRAMS)
    pool = run.target if of_target else run.pool
    assert pool is not None
    for part in pool.parts:
        make_parts(run, [maker], part, of_target=of_target)
    return run.column(maker, of_target)


def _ngrams(parts: Any, folder: Any) -> Any:
    for part in parts:
        yield from pq.ParquetFile(folder / part.name).iter_batches(batch_size=4096, use_threads=False)


def _target_vectors(run: Run, column: str) -> tuple[Ids, npt.NDArray[np.float32]]:
    """Contents and vectors of the target's samples, at most MOST_TARGETS of them."""
    drawn = Drawn(MOST_TARGETS, "compare")
    assert run.target is not None
    for part in run.target.parts:
        for batch in side_by_side(run, part, Inputs(fields=(column, "content_hash")), of_target=True):
            some, there = as_array(batch[column])
            drawn.add(batch["sample_id"].to_numpy()[there], contents_of(hashes_of(batch))[there], some[there])
    _, contents, vectors = drawn.rows() or (None, np.zeros(0, np.uint64), np.zeros((0, 1), np.float32))
    return contents, vectors
