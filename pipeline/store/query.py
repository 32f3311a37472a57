"""SQL over a run, on a locked connection: views pool, rejects, each column, ledger, selection, spikes, changes."""

import csv
import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from itertools import chain
from pathlib import Path
from threading import Timer
from typing import Any, TextIO

import pyarrow as pa

from tamis.pipeline.errors import DamageFound, QueryError
from tamis.pipeline.files.atomic import read_json
from tamis.pipeline.files.sheets import for_sheets
from tamis.pipeline.progress import inert, visible
from tamis.pipeline.read.names import stem_of
from tamis.pipeline.recipe.expressions import one_select, problem_of, quoted
from tamis.pipeline.store.current import changes_of
from tamis.pipeline.store.database import SPILL, connect, lock, rows, view
from tamis.pipeline.store.runs import Run
from tamis.sql import text as sql_text

MOST_SECONDS = 3600.0
MOST_SPILL = 100 * 10**9


def column_folders(run: Run) -> dict[str, Path]:
    """Where the run's columns lie, by name: as the manifest says, so that looking at a run loads none of its user's
    code."""
    manifest = run.folder / "manifest.json"
    if manifest.exists():
        return {column["name"]: run.stored(column["folder"]) for column in read_json(manifest)["columns"]}
    return {maker.name: run.column(maker) for maker in run.makers}


@contextmanager
def views(run: Run, spill: int = SPILL) -> Iterator[Any]:
    """A locked connection that sees the run: its pool and rejects as of then, columns, ledger, selection."""
    import duckdb

    steps = range(len(run.recipe.steps))
    with connect(run.store, spill) as con:
        try:
            _create_views(con, run, steps)
        except duckdb.Error as error:
            raise DamageFound(f"run {run.folder}: {problem_of(error)}. `tamis verify` lists what is wrong.") from error
        yield con


def _create_views(con: Any, run: Run, steps: range) -> None:
    if not run.thinned:
        _create_views_of_whole(con, run, steps)
    rows(con, "create macro id(shown) as ('0x' || shown)::ubigint")  # ids are shown in hex
    view(con, "selection", [run.folder / "selection.parquet"])
    if (run.folder / "costs.parquet").exists():  # runs of older versions have none
        view(con, "costs", [run.folder / "costs.parquet"])
    if told := changes_of(run.store, run.name):  # since the run that was published before
        view(con, "changes", told)
    lock(con, run.store)


def _create_views_of_whole(con: Any, run: Run, steps: range) -> None:
    view(con, "pool", [part.path for part in run.pool.parts])
    view(con, "all_rejects", [run.store / "pool" / "rejects.parquet"])
    groups = ", ".join(str(group) for group in run.pool.groups)
    rows(con, f"create view rejects as select * exclude part_group from all_rejects where part_group in ({groups})")
    for name, folder in column_folders(run).items():
        column, dot, output = name.partition(".")
        if dot:
            rows(con, f"create schema if not exists {quoted(column)}")
        view(con, (column, output) if dot else name, [folder / part.name for part in run.pool.parts], also=name)
    if steps:
        view(con, "ledger", [run.ledger(step) / part.name for step in steps for part in run.pool.parts])
    if told := [path for step in steps if (path := run.spikes(step)).exists()]:
        view(con, "spikes", told)


def ask(run: Run, query: str, seconds: float = MOST_SECONDS, spill: int | None = None) -> Iterator[pa.RecordBatch]:
    """Stream the answer to one SELECT, at least one batch: `seconds` long at most, and with `spill` bytes on the disk
    (default: 100 GB, and never more than half of what is free). Raises QueryError."""
    import duckdb

    free = shutil.disk_usage(run.store).free // 2
    with views(run, spill=min(MOST_SPILL, free) if spill is None else spill) as con:
        query = one_select(con, query)
        late = Timer(seconds, con.interrupt)
        late.daemon = True
        late.start()
        try:
            answer = con.sql(query).to_arrow_reader(8192)
            none = pa.RecordBatch.from_pylist([], answer.schema)
            yield from chain([next(answer, none)], answer)
        except duckdb.InterruptException as error:
            raise QueryError(f"sql: stopped after {seconds:g} seconds; --seconds gives it more") from error
        except RuntimeError as error:
            if "interrupted" in str(error):  # as DuckDB says Ctrl-C
                raise KeyboardInterrupt from error
            raise
        except duckdb.OutOfMemoryException as error:
            told = (
                "memory allows" if "temp_directory" not in str(error) else "disk may be filled; --spill gives it more"
            )
            raise QueryError(f"sql: it needs more than the {told}") from error
        except (duckdb.Error, AttributeError, OSError, pa.ArrowException) as error:
            more = ["spikes"] if list((run.folder / "steps").glob("spikes-*.parquet")) else []
            more += ["changes"] if changes_of(run.store, run.name) else []
            seen = ["pool", "rejects", "ledger", "selection", "costs", *more, *column_folders(run)]
            if run.thinned:
                seen = ["selection", "costs", *more]
            known = ", ".join(seen) + ("; the run was thinned, and has no others" if run.thinned else "")
            raise QueryError(f"sql: {problem_of(error)} (views: {known})") from error
        finally:
            late.cancel()


