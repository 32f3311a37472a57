"""`join: FILE`: the user's own numbers by key, from Parquet, CSV or JSON lines, as a column.

The file is read whole, two of its columns, and kept as 16 bytes a key while shards are joined. A key with two values
that differ is an error; samples without one get null, and are counted."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from tamis.pipeline.columns.contract import ColumnKind, Output, Told
from tamis.pipeline.errors import RecipeError
from tamis.pipeline.files.atomic import digest_of_input
from tamis.pipeline.files.bytes_in import Truncated
from tamis.pipeline.read.blocks import shorten
from tamis.pipeline.read.formats import key_type
from tamis.pipeline.read.identity import sample_ids
from tamis.pipeline.read.tables.columnar import once
from tamis.pipeline.read.tables.delimited import csv_header
from tamis.pipeline.read.tables.jsonl import tables_of
from tamis.selectors.rows import as_floats

JOIN_VERSION = 1  # raise when the same file would give other values
SUFFIXES = (".parquet", ".csv", ".jsonl", ".ndjson", ".json")


@dataclass(frozen=True, kw_only=True)
class Join(ColumnKind):
    """path   the file
    value  its field of numbers
    key    its field of keys
    match  the pool's field that the keys are matched with
    """

    verb: ClassVar[str] = "join"
    kind: ClassVar[str] = "file"
    heavy: ClassVar[bool] = False
    of_target: ClassVar[bool] = False  # no step asks what the user's own numbers of a target are
    hint: ClassVar[str] = "; do the keys look alike?"

    path: str
    value: str
    key: str = "key"
    match: str = "key"

    def makes(self, images: bool) -> list[Output]:
        return [Output(main=pa.float64(), reads=(self.match,))]

    def fingerprinted(self, folder: Path) -> dict[str, Any]:
        path = folder / self.path
        if path.suffix.lower() not in SUFFIXES:
            raise RecipeError(f"join {path}: wanted a file that ends in {', '.join(SUFFIXES)}")
        if not path.is_file():
            raise RecipeError(f"join: no file {path}")
        return {**asdict(self), "path": path.name, "digest": digest_of_input(path), "version": JOIN_VERSION}

    def load(self, place: Path) -> "Joined":
        return Joined(self, place)


class Joined:
    """The file's numbers, by a hash of the key."""

    def __init__(self, settings: Join, folder: Path) -> None:
        self.settings = settings
        path = folder / settings.path
        table = _read(path, settings)
        try:
            keys = table[settings.key].cast(pa.string())
            names = keys.to_pylist()
        except (pa.ArrowException, UnicodeDecodeError) as error:
            raise RecipeError(f"join {path}: field {settings.key!r} holds no keys ({shorten(str(error))})") from error
        if keys.null_count:
            raise RecipeError(f"join {path}: {keys.null_count:,} rows have no {settings.key!r}")
        try:
            values = as_floats(table[settings.value]).fill_null(np.nan).to_numpy()
        except (pa.ArrowException, OverflowError) as error:
            told = shorten(str(error))
            raise RecipeError(f"join {path}: field {settings.value!r} holds no numbers ({told})") from error
        ids = sample_ids("", names)
        order = np.argsort(ids, kind="stable")
        self.ids, self.numbers = ids[order], values[order]
        same = np.flatnonzero(self.ids[1:] == self.ids[:-1])
        differ = same[~np.isclose(self.numbers[same], self.numbers[same + 1], rtol=0, atol=0, equal_nan=True)]
        if len(differ):
            key = keys[int(order[differ[0]])].as_py()
            raise RecipeError(f"join {path}: {len(differ):,} keys have two values that differ, such as {key!r}")
        self.facts: dict[str, Any] = {"keys": len(ids)}

    def values(self, batch: pa.RecordBatch, told: Told) -> list[pa.Array]:
        """The numbers, null where the file has none."""
        given = batch[self.settings.match].cast(pa.string()).to_pylist()
        wanted = sample_ids("", [key or "" for key in given])
        if not len(self.ids):
            return [pa.nulls(len(given), pa.float64())]
        place = np.minimum(np.searchsorted(self.ids, wanted), len(self.ids) - 1)
        found = self.numbers[place]
        lost = (self.ids[place] != wanted) | np.array([key is None for key in given], bool) | np.isnan(found)
        return [pa.array(found, pa.float64(), mask=lost)]


def _read(path: Path, settings: Join) -> pa.Table:
    wanted = list(dict.fromkeys([settings.key, settings.value]))
    try:
        if path.suffix.lower() == ".parquet":
            once(pq.read_schema(path), wanted)
            return pq.read_table(path, columns=wanted).select(wanted)
        if path.suffix.lower() == ".csv":
            once(pa.schema([(name, pa.string()) for name in csv_header(path)]), wanted)
            as_text = {settings.key: pa.string()}
            options = pyarrow.csv.ConvertOptions(include_columns=wanted, column_types=as_text)
            return pyarrow.csv.read_csv(path, convert_options=options)
        types = {settings.key: key_type(path, settings.key), settings.value: pa.float64()}
        return pa.concat_tables(tables_of(path, types))
    except (OSError, ValueError, KeyError, pa.ArrowException, Truncated) as error:
        told = " ".join(str(error).split())[:160]
        raise RecipeError(f"join {path}: can't read its fields {' and '.join(map(repr, wanted))} ({told})") from error
