"""The selection, best first, and its copies in other formats under exports/."""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tamis.pipeline.atomic import atomic_path, write_batches
from tamis.pipeline.database import connect, quoted, rows
from tamis.pipeline.identity import hex_id
from tamis.pipeline.schemas import POOL
from tamis.pipeline.store import open_run
from tamis.sql import text as sql_text

FIXED = [
    pa.field("rank", pa.int64(), nullable=False),  # 1 is best
    pa.field("sample_id", pa.uint64(), nullable=False),
    pa.field("key", pa.string(), nullable=False),
    pa.field("weight", pa.float64(), nullable=False),  # how often the sample counts
    pa.field("score", pa.float64()),  # of the last step that scored it
    pa.field("uri", pa.string()),
    pa.field("text", pa.string()),
]


def write_selection(folder: Path) -> None:
    """Write selection.parquet: the samples that the last step kept, by the latest rank, with the pool's kept fields."""
    run = open_run(folder)
    pool_schema = pq.read_schema(run.pool.parts[0].path)
    kept_fields = [field for field in pool_schema if field.name not in POOL.names]
    schema = pa.schema([*FIXED, *kept_fields])
    pool = [str(part.path) for part in run.pool.parts]
    with connect(run.store) as con:
        if run.steps:
            ledger = [str(run.ledger(step.number) / part.name) for step in run.steps for part in run.pool.parts]
            rows(
                con, f"create temp table chosen as {sql_text('chosen')}", {"ledger": ledger, "last": len(run.steps) - 1}
            )
        else:
            rows(con, f"create temp table chosen as {sql_text('everything')}", {"pool": pool})
        wanted = "c.rank, c.sample_id, p.key, c.weight, c.score, p.uri, p.text"
        more = "".join(f", p.{quoted(field.name)}" for field in kept_fields)
        source = "chosen c join read_parquet($pool, union_by_name = true) p using (sample_id)"
        query = f"select {wanted}{more} from {source} order by c.rank"
        reader = con.sql(query, params={"pool": pool}).to_arrow_reader(8192)
        write_batches(folder / "selection.parquet", schema, reader)


def write_exports(folder: Path) -> None:
    """Write the recipe's `emit` formats."""
    run = open_run(folder)
    for name in run.recipe.emit:
        export(run.folder / "selection.parquet", run.folder / "exports" / f"selection.{ENDINGS[name]}", name)


ENDINGS = {"parquet": "parquet", "jsonl": "jsonl", "csv": "csv", "keys": "keys.txt"}


def export(selection: Path, final: Path, name: str) -> None:
    """Write a selection in one of ENDINGS' formats."""
    with atomic_path(final) as path:
        _WRITERS[name](selection, path)


def records(selection: Path) -> Iterator[dict[str, Any]]:
    """The selection's rows with ids as hex text; values as Python objects."""
    for batch in pq.ParquetFile(selection).iter_batches(batch_size=1024):
        for record in batch.to_pylist():
            record["sample_id"] = hex_id(record["sample_id"])
            yield {name: None if value != value else value for name, value in record.items()}  # noqa: PLR0124  NaN


def _copy(selection: Path, path: Path) -> None:
    with selection.open("rb") as source, path.open("wb") as out:
        while block := source.read(1 << 20):
            out.write(block)


def _jsonl(selection: Path, path: Path) -> None:
    with path.open("w", encoding="utf-8") as out:
        for record in records(selection):
            filled = {name: value for name, value in record.items() if not (name == "uri" and value is None)}
            out.write(json.dumps(filled, ensure_ascii=False, default=str) + "\n")


def _csv(selection: Path, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(pq.read_schema(selection).names)
        for record in records(selection):
            writer.writerow(
                json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else value
                for value in record.values()
            )


def _keys(selection: Path, path: Path) -> None:
    with path.open("w", encoding="utf-8") as out:
        for batch in pq.ParquetFile(selection).iter_batches(columns=["key"]):
            out.writelines(f"{key}\n" for key in batch["key"].to_pylist())


_WRITERS: dict[str, Callable[[Path, Path], None]] = {"parquet": _copy, "jsonl": _jsonl, "csv": _csv, "keys": _keys}
