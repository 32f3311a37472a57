"""Selections of labeled samples judged by training: a linear head on a column of vectors, by the classes of a field.

The loss is the error averaged over classes (1 less balanced accuracy) of a closed-form head (heads.py) on at most MOST
samples that no selection holds: the target's where it has the field, else the pool's. Seeds draw with replacement from
a selection, so that the interval is that of another selection of its kind."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tamis.pipeline.batches import side_by_side
from tamis.pipeline.columns import by_name
from tamis.pipeline.errors import RecipeError
from tamis.pipeline.store import Run
from tamis.selectors.chance import uniform
from tamis.selectors.contract import Inputs
from tamis.selectors.heads import fit_head
from tamis.selectors.vectors import as_array

MOST = 5000  # held-out samples


class HeadTrials:
    """`trained` asks it for the error after so many labels of a selection, or of the pool (""). Raises RecipeError."""

    unit = "labels"

    def __init__(self, runs: Mapping[str, Run], declaring: Run, column: str, field: str) -> None:
        self.vectors, self.ids, self.classes = _labeled(declaring, column, field, of_target=False)
        chosen = {name: _chosen(run) for name, run in runs.items()}
        self.rows = {name: np.flatnonzero(np.isin(self.ids, ids)) for name, ids in chosen.items()}
        taken = np.unique(np.concatenate(list(chosen.values())))
        rest = np.flatnonzero(~np.isin(self.ids, taken))
        rest = rest[np.argsort(uniform(self.ids[rest], 0, 0, "held_out"), kind="stable")]
        self.apart = _target(declaring, column, field)
        if self.apart is None:
            held, rest = rest[: min(MOST, len(rest) // 2)], rest[min(MOST, len(rest) // 2) :]
            self.apart = self.vectors[held], self.classes[held]
        self.rows[""] = np.sort(np.concatenate([np.flatnonzero(np.isin(self.ids, taken)), rest]))
        for name, rows in self.rows.items():
            if len(set(self.classes[rows].tolist())) < 2:
                raise RecipeError(
                    f"--train head: {name or 'the pool'} has fewer than two classes of {field!r} to learn"
                )
        if not len(self.apart[1]):
            raise RecipeError(f"--train head: no sample with {field!r} is left that no selection holds, to measure on")

    @property
    def held_out(self) -> int:
        assert self.apart is not None
        return len(self.apart[1])

    def amount(self, of: str) -> int:
        return len(self.rows[of])

    def loss(self, of: str, amount: int, seed: int) -> float:
        assert self.apart is not None
        vectors, truth = self.apart
        rows = self.rows[of]
        drawn = rows[np.random.default_rng(seed).integers(len(rows), size=amount)]
        if len(set(self.classes[drawn].tolist())) < 2:
            return 1 - 1 / len(set(truth.tolist()))  # it says one class, whatever it sees
        head = fit_head(self.vectors[drawn], self.classes[drawn].tolist(), self.ids[drawn], "gda")
        said = np.array(head.classes)[head.probabilities(vectors).argmax(1)]
        return float(np.mean([(said != truth)[truth == kind].mean() for kind in np.unique(truth)]))


Labeled = tuple[npt.NDArray[np.float32], npt.NDArray[np.str_]]


def _labeled(
    run: Run, column: str, field: str, *, of_target: bool
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint64], npt.NDArray[np.str_]]:
    """Vectors, ids and classes of the samples that have both."""
    if field not in (*run.recipe.kept, *by_name(run.declared)):
        raise RecipeError(
            f"--by {field}: the pool keeps no such field (there are: {', '.join(sorted(run.recipe.kept))})"
        )
    pool = run.target if of_target else run.pool
    vectors, ids, classes = [np.zeros((0, 1), np.float32)][:0], [], [""][:0]
    for part in pool.parts if pool else []:
        for batch in side_by_side(run, part, Inputs(fields=(column, field)), of_target):
            some, there = as_array(batch[column])
            there &= batch[field].is_valid().to_numpy(zero_copy_only=False)
            vectors.append(some[there])
            ids.append(batch["sample_id"].to_numpy()[there])
            names = pc.cast(batch[field], "string").to_pylist()
            classes += [name for name, has in zip(names, there.tolist(), strict=True) if has]
    if not ids:
        return np.zeros((0, 1), np.float32), np.zeros(0, np.uint64), np.zeros(0, np.str_)
    return np.concatenate(vectors), np.concatenate(ids), np.array(classes, np.str_)


def _target(run: Run, column: str, field: str) -> Labeled | None:
    """The target's samples, where its sources have the field."""
    if run.target is None or not all(field in source.keep for source in run.recipe.target):
        return None
    vectors, ids, classes = _labeled(run, column, field, of_target=True)
    first = np.argsort(uniform(ids, 0, 0, "held_out"), kind="stable")[:MOST]
    return (vectors[first], classes[first]) if len(first) else None


def _chosen(run: Run) -> npt.NDArray[np.uint64]:
    return np.asarray(pq.read_table(run.folder / "selection.parquet", columns=["sample_id"])["sample_id"].to_numpy())
