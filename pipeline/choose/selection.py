"""The selection: the samples that the last step kept, best first, with the pool's kept fields."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tamis.pipeline.files.atomic import write_batches
from tamis.pipeline.recipe.expressions import quoted
from tamis.pipeline.schemas import POOL
from tamis.pipeline.store.database import connect, named, rows, view
from tamis.pipeline.store.runs import Run, open_run
from tamis.pipeline.store.set_aside import aside
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
OF_IMAGES = (
    "offset",
    "n_bytes",
    "width",
    "height",
    "captions",
)  # the pool's fields that image pools add: how to read one


def write_selection(folder: Path) -> None:
    """Write selection.parquet: the samples that the last step kept, by the latest rank, with the pool's kept fields."""
    run = open_run(folder)
    pool_schema = pq.read_schema(run.pool.parts[0].path)
    kept_fields = [field for field in pool_schema if field.name not in POOL.names]
    if run.recipe.reads_images:
        kept_fields = [*(POOL.field(name).with_nullable(True) for name in OF_IMAGES), *kept_fields]
    schema = pa.schema([*FIXED, *kept_fields])
    pool = named(part.path for part in run.pool.parts)
    with connect(run.store) as con:
        if run.steps:
            ledger = named(run.ledger(step.number) / part.name for step in run.steps for part in run.pool.parts)
            rows(
                con, f"create temp table chosen as {sql_text('chosen')}", {"ledger": ledger, "last": len(run.steps) - 1}
            )
        else:
            rows(
                con,
                f"create temp table chosen as {sql_text('everything')}",
                {"pool": pool, "aside": aside(run)[0].tolist()},
            )
        wanted = "c.rank, c.sample_id, p.key, c.weight, c.score, p.uri, p.text"
        more = "".join(f", p.{quoted(field.name)}" for field in kept_fields)
        source = "chosen c join read_parquet($pool, hive_partitioning = false) p using (sample_id)"
        query = f"select {wanted}{more} from {source} order by c.rank"
        reader = con.sql(query, params={"pool": pool}).to_arrow_reader(8192)
        write_batches(folder / "selection.parquet", schema, reader)


def placed(run: Run) -> Iterator[pa.RecordBatch]:
    """The selection best first, with where each sample's bytes lie."""
    with connect(run.store) as con:
        view(con, "pool", [part.path for part in run.pool.parts])
        chosen = run.folder / "selection.parquet"
        view(con, "selection", [chosen])
        held = pq.read_schema(chosen).names
        more = [
            n for n in ("content_hash", "source", "position", "offset", "n_bytes", "width", "height") if n not in held
        ]
        fields = ", ".join(["s.*", *(f"p.{quoted(name)}" for name in more)])
        query = f"select {fields} from selection s join pool p using (sample_id) order by s.rank"
        reader = con.sql(query).to_arrow_reader(1024)
        types = {field.name: field.type for path in (run.pool.parts[0].path, chosen) for field in pq.read_schema(path)}
        schema = pa.schema([(name, types[name]) for name in reader.schema.names])  # DuckDB knows fewer types
        yield pa.RecordBatch.from_pylist([], schema)  # so that an empty selection has its fields, too
        yield from (batch.cast(schema) for batch in reader)
