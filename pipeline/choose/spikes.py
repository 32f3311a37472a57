"""Samples of the target that a step has not seen, scored as if they lay in the pool.

Where a part of the target is held out they are that part; else each family of near-copies in turn is scored by a fit
without it. At most 1,000 families, of 4,000 samples in 16 MB, one of each; one pass over the score files."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tamis.pipeline.choose.batches import targets
from tamis.pipeline.choose.groups import grouping
from tamis.pipeline.columns.declared import by_name, taught_by_target
from tamis.pipeline.columns.hashed import hashed_makers
from tamis.pipeline.errors import RecipeError
from tamis.pipeline.read.families import Families, families
from tamis.pipeline.recipe.plans import StepPlan
from tamis.pipeline.schemas import POOL
from tamis.pipeline.store.runs import Run
from tamis.selectors.chance import uniform
from tamis.selectors.contract import SEEN, Floats, Inputs, Scored
from tamis.selectors.recall import MOST_SPIKES
from tamis.selectors.rows import contents_of, hashes_of, in_training_slice

MOST_BYTES, MOST_ROWS = 16 << 20, 4000  # of the spikes' families: n-grams take 130 bytes each, pairs of rows 8
MOST_GROUPS = 20  # of a field that recall is told by
IN_SLICE = "_in_training_slice"  # a column's field beside its value: whether its model was trained on the sample
Ids = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Spikes:
    """Arrays are [spikes]."""

    keys: Floats  # [targets, spikes] what the choice sorts by
    reasons: list[str | None]  # why one may not be chosen
    ids: Ids
    names: list[str]  # their keys
    tokens: float | None  # the median of their lengths, where that is known
    groups: dict[str, list[str]]  # by field: what each is of

    def __len__(self) -> int:
        return len(self.ids)


def has_all(run: Run, plan: StepPlan) -> bool:
    """Whether the target has all that the step reads of a sample."""
    inputs, declared = plan.selector.inputs(), by_name(run.declared)
    kept = set.intersection(*(set(source.keep) for source in run.recipe.target))
    known = {*POOL.names, "parent", *kept, *(name for name, field in declared.items() if field.maker.of_target)}
    own = {name for maker in hashed_makers(inputs) for name in maker.schema().names}
    return all(name in {*known, *own} for name in inputs.fields if name not in inputs.pool_only) and not (
        inputs.pool_only
    )


NONE_APART = "how much of the target's kind it finds is told by two samples or more that are no copies of each other"


def spikes_of(run: Run, plan: StepPlan, learned: Any, *, of_held: bool = True) -> Spikes | str:
    """The held part, where there is one and it is asked for, else the target's families in turn; or why not."""
    held = run.held if of_held else None
    view = held or run
    if view.target is None or not view.target.rows:
        return NONE_APART
    batch, family, source, groups = _drawn(view, plan)
    if len(np.unique(family)) < (1 if held else 2):
        return NONE_APART
    contents = contents_of(hashes_of(batch))
    seen = in_training_slice(batch, *(name.removesuffix(IN_SLICE) for name in batch.schema.names if IN_SLICE in name))
    taught = taught_by_target(run.declared, plan.selector.inputs().fields)
    if held is None and any(f"{column}{IN_SLICE}" not in batch.schema.names for column in taught):
        seen[:] = True
    try:
        if plan.selector.tells_unseen:
            told: Scored = learned.unseen(batch, None if held else family, source)
        else:
            told = learned.scored(batch)
    except Exception as error:  # a user's own code may know samples of the pool alone
        if plan.selector.needs_target and isinstance(error, ValueError):
            raise RecipeError(f"step {plan.number} ({plan.name}): {error}") from error
        return f"how much of the target's kind it finds can't be told: {' '.join(repr(error).split())[:160]}"
    reasons = told.barred or [None] * batch.num_rows
    seen |= np.array([reason == SEEN for reason in reasons], bool)
    if held is None and batch.num_rows and seen.all():
        return (
            "how much of the target's kind it finds can't be told by samples that a model was trained on: "
            "`hold_out: 0.25` in the recipe keeps some apart"
        )
    first = _first_of_each(family, contents, ~seen)
    keys = np.atleast_2d(told.score if told.order is None else told.order)[:, first]
    return Spikes(
        keys=keys,
        reasons=[None if reasons[row] == "in_target" else reasons[row] for row in first.tolist()],
        ids=batch["sample_id"].to_numpy()[first],
        names=batch["key"].take(pa.array(first)).to_pylist(),
        tokens=float(np.median(batch["n_tokens"].to_numpy()[first])) if "n_tokens" in batch.schema.names else None,
        groups={field: [names[row] for row in first.tolist()] for field, names in groups.items()},
    )


