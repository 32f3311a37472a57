"""Two runs of a store side by side, as views for queries: selections, pools, and what one of them decided."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tamis.pipeline.recipe.expressions import quoted
from tamis.pipeline.schemas import POOL, REJECTS
from tamis.pipeline.store.database import connect, read, rows
from tamis.pipeline.store.runs import Run
from tamis.sql import text as sql_text

Ids = npt.NDArray[np.uint64]
APART = ("sample_id", "rank", "weight", "score", "uri", "offset")  # of a selection: not what a sample is
LEDGER_FIELDS = pa.schema(
    [
        ("sample_id", pa.uint64()), ("kept", pa.bool_()), ("step", pa.int32()), ("selector", pa.string()),
        ("reason", pa.string()), ("related_id", pa.uint64()), ("detail", pa.string()),
    ]
)  # fmt: skip


def chosen(run: Run) -> Ids:
    """[samples] ids of the selection, rising."""
    table = pq.read_table(run.folder / "selection.parquet", columns=["sample_id"])
    return np.sort(table["sample_id"].to_numpy())


def pool_files(run: Run) -> list[Path]:
    """Its shards; nothing where one is there no more, of a run that was thinned."""
    files = [part.place for part in run.pool.parts]
    return files if all(path.exists() for path in files) else []


def apart(mine: Run, other: Run) -> pa.Table:
    """Samples of one run's selection that are not in the other's, or not as they are here: sql/apart.sql."""
    with _views(mine, other) as con:
        return con.sql(sql_text("apart")).to_arrow_table()


def stayed(mine: Run, other: Run) -> dict[str, Any]:
    """How many samples both selections have, and the correlation of their ranks."""
    with _views(mine, other) as con:
        return rows(con, sql_text("stayed"))[0]


@contextmanager
def _views(mine: Run, other: Run) -> Iterator[Any]:
    with connect(mine.store) as con:
        for name, run in (("mine", mine), ("other", other)):
            file = run.folder / "selection.parquet"
            names = pq.read_schema(file).names
            uid = "uid::varchar" if "uid" in names else "null::varchar"
            held = ", ".join(quoted(one) for one in names if one not in APART)
            fields = f"sample_id, key, rank, weight, {uid} as uid, hash({held}) as held"
            rows(con, f"create view {name} as select {fields} from {read([file])}")
        for name, run in (("my_pool", mine), ("other_pool", other)):
            _view(con, name, pool_files(run), POOL, "sample_id, source, content_hash")
        files = [] if other.thinned else sorted((other.folder / "ledger").rglob("*.parquet"))
        _view(con, "other_ledger", files, LEDGER_FIELDS, ", ".join(LEDGER_FIELDS.names))
        rejects = [mine.store / "pool" / "rejects.parquet"]
        groups = ", ".join(map(str, other.inputs["pool"])) or "-1"
        its_own = f"where key is not null and part_group in ({groups})"
        _view(con, "other_rejects", rejects, REJECTS, "key, reason", its_own)
        yield con


def _view(con: Any, name: str, files: list[Path], schema: pa.Schema, fields: str, where: str = "") -> None:
    if files:
        rows(con, f"create view {name} as select {fields} from {read(files)} {where}")
    else:
        con.register(f"no_{name}", schema.empty_table())
        rows(con, f"create view {name} as select {fields} from no_{name}")
