"""Every sample of the pool, kept or dropped, with what became of it and its place on a map: for tools that draw pools.

`atlas` is a Parquet file for Embedding Atlas, `fiftyone` a CSV that FiftyOne reads as a CSVDataset, of images that are
files of their own. Fields of ours begin with `tamis_`; x and y are the two principal directions of a column."""

import csv
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tamis.pipeline.emit.places import axes_of, placed
from tamis.pipeline.errors import RunFailed
from tamis.pipeline.files.atomic import atomic_path
from tamis.pipeline.read.identity import hex_id
from tamis.pipeline.read.pool import Part
from tamis.pipeline.store.database import connect, named
from tamis.pipeline.store.runs import Run
from tamis.sql import text as sql_text

HIDDEN = ("content_hash", "position")  # of no use in a picture

PLACE = ("uri", "source", "offset", "n_bytes")


def write_atlas(run: Run, final: Path) -> None:
    """A row group a shard."""
    with atomic_path(final) as path, ExitStack() as stack:
        writer = None
        for table in decided(run):
            writer = writer or stack.enter_context(pq.ParquetWriter(path, table.schema))
            writer.write_table(table)


def write_fiftyone(run: Run, final: Path) -> None:
    """Raises RunFailed where no image is a file of its own."""
    shown, headed = 0, False
    with atomic_path(final) as path, path.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        for table in decided(run):
            fields = [name for name in table.column_names if name not in PLACE]
            if not headed:
                writer.writerow(["filepath", *fields])
                headed = True
            for row in table.to_pylist():
                if row.get("width") is None or row["offset"] is not None or row["uri"] != row["source"]:
                    continue  # no image, or one inside a tar or a table
                values = (row[name] for name in fields)
                writer.writerow([row["uri"], *(json.dumps(v) if isinstance(v, list | dict) else v for v in values)])
                shown += 1
        if not shown:
            raise RunFailed("emit fiftyone: no image is a file of its own: it opens no tars and no tables; emit atlas")


def decided(run: Run) -> Iterator[pa.Table]:
    """Shard by shard, one row a sample, in the pool's order; all of one schema."""
    kept = np.sort(pq.read_table(run.folder / "selection.parquet", columns=["sample_id"])["sample_id"].to_numpy())
    axes = axes_of(run, kept)
    whole = pa.unify_schemas([pq.read_schema(part.path).remove_metadata() for part in run.pool.parts])
    for part in run.pool.parts:
        given = {"part": named([part.path]), "ledger": named(run.ledger(step.number) / part.name for step in run.steps)}
        with connect(run.store) as con:
            table = con.sql(sql_text("decided"), params=given).to_arrow_table() if run.steps else _all_kept(part)
        for field in whole:  # one that a later recipe kept is not in the first shards
            if field.name not in table.column_names:
                table = table.append_column(field, pa.nulls(len(table), field.type))
        if axes is not None:
            places = placed(run, part, axes)
            for number, name in enumerate(("tamis_x", "tamis_y")):
                table = table.append_column(name, pa.array(places[:, number], from_pandas=True))
        ids = pa.array(map(hex_id, table["sample_id"].to_pylist()), pa.string())
        table = table.set_column(table.column_names.index("sample_id"), "sample_id", ids)
        fields = [*whole.names, *(name for name in table.column_names if name not in whole.names)]
        yield table.select([name for name in fields if name not in HIDDEN])


def _all_kept(part: Part) -> pa.Table:
    """Of a run without steps."""
    table = pq.read_table(part.path)
    table = table.append_column("tamis_kept", pa.array([True] * len(table)))
    for name, kind in (("tamis_reason", pa.string()), ("tamis_step", pa.string()), ("tamis_score", pa.float64())):
        table = table.append_column(name, pa.nulls(len(table), kind))
    return table.append_column("tamis_weight", pa.array([1.0] * len(table)))
