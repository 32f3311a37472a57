"""Parts of columns that are made of rows: all of a turn for a shard in one pass over it.

Texts are read, and by models of one tokenizer cut into tokens, once for all columns that want them."""

from collections.abc import Callable, Iterable
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tamis.pipeline.columns.contract import RowModel, Told
from tamis.pipeline.columns.declared import Maker
from tamis.pipeline.columns.notes import Notes
from tamis.pipeline.columns.parts import Write, part_schema, part_writer
from tamis.pipeline.columns.pieces import pieces
from tamis.pipeline.parallel import at_model
from tamis.pipeline.progress import Counter
from tamis.pipeline.read.pool import Part
from tamis.selectors.chance import uniform

SHARE = "share of a column"  # that a sample's chance to have a value is drawn for


class ToFill(NamedTuple):
    """One column to be filled: its maker, its folder, the folder of its model where that was learned here, and for
    which share of the rows values are made."""

    maker: Maker
    folder: Path
    learned: Path
    share: float = 1.0


def fill_rows(columns: list[ToFill], part: Part, batches: Iterable[pa.RecordBatch], say: Callable[[str], None]) -> None:
    """Write the part of each column whole; `batches` are the part's rows with all that the columns read."""
    heavy = any(column.maker.kind.heavy for column in columns)
    with at_model if heavy else nullcontext(), ExitStack() as stack:
        models: list[RowModel] = [column.maker.model(column.learned) for column in columns]
        told = [Told() for _ in columns]
        without = [0] * len(columns)
        apart = [0] * len(columns)  # rows for which none is made
        writers: list[tuple[pa.Schema, Write]] = []
        counter = Counter(_label(columns), part.rows, "rows") if heavy else None
        cut = (piece for batch in batches for piece in (pieces(batch) if "text" in batch.schema.names else [batch]))
        for batch in cut:
            shared: dict[Any, Any] = {}
            made = []
            for column, model, one in zip(columns, models, told, strict=True):
                one.shared = shared
                mine = drawn(batch, column.share)
                made.append(_made(model, _as_named(batch, column.maker), one, mine))
                apart[len(made) - 1] += int((~mine).sum())
            writers = writers or [
                _opened(stack, column, model, part, arrays[0].type)
                for column, model, arrays in zip(columns, models, made, strict=True)
            ]
            for number, ((schema, write), arrays) in enumerate(zip(writers, made, strict=True)):
                write(pa.record_batch([batch["sample_id"], *arrays], schema.names))
                without[number] += arrays[0].null_count
            if counter is not None:
                counter.add(batch.num_rows)
        without = [rows - others for rows, others in zip(without, apart, strict=True)]
        for column, one, rows in zip(columns, told, without, strict=True):  # before the parts are there
            if column.maker.kind.told_if_empty:
                one.counts[f"without_{_what(column)}"] = rows
            for name, count in one.counts.items():
                Notes(column.folder).count(name, part.name, count)
        if counter is not None:
            counter.end()
    for column, rows, others in zip(columns, without, apart, strict=True):
        if 0 < rows == part.rows - others and column.maker.kind.told_if_empty:
            what = _what(column)
            say(f"{column.maker.name} {part.name}: not one of {rows:,} samples has a {what}{column.maker.kind.hint}")


def drawn(batch: pa.RecordBatch, share: float) -> npt.NDArray[np.bool_]:
    """[rows] for which values are made."""
    if share >= 1:
        return np.ones(batch.num_rows, bool)
    return uniform(batch["sample_id"].to_numpy(), 0, 0, SHARE) < share


def _made(model: RowModel, batch: pa.RecordBatch, told: Told, mine: npt.NDArray[np.bool_]) -> list[pa.Array]:
    """Values of some of the rows; null of the others."""
    if mine.all():
        return model.values(batch, told)
    told.shared = {}  # other columns read other rows
    found = model.values(batch.filter(pa.array(mine)), told)
    places = pa.array(np.cumsum(mine) - 1, mask=~mine)
    return [values.take(places) for values in found]


def _what(column: ToFill) -> str:
    return "vector" if column.maker.output.vectors else "value"


def _as_named(batch: pa.RecordBatch, maker: Maker) -> pa.RecordBatch:
    """With outputs of the column itself under the names that its kind knows them by."""
    for name, whole in zip(maker.output.reads, maker.reads, strict=True):
        batch = batch if name == whole else batch.append_column(name, batch[whole])
    return batch


def _opened(
    stack: ExitStack, column: ToFill, model: RowModel, part: Part, main: pa.DataType
) -> tuple[pa.Schema, Write]:
    """The part's file; what the model tells of itself goes into it, and into the column's record."""
    Notes(column.folder).use(model.facts)
    schema = part_schema(column.maker.schema(main), part.digest, model.facts)
    return schema, stack.enter_context(part_writer(column.folder, part.name, schema))


def _label(columns: list[ToFill]) -> str:
    return f"columns {', '.join(column.maker.name for column in columns)}"