def _first_of_each(family: Any, contents: Ids, those: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """One row of each family, of `those`: the one of the lowest content."""
    rows = np.flatnonzero(those)
    order = rows[np.lexsort([contents[rows], family[rows]])]
    return order[np.append(True, family[order][1:] != family[order][:-1])] if len(order) else order


def _drawn(view: Run, plan: StepPlan) -> tuple[pa.RecordBatch, Any, Any, dict[str, list[str]]]:
    """Whole families of the target's samples in one batch, the family and the source of each, and what they are of."""
    assert view.target is not None
    known = families(view.target, len(view.recipe.target))
    every = np.unique(known.of_content)
    chance = uniform(every, view.recipe.seed, 0, "spikes")  # the same for each step
    every = every[np.argsort(chance, kind="stable")][:MOST_SPIKES]
    fields = _fields(view)
    inputs = plan.selector.inputs()
    slices = [f"{name}{IN_SLICE}" for name in inputs.fields]
    more = [name for name in ("key", "content_hash", *fields) if name not in inputs.fields]
    more += [name for name in slices if name in by_name(view.declared)]
    asked = replace(inputs, fields=tuple(dict.fromkeys([*inputs.fields, *more])))
    while (drawn := _of_families(view, plan, asked, known, every)) is None:
        every = every[: len(every) // 2]
    batch, source = drawn
    family = known.of(contents_of(hashes_of(batch)))
    groups = {field: [_name(value) for value in batch[field].to_pylist()] for field in fields}
    if len(view.recipe.target) > 1:
        groups["target"] = [_source_name(view, origin) for origin in source.tolist()]
    few = {field: names for field, names in groups.items() if 1 < len(set(names)) <= MOST_GROUPS}
    return batch, np.unique(family, return_inverse=True)[1].reshape(-1), source, few


def _of_families(
    view: Run, plan: StepPlan, asked: Inputs, known: Families, every: Ids
) -> tuple[pa.RecordBatch, npt.NDArray[np.int64]] | None:
    """The target's samples of these families, and the source of each; None where they are too large to be held."""
    batches, origins, size, rows = [], [], 0, 0
    for origin, stream in enumerate(targets(view, plan.number, asked)):
        for batch in stream:
            some = batch.filter(pa.array(np.isin(known.of(contents_of(hashes_of(batch))), every)))
            batches.append(some)
            origins.append(np.full(some.num_rows, origin))
            size += some.nbytes
            rows += some.num_rows
            if (size > MOST_BYTES or rows > MOST_ROWS) and len(every) > 1:
                return None
    whole = pa.Table.from_batches(batches).combine_chunks()
    one = whole.to_batches()[0] if whole.num_rows else pa.RecordBatch.from_pylist([], whole.schema)
    return one, np.concatenate(origins)


def _fields(view: Run) -> list[str]:
    """Kept fields that all of the target's sources have, and that may group its samples."""
    assert view.target is not None
    schemas = [grouping(pq.read_schema(part.path)) for part in view.target.parts]
    kept = (set(source.keep) for source in view.recipe.target)
    return sorted(set.intersection(*map(set, schemas), *kept))


def _name(value: Any) -> str:
    return "∅" if value is None else str(value)


def _source_name(view: Run, origin: int) -> str:
    paths = [Path(path).name for path in view.recipe.target[origin].paths]
    return f"{origin} {paths[0]}" + (f" and {len(paths) - 1} more" if len(paths) > 1 else "")


def candidates_above(spikes: Spikes, scores: Sequence[str]) -> npt.NDArray[np.int64]:
    """[spikes] how many candidates stand above each by their best key; of equal ones a share, by the spike's hash."""
    best = np.where(np.isfinite(spikes.keys), spikes.keys, -np.inf).max(0)
    order = np.argsort(best, kind="stable")
    rising = best[order]
    higher, equal = np.zeros(len(rising) + 1, np.int64), np.zeros(len(rising) + 1, np.int64)
    for keys in map(_best_keys, scores):
        left, right = (np.searchsorted(rising, keys, side=side) for side in ("left", "right"))
        higher += np.bincount(left, minlength=len(rising) + 1)  # above all spikes before that place
        tied = left[right > left]
        equal += np.bincount(tied, minlength=len(rising) + 1)
    first = np.searchsorted(rising, rising, side="left")
    above = higher[::-1].cumsum()[::-1][1:]  # [spikes] candidates that are greater
    lot = uniform(spikes.ids[order], 0, 0, "ties")
    told = np.empty(len(rising), np.int64)
    told[order] = above + (equal[first] * lot).astype(np.int64)
    return told


def _best_keys(path: str) -> Floats:
    """Of one shard's eligible candidates the best key over targets."""
    table = pq.read_table(path, columns=["order_key", "target", "barred"])
    keys, target = table["order_key"].to_numpy(), table["target"].to_numpy()
    keys = np.where(table["barred"].is_null().to_numpy() & np.isfinite(keys), keys, -np.inf)
    kinds = int(target.max(initial=0)) + 1
    best = np.stack([keys[target == kind] for kind in range(kinds)]).max(0) if kinds > 1 else keys
    return np.asarray(best[best > -np.inf])
