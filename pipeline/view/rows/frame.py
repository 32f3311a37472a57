"""One row a sample, in the pool's order, as arrays: what the page filters, counts, draws and sorts by.

Decisions are read when a run is opened, 15 bytes for each sample and step; a field or a column when it is first asked
for, 5 or 9 bytes a sample (a number and its bin) or 2 (a word's code). Texts and vectors are not held."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tamis.pipeline.parallel import ordered_map
from tamis.pipeline.read.pool import Part
from tamis.pipeline.store.runs import Run
from tamis.pipeline.view.rows.fields import Field, Words, as_floats, numbers, plain, words
from tamis.pipeline.view.rows.seen import Seen

Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int32]
DECIDED = ("decision", "step", "reason")  # fields of every run
RUNS, RANK = "runs", "rank"  # where there are several; what only sorts
MOST_FIELDS, MOST_ORDERS = 40, 6  # held at once


@dataclass(frozen=True)
class StepRows:
    """What one step made of all samples; [rows] each."""

    number: int
    selector: str
    kept: npt.NDArray[np.int8]  # 1 kept, 0 dropped, -1 it did not see it
    reason: npt.NDArray[np.uint16]  # codes of Frame.reasons
    score: npt.NDArray[np.float64]  # NaN: none
    rank: Rows  # -1: none

    @property
    def name(self) -> str:
        return f"{self.number} {self.selector}"

    @property
    def score_name(self) -> str:
        return f"score of {self.name}"


class Frame:
    """All samples of what is looked at, in the pool's order."""

    def __init__(self, seen: Seen) -> None:
        self.seen = seen
        self.starts = np.cumsum([0, *(part.rows for part in seen.parts)])  # of each shard; the last: all rows
        self.reasons: list[str] = []
        self._fields: dict[str, Field | None] = {}
        self._orders: dict[tuple[str, bool], Rows] = {}
        self._loading = threading.RLock()
        self.ids = self._joined(lambda part: pq.read_table(part.path, columns=["sample_id"])["sample_id"].to_numpy())
        names = [step.name for step in seen.run.recipe.steps_given] if seen.run else []  # none of their code is run
        self.steps = [self._step(number, name) for number, name in enumerate(names)]
        self.dropped = ~self._kept()

    @property
    def rows(self) -> int:
        return int(self.starts[-1])

    def _joined(self, of_part: Callable[[Part], npt.NDArray[Any]]) -> npt.NDArray[Any]:
        found = list(ordered_map(of_part, self.seen.parts))
        return np.concatenate(found) if found else np.zeros(0)

    def where(self, row: int) -> tuple[int, int]:
        """The number of a row's shard, and its place in that."""
        number = int(np.searchsorted(self.starts, row, side="right")) - 1
        return number, row - int(self.starts[number])

    @cached_property
    def _by_id(self) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
        order = np.argsort(self.ids, kind="stable")
        return self.ids[order], order

    def rows_of(self, ids: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """[found] rows of those of the ids that are here."""
        known, order = self._by_id
        if not len(known):
            return np.zeros(0, np.int64)
        places = np.minimum(np.searchsorted(known, ids), len(known) - 1)
        return order[places[known[places] == ids]]

    def mask_of(self, ids: npt.NDArray[np.uint64]) -> Mask:
        mask = np.zeros(self.rows, bool)
        mask[self.rows_of(ids)] = True
        return mask

    # decisions

    def _step(self, number: int, selector: str) -> StepRows:
        run = self.seen.run
        assert run is not None
        kept, reason = np.full(self.rows, -1, np.int8), np.zeros(self.rows, np.uint16)
        score, rank = np.full(self.rows, np.nan), np.full(self.rows, -1, np.int32)
        fields = ["sample_id", "kept", "reason", "score", "rank"]
        tables = ordered_map(lambda part: pq.read_table(run.ledger(number) / part.name, columns=fields), run.pool.parts)
        for part, table in enumerate(tables):
            first, end = self.starts[part], self.starts[part + 1]
            mine = self.ids[first:end]
            rows = first + _places(mine, table["sample_id"].to_numpy())
            kept[rows] = table["kept"].to_numpy()
            told = pc.dictionary_encode(table["reason"].combine_chunks())
            known = np.array([self._reason(name) for name in told.dictionary.to_pylist()], np.uint16)
            reason[rows] = known[told.indices.to_numpy()] if len(known) else 0
            score[rows] = table["score"].to_numpy()
            rank[rows] = table["rank"].fill_null(-1).to_numpy()
        return StepRows(number, selector, kept, reason, score, rank)

    def _reason(self, name: str) -> int:
        if name not in self.reasons:
            self.reasons.append(name)
        return self.reasons.index(name)

    def _kept(self) -> Mask:
        run = self.seen.run
        if self.steps:
            return self.steps[-1].kept == 1
        return np.ones(self.rows, bool) if run is None else self.mask_of(_chosen(run.folder))

    def _decided(self) -> None:
        """The fields of DECIDED: by the last step that saw a sample."""
        step, reason = np.zeros(self.rows, np.uint16), np.zeros(self.rows, np.uint16)
        for one in self.steps:
            saw = one.kept >= 0
            step[saw], reason[saw] = one.number + 1, one.reason[saw]
        step[~self.dropped] = 0
        self._fields["decision"] = Words(["kept", "dropped"], self.dropped.astype(np.uint16))
        self._fields["step"] = Words(["selected", *(one.name for one in self.steps)], step)
        self._fields["reason"] = Words(self.reasons, reason)

    # fields

    @cached_property
    def names(self) -> dict[str, str]:
        """Every field that may be asked for, and what it is: `decision`, `run`, `pool`, `column` or `score`."""
        found = dict.fromkeys(DECIDED, "decision") if self.steps else {}
        found |= dict.fromkeys([RUNS] if self.seen.others else [], "run")
        found |= {one.score_name: "score" for one in self.steps if np.isfinite(one.score).any()}
        own = ("source", "n_bytes", *(("width", "height") if self.has_images else ()))
        found |= dict.fromkeys(own, "pool")
        found |= {self._own_name(field.name): "pool" for field in self.seen.kept_fields if plain(field.type)}
        for name in self.of_columns:
            found[name if name not in found else f"{name} (column)"] = "column"
        return found

    @staticmethod
    def _own_name(field: str) -> str:
        """Of a kept field that is called like one of ours."""
        return f"{field} (field)" if field in (*DECIDED, RUNS, RANK) else field

    @cached_property
    def has_images(self) -> bool:
        return any(_has(part, "width") for part in self.seen.parts)

    @cached_property
    def of_columns(self) -> dict[str, tuple[Path, str]]:
        """Plain fields of columns by the name that a recipe gives them: the column's folder, and the field there."""
        found = {}
        for name, folder in self.seen.columns.items():
            files = sorted(folder.glob("part-*.parquet"))
            schema = pq.read_schema(files[0]) if files else pa.schema([])
            for number, field in enumerate(list(schema)[1:]):
                if plain(field.type):
                    found[name if number == 0 else f"{name}_{field.name}"] = (folder, field.name)
        return found

    def field(self, name: str) -> Field | None:
        """None where it has too many values to group by, or there is no such field."""
        with self._loading:
            if name in DECIDED and "decision" not in self._fields and self.steps:
                self._decided()
            if name not in self._fields:
                if len(self._fields) >= MOST_FIELDS:
                    self._fields.pop(next(one for one in self._fields if one not in DECIDED))
                self._fields[name] = self._load(name)
            return self._fields[name]

    def _load(self, name: str) -> Field | None:
        kind = self.names.get(name)
        if kind is None:
            return None
        if kind == "run":
            return self._of_runs()
        if kind == "score":
            return numbers(next(one.score for one in self.steps if one.score_name == name))
        values = self._values(name, kind)
        if pa.types.is_string(values.type) or pa.types.is_large_string(values.type) or pa.types.is_boolean(values.type):
            return words(values)
        return numbers(as_floats(values))

    def _values(self, name: str, kind: str) -> pa.ChunkedArray:
        """Of all rows, as stored; null where a shard lacks the field."""
        if kind == "pool":
            field = name.removesuffix(" (field)") if name not in self.seen.schema.names else name
            wanted = self.seen.schema.field(field).type
            tables = ordered_map(lambda part: _read(part.path, field, part.rows, wanted), self.seen.parts)
        else:
            folder, field = self.of_columns[name.removesuffix(" (column)")]
            wanted = pq.read_schema(next(iter(sorted(folder.glob("part-*.parquet"))))).field(field).type
            tables = ordered_map(lambda part: _read(folder / part.name, field, part.rows, wanted), self.seen.parts)
        return pa.chunked_array([chunk for table in tables for chunk in table.chunks], wanted)

    def stored(self, name: str, rows: npt.NDArray[np.int64]) -> pa.RecordBatch:
        """A field of the pool or of a column of some rows, under its own name, as stored. Raises KeyError."""
        by_field = {field: known for known, (_, field) in self.of_columns.items()}
        known = name if name in self.names else by_field[name]
        return pa.record_batch({name: self._values(known, self.names[known]).take(pa.array(rows)).combine_chunks()})

    def _of_runs(self) -> Words:
        """Which of the runs chose a sample."""
        runs = [run for run in (self.seen.run, *self.seen.others) if run]
        codes = np.zeros(self.rows, np.uint64)
        for bit, run in enumerate(runs):
            codes |= self.mask_of(_chosen(run.folder)).astype(np.uint64) << np.uint64(bit)
        there, packed = np.unique(codes, return_inverse=True)
        return Words([_chosen_by(runs, int(code)) for code in there], packed.astype(np.uint16))

    def order(self, name: str, *, down: bool) -> Rows:
        """[rows] in the order of a field; what has no value comes last, and ties stand in the pool's order. A field of
        many values is sorted as text."""
        with self._loading:
            if (name, down) not in self._orders:
                while len(self._orders) >= MOST_ORDERS:
                    self._orders.pop(next(iter(self._orders)))
                self._orders[name, down] = self._sorted(name, down)
            return self._orders[name, down]

    def _sorted(self, name: str, down: bool) -> Rows:
        if name == RANK:
            ranks = self._ranks()
            return np.argsort(-ranks if down else ranks, kind="stable").astype(np.int32)
        field = self.field(name)
        if field is not None:
            keys = field.order()
            return np.argsort(-keys if down else keys, kind="stable").astype(np.int32)
        if name != "key" and name not in self.names:
            return np.arange(self.rows, dtype=np.int32)
        values = self._values(name, self.names.get(name, "pool"))
        how = "descending" if down else "ascending"
        return pc.sort_indices(values, sort_keys=[("", how)]).to_numpy().astype(np.int32)

    def _ranks(self) -> npt.NDArray[np.float64]:
        """[rows] places in the selection; of the dropped behind them, by the last step that ranked them."""
        found = np.full(self.rows, np.nan)
        if self.seen.run is None:
            return found
        table = pq.read_table(self.seen.run.folder / "selection.parquet", columns=["sample_id", "rank"])
        ids = table["sample_id"].to_numpy()
        known, order = self._by_id
        found[order[np.searchsorted(known, ids)]] = table["rank"].to_numpy()
        for one in reversed(self.steps):
            mine = np.isnan(found) & (one.rank >= 0)
            found[mine] = self.rows * (2 + len(self.steps) - one.number) + one.rank[mine]
        return found


def _places(ids: npt.NDArray[np.uint64], some: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """Where some of a shard's ids stand in it."""
    if len(some) == len(ids) and (some == ids).all():
        return np.arange(len(ids))
    order = np.argsort(ids, kind="stable")
    return order[np.searchsorted(ids[order], some)]


def _chosen(folder: Path) -> npt.NDArray[np.uint64]:
    return pq.read_table(folder / "selection.parquet", columns=["sample_id"])["sample_id"].to_numpy()


def _has(part: Part, name: str) -> bool:
    """Whether a field has any value in a shard."""
    values = pq.read_table(part.path, columns=[name])[name]
    return bool(values.null_count < len(values))


def _read(path: Path, field: str, rows: int, wanted: pa.DataType) -> pa.ChunkedArray:
    if not path.exists() or field not in pq.read_schema(path).names:
        return pa.chunked_array([pa.nulls(rows, wanted)])
    return pq.read_table(path, columns=[field])[field]


def _chosen_by(runs: list[Run], code: int) -> str:
    """`code`: a bit for each run."""
    names = [run.name for bit, run in enumerate(runs) if code >> bit & 1]
    if len(names) == len(runs):
        return "both" if len(runs) == 2 else "all"
    return f"only {names[0]}" if len(names) == 1 else " + ".join(names) or ("neither" if len(runs) == 2 else "none")
