"""Selections of labeled samples judged by training: a linear head on a column of vectors, by the classes of a field.

The loss is the error averaged over classes (1 less balanced accuracy) of a closed-form head (heads.py) on at most MOST
samples whose content no selection holds: the target's where it has the field, else the pool's. Where a selection has
more labels than the smallest one, each seed draws as many of them; of the smallest one all seeds see the same."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tamis.pipeline.choose.batches import side_by_side
from tamis.pipeline.choose.drawn import Drawn
from tamis.pipeline.columns.declared import by_name, vectors_of
from tamis.pipeline.comparing.training import DOUBLINGS
from tamis.pipeline.errors import RecipeError
from tamis.pipeline.read.pool import Part
from tamis.pipeline.store.runs import Run
from tamis.selectors.contract import Inputs
from tamis.selectors.learners.heads import fit_head
from tamis.selectors.rows import contents_of, hashes_of
from tamis.selectors.vectors.columns import as_array

MOST = 5000  # held-out samples
Ids = npt.NDArray[np.uint64]


class HeadTrials:
    """`trained` asks it for the error after so many labels of a selection, or of the pool (""). Raises RecipeError."""

    unit = "labels"
    judges = False

    def __init__(
        self, runs: Mapping[str, list[Run]], declaring: Run, column: str, field: str, target: Ids, among: Ids
    ) -> None:
        """Of each selection its draws, which seeds take in turn; `target`: ids of the held part, where the target has
        the field; `among`: of what random is drawn from."""
        vectors_of(declaring.declared, column)
        known = {*declaring.recipe.kept, *({"labels"} & by_name(declaring.declared).keys())}
        if field not in known:
            kept = ", ".join(sorted(known)) or "none"
            raise RecipeError(f"--by {field}: the pool keeps no such field (there are: {kept})")
        weights = {name: [_chosen(run) for run in draws] for name, draws in runs.items()}
        every = [ids for draws in weights.values() for ids, _ in draws]
        taken = np.unique(np.concatenate(every))
        mine, rest = _labeled(declaring, column, field, taken, MOST + 2**DOUBLINGS * max(map(len, every)))
        rest = rest.part(np.isin(rest.ids, among))
        self.rows = {name: [_places(mine, *one) for one in draws] for name, draws in weights.items()}
        held = _target(declaring, column, field, target)
        if held is not None:
            held = held.without(mine.contents)
        else:
            count = min(MOST, len(rest.ids) // 2)
            held, rest = rest.part(slice(count)).without(mine.contents), rest.part(slice(count, None))
        self.known = mine.joined(rest.without(held.contents))
        self.rows[""] = [np.arange(len(self.known.ids))]
        self.apart = held
        for name, draws in self.rows.items():
            if min(len(set(self.known.classes[rows].tolist())) for rows in draws) < 2:
                raise RecipeError(f"--train head: {name or 'the pool'} has fewer than two classes of {field!r}")
        if not len(held.ids):
            raise RecipeError(f"--train head: no sample with {field!r} is left that no selection holds, to measure on")

    @property
    def held_out(self) -> int:
        return len(self.apart.ids)

    def amount(self, of: str) -> int:
        return min(map(len, self.rows[of]))

    def judged(self, of: str, amount: int, seed: int) -> float:
        raise NotImplementedError  # classes have one judge

    def loss(self, of: str, amount: int, seed: int) -> float:
        rows, truth = self.rows[of][seed % len(self.rows[of])], self.apart.classes
        drawn = np.sort(rows[np.random.default_rng(seed).permutation(len(rows))[:amount]])
        taught = self.known.part(drawn)
        if len(set(taught.classes.tolist())) < 2:
            return 1 - 1 / len(set(truth.tolist()))  # it says one class, whatever it sees
        head = fit_head(taught.vectors, taught.classes.tolist(), taught.contents, "gda")
        said = np.array(head.classes)[head.probabilities(self.apart.vectors).argmax(1)]
        return float(np.mean([(said != truth)[truth == kind].mean() for kind in np.unique(truth)]))


@dataclass(frozen=True)
class Labeled:
    """[samples] with a vector and a class."""

    ids: npt.NDArray[np.uint64]
    contents: npt.NDArray[np.uint64]
    vectors: npt.NDArray[np.float32]
    classes: npt.NDArray[Any]

    def part(self, rows: Any) -> "Labeled":
        return Labeled(self.ids[rows], self.contents[rows], self.vectors[rows], self.classes[rows])

    def without(self, contents: npt.NDArray[np.uint64]) -> "Labeled":
        return self.part(~np.isin(self.contents, contents))

    def joined(self, other: "Labeled") -> "Labeled":
        mine, theirs = vars(self), vars(other)
        return Labeled(**{name: np.concatenate([mine[name], theirs[name]]) for name in mine})


def _labeled(run: Run, column: str, field: str, taken: npt.NDArray[np.uint64], most: int) -> tuple[Labeled, Labeled]:
    """All labeled samples that some selection holds, and at most so many of the others, in the order of a hash."""
    mine, rest = Drawn(len(taken), "chosen"), Drawn(most, "held_out")
    for ids, *arrays in _batches(run, run.pool.parts, column, field, of_target=False):
        chosen = np.isin(ids, taken)
        mine.add(ids[chosen], *(array[chosen] for array in arrays))
        rest.add(ids[~chosen], *(array[~chosen] for array in arrays))
    return _as_labeled(mine), _as_labeled(rest)


def _places(mine: "Labeled", ids: Ids, times: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Where a selection's samples lie, each as often as it counts."""
    order = np.argsort(ids)
    places = np.flatnonzero(np.isin(mine.ids, ids))
    return np.repeat(places, times[order][np.searchsorted(ids[order], mine.ids[places])])


def _target(run: Run, column: str, field: str, held: Ids) -> Labeled | None:
    """The target's samples that are held out, where its sources have the field."""
    if run.target is None or not all(field in source.keep for source in run.recipe.target):
        return None
    drawn = Drawn(MOST, "held_out")
    for ids, *arrays in _batches(run, run.target.parts, column, field, of_target=True):
        apart = np.isin(ids, held)
        drawn.add(ids[apart], *(array[apart] for array in arrays))
    found = _as_labeled(drawn)
    return found if len(found.ids) else None


def _as_labeled(drawn: Drawn) -> Labeled:
    none = np.zeros(0, np.uint64)
    return Labeled(*(drawn.rows() or (none, none, np.zeros((0, 1), np.float32), np.zeros(0, object))))


def _batches(run: Run, parts: list[Part], column: str, field: str, *, of_target: bool) -> Iterator[tuple[Any, ...]]:
    """Ids, contents, vectors and classes of the samples that have both."""
    for part in parts:
        for batch in side_by_side(run, part, Inputs(fields=(column, field, "content_hash")), of_target):
            some, there = as_array(batch[column])
            there &= batch[field].is_valid().to_numpy(zero_copy_only=False)
            names = np.array(pc.cast(batch[field], "string").to_pylist(), object)
            arrays = (batch["sample_id"].to_numpy(), contents_of(hashes_of(batch)), some, names)
            yield tuple(array[there] for array in arrays)


def _chosen(run: Run) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """Ids, and how often each counts."""
    table = pq.read_table(run.folder / "selection.parquet", columns=["sample_id", "weight"])
    return table["sample_id"].to_numpy(), np.rint(table["weight"].to_numpy()).astype(np.int64)
