"""Each query on a few rows written by hand, with a tie, a NaN and nothing at all."""

import math
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tamis import sql
from tamis.pipeline.choose.decide import EARLIER_CONTENTS
from tamis.pipeline.schemas import LEDGER, SCORES

NAN = math.nan


def scores(tmp_path: Path, rows: list[dict[str, Any]], name: str = "part-00000") -> str:
    filled = [
        {
            "score": 0.0,
            "order_key": 0.0,
            "part": 0,
            "cost": 1,
            "target": 0,
            "barred": None,
            "group_by": None,
            "tie": None,
            "detail": None,
            **row,
        }
        for row in rows
    ]
    path = tmp_path / f"{name}.parquet"
    pq.write_table(pa.Table.from_pylist(filled, SCORES), path)
    return str(path)


ONCE: dict[str, Any] = {"distinct": None, "passes": 1, "left": 0}  # nothing repeats
TAKEN = "create temp table taken (sample_id ubigint, target integer)"


def ask(name: str, **parameters: Any) -> list[tuple[Any, ...]]:
    con = duckdb.connect()
    con.execute(TAKEN).fetchall()
    return con.execute(sql.text(name), parameters).fetchall()


def by_id(rows: list[tuple[Any, ...]]) -> dict[int, tuple[Any, ...]]:
    """sample_id -> (kept, rank, weight, reason, related_id)."""
    return {row[2]: row[3:] for row in rows}


KEYED = [
    {"sample_id": 4, "order_key": 1.0}, {"sample_id": 2, "order_key": 3.0}, {"sample_id": 9, "order_key": NAN},
    {"sample_id": 1, "order_key": 3.0}, {"sample_id": 7, "order_key": 5.0, "barred": "too_short"},
    {"sample_id": 5, "order_key": 9.0, "barred": "passed_through"},
]  # fmt: skip


def test_a_budget_keeps_the_best_ties_by_id_and_never_nan(tmp_path: Path) -> None:
    found = ask("choose_budget", scores=[scores(tmp_path, KEYED)], budget=2, more=[], **ONCE)
    assert [row[:3] for row in found] == [(0, i, row["sample_id"]) for i, row in enumerate(KEYED)]
    assert by_id(found) == {
        1: (True, 1, 1.0, "chosen", None), 2: (True, 2, 1.0, "chosen", None), 4: (False, 3, 1.0, "below_cut", None),
        9: (False, None, 1.0, "not_scorable", None), 7: (False, None, 1.0, "too_short", None),
        5: (True, None, 1.0, "passed_through", None),
    }  # fmt: skip


def test_what_lies_beyond_the_first_that_is_too_dear_is_told_in_order(tmp_path: Path) -> None:
    rows = [{"sample_id": i, "order_key": -float(i), "cost": cost} for i, cost in enumerate([5, 6, 1, 9])]
    files = [scores(tmp_path, [*rows, {"sample_id": 9, "order_key": 1.0, "cost": 1, "barred": "too_short"}])]
    assert ask("beyond_budget", scores=files, budget=10, most=2, target=0) == [(2, 6, 5), (3, 1, 11)]
    kept = {key: row[0] for key, row in by_id(ask("choose_budget", scores=files, budget=10, more=[3], **ONCE)).items()}
    assert kept == {0: True, 1: False, 2: True, 3: False, 9: False}


def test_a_budget_of_costs_stops_before_the_one_that_is_too_dear(tmp_path: Path) -> None:
    rows = [{"sample_id": i, "order_key": -float(i), "cost": cost} for i, cost in enumerate([5, 6, 1])]
    kept = {
        key: row[0]
        for key, row in by_id(ask("choose_budget", scores=[scores(tmp_path, rows)], budget=10, more=[], **ONCE)).items()
    }
    assert kept == {0: True, 1: False, 2: False}, "a prefix: the cheap third is not taken over the second"


@pytest.mark.parametrize("budget", [0, 100])
def test_no_budget_and_no_candidates(tmp_path: Path, budget: int) -> None:
    assert ask("choose_budget", scores=[scores(tmp_path, [])], budget=budget, more=[], **ONCE) == []
    kept = [
        row[0]
        for row in by_id(
            ask("choose_budget", scores=[scores(tmp_path, KEYED[:2])], budget=budget, more=[], **ONCE)
        ).values()
    ]
    assert kept == [budget == 100] * 2


def test_eligible_ones_are_counted_once_for_all_targets(tmp_path: Path) -> None:
    twice = KEYED + [{**row, "target": 1} for row in KEYED]
    assert ask("count_eligible", scores=[scores(tmp_path, twice)]) == [(3,)]


