"""What a page looks at: one run with all that answers for it, and those of a store that pages have open."""

import threading
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tamis.pipeline.errors import DamageFound, QueryError
from tamis.pipeline.explain.report.data import stored_of
from tamis.pipeline.progress import still
from tamis.pipeline.read.identity import hex_id
from tamis.pipeline.store.current import switches
from tamis.pipeline.store.database import rows as rows_of
from tamis.pipeline.store.query import hex_number, views
from tamis.pipeline.store.runs import Run, open_complete
from tamis.pipeline.view.marks import Marks
from tamis.pipeline.view.nights import changed, nights
from tamis.pipeline.view.pictures import Pictures
from tamis.pipeline.view.places import Places
from tamis.pipeline.view.rows.brief import Brief
from tamis.pipeline.view.rows.fields import Numbers, Words
from tamis.pipeline.view.rows.filters import Filters
from tamis.pipeline.view.rows.frame import DECIDED, RANK, RUNS, Frame, Mask
from tamis.pipeline.view.rows.seen import Seen, of_run, whole_runs
from tamis.pipeline.view.sample import opened
from tamis.pipeline.view.what_if import Try, WhatIf

FIRST_CHARTS = 8  # of fields that are drawn without being asked for
MOST_ROWS = 400  # of a list, at once
MOST_REJECTS = 500
HELD = 2  # runs beside the first


