"""How well selections serve a target, and what they share: each measure in one pass over the pool for all of them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tamis.pipeline.choose.batches import side_by_side
from tamis.pipeline.choose.drawn import Drawn
from tamis.pipeline.columns.hashed import ngrams_maker
from tamis.pipeline.making import make_parts
from tamis.pipeline.read.pool import Part
from tamis.pipeline.store.runs import Run
from tamis.selectors.contract import Inputs
from tamis.selectors.learners.folds import alike
from tamis.selectors.match.importance_facts import coverage, cross_entropy
from tamis.selectors.recall import share
from tamis.selectors.rows import contents_of, hashes_of
from tamis.selectors.texts.ngrams import Ngrams, flat
from tamis.selectors.vectors.columns import as_array

Ids = npt.NDArray[np.uint64]
Counts = npt.NDArray[np.int64]
Chosen = Mapping[str, Ids]  # rising
Figures = dict[str, dict[str, float]]  # by selection; "" is the whole pool
NGRAMS = Ngrams(order=2, buckets=1 << 18)  # unigrams and bigrams, with repetition
MOST_TARGETS = 2000  # that nearest samples are looked for of


class Judge(NamedTuple):
    """Samples beside the pool that selections are judged by."""

    parts: list[Part]  # of the target, or of the recipe's judge
    held: Ids  # those of them that judge, rising


def by_ngrams(run: Run, judge: Judge, chosen: Chosen, without: Ids, times: Mapping[str, Counts]) -> Figures:
    """`target_nats`, how many nats an n-gram of the judge's samples costs under the selection's smoothed distribution
    of n-grams, a model of one line; and the share of theirs that it has at all. The pool is told `without` their copies
    in it. `times`: how often each of the chosen counts."""
    from tamis.selectors.loops.buckets import add_counts

    folders = {of_target: _ngram_folder(run, of_target) for of_target in (False, True)}
    counts = {name: np.zeros(NGRAMS.buckets, np.int64) for name in ("target", "", *chosen)}
    for batch in _ngrams(judge.parts, folders[True]):
        apart = _among(batch["sample_id"].to_numpy(), judge.held)
        if apart.any():
            add_counts(flat(batch.filter(pa.array(apart)), NGRAMS)[0], counts["target"])
    for batch in _ngrams(run.pool.parts, folders[False]):
        ids = batch["sample_id"].to_numpy()
        rest = batch if not len(without) else batch.filter(pa.array(~_among(ids, without)))
        add_counts(flat(rest, NGRAMS)[0], counts[""])
        for name, mine in chosen.items():
            mask = _among(ids, mine)
            if mask.any():
                add_counts(flat(batch.filter(pa.array(mask)), NGRAMS)[0], counts[name])
                again = times[name][np.searchsorted(mine, ids[mask])] - 1
                for more in np.unique(again[again > 0]).tolist():
                    rows = np.flatnonzero(mask)[again == more]
                    some = np.zeros_like(counts[name])
                    add_counts(flat(batch.take(pa.array(rows)), NGRAMS)[0], some)
                    counts[name] += more * some
    target = counts.pop("target")
    seen = (target > 0) | (counts[""] > 0)
    return {
        name: {
            "ngram_coverage": coverage(target, mine) or 0.0,
            "target_nats": cross_entropy(target[seen], mine[seen]),
        }
        for name, mine in counts.items()
    }


def by_vectors(run: Run, column: str, judge: Judge, chosen: Chosen) -> Figures:
    """Of the judge's samples, of each content one. `served`: the share that has a chosen sample as near as half of them
    have their nearest of its parts; `nearness`: the mean cosine to the nearest chosen one."""
    line, best = nearest_of(run, column, judge, chosen)
    figures = {name: (float((near >= line).mean()), float(near.mean())) for name, near in best.items() if len(near)}
    return {name: {"served": served, "nearness": nearness} for name, (served, nearness) in figures.items()}


def nearest_of(run: Run, column: str, judge: Judge, chosen: Chosen) -> tuple[float, dict[str, npt.NDArray[np.float32]]]:
    """How near half of the judge's samples have their nearest of its parts; and by selection, "" the whole pool, [their
    contents] the cosine of each to the nearest chosen one. Nothing where fewer than two of the parts' differ."""
    mine, every = _judging_vectors(run, column, judge)
    if not len(mine.vectors) or len(np.unique(alike(every.vectors, every.contents))) < 2:
        return 0.0, {}
    inside = mine.vectors @ every.vectors.T
    inside[mine.contents[:, None] == every.contents] = -1
    inside[alike(mine.vectors)[:, None] == alike(every.vectors)] = -1  # a copy of a sample serves nobody
    line = float(np.median(inside.max(1)))
    best = {name: np.full(len(mine.vectors), -1.0, np.float32) for name in ("", *chosen)}
    for part in run.pool.parts:
        for batch in side_by_side(run, part, Inputs(fields=(column, "content_hash")), of_target=False):
            vectors, there = as_array(batch[column])
            ids = batch["sample_id"].to_numpy()
            close = mine.vectors @ vectors.T
            close[:, ~there] = -1
            close[mine.contents[:, None] == contents_of(hashes_of(batch))] = -1  # nor does it serve itself
            for name, nearest in best.items():
                mask = np.ones(len(ids), bool) if not name else _among(ids, chosen[name])
                if mask.any():
                    np.maximum(nearest, close[:, mask].max(1), out=nearest)
    return line, best


