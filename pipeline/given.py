"""Data that is in memory, as a file that a recipe can read: written once to the cache, named by what it holds."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from tamis.pipeline.errors import SourceError
from tamis.pipeline.files.atomic import digest_file, write_parquet
from tamis.pipeline.files.urls import cache_folder


def as_paths(data: Any) -> list[Path]:
    """Paths as they are, one or several; else the one file of what is in memory. Raises SourceError."""
    several = isinstance(data, Sequence) and not isinstance(data, str) and data
    if several and all(isinstance(one, Path) for one in data):
        return [path.expanduser() for path in data]
    return [as_path(data)]


def as_path(data: Any) -> Path:
    """A path as it is; texts, dicts, a data frame or an Arrow table as a Parquet file. Texts alone are called by their
    place, 0, 1, and so on. Raises SourceError."""
    if isinstance(data, str | Path):
        return Path(data).expanduser()
    table = _table(data)
    folder = cache_folder() / "given"
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / f".given.{os.getpid()}.writing"
    write_parquet(beside, table)
    final = folder / f"{digest_file(beside)[:16]}.parquet"
    if final.exists():
        beside.unlink()
    else:
        beside.rename(final)
    return final


def _table(data: Any) -> pa.Table:
    try:
        if isinstance(data, pa.Table):
            return data
        if hasattr(data, "__arrow_c_stream__") and hasattr(data, "columns"):  # frames of pandas, polars, DuckDB
            return pa.table(data)
        if hasattr(data, "to_arrow"):
            return pa.table(data.to_arrow())
        if hasattr(data, "columns") and hasattr(data, "iloc"):  # pandas before 2.2
            return pa.Table.from_pandas(data, preserve_index=False)
        if hasattr(data, "with_format") and hasattr(data, "data"):  # a Hugging Face dataset
            return pa.Table.from_batches(data.with_format("arrow")[:].to_batches())
        if hasattr(data, "tolist"):  # a series, an array
            data = data.tolist()
        rows = list(data) if isinstance(data, Iterable) and not isinstance(data, Mapping | bytes) else None
        if rows and all(isinstance(row, str) for row in rows):
            return pa.table({"id": [str(place) for place in range(len(rows))], "text": pa.array(rows, pa.string())})
        if rows and all(isinstance(row, Mapping) for row in rows):
            names = dict.fromkeys(name for row in rows for name in row)
            return pa.Table.from_pylist([{name: row.get(name) for name in names} for row in rows])
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise SourceError(f"can't be read as rows ({' '.join(str(error).split())[:200]})") from error
    raise SourceError(
        f"wanted a path, a list of texts or of dicts, a data frame or an Arrow table, found {type(data).__name__}"
        + (" without rows" if rows == [] else "")
    )