class Session:
    """Raises TamisError where what is looked at is damaged."""

    def __init__(self, seen: Seen) -> None:
        self.seen = seen
        try:
            with still(f"reading {seen.name}"):
                self.frame = Frame(seen)
            self.brief = Brief(seen)
        except (pa.ArrowInvalid, FileNotFoundError) as error:
            told = " ".join(str(error).split())[:300]
            raise DamageFound(f"view {seen.name}: {told}. `tamis verify RUN` lists what is wrong.") from error
        self.marks, self.pictures = Marks(seen), Pictures()
        self.filters = Filters(self.frame, self.inside, self.marks.ids)
        self.what_if = WhatIf(self.frame)
        self._drawing = threading.Lock()

    @property
    def places(self) -> Places:
        with self._drawing:  # once, however many ask
            return self._places

    @cached_property
    def _places(self) -> Places:
        with still("map"):
            return Places(self.frame)

    def inside(self, line: list[tuple[float, float]]) -> Mask:
        """Of a line on the map, which is drawn when it is first asked for."""
        return self.places.inside(line)

    def about(self) -> dict[str, Any]:
        """What the page is told first."""
        seen, run = self.seen, self.seen.run
        runs = whole_runs(seen.store)
        return {
            "name": seen.name, "run": run.name if run else None, "store": str(seen.store), "runs": runs,
            "folder": str(run.folder) if run else str(seen.store), "others": [one.name for one in seen.others],
            "rows": self.frame.rows, "kept": int(np.count_nonzero(~self.frame.dropped)),
            "images": self.frame.has_images, "rejects": seen.pool.rejects,
            "steps": [one.name for one in self.frame.steps],
            "fields": [{"name": name, "of": kind} for name, kind in self.frame.names.items()],
            "charts": self._first_charts(), "sort": self._first_sort(), "marks": len(self.marks),
            "vectors": bool(run and seen.vectors), "nights": bool(run and switches(seen.store)),
        }  # fmt: skip

    def _first_sort(self) -> str:
        return self.seen.first if self.seen.first in self.frame.names else RANK

    def _first_charts(self) -> list[str]:
        """Decisions, the last step's scores, then fields that group."""
        names = self.frame.names
        first = [name for name in (RUNS, *DECIDED, self.seen.first) if name in names]
        first += [name for name, kind in names.items() if kind == "score"][-1:]
        kept = {field.name for field in self.seen.kept_fields}
        fields = [
            *(name for name in names if name in kept),
            "source",
            *(n for n, kind in names.items() if kind == "column"),
        ]
        for name in fields:
            field = self.frame.field(name) if len(first) < FIRST_CHARTS else None
            many = isinstance(field, Words) and 2 < field.size < self.frame.rows / 4
            if many or isinstance(field, Numbers):
                first.append(name)
        return list(dict.fromkeys(first))

    def rows(self, number: int, first: int, end: int, sort: str) -> dict[str, Any]:
        """Some rows of an earlier answer. Raises QueryError where that is no longer held."""
        held = self.filters.rows(number)
        if held is None:
            raise QueryError("that list is no longer held; ask again")
        some = held[max(0, first) : min(end, first + MOST_ROWS)].tolist()
        return {"from": first, "rows": [self.row(one, sort) for one in some]}

    def row(self, row: int, sort: str = "") -> dict[str, Any]:
        """One row as lists show it. Raises QueryError."""
        if row >= self.frame.rows:
            raise QueryError(f"there is no row {row}")
        held, sample_id = self.brief[self.frame.where(row)], hex_id(int(self.frame.ids[row]))
        found: dict[str, Any] = {
            "row": row, "id": sample_id, "key": held["key"], "text": held["text"] or "",
            "image": held["width"] is not None, "width": held["width"], "height": held["height"],
            "mark": self.marks.of(sample_id),
        }  # fmt: skip
        if self.frame.steps:
            found["kept"] = not bool(self.frame.dropped[row])
            for name in ("step", "reason"):
                field = self.frame.field(name)
                assert isinstance(field, Words)
                found[name] = field.names[field.codes[row]]
        field = self.frame.field(sort) if sort in self.frame.names else None
        if isinstance(field, Numbers):
            found["value"] = float(field.values[row])
        elif isinstance(field, Words):
            found["value"] = field.names[field.codes[row]]
        return found

    def sample(self, row: int) -> dict[str, Any]:
        if not 0 <= row < self.frame.rows:
            raise QueryError(f"there is no row {row}")
        found = opened(self.frame, row)
        return {**found, "mark": self.marks.of(found["id"])}

    def find(self, key: str) -> int:
        """The row of a key or id. Raises QueryError."""
        number = hex_number(key)
        for part, start in zip(self.seen.parts, self.frame.starts[:-1].tolist(), strict=True):
            keys = pq.read_table(part.path, columns=["key"])["key"]
            place = keys.index(key).as_py()
            if place >= 0:
                return int(start + place)
        found = self.frame.rows_of(np.array([number or 0], np.uint64))
        if number is None or not len(found):
            raise QueryError(f"no sample has the key or id {key!r}")
        return int(found[0])

    def picture(self, row: int | None, sample_id: str, side: int) -> bytes:
        """Of a row, or of a sample of what is read beside the pool. Raises Unusable, QueryError."""
        if row is not None and 0 <= row < self.frame.rows:
            return self.pictures.of(self.brief[self.frame.where(row)], side)
        number = hex_number(sample_id)
        mine = self.frame.rows_of(np.array([number or 0], np.uint64))
        if len(mine):
            return self.pictures.of(self.brief[self.frame.where(int(mine[0]))], side)
        beside = self.seen.run.beside if self.seen.run else None
        found = stored_of(beside.parts, [number]) if beside and number is not None else {}
        if number not in found:
            raise QueryError("there is no such picture")
        return self.pictures.of(found[number], side)

    def tried(self, asked: Try) -> dict[str, Any]:
        found = self.what_if.tried(asked)
        before = self.frame.steps[asked.step].kept
        edge = {
            side: [{**self.row(row), "was": bool(before[row] == 1)} for row in rows]
            for side, rows in found["edge"].items()
        }
        return {**found, "edge": edge}

    def mark(self, rows: list[int], changes: dict[str, str]) -> int:
        """How many marks there are then; `wrong` is a wrong keep or a wrong drop, by what was decided. Raises
        QueryError."""
        if not all(0 <= row < self.frame.rows for row in rows):
            raise QueryError("there is no such row")
        wrong = changes.get("mark") == "wrong"
        kinds = [("wrong_drop" if self.frame.dropped[row] else "wrong_keep") if wrong else "" for row in rows]
        for kind in dict.fromkeys(kinds):
            mine = [row for row, one in zip(rows, kinds, strict=True) if one == kind]
            some = [(hex_id(int(self.frame.ids[row])), self.brief[self.frame.where(row)]["key"]) for row in mine]
            self.marks.set(some, {**changes, "mark": kind} if kind else changes)
        return len(self.marks)

    def rejects(self) -> dict[str, Any]:
        """What could not be read, the first MOST_REJECTS by reason, and how many in all."""
        if self.seen.run is None:
            return {"counts": self.seen.pool.rejects, "rows": []}
        with views(self.seen.run) as con:
            found = rows_of(
                con, f"select source, position, key, reason, detail from rejects order by all limit {MOST_REJECTS}"
            )
        return {"counts": self.seen.pool.rejects, "rows": found}

    def nights(self) -> dict[str, Any]:
        """Decisions on the store's runs. Raises QueryError."""
        return nights(self._run, self._place)

    def changed(self, before: str, after: str) -> dict[str, Any]:
        """What changed between two runs of the store. Raises QueryError, RunError."""
        runs = self.seen.store / "runs"
        if after not in [one.name for one in runs.iterdir()]:
            raise QueryError(f"the store has no run {after!r}")
        return changed(open_complete(runs / after, thinned_too=True), before, self._place)

    @property
    def _place(self) -> str:
        return self.seen.url or str(self.seen.store)

    @property
    def _run(self) -> Run:
        if self.seen.run is None:
            raise QueryError("there is no run to tell of")
        return self.seen.run


class Sessions:
    """The run that was asked for first, and others of its store that pages opened since: the last HELD of them."""

    def __init__(self, first: Session) -> None:
        self._first = first
        self._others: dict[str, Session] = {}
        self._opening = threading.Lock()

    def of(self, run: str) -> Session:
        """By the run's name; empty: the first. Raises QueryError, TamisError."""
        first = self._first.seen
        if not run or (first.run and first.run.name == run):
            return self._first
        with self._opening:
            found = self._others.pop(run, None) or Session(self._seen(run))
            self._others[run] = found  # the last that was asked for is the last to go
            while len(self._others) > HELD:
                self._others.pop(next(iter(self._others)))
            return found

    def _seen(self, run: str) -> Seen:
        """Beside the runs that were asked for together, where it is one of them."""
        first = self._first.seen
        together = [one for one in (first.run, *first.others) if one]
        if mine := next((one for one in together if one.name == run), None):
            return replace(of_run(mine, [one for one in together if one.name != run]), url=first.url)
        runs = first.store / "runs"
        if not runs.is_dir() or run not in [one.name for one in runs.iterdir()]:
            raise QueryError(f"the store has no run {run!r}")
        return replace(of_run(open_complete(runs / run)), url=first.url)
