"""Facts about a choice by importance: one more pass over the features, shard by shard, after the ledger stands."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tamis.pipeline.choose.batches import candidates
from tamis.pipeline.parallel import ordered_map
from tamis.pipeline.read.pool import Part
from tamis.pipeline.store.runs import Run
from tamis.pipeline.store.set_aside import EARLIER, FORGOTTEN
from tamis.selectors.chance import uniform
from tamis.selectors.contract import Floats, inputs_of
from tamis.selectors.match.density_ratio import FittedRatio, divergence
from tamis.selectors.match.importance import FittedImportance
from tamis.selectors.match.importance_facts import Tally, facts
from tamis.selectors.vectors.codes import counts
from tamis.selectors.vectors.columns import as_array

NAMING_TEXTS = 60  # chosen texts, and as many others, to name n-grams from: 120 KB, 40 ms
NAMING_CHARS = 1000


def importance_facts(run: Run, step: int, learned: FittedImportance, kept: int) -> dict[str, object]:
    """Figures of one step; see selectors/match/importance_facts.py."""
    seed = run.recipe.seed
    limit = _random_limit(run, step, kept, seed)
    total = Tally.empty(learned.settings.map.buckets)
    texts: list[str] = []

    def one(part: Part) -> tuple[Tally, list[str]]:
        return _tally(run, part, step, learned, limit)

    for tally, some in ordered_map(one, run.pool.parts, ahead=0):
        total.merge(tally)
        texts += some
    return facts(learned, total, texts)


def density_facts(run: Run, step: int, learned: FittedRatio, kept: int) -> dict[str, object]:
    """Divergence of pool, selection and a random subset from the target, over the codes of their vectors."""
    limit = _random_limit(run, step, kept, run.recipe.seed)

    def one(part: Part) -> dict[str, Floats]:
        found = {name: np.zeros_like(learned.pool_counts) for name in ("pool", "selection", "random")}
        for batch, masks in _masked(run, part, step, limit, _reasons(run, part, step)):
            vectors, there = as_array(batch[learned.settings.features])
            for name, mask in masks.items():
                if (mask & there).any():
                    found[name] += counts(vectors[mask & there], learned.centres)
        return found

    total = {name: np.zeros_like(learned.pool_counts) for name in ("pool", "selection", "random")}
    for found in ordered_map(one, run.pool.parts, ahead=0):
        for name, values in found.items():
            total[name] += values
    kl = {name: divergence(learned.target_counts, values, total["pool"]) for name, values in total.items()}
    facts: dict[str, object] = {f"kl_target_{name}": value for name, value in kl.items()}
    for name, other in (("kl_reduction", "selection"), ("kl_reduction_random", "random")):
        known = kl["pool"] is not None and kl[other] is not None
        facts[name] = kl["pool"] - kl[other] if known else None  # type: ignore[operator]
    return facts


def _random_limit(run: Run, step: int, kept: int, seed: int) -> float:
    """The k-th smallest chance number of the candidates: those up to it are a random subset of the selection's size."""
    smallest = np.empty(0)
    for part in run.pool.parts if kept else []:
        ledger = pq.read_table(run.ledger(step) / part.name, columns=["sample_id", "reason"])
        ids = ledger["sample_id"].to_numpy()[_in_scope(ledger)]
        smallest = np.concatenate([smallest, uniform(ids, seed, step, "facts")])
        if len(smallest) > kept:
            smallest = np.partition(smallest, kept - 1)[:kept]
    return float(smallest.max()) if kept and len(smallest) else -1.0


def _tally(run: Run, part: Part, step: int, learned: FittedImportance, limit: float) -> tuple[Tally, list[str]]:
    tally = Tally.empty(learned.settings.map.buckets)
    ledger = _reasons(run, part, step)
    tally.add_scores(ledger["score"].to_numpy()[_in_scope(ledger)])
    for batch, masks in _masked(run, part, step, limit, ledger):
        tally.add(learned, batch, masks)
    kept = pc.equal(ledger["reason"], "chosen").to_numpy()
    return tally, _naming_texts(run, part, ledger["sample_id"].to_numpy(), kept)


def _reasons(run: Run, part: Part, step: int) -> pa.Table:
    return pq.read_table(run.ledger(step) / part.name, columns=["score", "sample_id", "reason"])


def _masked(
    run: Run, part: Part, step: int, limit: float, ledger: pa.Table
) -> Iterator[tuple[pa.RecordBatch, dict[str, npt.NDArray[np.bool_]]]]:
    """The candidates, and which of them are in scope, chosen, and in the random subset."""
    kept, inside = pc.equal(ledger["reason"], "chosen").to_numpy(), _in_scope(ledger)
    first = 0
    for batch in candidates(run, part, step, inputs_of(run.steps[step].selector)):
        chance = uniform(batch["sample_id"].to_numpy(), run.recipe.seed, step, "facts")
        rows = slice(first, first + batch.num_rows)
        yield batch, {"pool": inside[rows], "selection": kept[rows], "random": inside[rows] & (chance <= limit)}
        first += batch.num_rows


def _in_scope(ledger: pa.Table) -> npt.NDArray[np.bool_]:
    outside = pa.array(["not_in_scope", FORGOTTEN, EARLIER])
    return pc.invert(pc.is_in(ledger["reason"], value_set=outside)).to_numpy()


def _naming_texts(run: Run, part: Part, ids: npt.NDArray[np.uint64], kept: npt.NDArray[np.bool_]) -> list[str]:
    """Some chosen and some other texts of the shard's first row group, cut to a bounded length."""
    share = max(1, NAMING_TEXTS // len(run.pool.parts))
    wanted = np.concatenate([ids[kept][:share], ids[~kept][:share]])
    texts = []
    for batch in pq.ParquetFile(part.path).iter_batches(
        batch_size=1024, columns=["sample_id", "text"], use_threads=False
    ):
        found = np.isin(batch["sample_id"].to_numpy(), wanted)
        texts += [(batch["text"][int(i)].as_py() or "")[:NAMING_CHARS] for i in np.flatnonzero(found)]
        if len(texts) >= len(wanted):
            break
    return texts
