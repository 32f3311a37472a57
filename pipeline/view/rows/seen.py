"""What is looked at: a run, beside others of its store where asked; or a pool with its columns where no run is."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tamis.pipeline.errors import RunError
from tamis.pipeline.files.atomic import read_json
from tamis.pipeline.files.remote import readable
from tamis.pipeline.files.urls import as_url
from tamis.pipeline.read.pool import Part, Pool, records_of, superseded, view_of
from tamis.pipeline.read.walk import is_store
from tamis.pipeline.schemas import POOL
from tamis.pipeline.store.listing import listed
from tamis.pipeline.store.query import column_folders
from tamis.pipeline.store.runs import THINNED, Run, existing_store, open_complete


@dataclass(frozen=True)
class Seen:
    """A pool, its columns by name, and a run's decisions where there is one."""

    store: Path
    pool: Pool
    columns: dict[str, Path]
    run: Run | None = None
    others: tuple[Run, ...] = ()  # of the same store
    first: str = ""  # the column that was asked for
    url: str = ""  # of the store, where it is a copy of one on object storage

    @property
    def name(self) -> str:
        return self.run.name if self.run else self.first or self.store.name

    @property
    def parts(self) -> list[Part]:
        return self.pool.parts

    @cached_property
    def schema(self) -> pa.Schema:
        """Of the whole pool: a field that a later recipe kept is not in the first shards."""
        return pa.unify_schemas([pq.read_schema(part.path).remove_metadata() for part in self.parts])

    @cached_property
    def vectors(self) -> list[str]:
        """Names of the columns that hold vectors."""
        files = {name: folder / self.parts[0].name for name, folder in self.columns.items()}
        there = {name: pq.read_schema(path).field(1).type for name, path in files.items() if path.exists()}
        return [name for name, kind in there.items() if pa.types.is_fixed_size_list(kind)]

    @cached_property
    def kept_fields(self) -> list[pa.Field]:
        return [field for field in self.schema if field.name not in POOL.names]


def seen(places: Sequence[Path]) -> Seen:
    """A run and others beside it, a store (its newest run, or its pool), or a column's folder. Raises RunError,
    StoreError."""
    url = (as_url(places[0]) or "").partition("/runs/")[0]
    return replace(_seen([readable(place) for place in places]), url=url)


def _seen(places: Sequence[Path]) -> Seen:
    first, *more = places
    if (first / "request.json").exists():
        return of_run(open_complete(first), [open_complete(place) for place in more])
    if more:
        raise RunError(f"view: several are looked at together where each is a run, STORE/runs/NAME; {first} is none")
    if is_store(first):
        runs = whole_runs(first)
        return of_run(open_complete(first / "runs" / runs[-1])) if runs else of_pool(first)
    if (first / "column.json").exists():
        store = next((above for above in first.parents if is_store(above)), None)
        if store is not None and first.is_relative_to(store / "columns"):
            return of_pool(store, first)
    raise RunError(
        f"view {first}: neither a run (STORE/runs/NAME), nor a store, nor a column (STORE/columns/NAME). "
        "`tamis runs STORE` lists the runs of a store."
    )


def whole_runs(store: Path) -> list[str]:
    """Names of complete runs that were not thinned, the newest last."""
    names = [run.name for run in listed(store) if run.selected is not None]
    return [name for name in names if not (store / "runs" / name / THINNED).exists()]


def of_run(run: Run, others: Sequence[Run] = ()) -> Seen:
    """Raises RunError where another is of another pool."""
    for other in others:
        if other.store != run.store:
            raise RunError(f"view: {other.folder} is of another store than {run.folder}; their samples are others")
    return Seen(run.store, run.pool, column_folders(run), run, tuple(others))


def of_pool(store: Path, column: Path | None = None) -> Seen:
    """All that was read into a store and still counts, with the columns that stand there."""
    store = existing_store(store)
    records = records_of(store / "pool")
    gone = superseded(records, records)
    pool = view_of(store / "pool", [record for record in records if record["group"] not in gone])
    if not pool.parts:
        raise RunError(f"view {store}: its pool is empty; `tamis run RECIPE --store {store}` fills it")
    columns: dict[str, Path] = {}
    for record in sorted((store / "columns").rglob("column.json"), key=lambda path: path.parent != column):
        columns.setdefault(read_json(record)["column"], record.parent)
    first = next((name for name, folder in columns.items() if folder == column), "")
    return Seen(store, pool, columns, first=first)
