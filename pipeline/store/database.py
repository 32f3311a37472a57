"""DuckDB in memory over Parquet: our own queries, and the user's on a connection that can read the store alone.

No database file is ever held open: a second process may read the same store at the same time."""

import glob
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from tamis.pipeline.errors import QueryError
from tamis.pipeline.machine import cores, memory_bytes
from tamis.pipeline.read.pool import Part
from tamis.pipeline.recipe.expressions import one_select, problem_of, quoted

if TYPE_CHECKING:
    from tamis.pipeline.store.runs import Run

MEMORY = 512 << 20  # beyond this DuckDB spills to the store's .tmp; a sort of 5 million ranks fits
LEAST_MEMORY = 64 << 20  # it does not start with less
SPILL = 1 << 40


def _memory() -> int:
    """A quarter of what this process may use, where that is less."""
    whole = memory_bytes()
    return MEMORY if whole is None else max(LEAST_MEMORY, min(MEMORY, whole // 4))


@contextmanager
def connect(store: Path, spill: int = SPILL) -> Iterator[Any]:
    """A connection for our own queries, spilling inside the store, `spill` bytes at most."""
    import duckdb

    con = duckdb.connect(
        config={
            "threads": cores(),
            "memory_limit": f"{_memory()}B",
            "temp_directory": str(store / ".tmp"),
        }
    )
    con.execute(f"set max_temp_directory_size = '{spill}B'")  # among the others it would be taken, and not kept
    with suppress(duckdb.Error):  # of a build without time zones
        con.execute("set TimeZone = 'UTC'")  # times are the same wherever they are read
    try:
        yield con
    finally:
        con.close()


@contextmanager
def locked(store: Path) -> Iterator[Any]:
    """A connection for a user's SQL: reads files of the store, writes none, and can't be unlocked."""
    with connect(store) as con:
        lock(con, store)
        yield con


def lock(con: Any, store: Path) -> None:
    """From here on the connection reads the store's files and nothing else, and can't be told otherwise."""
    folder = str(store.absolute()) + "/"
    for setting in (
        f"allowed_directories = [{_text(folder)}, {_text(glob.escape(folder))}]",  # as it is, and as `named` writes it
        "enable_external_access = false",
        "lock_configuration = true",
    ):
        rows(con, f"set {setting}")


def rows(con: Any, query: str, parameters: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """All rows of a small answer, by name. Fetches to the end: an unfinished result would block the connection."""
    answer = con.execute(query, parameters or {})
    names = [column[0] for column in answer.description or []]
    return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]


def named(files: Iterable[Path]) -> list[str]:
    """Parquet files as DuckDB is to be given them: it takes every name for a pattern."""
    return [glob.escape(str(path)) for path in files]


def read(files: Iterable[Path]) -> str:
    """The expression for the rows of Parquet files, all of one schema. Their names can't be bound in a view; and what a
    folder `lang=fr` above the store says is no field."""
    return f"read_parquet([{', '.join(map(_text, named(files)))}], hive_partitioning = false)"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def view(con: Any, name: str | tuple[str, str], files: Sequence[Path], also: str = "") -> None:
    """A view over Parquet files by name, or by schema and name. `also`: a column whose further fields bear the names,
    too, that they have in a recipe: `letters` of `read` is `read_letters`."""
    called = quoted(name) if isinstance(name, str) else ".".join(map(quoted, name))
    names = pq.read_schema(files[0]).names if also and files else []
    more = names[2:] if names[1:2] == [also] else []
    twice = "".join(f", {quoted(field)} as {quoted(f'{also}_{field}')}" for field in more)
    rows(con, f"create view {called} as select *{twice} from {read(files)}")


def pool_with_columns(parts: Sequence[Part], columns: Mapping[str, Path]) -> str:
    """A query for the pool's rows with columns beside the pool's fields, as a recipe calls them: the first field of
    `read` is `read`, another `read_letters`, and `clip.class` is `class` of the struct `clip`. `columns`: their folders
    by name."""
    query = f"select * from {read(part.path for part in parts)}"
    outputs: dict[str, list[str]] = {}
    for name, folder in columns.items():
        files = [folder / part.name for part in parts]
        value, *more = pq.read_schema(files[0]).names[1:]  # behind sample_id
        named = {value: name, **{field: f"{name}_{field}" for field in more}}
        aliases = {field: alias.replace(".", "\0") for field, alias in named.items()}
        fields = ", ".join(f"{quoted(field)} as {quoted(alias)}" for field, alias in aliases.items())
        query = f"select * from ({query}) join (select sample_id, {fields} from {read(files)}) using (sample_id)"
        if "." in name:
            outputs.setdefault(name.partition(".")[0], []).extend(aliases.values())
    if not outputs:
        return query
    hidden = ", ".join(quoted(value) for values in outputs.values() for value in values)
    packed = ", ".join(
        "struct_pack("
        + ", ".join(f"{quoted(value.split(chr(0))[1])} := {quoted(value)}" for value in values)
        + f") as {quoted(column)}"
        for column, values in outputs.items()
    )
    return f"select * exclude ({hidden}), {packed} from ({query})"


def scope_mask(run: "Run", part: Part, where: str) -> npt.NDArray[np.uint64]:
    """Ids of the part's samples for which a step's `where` holds. Raises QueryError."""
    import duckdb

    with locked(run.store) as con:
        columns = {maker.name: run.column(maker) for maker in run.declared}
        rows(con, f"create view pool as {pool_with_columns([part], columns)}")
        query = one_select(con, f"select sample_id from pool where ({where}\n)")
        try:
            return np.asarray(con.sql(query).fetchnumpy()["sample_id"], np.uint64)
        except duckdb.Error as error:
            raise QueryError(f"where {where!r}: {problem_of(error)}") from error