def print_answer(batches: Iterator[pa.RecordBatch], style: str, out: TextIO | None = None) -> None:
    """Print as an aligned table, CSV, or JSON lines. Ids are 16 hex digits in all of them."""
    out = out or Shown()
    {"table": _table, "csv": _csv, "json": _json}[style](batches, out)


class Shown(StringIO):
    """Stdout, through the one function."""

    def write(self, text: str) -> int:
        sys.stdout.write(inert(text))
        return len(text)


def _records(batches: Iterator[pa.RecordBatch]) -> Iterator[dict[str, Any]]:
    for batch in batches:
        for record in _named_apart(batch).to_pylist():
            yield {name: _plain(name, value) for name, value in record.items()}


def _named_apart(batch: pa.RecordBatch) -> pa.RecordBatch:
    """`select 1 as a, 2 as a` has two columns of one name; a record has not."""
    names: list[str] = []
    for name in batch.schema.names:
        names.append(name if name not in names else f"{name}_{len(names)}")
    return batch.rename_columns(names)


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, int) and name.endswith(("sample_id", "related_id")):
        return f"{value:016x}"
    return value.hex() if isinstance(value, bytes) else value


def _json(batches: Iterator[pa.RecordBatch], out: TextIO) -> None:
    out.writelines(json.dumps(record, ensure_ascii=False, default=str) + "\n" for record in _records(batches))


def _csv(batches: Iterator[pa.RecordBatch], out: TextIO) -> None:
    writer = csv.writer(out, lineterminator="\n")
    names: list[str] = []
    for batch in batches:
        if not names:
            names = batch.schema.names
            writer.writerow(names)
        writer.writerows(map(for_sheets, record.values()) for record in _records(iter([batch])))


MOST_ROWS = 200  # of a printed table; more is for files
WIDEST = 60  # characters of a cell


def as_table(table: pa.Table) -> str:
    """An aligned table, as a terminal shows it."""
    out = StringIO()
    _table(iter(table.to_batches()), out)
    return out.getvalue().rstrip("\n")


def _table(batches: Iterator[pa.RecordBatch], out: TextIO) -> None:
    lines: list[list[str]] = []
    numeric: list[bool] = []
    more = 0
    for batch in batches:
        if not lines:
            lines.append(batch.schema.names)
            numeric = [pa.types.is_integer(field.type) or pa.types.is_floating(field.type) for field in batch.schema]
        for record in _records(iter([batch])):
            if len(lines) > MOST_ROWS:
                more += 1
            else:
                lines.append([_cell(value) for value in record.values()])
    if len(lines) < 2:
        out.write("no rows\n")
        return
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for number, line in enumerate(lines):
        cells = (
            cell.rjust(w) if right else cell.ljust(w) for cell, w, right in zip(line, widths, numeric, strict=True)
        )
        out.write("  ".join(cells).rstrip() + "\n")
        if number == 0:
            out.write("  ".join("─" * width for width in widths) + "\n")
    if more:
        out.write(f"… {more:,} more rows; --format csv prints all\n")


def _cell(value: Any) -> str:
    if value is None:
        return "∅"
    text = visible(f"{value:.6g}" if isinstance(value, float) else str(value))
    return text if len(text) <= WIDEST else text[: WIDEST - 1] + "…"


def pool_rows(run: Run, key_or_id: str) -> list[dict[str, Any]]:
    """The run's samples with this key, or else this id in hex."""
    with views(run) as con:
        found = rows(con, "select * from pool where key = $key", {"key": key_or_id})
        number = hex_number(key_or_id)
        if not found and number is not None:
            found = rows(con, "select * from pool where sample_id = $id::ubigint", {"id": number})
        return found


def keys_of_file(run: Run, name: str) -> list[str]:
    """Keys of samples and rejects that a file's name means: the key is it without suffix, or the uri ends with it."""
    asked = {"stem": stem_of(name), "name": name, "end": "/" + name.strip("/")}
    with views(run) as con:
        found = rows(con, sql_text("keys_of_file"), asked)
    return [row["key"] for row in found if row["key"] is not None]


def reject_rows(run: Run, key: str) -> list[dict[str, Any]]:
    with views(run) as con:
        return rows(con, "select * from rejects where key = $key order by source, position", {"key": key})


def ledger_rows(run: Run, sample_id: int) -> list[dict[str, Any]]:
    if not run.recipe.steps:
        return []
    with views(run) as con:
        return rows(con, "select * from ledger where sample_id = $id::ubigint order by step", {"id": sample_id})


def hex_number(text: str) -> int | None:
    try:
        return int(text, 16) if len(text) == 16 else None
    except ValueError:
        return None
