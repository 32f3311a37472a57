"""How much of the target's kind a step finds, and how many there are of it among its candidates.

Told by spikes (selectors/recall.py): samples of the target that the step has not seen, scored as if they lay in the
pool. Where a part of the target is held out they are that part; else each family of near-copies in turn is scored by a
fit without it. At most 1,000 families of 64 MB, one sample of each; one pass over the score files, 16 bytes a spike."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tamis.pipeline.choose.batches import targets
from tamis.pipeline.columns.declared import by_name
from tamis.pipeline.columns.hashed import hashed_makers
from tamis.pipeline.errors import RecipeError
from tamis.pipeline.read.families import families
from tamis.pipeline.recipe.plans import StepPlan
from tamis.pipeline.schemas import POOL, SPIKES
from tamis.pipeline.store.database import rows
from tamis.pipeline.store.runs import Run
from tamis.selectors.chance import uniform
from tamis.selectors.contract import SEEN, Floats, Scored
from tamis.selectors.recall import FEWEST, MOST_SPIKES, Recall, Told, share
from tamis.selectors.rows import contents_of, hashes_of, in_training_slice
from tamis.sql import text as sql_text

MOST_BYTES = 64 << 20  # of the spikes' fields
MOST_GROUPS, LEAST_SPIKES = 20, 5  # of a field that recall is told by: groups, and spikes of one
NEXT = 1000  # further samples whose worth is told
REACHED = (0.5, 0.8, 0.95)  # shares of the kind for which it is told how many must be chosen
NEAREST, SHOWN_CHARS = 3, 120  # samples that are shown where there is nothing of the kind, and how much of each
Ids = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Spikes:
    """Arrays are [spikes]."""

    keys: Floats  # [targets, spikes] what the choice sorts by
    reasons: list[str | None]  # why one may not be chosen
    ids: Ids
    names: list[str]  # their keys
    groups: dict[str, list[str]]  # by field: what each is of

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Found:
    """What is known of the target's kind among a step's candidates."""

    spikes: Spikes
    above: npt.NDArray[np.int64]  # [spikes] candidates above each
    recall: Recall
    held: bool  # whether the spikes are a held-out part
    at_most: bool  # others may stand where the kind does: numbers are upper bounds

    @property
    def number(self) -> Told | None:
        return self.recall.number()

    @property
    def of_kind(self) -> int:
        """Candidates of the target's kind; 0 where there are none, or it can't be told."""
        number = self.number
        return 0 if number is None or self.recall.none else round(number.value)

    def facts(self, taken: npt.NDArray[np.bool_], chosen: int | None) -> dict[str, Any]:
        """For the step's record; `taken`: [spikes] would be chosen; `chosen`: candidates that were, None by a rule."""
        number = self.number
        told: dict[str, Any] = {
            "spikes": len(self.spikes),
            "held_out": self.held,
            "recall": _shown(share(int(taken.sum()), len(taken))),
            "by": list(self._by(taken)),
        }
        if chosen is None:
            return told
        curve = [(budget, _shown(one)) for budget, one in self.recall.curve()]
        told["reach"] = [[part, self.recall.reach(part)] for part in REACHED]
        told["curve"] = [[budget, one["value"], one["low"], one["high"]] for budget, one in curve]
        if number is None:
            return {**told, "too_few": FEWEST}
        worth = (self.recall.at(chosen + NEXT).value - self.recall.at(chosen).value) * number.value
        more = {"at_most": self.at_most, "none": self.recall.none, "of": self.recall.eligible}
        return {
            **told,
            "number": {**_shown(number), **more},
            "next": {"samples": NEXT, "of_kind": round(min(worth, NEXT), 1)},
        }

    def table(self, step: int, taken: npt.NDArray[np.bool_]) -> pa.Table:
        """Of SPIKES."""
        score = self.spikes.keys.max(0)
        may = np.array([reason is None for reason in self.spikes.reasons], bool) & np.isfinite(score)
        arrays = {
            "step": np.full(len(taken), step, np.int32),
            "key": self.spikes.names,
            "sample_id": self.spikes.ids,
            "score": pa.array(score, mask=~np.isfinite(score)),
            "above": pa.array(self.above, mask=~may),
            "taken": taken,
            "reason": pa.array(self.spikes.reasons, pa.string()),
        }
        return pa.table([arrays[name] for name in SPIKES.names], schema=SPIKES)

    def _by(self, taken: npt.NDArray[np.bool_]) -> Iterator[dict[str, Any]]:
        for field, names in self.spikes.groups.items():
            every = np.array(names, object)
            for name in sorted(set(names)):
                mine = every == name
                if mine.sum() >= LEAST_SPIKES:
                    one = _shown(share(int(taken[mine].sum()), int(mine.sum())))
                    yield {"field": field, "group": name, "spikes": int(mine.sum()), **one}


def _shown(told: Told) -> dict[str, float]:
    return {name: float(f"{value:.5g}") for name, value in vars(told).items()}