def nothing_earlier(folder: Path) -> str:
    pq.write_table(EARLIER_CONTENTS.empty_table(), folder / "earlier.parquet")
    return str(folder / "earlier.parquet")


def test_deduplication_keeps_the_smallest_key_and_names_it(tmp_path: Path) -> None:
    rows = [
        {"sample_id": 1, "group_by": b"x", "tie": "b"}, {"sample_id": 2, "group_by": b"x", "tie": "a"},
        {"sample_id": 3, "group_by": b"y", "tie": "c"}, {"sample_id": 4, "group_by": b"x", "tie": "0", "barred": "passed_through"},
    ]  # fmt: skip
    assert by_id(ask("choose_exact_dedup", scores=[scores(tmp_path, rows)], earlier=nothing_earlier(tmp_path))) == {
        1: (False, None, 1.0, "duplicate", 2), 2: (True, None, 1.0, "first_of_duplicates", None),
        3: (True, None, 1.0, "unique", None), 4: (True, None, 1.0, "passed_through", None),
    }  # fmt: skip
    assert ask("choose_exact_dedup", scores=[scores(tmp_path, [])], earlier=nothing_earlier(tmp_path)) == []


def test_quotas_repeat_small_groups_and_cut_large_ones(tmp_path: Path) -> None:
    rows = [
        {"sample_id": i, "order_key": float(i), "group_by": group}
        for i, group in enumerate([b"a", b"a", b"b", b"b", b"b", b"c", None])
    ]
    found = by_id(ask("choose_quota", scores=[scores(tmp_path, rows)], groups=["a", "b"], quotas=[3, 1], max_epochs=2))
    weights = {key: (row[0], row[2], row[3]) for key, row in found.items()}
    assert weights == {
        0: (True, 1.0, "in_quota"), 1: (True, 2.0, "in_quota"), 2: (False, 1.0, "over_quota"), 3: (False, 1.0, "over_quota"),
        4: (True, 1.0, "in_quota"), 5: (False, 1.0, "no_quota"), 6: (False, 1.0, "no_quota"),
    }  # fmt: skip
    capped = by_id(ask("choose_quota", scores=[scores(tmp_path, rows)], groups=["a", "b"], quotas=[9, 0], max_epochs=2))
    assert [capped[i][2] for i in (0, 1)] == [2.0, 2.0]
    assert not capped[4][0]


def test_targets_take_in_turn_and_each_sample_once(tmp_path: Path) -> None:
    rows = [
        {"sample_id": i, "target": target, "order_key": key}
        for target, keys in enumerate([[3.0, 2.0, 1.0], [9.0, 1.0, 8.0]])
        for i, key in enumerate(keys)
    ]
    con = duckdb.connect()
    con.execute(TAKEN).fetchall()
    path = scores(tmp_path, rows)
    for target in (0, 1):
        asked = {"scores": [path], "target": target, "budget": 1, "more": []}
        con.execute(sql.text("take_for_target"), asked).fetchall()
    found = con.execute(sql.text("choose_by_target"), {"scores": [path]}).fetchall()
    assert [(row[1], row[2], row[3], row[4]) for row in found] == [(0, 0, True, 1), (1, 1, False, 3), (5, 2, True, 2)]


def ledger(tmp_path: Path, rows: list[dict[str, Any]]) -> str:
    filled = [
        {
            "selector": "s",
            "score": None,
            "rank": None,
            "weight": 1.0,
            "reason": "chosen",
            "related_id": None,
            "detail": None,
            **row,
        }
        for row in rows
    ]
    pq.write_table(pa.Table.from_pylist(filled, LEDGER), tmp_path / "l.parquet")
    return str(tmp_path / "l.parquet")


def test_the_selection_has_the_latest_rank_and_all_weights(tmp_path: Path) -> None:
    rows = [
        {"step": 0, "sample_id": 1, "kept": True, "rank": 2, "score": 0.5, "weight": 2.0},
        {"step": 0, "sample_id": 2, "kept": True, "rank": 1, "score": 0.9},
        {"step": 0, "sample_id": 3, "kept": False, "rank": 3, "score": 0.1},
        {"step": 1, "sample_id": 1, "kept": True, "weight": 3.0}, {"step": 1, "sample_id": 2, "kept": True},
    ]  # fmt: skip
    found = ask("chosen", ledger=[ledger(tmp_path, rows)], last=1)
    assert sorted(found) == [(1, 2, 1.0, 0.9), (2, 1, 6.0, 0.5)]


