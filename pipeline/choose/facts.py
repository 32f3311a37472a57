"""A choice as a selector tells of it: its candidates once more, shard by shard, after the ledger stands."""

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tamis.pipeline.choose.batches import candidates
from tamis.pipeline.parallel import ordered_map
from tamis.pipeline.read.pool import Part
from tamis.pipeline.store.runs import Run
from tamis.pipeline.store.set_aside import SET_ASIDE
from tamis.selectors.chance import uniform
from tamis.selectors.contract import ChosenShard, Floats, Masks

T = TypeVar("T")
NAMING_TEXTS = 60  # chosen texts, and as many others, to name n-grams from: 120 KB, 40 ms
NAMING_CHARS = 1000


class StepChoice:
    """What a step chose; `kept`: how many."""

    def __init__(self, run: Run, step: int, kept: int) -> None:
        self.run, self.step, self.kept = run, step, kept

    def map(self, function: Callable[[ChosenShard], T]) -> Iterator[T]:
        """The function of each shard, in order."""
        limit = self._limit()
        return ordered_map(lambda part: function(Shard(self, part, limit)), self.run.pool.parts, ahead=0)

    def _limit(self) -> float:
        """The k-th smallest chance number of the candidates: those up to it are a random subset of its size."""
        smallest = np.empty(0)
        for part in self.run.pool.parts if self.kept else []:
            ledger = pq.read_table(self.run.ledger(self.step) / part.name, columns=["sample_id", "reason"])
            smallest = np.concatenate([smallest, self.chances(ledger["sample_id"].to_numpy()[in_scope(ledger)])])
            if len(smallest) > self.kept:
                smallest = np.partition(smallest, self.kept - 1)[: self.kept]
        return float(smallest.max()) if self.kept and len(smallest) else -1.0

    def chances(self, ids: npt.NDArray[np.uint64]) -> Floats:
        return uniform(ids, self.run.recipe.seed, self.step, "facts")


class Shard:
    """One shard of it."""

    def __init__(self, choice: StepChoice, part: Part, limit: float) -> None:
        self._choice, self._part, self._limit = choice, part, limit

    @cached_property
    def _ledger(self) -> pa.Table:
        path = self._choice.run.ledger(self._choice.step) / self._part.name
        return pq.read_table(path, columns=["score", "sample_id", "reason"])

    @cached_property
    def _chosen(self) -> npt.NDArray[np.bool_]:
        chosen: npt.NDArray[np.bool_] = pc.equal(self._ledger["reason"], "chosen").to_numpy()
        return chosen

    def scores(self) -> Floats:
        """Of the candidates in scope."""
        scores: Floats = self._ledger["score"].to_numpy()[in_scope(self._ledger)]
        return scores

    def batches(self) -> Iterator[tuple[pa.RecordBatch, Masks]]:
        """The candidates, and which of them are in scope, chosen, and in the random subset."""
        run, step = self._choice.run, self._choice.step
        inside = in_scope(self._ledger)
        first = 0
        for batch in candidates(run, self._part, step, run.steps[step].selector.inputs()):
            chance = self._choice.chances(batch["sample_id"].to_numpy())
            rows = slice(first, first + batch.num_rows)
            random = inside[rows] & (chance <= self._limit)
            yield batch, {"pool": inside[rows], "selection": self._chosen[rows], "random": random}
            first += batch.num_rows

    def texts(self) -> list[str]:
        """Some chosen and some other texts of the shard's first row group, cut to a bounded length."""
        ids = self._ledger["sample_id"].to_numpy()
        share = max(1, NAMING_TEXTS // len(self._choice.run.pool.parts))
        wanted = np.concatenate([ids[self._chosen][:share], ids[~self._chosen][:share]])
        texts: list[str] = []
        file = pq.ParquetFile(self._part.path)
        for batch in file.iter_batches(batch_size=1024, columns=["sample_id", "text"], use_threads=False):
            found = np.isin(batch["sample_id"].to_numpy(), wanted)
            texts += [(batch["text"][int(i)].as_py() or "")[:NAMING_CHARS] for i in np.flatnonzero(found)]
            if len(texts) >= len(wanted):
                break
        return texts


def in_scope(ledger: pa.Table) -> npt.NDArray[np.bool_]:
    """[rows] which a step could choose from."""
    outside = pa.array(["not_in_scope", "passed_through", *SET_ASIDE])
    inside: npt.NDArray[np.bool_] = pc.invert(pc.is_in(ledger["reason"], value_set=outside)).to_numpy()
    return inside