def kind_found(run: Run) -> dict[str, Any]:
    """Of target samples that the run has not seen the share that would have come through all of its steps that tell it,
    with half its 90% interval, and what its choice told; nothing where the choice tells nothing."""
    choices = [step.number for step in run.steps if step.budget is not None] or [step.number for step in run.steps]
    if not choices or not run.spikes(choices[-1]).exists():
        return {}
    tables = [pq.read_table(path) for step in run.steps if (path := run.spikes(step.number)).exists()]
    taken: dict[int, bool] = {}
    for place, table in enumerate(tables):
        pairs = zip(table["sample_id"].to_pylist(), table["taken"].to_pylist(), strict=True)
        taken = {i: so and taken.get(i, not place) for i, so in pairs if not place or i in taken}
    found = share(sum(taken.values()), len(taken))
    told = run.summary(choices[-1])["facts"]["found"]
    return {
        "share": found.value,
        "half": (found.high - found.low) / 2,
        "spikes": len(taken),
        **{name: told[name] for name in ("number", "curve") if name in told},
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
    pool = run.beside if of_target else run.pool
    assert pool is not None
    for part in pool.parts:
        make_parts(run, [maker], part, of_target=of_target)
    return run.column(maker, of_target)


def _ngrams(parts: Any, folder: Any) -> Any:
    for part in parts:
        yield from pq.ParquetFile(folder / part.name).iter_batches(batch_size=4096, use_threads=False)


class Embedded(NamedTuple):
    contents: Ids
    vectors: npt.NDArray[np.float32]


def _judging_vectors(run: Run, column: str, judge: Judge) -> tuple[Embedded, Embedded]:
    """The samples that judge, of each content one, and all of their parts; of both at most MOST_TARGETS."""
    mine, every = Drawn(MOST_TARGETS, "compare"), Drawn(MOST_TARGETS, "compare")
    for part in judge.parts:
        for batch in side_by_side(run, part, Inputs(fields=(column, "content_hash")), of_target=True):
            some, there = as_array(batch[column])
            ids, contents = batch["sample_id"].to_numpy()[there], contents_of(hashes_of(batch))[there]
            apart = _among(ids, judge.held)
            every.add(ids, contents, some[there])
            mine.add(ids[apart], contents[apart], some[there][apart])
    none = (None, np.zeros(0, np.uint64), np.zeros((0, 1), np.float32))
    (_, *told), (_, *known) = mine.rows() or none, every.rows() or none
    first = np.sort(np.unique(alike(told[1], told[0]), return_index=True)[1])
    return Embedded(told[0][first], told[1][first]), Embedded(*known)