def test_every_query_says_its_question_and_grain_on_top() -> None:
    folder = Path(sql.__file__).parent
    for path in folder.glob("*.sql"):
        text = path.read_text()
        assert text.startswith("-- ") and "?" in text.splitlines()[0], path.name
        assert "row per" in text or "One row" in text or "Reads" in text, path.name
        assert len(duckdb.extract_statements(text.replace("$field", "f"))) == 1, path.name


def test_repeats_go_as_far_down_as_the_number_or_the_passes_ask(tmp_path: Path) -> None:
    """Costs 2, 1, 3, 4 in order; ties by id; what is barred or no number is not there."""
    rows = [{"sample_id": 3, "order_key": 5.0, "cost": 3}, {"sample_id": 1, "order_key": 9.0, "cost": 2}, {"sample_id": 2, "order_key": 9.0, "cost": 1},
            {"sample_id": 8, "order_key": 1.0, "cost": 4}, {"sample_id": 4, "order_key": NAN, "cost": 9}, {"sample_id": 5, "order_key": 10.0, "barred": "x"}]  # fmt: skip
    path = scores(tmp_path, rows)

    def last(**asked: Any) -> tuple[Any, ...]:
        return ask("repeats", scores=[path], **asked)[0]

    assert last(first=1, budget=100, epochs=None) == (1, 2)
    assert last(first=2, budget=100, epochs=None) == (2, 3)
    assert last(first=2, budget=18, epochs=3) == (3, 6), "3 x 3 are too few"
    assert last(first=2, budget=1000, epochs=3) == (4, 10), "all, where that is not enough"
    assert last(first=9, budget=1, epochs=None) == (4, 10)
    assert ask("repeats", scores=[scores(tmp_path, [], "none")], first=1, budget=1, epochs=None) == []


def test_what_repeats_has_its_weight_and_the_first_once_more(tmp_path: Path) -> None:
    rows = [{"sample_id": 3, "order_key": 5.0, "cost": 3}, {"sample_id": 1, "order_key": 9.0, "cost": 2}, {"sample_id": 2, "order_key": 9.0, "cost": 1},
            {"sample_id": 4, "order_key": NAN}, {"sample_id": 5, "order_key": 10.0, "barred": "passed_through"}]  # fmt: skip
    found = by_id(
        ask("choose_budget", scores=[scores(tmp_path, rows)], budget=0, more=[], distinct=2, passes=3, left=2)
    )
    assert found == {
        1: (True, 1, 4.0, "chosen", None), 2: (True, 2, 3.0, "chosen", None), 3: (False, 3, 1.0, "below_cut", None),
        4: (False, None, 1.0, "not_scorable", None), 5: (True, None, 1.0, "passed_through", None),
    }  # fmt: skip
    assert (
        ask("choose_budget", scores=[scores(tmp_path, [], "none")], budget=0, more=[], distinct=2, passes=3, left=2)
        == []
    )


def test_each_targets_line_is_its_lowest_that_was_taken(tmp_path: Path) -> None:
    rows = [{"sample_id": i, "target": t, "order_key": float(10 * t + i)} for i in (1, 2, 3) for t in (0, 1)]
    con = duckdb.connect()
    con.execute(TAKEN)
    con.execute("insert into taken values (3, 0), (2, 0), (1, 1)")
    found = con.execute(sql.text("lines_of_targets"), {"scores": [scores(tmp_path, rows)]}).fetchall()
    assert found == [(0, 2.0), (1, 11.0)]


def test_the_nearest_come_first_by_their_best_key(tmp_path: Path) -> None:
    rows = [{"sample_id": 1, "order_key": 1.0}, {"sample_id": 1, "order_key": 5.0, "target": 1}, {"sample_id": 2, "order_key": 3.0}, {"sample_id": 3, "order_key": NAN},
            {"sample_id": 4, "order_key": 9.0, "barred": "x"}, {"sample_id": 5, "order_key": 3.0}]  # fmt: skip
    pool = tmp_path / "pool.parquet"
    pq.write_table(pa.table({"sample_id": pa.array(range(1, 6), pa.uint64()), "key": list("abcde"), "text": list("vwxyz")}), pool)  # fmt: skip
    assert ask("nearest", scores=[scores(tmp_path, rows)], pool=[str(pool)], most=2) == [
        ("a", 5.0, "v"),
        ("b", 3.0, "w"),
    ]
