"""What a person types: words to be found in texts and keys, or a condition in SQL, as a recipe's `where` has it.

Both are asked of DuckDB on a connection that sees this pool, its columns and the run's decisions, reads the store alone
and can change nothing."""

import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from threading import Timer
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tamis.pipeline.errors import QueryError
from tamis.pipeline.recipe.expressions import check_expression, names_in, one_select, problem_of, quoted
from tamis.pipeline.store.database import connect, lock, pool_with_columns, rows, view
from tamis.pipeline.view.rows.fields import Words
from tamis.pipeline.view.rows.frame import Frame, Mask
from tamis.selectors.hints import did_you_mean
from tamis.sql import text as sql_text

MOST_SECONDS = 60.0
OURS = ("tamis_kept", "tamis_reason", "tamis_step", "tamis_score")  # as exports that draw pools have them


class Asked:
    """Answers as masks over a frame's rows."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._lock = threading.Lock()

    def found(self, words: str) -> Mask:
        """Samples whose text, key or uri has the words, in any case. Raises QueryError."""
        with self._connection() as con:
            return self._mask(con, sql_text("find_words"), {"words": words})

    def holds(self, condition: str) -> Mask:
        """Samples for which one SQL expression holds: over the pool's fields, columns as recipes name them, and what a
        run decided (OURS). Raises QueryError."""
        check_expression("condition", condition)
        fields = self._known()
        asked = names_in(condition)
        for name in asked:
            if name.casefold() not in fields and name.casefold().partition(".")[0] not in fields:
                hint = did_you_mean(name, list(fields.values())) or ""
                quotes = f"; a text stands in single quotes: '{name}'" if f'"{name}"' in condition else ""
                raise QueryError(f"condition: no field or column {name!r}{hint}{quotes}")
        with self._connection([name.casefold() for name in asked]) as con:
            query = one_select(con, f"select sample_id from everything where ({condition}\n)")
            return self._mask(con, query)

    def numbers(self, expression: str) -> npt.NDArray[np.float64]:
        """[rows] of one of our own expressions over the pool's fields; NaN: none."""
        with self._connection() as con:
            found = con.execute(f"select sample_id, ({expression})::double as number from pool").fetchnumpy()
        numbers = np.full(self._frame.rows, np.nan)
        values = np.ma.filled(np.ma.asarray(found["number"], np.float64), np.nan)
        order = np.argsort(found["sample_id"], kind="stable")
        numbers[self._frame.rows_of(found["sample_id"][order])] = values[order]
        return numbers

    def _known(self) -> dict[str, str]:
        """Names that a condition may speak of, by their case-folded form."""
        columns = [name.partition(".")[0] for name in self._frame.seen.columns]
        names = [*self._frame.seen.schema.names, *OURS, *self._frame.names, *columns]
        return {name.casefold(): name for name in names}

    @contextmanager
    def _connection(self, names: Collection[str] = ()) -> Iterator[Any]:
        """With the view `pool`, and `everything`: the pool beside what the names, case-folded, need."""
        seen = self._frame.seen
        columns = {name: folder for name, folder in seen.columns.items() if _speaks_of(names, name)}
        for name, folder in columns.items():
            if not all((folder / part.name).exists() for part in seen.parts):
                raise QueryError(
                    f"condition: column {name!r} has no values for a part of the pool; run its recipe again"
                )
        with self._lock, connect(seen.store) as con:
            view(con, "pool", [part.path for part in seen.parts])
            query = pool_with_columns(seen.parts, columns)
            if not {*OURS}.isdisjoint(names):
                con.register("decisions", self._decisions())
                theirs = [name for name in OURS if name in seen.schema.names]
                others = f" exclude ({', '.join(map(quoted, theirs))})" if theirs else ""
                query = f"select * from (select *{others} from ({query})) join decisions using (sample_id)"
            rows(con, f"create view everything as {query}")
            lock(con, seen.store)
            yield con

    def _decisions(self) -> pa.Table:
        frame = self._frame
        score = np.full(frame.rows, np.nan)
        for one in frame.steps:
            there = np.isfinite(one.score)
            score[there] = one.score[there]
        told = {}
        for name in ("step", "reason"):
            field = frame.field(name)
            if isinstance(field, Words):
                told[f"tamis_{name}"] = pa.DictionaryArray.from_arrays(field.codes, field.names)
        return pa.table({"sample_id": frame.ids, "tamis_kept": ~frame.dropped, "tamis_score": score, **told})

    def _mask(self, con: Any, query: str, parameters: dict[str, Any] | None = None) -> Mask:
        import duckdb

        late = Timer(MOST_SECONDS, con.interrupt)
        late.daemon = True
        late.start()
        try:
            ids: npt.NDArray[np.uint64] = np.asarray(con.execute(query, parameters or {}).fetchnumpy()["sample_id"])
        except duckdb.InterruptException as error:
            raise QueryError(f"stopped after {MOST_SECONDS:g} seconds; ask for less") from error
        except (duckdb.Error, RuntimeError) as error:
            raise QueryError(problem_of(error)) from error
        finally:
            late.cancel()
        return self._frame.mask_of(np.sort(ids.astype(np.uint64)))  # sorted ones are looked up three times as fast


def _speaks_of(names: Collection[str], column: str) -> bool:
    """Whether any is the column's, or one of its fields: `read`, `read_letters`, `clip.class`."""
    first = column.partition(".")[0].casefold()
    return any(name == first or name.startswith((f"{first}_", f"{first}.")) for name in names)
