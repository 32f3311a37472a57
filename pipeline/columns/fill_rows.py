"""Parts of columns that models give texts: all of them for a shard in one pass over its texts."""

import json
from collections import Counter as Sums
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from tamis.pipeline.columns.judges import Judge, Model
from tamis.pipeline.columns.loss.causal_lm import pieces
from tamis.pipeline.columns.notes import Notes, at_model
from tamis.pipeline.files.atomic import batch_writer
from tamis.pipeline.progress import Counter
from tamis.pipeline.read.ingest import Part


class Judged(NamedTuple):
    """One column to be filled: its judge, its folder, and the folder of its model where that was learned here."""

    name: str
    judge: Judge
    folder: Path
    learned: Path


def fill_judged(
    columns: list[Judged], part: Part, batches: Iterable[pa.RecordBatch], say: Callable[[str], None]
) -> None:
    """Write the part of each column whole; `batches` are the part's rows with all that the judges read."""
    with at_model, ExitStack() as stack:
        models: list[Model] = [column.judge.model(column.learned) for column in columns]
        writers, sums = [], [Sums[str]() for _ in columns]
        for column, model in zip(columns, models, strict=True):
            notes = Notes(column.folder)
            notes.note(used=model.facts)
            told = {b"pool_part": part.digest.encode(), b"tamis": json.dumps(model.facts, sort_keys=True).encode()}
            schema = pa.schema([pa.field("sample_id", pa.uint64()), *column.judge.schema], metadata=told)
            writers.append(stack.enter_context(batch_writer(column.folder / part.name, schema)))
        cut = (piece for batch in batches for piece in (pieces(batch) if "text" in batch.schema.names else [batch]))
        counter = Counter(" + ".join(column.name for column in columns) + f" {part.name}", part.rows, "texts")
        for batch in cut:
            shared: dict[Any, Any] = {}
            for column, model, write, sum_ in zip(columns, models, writers, sums, strict=True):
                made = model.values(batch, shared)
                write(pa.record_batch([batch["sample_id"], *made], ["sample_id", *column.judge.schema.names]))
                sum_.update({"without_value": made[0].null_count, **model.counts})
            counter.add(batch.num_rows)
        counter.end()
    for column, sum_ in zip(columns, sums, strict=True):
        for what, rows in sum_.items():
            Notes(column.folder).count(what, part.name, rows)
        if sum_["without_value"] == part.rows:
            say(f"{column.name} {part.name}: not one of {part.rows:,} samples has a value")