def found(run: Run, plan: StepPlan, learned: Any, scores: Sequence[str], eligible: int) -> Found | str | None:
    """What is known before the choice; a line where it can't be told, None where nobody would ask."""
    if run.target is not None and plan.selector.ranks and plan.selector.budgets:
        return "picks samples together, so how much of the target's kind it finds can't be told by samples one by one"
    if run.target is None or not plan.judges or not _has_all(run, plan):
        return None
    if plan.selector.needs_target and run.held is None and not plan.selector.tells_unseen:
        return "how much of the target's kind it finds is told with `hold_out: 0.25` in the recipe"
    spikes = _spikes(run, plan, learned)
    if isinstance(spikes, str):
        return spikes
    above = _above(spikes, scores)
    may = np.array([reason is None for reason in spikes.reasons], bool) & np.isfinite(spikes.keys).any(0)
    recall = Recall.of(above, may, eligible)
    return Found(spikes, above, recall, run.held is not None, not plan.selector.tells_number)


def nearest(con: Any, run: Run, scores: Sequence[str]) -> list[dict[str, Any]]:
    """What comes first in the order: key, score, and how its text begins."""
    asked = {"scores": list(scores), "pool": [str(part.path) for part in run.pool.parts], "most": NEAREST}
    return [
        {
            "key": row["key"],
            "score": row["score"],
            "begins": " ".join((row["text"] or "").split())[:SHOWN_CHARS],
        }
        for row in rows(con, sql_text("nearest"), asked)
    ]


def _has_all(run: Run, plan: StepPlan) -> bool:
    """Whether the target has all that the step reads of a sample."""
    inputs, declared = plan.selector.inputs(), by_name(run.declared)
    kept = set.intersection(*(set(source.keep) for source in run.recipe.target))
    known = {*POOL.names, "parent", *kept, *(name for name, field in declared.items() if field.maker.of_target)}
    own = {name for maker in hashed_makers(inputs) for name in maker.schema().names}
    return all(name in {*known, *own} for name in inputs.fields if name not in inputs.pool_only) and not (
        inputs.pool_only
    )


def _spikes(run: Run, plan: StepPlan, learned: Any) -> Spikes | str:
    batch, family, source, groups = _drawn(run.held or run, plan)
    if len(np.unique(family)) < (1 if run.held else 2):
        return "how much of the target's kind it finds is told by two samples or more that are no copies of each other"
    contents = contents_of(hashes_of(batch))
    inputs = plan.selector.inputs()
    learns = [
        name.removesuffix("_in_training_slice") for name in inputs.optional if name.endswith("_in_training_slice")
    ]
    seen = in_training_slice(batch, *learns)
    try:
        if plan.selector.tells_unseen:
            told: Scored = learned.unseen(batch, None if run.held else family, source)
        else:
            told = learned.scored(batch)
    except ValueError as error:
        raise RecipeError(f"step {plan.number} ({plan.name}): {error}") from error
    reasons = told.barred or [None] * batch.num_rows
    seen |= np.array([reason == SEEN for reason in reasons], bool)
    if run.held is None and batch.num_rows and seen.all():
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
    more = [name for name in ("key", "content_hash", *fields) if name not in inputs.fields]
    asked = replace(inputs, fields=(*inputs.fields, *more))
    while True:
        batches, origins, size = [], [], 0
        for origin, stream in enumerate(targets(view, plan.number, asked)):
            for batch in stream:
                mine = np.isin(known.of(contents_of(hashes_of(batch))), every)
                some = batch.filter(pa.array(mine))
                batches.append(some)
                origins.append(np.full(some.num_rows, origin))
                size += some.nbytes
        if size <= MOST_BYTES or len(every) == 1:
            break
        every = every[: max(1, int(len(every) * MOST_BYTES / size))]
    whole = pa.Table.from_batches(batches).combine_chunks()
    batch = whole.to_batches()[0] if whole.num_rows else pa.RecordBatch.from_pylist([], whole.schema)
    family = known.of(contents_of(hashes_of(batch)))
    source = np.concatenate(origins)
    groups = {field: [_name(value) for value in batch[field].to_pylist()] for field in fields}
    if len(view.recipe.target) > 1:
        groups["target"] = [_source_name(view, origin) for origin in source.tolist()]
    few = {field: names for field, names in groups.items() if 1 < len(set(names)) <= MOST_GROUPS}
    return batch, np.unique(family, return_inverse=True)[1].reshape(-1), source, few


def _fields(view: Run) -> list[str]:
    """Kept fields that all of the target's sources have, and that may group its samples."""
    assert view.target is not None
    kept = set.intersection(*(set(source.keep) for source in view.recipe.target))
    schemas = [pq.read_schema(part.path) for part in view.target.parts]
    fits = (pa.types.is_string, pa.types.is_integer, pa.types.is_boolean)
    return sorted(
        name
        for name in kept
        if all(name in schema.names and any(fit(schema.field(name).type) for fit in fits) for schema in schemas)
    )


def _name(value: Any) -> str:
    return "∅" if value is None else str(value)


def _source_name(view: Run, origin: int) -> str:
    paths = [Path(path).name for path in view.recipe.target[origin].paths]
    return f"{origin} {paths[0]}" + (f" and {len(paths) - 1} more" if len(paths) > 1 else "")


def _above(spikes: Spikes, scores: Sequence[str]) -> npt.NDArray[np.int64]:
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
