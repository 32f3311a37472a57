"""Pools and recipes that few have: every question is answered, or refused in a line."""

import decimal
import json
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tamis.pipeline.errors import DamageFound, QueryError
from tamis.pipeline.labels.files import read_answers
from tamis.pipeline.store.compact import compact
from tamis.pipeline.store.query import ask as sql
from tamis.pipeline.store.runs import open_complete
from tamis.pipeline.view.rows.filters import Ask, OfField
from tamis.pipeline.view.rows.seen import of_run, seen
from tamis.pipeline.view.session import Session
from tamis.pipeline.view.what_if import Try
from tests_support import Runner, write_jsonl

ROWS = 24
FIELDS: dict[str, pa.Array] = {
    "time32": pa.array([time(n % 24, 30) for n in range(ROWS)], pa.time32("s")),
    "time64": pa.array([time(n % 24, 30) for n in range(ROWS)], pa.time64("us")),
    "duration": pa.array([timedelta(seconds=n) for n in range(ROWS)], pa.duration("ns")),
    "nanoseconds": pa.array(range(ROWS), pa.timestamp("ns")),
    "zoned": pa.array([datetime(2026, 1, 1 + n, tzinfo=UTC) for n in range(ROWS)], pa.timestamp("us", "UTC")),
    "date32": pa.array([date(2026, 1, 1 + n) for n in range(ROWS)], pa.date32()),
    "date64": pa.array([date(2026, 1, 1 + n) for n in range(ROWS)], pa.date64()),
    "decimal": pa.array([decimal.Decimal(n) / 4 for n in range(ROWS)], pa.decimal128(10, 2)),
    "huge": pa.array([2**53 + n for n in range(ROWS)], pa.int64()),
    "far": pa.array([(-1) ** n * 1.7e308 for n in range(ROWS)], pa.float64()),
    "no": pa.nulls(ROWS, pa.float64()),
    "bool": pa.array([bool(n % 2) for n in range(ROWS)]),
    "list": pa.array([[n] for n in range(ROWS)], pa.list_(pa.int64())),
    "runs": pa.array([f"r{n % 3}" for n in range(ROWS)]),
    "decision": pa.array(["theirs"] * ROWS), "reason": pa.array(["theirs"] * ROWS), "kept": pa.array(range(ROWS)),
    "tamis_kept": pa.array([True] * ROWS), "a-b c": pa.array(range(ROWS)), "x.y": pa.array(range(ROWS)),
    "order": pa.array(range(ROWS)), "__proto__": pa.array(["p", "q"] * (ROWS // 2)), "my score": pa.array(range(ROWS)),
    "null": pa.array(["∅", None] * (ROWS // 2)),
}  # fmt: skip


@pytest.fixture
def odd(run_in: Runner, tmp_path: Path) -> Any:
    keys = [f"k{n:02d}" for n in range(ROWS)]
    texts = [f"text number {n} with some words" for n in range(ROWS)]
    pq.write_table(pa.table({"id": keys, "text": texts, **FIELDS}), tmp_path / "pool.parquet")
    pool = [{"format": "parquet", "path": "pool.parquet", "key": "id", "text": "text", "keep": list(FIELDS)}]

    def run(*steps: dict[str, Any], **more: Any) -> Session:
        return Session(
            of_run(open_complete(run_in(tmp_path, pool=pool, target=[], steps=list(steps), emit=[], **more).folder))
        )

    return run


def test_every_field_of_an_odd_pool_is_drawn_and_sorted(odd: Any) -> None:
    session = odd({"random": {"budget": 5}})
    json.dumps(session.about())
    names = list(session.frame.names)
    assert {"decision (field)", "reason (field)", "runs (field)", "my score", "decimal"} <= {*names}
    assert "list" not in names
    answer = session.filters.answer(Ask(charts=names))
    for name, chart in answer.charts.items():
        assert sum(chart["kept"]) + sum(chart["dropped"]) + chart.get("none", 0) == ROWS, name
    for name in names:
        assert sorted(session.frame.order(name, down=True).tolist()) == list(range(ROWS))
    assert session.frame.field("zoned").values[1] - session.frame.field("zoned").values[0] == 86_400
    assert session.frame.field("date32").values[0] == session.frame.field("zoned").values[0]
    assert session.frame.field("date64").values[0] == session.frame.field("zoned").values[0]
    assert session.frame.field("duration").values.tolist() == list(range(ROWS))
    assert answer.charts["decision (field)"]["names"] == ["theirs"]
    assert sorted(answer.charts["null"]["names"]) == ["∅", "∅ (null)"]
    chosen = session.filters.answer(Ask(fields={"null": OfField(words=["∅ (null)"])}))
    assert chosen.matching == ROWS // 2
    assert session.filters.answer(Ask(condition="tamis_kept")).matching == 5
    assert session.sample(3)["fields"]["huge"] == str(2**53 + 3)


@pytest.mark.parametrize("column", ["my score", "x.y", "order", "a-b c", "decimal", "bool"])
def test_a_line_across_a_field_of_any_name(column: str, odd: Any) -> None:
    session = odd({"threshold": {"column": column, "above": 0.5}})
    for value in (0.5, 2.5, 3.0):
        told = session.tried(Try(step=0, setting="above", value=value))
        field = session.frame.field(column)
        numbers = np.array([name == "true" for name in field.names])[field.codes] if column == "bool" else field.values
        assert told["kept"] == int((numbers > value).sum())
    assert session.what_if.knobs[0]["knobs"][0]["whole"] is False  # its value is none
    with pytest.raises(QueryError, match="number"):
        session.tried(Try(step=0, setting="above"))


def test_budgets_by_decimals_and_by_parts_of_one(odd: Any) -> None:
    session = odd({"random": {"budget": {"cost": 10.01, "by": "decimal"}}})
    summary = session.seen.run.summary(0)
    told = session.tried(Try(step=0, setting="budget", value=10.01))
    assert (told["kept"], told["came"], told["went"]) == (summary["kept"], 0, 0)
    with pytest.raises(QueryError):
        session.tried(Try(step=0, setting="budget", value=-5))


def test_a_run_with_a_step_of_the_user_s_own_is_looked_at_without_its_code(run_in: Runner, workplace: Path) -> None:
    (workplace / "own.py").write_text(
        "from dataclasses import dataclass\nimport numpy as np\n@dataclass(frozen=True)\nclass Longest:\n"
        "    def fit(self, pool, targets): return self\n"
        "    def score(self, batch): return np.array([len(t) for t in batch['text'].to_pylist()], float)\n"
    )
    steps = [{"exact_dedup": {}}, {"own.py:Longest": {"budget": 30}}]
    folder = run_in(workplace, allow_code=True, steps=steps, target=[]).folder
    (workplace / "own.py").write_text("raise SystemExit('it ran')")
    session = Session(seen([folder]))
    assert [one["reason"] for one in session.what_if.knobs][1] == "it is code of your own: run it to see"
    assert session.filters.answer(Ask()).kept == 30
    assert session.sample(0)["steps"]


def test_a_column_of_a_store_that_grew(run_in: Runner, tmp_path: Path) -> None:
    for name, first in (("pool", 0), ("pool2", 30)):
        write_jsonl(
            tmp_path / f"{name}.jsonl",
            [{"id": f"{name}{n}", "text": "word " * (n + 1)} for n in range(first, first + 30)],
        )
    pool = {"format": "jsonl", "key": "id", "text": "text"}
    changes: dict[str, Any] = {"target": [], "steps": [], "emit": []}
    columns = {"read": {"measure": "text"}}
    folder = run_in(tmp_path, "one", pool=[{**pool, "path": "pool.jsonl"}], columns=columns, **changes).folder
    run_in(tmp_path, "two", pool=[{**pool, "path": "pool.jsonl"}, {**pool, "path": "pool2.jsonl"}], **changes)
    store = folder.parent.parent
    for after in ("grown", "compacted"):
        session = Session(seen([store / "columns" / "read"]))
        chart = session.filters.answer(Ask(charts=["read"], words="word")).charts["read"]
        assert sum(chart["kept"]) + chart["none"] == 60, after
        if chart["none"]:
            with pytest.raises(QueryError, match="a part of the pool"):
                session.filters.answer(Ask(condition="read > 10"))
        compact(store)
    assert Session(seen([folder])).filters.answer(Ask(condition="read > 10")).matching == 20


def test_keys_of_several_lines_go_out_as_labels_and_are_counted_where_they_can_t(
    run_in: Runner, tmp_path: Path
) -> None:
    keys = ["a\rb", "c\nd", " led", "plain", "e\x85f"]
    write_jsonl(
        tmp_path / "pool.jsonl", [{"id": key, "text": f"text {n} here", "part": "x"} for n, key in enumerate(keys)]
    )
    session = Session(
        of_run(open_complete(run_in(tmp_path, target=[], steps=[{"random": {"budget": 5}}], emit=[]).folder))
    )
    session.mark(list(range(5)), {"mark": "wrong", "label": "odd"})
    assert all(one["mark"] == "wrong_keep" for one in json.loads(session.marks.path.read_text())["marks"].values())
    answers = read_answers(session.marks.export("labels")[0])
    assert sorted(one.key for one in answers) == sorted(session.row(row)["id"] for row in range(5))
    _, text, count = session.marks.export("forget")
    assert (count, session.marks.left_out, len(text.splitlines())) == (2, 3, 2)


def test_nulls_beside_one_value_are_found(run_in: Runner, tmp_path: Path) -> None:
    """DuckDB 2.0.0 took every row for null where a text column has one value, no dictionary, and statistics."""
    write_jsonl(
        tmp_path / "pool.jsonl",
        [{"id": f"k{n}", "text": f"text number {n}", "part": "x" if n < 4 else None} for n in range(12)],
    )
    run = open_complete(run_in(tmp_path, target=[], steps=[{"sql": {"where": "part is null"}}], emit=[]).folder)
    assert run.summary(0)["kept"] == 8
    (batch,) = sql(run, "select count(*) as n from pool where part is null")
    assert batch["n"].to_pylist() == [8]
    assert Session(of_run(run)).filters.answer(Ask(condition="part is null")).matching == 8


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_run_is_said_in_a_line(damage: str, run_in: Runner, workplace: Path) -> None:
    run = open_complete(run_in(workplace).folder)
    path = next(run.ledger(0).glob("*.parquet"))
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:200])
    else:
        path.unlink()
    with pytest.raises(DamageFound, match="verify"):
        Session(of_run(run))
