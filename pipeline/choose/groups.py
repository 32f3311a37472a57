"""What is left of each source, kept value and language after each step; and guards, to which too little is an error.

One pass over the pool's fields and the ledger. What goes because the user asked for it does not count: by a condition,
or because a step prefers the target's kind. A group nearly vanishes where it keeps less than a tenth of what all
keep together, has more than 100 rows, and would have ten by that rate: chance alone does that once in 2,000 groups."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tamis.pipeline.choose.batches import side_by_side
from tamis.pipeline.errors import GuardFailed, RecipeError
from tamis.pipeline.files.atomic import write_record
from tamis.pipeline.parallel import ordered_map
from tamis.pipeline.progress import visible
from tamis.pipeline.read.pool import Part
from tamis.pipeline.recipe.recipe import Guard
from tamis.pipeline.schemas import POOL
from tamis.pipeline.store.runs import Run, open_run
from tamis.pipeline.store.set_aside import SET_ASIDE
from tamis.selectors.contract import Inputs

NEARLY, ROWS, FEWEST = 0.1, 100, 10  # of the overall rate; a group has more; wanted of it by that rate
MOST_GROUPS = 5000  # of a field; more are no groups
NAMED = 2  # groups of a field, in a line
ASKED_FOR = (  # reasons that are the user's own conditions: such rows don't count as lost
    "condition_not_met", "not_in_scope", "other_language", "no_quota", *SET_ASIDE,
)  # fmt: skip

Left = npt.NDArray[np.int64]  # [steps + 2] rows of a group in the pool, after each step, and those not counted


class Vanishing(NamedTuple):
    """A group of which hardly anything is left."""

    field: str
    group: str
    rows: int
    kept: int
    step: int  # where it went
    selector: str


def nearly_vanishes(rows: int, kept: int, rate: float) -> bool:
    """By the rate at which all groups together are kept."""
    return rows > ROWS and rows * rate >= FEWEST and kept < NEARLY * rate * rows


def watch(folder: Path) -> None:
    """Hold the recipe's guards against what is left, then note what nearly vanished. Raises GuardFailed."""
    run = open_run(folder)
    path = folder / "groups.json"
    if path.exists() or not run.steps:
        return
    for guard in run.recipe.guards:
        _hold(run, guard, left_of(run, guard.fields, len(run.steps)), 0, len(run.steps))
    left = left_of(run, group_fields(run), len(run.steps), without=ASKED_FOR)
    found = [one for field in group_fields(run) if field in left for one in vanishing(run, field, left[field])]
    write_record(path, {"vanishing": [one._asdict() for one in found]})


def hold_step(folder: Path, step: int) -> None:
    """Hold the step's guard, if it has one, against its candidates. Raises GuardFailed."""
    run = open_run(folder)
    for guard in run.recipe.steps_given[step].guards:
        _hold(run, guard, left_of(run, guard.fields, step + 1), step, step + 1)


def lines(found: Sequence[dict[str, Any]]) -> list[str]:
    """One for each step: which groups went there."""
    said = []
    for step, selector in sorted({(one["step"], one["selector"]) for one in found}):
        mine = [one for one in found if one["step"] == step]
        fields = [
            _named([one for one in mine if one["field"] == field]) for field in dict.fromkeys(o["field"] for o in mine)
        ]
        said.append(f"nearly vanishes at step {step} ({selector}): {'; '.join(fields)}")
    return said


def _named(found: list[dict[str, Any]]) -> str:
    named = ", ".join(f"{visible(one['group'])} {one['kept']:,} of {one['rows']:,}" for one in found[:NAMED])
    more = f", {len(found) - NAMED:,} more" if len(found) > NAMED else ""
    return f"of {visible(found[0]['field'])} {named}{more}"


def left_of(run: Run, fields: Sequence[str], steps: int, without: Sequence[str] = ()) -> dict[str, dict[str, Left]]:
    """Of each field its groups and what is left of them; a field with more than MOST_GROUPS is not there. What was
    dropped for a reason of `without` does not count."""
    names = _named_in_pool(run, fields)
    return _added_up(fields, run.pool.parts, lambda part: _left_of_part(run, part, names, steps, without))


def composition(run: Run, fields: Sequence[str], ids: npt.NDArray[np.uint64]) -> dict[str, dict[str, int]]:
    """Of each field its groups and how many of these samples each has; a field with more than MOST_GROUPS is not
    there."""
    names = _named_in_pool(run, fields)

    def of_part(part: Part) -> Iterator[tuple[str, list[str], Left]]:
        for batch in side_by_side(run, part, Inputs(fields=tuple(dict.fromkeys(names.values()))), of_target=False):
            mask = np.isin(batch["sample_id"].to_numpy(), ids)
            for field, name in names.items() if mask.any() else ():
                groups, codes = _coded(batch[name], field)
                yield field, groups, np.bincount(codes[mask], minlength=len(groups))[:, None]

    added = _added_up(fields, run.pool.parts, of_part)
    return {field: {group: int(n[0]) for group, n in sorted(some.items()) if n[0]} for field, some in added.items()}


def _named_in_pool(run: Run, fields: Sequence[str]) -> dict[str, str]:
    return {field: f"{field}_best" if f"{field}_best" in run.names else field for field in fields}


