"""What the page counts, filters and sorts is what SQL over the run says."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from tamis.pipeline.errors import QueryError, RunError
from tamis.pipeline.store.query import ask as sql
from tamis.pipeline.store.runs import Run, open_complete
from tamis.pipeline.view.places import Places
from tamis.pipeline.view.rows.filters import Ask, Filters, OfField
from tamis.pipeline.view.rows.frame import Frame
from tamis.pipeline.view.rows.seen import of_run, seen
from tamis.pipeline.view.session import Session
from tests_support import OF_PHOTOS, Runner, write_jsonl

READ = {"read": {"measure": "text"}}
STEPS = [{"exact_dedup": {}}, {"threshold": {"column": "read", "above": 8}}, {"importance_resampling": {"budget": 200}}]


@pytest.fixture
def run(run_in: Runner, workplace: Path) -> Run:
    return open_complete(run_in(workplace, columns=READ, steps=STEPS).folder)


def filters_of(frame: Frame) -> Filters:
    return Filters(frame, lambda line: Places(frame).inside(line), lambda: np.zeros(0, np.uint64))


def rows(run: Run, query: str) -> list[dict[str, Any]]:
    return [row for batch in sql(run, query) for row in batch.to_pylist()]


LAST = "(select sample_id, arg_max(reason, step) as why, arg_max(step, step) as last from ledger group by sample_id)"
CASES: dict[str, tuple[Ask, str]] = {
    "nothing": (Ask(), "true"),
    "a reason": (Ask(fields={"reason": OfField(words=["below_cut"])}), "why = 'below_cut'"),
    "two reasons, one field": (
        Ask(fields={"reason": OfField(words=["out_of_band", "chosen"]), "part": OfField(words=["tokenize", "corpus"])}),
        "why in ('out_of_band', 'chosen') and part in ('tokenize', 'corpus')",
    ),
    "numbers": (Ask(fields={"read": OfField(least=20, most=60)}), "read.read between 20 and 60"),
    "words": (Ask(words="Token%_"), "contains(lower(text), 'token%_') or contains(lower(key), 'token%_')"),
    "words in a key": (Ask(words="CORPUS/reader"), "contains(lower(text), 'corpus/reader') or contains(lower(key), 'corpus/reader')"),
    "words in any order": (
        Ask(words='words "a list"'),
        "contains(lower(text || ' ' || key), 'words') and contains(lower(text || ' ' || key), 'a list')",
    ),
    "condition": (Ask(condition="n_bytes > 200 and read_letter_share < 0.8"), "n_bytes > 200 and letter_share < 0.8"),
    "decided": (Ask(condition="not tamis_kept and tamis_reason = 'below_cut' and tamis_step like '2 %'"), "why = 'below_cut'"),
    "all at once": (
        Ask(words="the", condition="part <> 'corpus'", fields={"decision": OfField(words=["dropped"]), "n_bytes": OfField(most=900)}),
        "(contains(lower(text), 'the') or contains(lower(key), 'the')) and part <> 'corpus' and n_bytes <= 900 and key not in (select key from selection)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_matches_is_what_sql_says(case: str, run: Run) -> None:
    asked, condition = CASES[case]
    frame = Frame(of_run(run))
    filters = filters_of(frame)
    charts = ["part", "reason", "decision"]
    answer = filters.answer(asked.model_copy(update={"charts": charts, "sort": "key"}))
    found = rows(
        run,
        f"select key, sample_id from pool join read using (sample_id) join {LAST} using (sample_id) where {condition} order by key",
    )
    held = filters.rows(answer.number)
    assert held is not None
    assert [int(frame.ids[row]) for row in held] == [row["sample_id"] for row in found]
    assert answer.matching == len(found)
    kept = {row["sample_id"] for row in rows(run, "select sample_id from selection")}
    assert answer.kept == len(kept & {row["sample_id"] for row in found})
    for name in charts:  # each counts what matches under all filters but its own
        others = {field: one for field, one in asked.fields.items() if field != name}
        mask = filters.mask(asked.model_copy(update={"fields": others}))
        chart = answer.charts[name]
        assert sum(chart["kept"]) == int((mask & ~frame.dropped).sum())
        assert sum(chart["dropped"]) == int((mask & frame.dropped).sum())


def test_a_chart_of_numbers_counts_every_sample_once(run: Run) -> None:
    frame = Frame(of_run(run))
    chart = filters_of(frame).answer(Ask(charts=["read", "score of 2 importance_resampling"])).charts
    for one in chart.values():
        assert sum(one["kept"]) + sum(one["dropped"]) + one["none"] == frame.rows
    assert chart["score of 2 importance_resampling"]["none"] > 0


@pytest.mark.parametrize(
    "name", ["key", "n_bytes", "part", "read_letter_share", "score of 2 importance_resampling", "rank"]
)
@pytest.mark.parametrize("down", [False, True])
def test_rows_are_sorted_and_what_has_no_value_is_last(name: str, down: bool, run: Run) -> None:
    frame = Frame(of_run(run))
    order = frame.order(name, down=down)
    assert sorted(order.tolist()) == list(range(frame.rows))
    if name == "key":
        keys = [row["key"] for row in rows(run, "select key, sample_id from pool")]
        by_id = {row["sample_id"]: row["key"] for row in rows(run, "select key, sample_id from pool")}
        assert [by_id[int(frame.ids[row])] for row in order] == sorted(keys, reverse=down)
        return
    field = frame.field(name)
    values = frame._ranks()[order] if field is None else field.order()[order]
    there = values[~np.isnan(values)]
    assert np.isnan(values[len(there) :]).all()
    assert (np.diff(there) <= 0).all() if down else (np.diff(there) >= 0).all()


def test_the_first_of_the_selection_stands_first(run: Run) -> None:
    session = Session(of_run(run))
    answer = session.filters.answer(Ask())
    shown = session.rows(answer.number, 0, 5, "rank")["rows"]
    assert [row["key"] for row in shown] == [
        row["key"] for row in rows(run, "select key from selection order by rank limit 5")
    ]
    assert all(row["kept"] and row["reason"] == "chosen" for row in shown)


@pytest.mark.parametrize(
    "condition",
    [
        "select 1", "true; drop table pool", "key in (select key from pool)", "count(*) > 1", "random() > 0.5",
        "read_text('/etc/passwd') is not null", "nosuch > 1", "n_bytes >", "getenv('HOME') = 'x'",
        "true) or exists (from read_csv('/etc/passwd')",
    ],
)  # fmt: skip
def test_a_condition_that_is_no_expression_over_a_row_is_refused(condition: str, run: Run) -> None:
    with pytest.raises(QueryError):
        filters_of(Frame(of_run(run))).answer(Ask(condition=condition))


def test_what_no_page_asks_is_refused() -> None:
    for wrong in (
        {"nosuch": 1},
        {"fields": {"a": {"least": float("nan")}}},
        {"lasso": [[0, "x"]]},
        {"words": "x" * 2000},
    ):
        with pytest.raises(ValidationError):
            Ask.model_validate(wrong)


def test_runs_side_by_side_tell_who_is_in_which(run_in: Runner, workplace: Path) -> None:
    one = run_in(workplace, "one", steps=[{"random": {"budget": 300}}], target=[]).folder
    two = run_in(workplace, "two", steps=[{"importance_resampling": {"budget": 300}}]).folder
    both = seen([one, two])
    chart = filters_of(Frame(both)).answer(Ask(charts=["runs"])).charts["runs"]
    counts = {
        name: kept + dropped
        for name, kept, dropped in zip(chart["names"], chart["kept"], chart["dropped"], strict=True)
    }
    mine, theirs = (
        {row["sample_id"] for row in rows(open_complete(run), "select sample_id from selection")} for run in (one, two)
    )
    assert counts["both"] == len(mine & theirs) > 0
    assert counts["only one"] == len(mine - theirs)
    assert counts["only two"] == len(theirs - mine)


def test_a_store_shows_its_newest_run_and_a_column_its_pool(run: Run, run_in: Runner, workplace: Path) -> None:
    run_in(workplace, "later", columns=READ, steps=[])
    assert seen([run.store]).name == "later"
    of_column = seen([run.store / "columns" / "read"])
    assert (of_column.run, of_column.first) == (None, "read")
    session = Session(of_column)
    assert session.about()["sort"] == "read"
    assert session.filters.answer(Ask(charts=["read"])).kept == session.frame.rows
    assert session.sample(0)["values"]["read"] is not None
    for wrong in (workplace, workplace / "pool.jsonl", workplace / "nosuch"):
        with pytest.raises(RunError):
            seen([wrong])


def test_a_field_of_many_values_is_no_group_but_sorts(run_in: Runner, tmp_path: Path) -> None:
    write_jsonl(
        tmp_path / "pool.jsonl", [{"id": f"k{n}", "text": f"text {n}", "part": f"p{n:05d}"} for n in range(6000)]
    )
    run = open_complete(run_in(tmp_path, target=[], steps=[], emit=[]).folder)
    frame = Frame(of_run(run))
    assert frame.field("part") is None
    assert "part" not in filters_of(frame).answer(Ask(charts=["part"])).charts
    assert frame.order("part", down=True)[0] == int(np.argmax(frame.order("part", down=False)))
    with pytest.raises(QueryError, match="part"):
        filters_of(frame).answer(Ask(fields={"part": OfField(words=["p00001"])}))


def test_a_line_round_points_chooses_those_inside(run_in: Runner, photos: Path) -> None:
    steps = [{"random": {"budget": 40}}]
    frame = Frame(of_run(open_complete(run_in(photos.parent, **{**OF_PHOTOS, "steps": steps}).folder)))
    places = Places(frame)
    assert places.told()["points"] == frame.rows
    x, y = places.points.T
    square = [(0.2, 0.2), (0.7, 0.2), (0.7, 0.6), (0.2, 0.6)]
    inside = places.inside(square)
    assert (inside == ((x > 0.2) & (x < 0.7) & (y > 0.2) & (y < 0.6))).all()
    assert 0 < inside.sum() < frame.rows
    answer = filters_of(frame).answer(Ask(lasso=square))
    assert answer.matching == inside.sum()
