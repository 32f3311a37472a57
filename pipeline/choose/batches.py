"""The batches that a step sees of one shard: its candidates, with the fields and columns that its selector asked for.

Pool and columns are read side by side, batch by batch; equal ids are asserted, for one shifted row would give every
sample its neighbour's score."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tamis.pipeline.columns.contract import ALL
from tamis.pipeline.columns.declared import by_name
from tamis.pipeline.columns.hashed import hashed_makers
from tamis.pipeline.errors import DamageFound, RecipeError
from tamis.pipeline.read.pool import Part
from tamis.pipeline.schemas import POOL
from tamis.pipeline.store.runs import Run
from tamis.selectors.contract import Inputs

BATCH_ROWS = 1024  # 1-3 MB of text: small enough to reuse warm memory, large enough for a compiled loop


def candidates(run: Run, part: Part, step: int, inputs: Inputs, more: tuple[str, ...] = ()) -> Iterator[pa.RecordBatch]:
    """Batches of the rows that earlier steps kept, in the pool's order, with what `inputs` asks for and `more`."""
    wanted = replace(inputs, fields=tuple(dict.fromkeys([*inputs.fields, *more])))
    keep = kept_mask(run, part, step)
    first = 0
    for batch in side_by_side(run, part, wanted, of_target=False):
        mask = keep[first : first + batch.num_rows] if keep is not None else None
        first += batch.num_rows
        chosen = batch if mask is None or mask.all() else batch.filter(pa.array(mask))
        if chosen.num_rows:
            yield chosen


def kept_mask(run: Run, part: Part, step: int) -> npt.NDArray[np.bool_] | None:
    """[rows of the pool's part] which are candidates of this step; None: all."""
    if step == 0:
        return None
    ledger = pq.read_table(run.ledger(step - 1) / part.name, columns=["sample_id", "kept"])
    kept = ledger["sample_id"].to_numpy()[ledger["kept"].to_numpy()]
    ids = pq.read_table(part.path, columns=["sample_id"])["sample_id"].to_numpy()
    return np.isin(ids, kept)


def targets(run: Run, step: int, inputs: Inputs | None = None) -> list[Iterator[pa.RecordBatch]]:
    """For each of the recipe's target sources the batches of all its parts; for a step that needs the evaluation, of
    all that must not be trained on."""
    selector = run.steps[step].selector
    of_evaluation = selector.needs_evaluation
    seen = run.evaluation if of_evaluation else run.target
    if seen is None:
        return []
    asked = inputs or selector.inputs()
    mine = replace(asked, fields=tuple(name for name in asked.fields if name not in asked.pool_only))
    parts = seen.parts
    first = len(run.recipe.target) if of_evaluation else 0
    count = len(run.recipe.kept_out if of_evaluation else run.recipe.target)

    def stream(origin: int) -> Iterator[pa.RecordBatch]:
        for part in parts:
            if part.origin == origin:
                yield from side_by_side(run, part, mine, of_target=True)

    return [stream(origin) for origin in range(first, first + count)]


def side_by_side(run: Run, part: Part, inputs: Inputs, of_target: bool) -> Iterator[pa.RecordBatch]:
    """Batches of one whole part: `sample_id`, the pool's fields asked for, then columns by name."""
    declared = by_name(run.declared)
    kept = {name for source in run.recipe.pool for name in source.keep}
    known = {*declared, *POOL.names, *(kept - {"labels"})}  # kept `labels` are the source's, not people's
    asked = _all_fields(part, inputs.fields) if ALL[0] in inputs.fields else inputs.fields
    fields = [*asked, *(n for n in inputs.optional if n not in asked and n in known)]
    own = {name: name for name in fields if name not in declared and name != "sample_id"}
    files = [(part.path, own)]  # (file, its field -> the batch's)
    files += [
        (run.column(declared[name].maker, of_target) / part.name, {declared[name].field: name})
        for name in fields
        if name in declared
    ]
    for maker in hashed_makers(inputs):
        files.append((run.column(maker, of_target) / part.name, {name: name for name in maker.schema().names}))
    readers = [_reader(path, ["sample_id", *names]) for path, names in files]
    for batches in zip(*readers, strict=True):
        if missing := [name for name in own if name not in batches[0].schema.names]:
            raise RecipeError(
                f"the {'target' if of_target else 'pool'} has no field {missing[0]!r}; `keep` it there, too"
            )
        arrays = {name: batches[0][name] for name in ("sample_id", *own)}
        for (path, names), batch in zip(files[1:], batches[1:], strict=True):
            if not batch["sample_id"].equals(arrays["sample_id"]):
                raise DamageFound(f"{path}: its samples are not those of {part.path}. Delete it and run again.")
            arrays |= {name: batch[field] for field, name in names.items()}
        yield pa.record_batch(arrays)


def _all_fields(part: Part, asked: tuple[str, ...]) -> tuple[str, ...]:
    """Every field of the part, and what else was asked for."""
    return tuple(dict.fromkeys([*pq.read_schema(part.path).names, *(name for name in asked if name not in ALL)]))


def _reader(path: Path, names: list[str]) -> Iterator[pa.RecordBatch]:
    try:
        file = pq.ParquetFile(path)
        yield from file.iter_batches(batch_size=BATCH_ROWS, columns=names, use_threads=False)
    except (pa.ArrowException, OSError) as error:
        what = "missing" if isinstance(error, FileNotFoundError) else f"damaged ({error})"
        mend = (
            "Delete it and run again: it is made anew."
            if "columns" in path.parts
            else "Restore it, or begin a new --store."
        )
        raise DamageFound(f"{path}: {what}. {mend}") from error