def _added_up(
    fields: Sequence[str], parts: Sequence[Part], of_part: Callable[[Part], Iterator[tuple[str, list[str], Left]]]
) -> dict[str, dict[str, Left]]:
    """Counts by field and group, over all parts."""
    found: dict[str, dict[str, Left]] = {field: {} for field in fields}
    for counted in ordered_map(lambda part: list(of_part(part)), parts):
        for field, groups, counts in counted:
            held = found.get(field)
            if held is None:
                continue
            for group, one in zip(groups, counts, strict=True):
                held[group] = held[group] + one if group in held else one
            if len(held) > MOST_GROUPS:
                del found[field]
    return found


def _left_of_part(
    run: Run, part: Part, names: dict[str, str], steps: int, without: Sequence[str]
) -> Iterator[tuple[str, list[str], Left]]:
    kept, asked_for = [], [np.zeros(0, np.uint64)]
    for step in range(steps):
        ledger = pq.read_table(run.ledger(step) / part.name, columns=["sample_id", "kept", "reason"])
        ids, stays = ledger["sample_id"].to_numpy(), ledger["kept"].to_numpy()
        kept.append(ids[stays])
        if without:
            preferred = ("below_cut",) if run.recipe.target and run.steps[step].selector.needs_target else ()
            meant = pc.is_in(ledger["reason"], value_set=pa.array([*without, *preferred])).to_numpy()
            asked_for.append(ids[meant & ~stays])
    gone = np.concatenate(asked_for)
    for batch in side_by_side(run, part, Inputs(fields=tuple(dict.fromkeys(names.values()))), of_target=False):
        ids = batch["sample_id"].to_numpy()
        there = ~np.isin(ids, gone)
        after = [there, *(there & np.isin(ids, some) for some in kept), ~there]
        for field, name in names.items():
            groups, codes = _coded(batch[name], field)
            counts = np.stack([np.bincount(codes[mask], minlength=len(groups)) for mask in after], axis=1)
            yield field, groups, counts


def _coded(values: pa.Array, field: str) -> tuple[list[str], npt.NDArray[np.int32]]:
    """The groups, and which of them each row is of."""
    coded = pc.dictionary_encode(pc.fill_null(_as_text(values, field), "∅"))
    return coded.dictionary.to_pylist(), coded.indices.to_numpy()


def _as_text(values: pa.Array, field: str) -> pa.Array:
    """Raises RecipeError."""
    try:
        return values.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise RecipeError(f"guard: {field!r} holds {values.type}, which makes no groups") from error


def vanishing(run: Run, field: str, groups: dict[str, Left]) -> list[Vanishing]:
    """The largest first."""
    whole = sum(groups.values(), np.zeros(len(run.steps) + 2, np.int64))[:-1]
    rate = whole[-1] / max(1, whole[0])
    found = []
    for group, (*counts, uncounted) in groups.items():
        left = np.array(counts)
        meant = uncounted > left[0]  # most of the group was asked to go
        if len(groups) > 1 and not meant and nearly_vanishes(int(left[0]), int(left[-1]), float(rate)):
            shares = (left[1:] / np.maximum(1, left[:-1])) / np.maximum(1e-12, whole[1:] / np.maximum(1, whole[:-1]))
            step = int(shares.argmin())
            found.append(Vanishing(field, group, int(left[0]), int(left[-1]), step, run.steps[step].name))
    return sorted(found, key=lambda one: (-one.rows, one.group))


def grouping(schema: pa.Schema) -> list[str]:
    """Kept fields worth grouping by: text, whole numbers and booleans."""
    fits = (pa.types.is_string, pa.types.is_integer, pa.types.is_boolean)
    return [field.name for field in schema if field.name not in POOL.names and any(fit(field.type) for fit in fits)]


def group_fields(run: Run) -> list[str]:
    """Where rows come from, kept fields that may group them, and the languages that a model found."""
    languages = [maker.name for maker in run.declared if maker.kind.kind == "fasttext"]
    return ["source", *grouping(pq.read_schema(run.pool.parts[0].path)), *languages]


def _hold(run: Run, guard: Guard, left: dict[str, dict[str, Left]], before: int, after: int) -> None:
    for field in guard.fields:
        if field not in left:
            raise RecipeError(f"guard: {field!r} has more than {MOST_GROUPS:,} values, which are no groups")
        few = {
            group: one
            for group, one in left[field].items()
            if one[before] > guard.rows and one[after] < guard.keep_at_least * one[before]
        }
        if few:
            group, one = max(few.items(), key=lambda pair: (pair[1][before], pair[0]))
            where = "in all" if after - before > 1 or len(run.steps) == 1 else f"at step {before}"
            steps = range(before, after)
            worst = min(steps, key=lambda step: one[step + 1] / max(1, one[step]))
            raise GuardFailed(
                f"guard: of {visible(field)} {visible(group)!r} {one[after]:,} of {one[before]:,} are left {where}, "
                f"wanted {guard.keep_at_least:.4g} of them; step {worst} ({run.steps[worst].name}) drops most. "
                + (f"So it is with {len(few) - 1} more. " if len(few) > 1 else "")
                + f'Nothing was selected; the ledger tells why: tamis sql {run.folder} "select reason, count(*) from '
                'ledger group by all"'
            )
