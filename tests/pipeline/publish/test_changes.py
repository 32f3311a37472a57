"""Promise: what changed between two runs adds up to the sample, and each sample says why it came or went."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from nights import Nights, chosen, texts

from tamis.pipeline.errors import RunError
from tamis.pipeline.progress import hushed
from tamis.pipeline.publish.changes import IN, OUT, Changes, changes
from tamis.pipeline.publish.told import markdown, page, text
from tamis.pipeline.store.garbage import collect
from tamis.pipeline.store.old_runs import Old
from tamis.pipeline.store.runs import open_complete
from tamis.pipeline.store.whereabouts import forget


@pytest.fixture
def nights(tmp_path: Path) -> Nights:
    made = Nights(tmp_path, publish={})
    made.comes("one", texts("m", 40))
    return made


def between(before: Path, after: Path) -> Changes:
    found = changes(open_complete(before), open_complete(after))
    out, came = ({(r["key"], r["weight"]) for r in found.table.to_pylist() if r["change"] == c} for c in (OUT, IN))
    assert chosen(before) - out | came == chosen(after)
    assert found.rows_before - found.count(OUT) + found.count(IN) == found.rows_after
    assert sum(rows for _, rows in found.why(OUT)) == found.count(OUT)
    assert sum(rows for _, rows in found.why(IN)) == found.count(IN)
    return found


def whys(found: Changes, change: str) -> dict[str, str]:
    """By key."""
    return {row["key"]: row["why"] for row in found.table.to_pylist() if row["change"] == change}


def test_newer_ones_push_others_below_the_cut(nights: Nights) -> None:
    first = nights.night()
    nights.comes("two", texts("n", 40, "b"))
    found = between(first.folder, nights.night().folder)
    assert set(whys(found, OUT).values()) == {"below the cut, because of newer ones"}
    assert set(whys(found, IN).values()) == {"new to the pool"}
    assert found.composition["part"]["b"][0] == 0 and found.composition["part"]["b"][1] == found.count(IN)
    assert found.stay == 20 - found.count(OUT) and found.rank_correlation == pytest.approx(1.0)


def test_a_better_duplicate_came_and_went(nights: Nights) -> None:
    keep_all = [{"exact_dedup": {}}]
    first = nights.night(steps=keep_all)
    path = nights.comes("two", [{**texts("m", 1)[0], "id": "a-smaller-key"}])
    second = nights.night(steps=keep_all)
    assert whys(between(first.folder, second.folder), OUT) == {"m000": "a better duplicate came"}
    path.write_text(json.dumps({"id": "z", "part": "a", "text": "something else"}) + "\n")
    back = between(second.folder, nights.night(steps=keep_all).folder)
    assert whys(back, OUT) == {"a-smaller-key": "its file does not hold it any more"}
    assert whys(back, IN) == {"m000": "its better duplicate went", "z": "new to the pool"}


def test_files_that_change_or_vanish_and_takedowns(nights: Nights) -> None:
    nights.comes("two", texts("n", 3))
    keep_all = [{"exact_dedup": {}}]
    first = nights.night(steps=keep_all)
    nights.comes(
        "one", [{**one, "text": one["text"] + (" more" if one["id"] == "m001" else "")} for one in texts("m", 39)]
    )
    (nights.folder / "pool" / "two.jsonl").unlink()
    with hushed():
        forget(nights.store, ["m002"])
    found = between(first.folder, nights.night(steps=keep_all).folder)
    gone = dict.fromkeys(("n000", "n001", "n002"), "its file vanished")
    changed = {"m001": "its content changed"}
    assert whys(found, OUT) == {**gone, **changed, "m039": "its file does not hold it any more", "m002": "forgotten"}
    assert whys(found, IN) == changed


def test_a_setting_changed_is_named(nights: Nights) -> None:
    first = nights.night()
    second = nights.night(steps=[{"exact_dedup": {}}, {"random": {"budget": 15}}])
    found = between(first.folder, second.folder)
    assert set(whys(found, OUT).values()) == {"a setting changed"} and found.recipe == ["steps"]
    assert pc.unique(found.table["detail"]).to_pylist() == ["random: budget"]
    third = nights.night(steps=[{"exact_dedup": {}}, {"random": {"budget": 15}}, {"random": {"budget": 9}}])
    assert whys(between(second.folder, third.folder), OUT)
    new = nights.night(steps=[{"sql": {"where": "key > 'm005'"}}, {"exact_dedup": {}}, {"random": {"budget": 15}}])
    told = between(second.folder, new.folder).table.to_pylist()
    assert {row["detail"] for row in told if row["selector"] == "sql"} <= {"step sql"}


def test_a_row_that_became_a_reject(nights: Nights) -> None:
    first = nights.night(steps=[{"exact_dedup": {}}])
    nights.comes("zero", [{"id": "m007", "part": "b", "text": "another text under the same key"}])
    nights.comes("one", texts("m", 40)[::-1])  # read anew behind it
    found = between(first.folder, nights.night(steps=[{"exact_dedup": {}}]).folder)
    assert set(whys(found, OUT).values()) <= {"its row is a reject now", "its content changed"}


def test_a_sample_whose_text_or_fields_changed_is_out_and_in(nights: Nights) -> None:
    keep_all: dict[str, Any] = {"steps": [], "publish": {}}
    first = nights.night(**keep_all)
    other = [{**one, "text": one["text"] + " anew"} if one["id"] == "m001" else one for one in texts("m", 40)]
    nights.comes("one", [{**one, "part": "z"} if one["id"] == "m002" else one for one in other])
    second = nights.night(**keep_all)
    found = between(first.folder, second.folder)
    both = {"m001": "its content changed", "m002": "its content changed"}
    assert whys(found, OUT) == whys(found, IN) == both and found.stay == 38
    nights.comes("one", [{**one, "text": "x" + one["text"]} for one in texts("m", 40)])
    assert nights.night(steps=[], publish={"overlap": 0.1}).held, "none of them is in it again"


def test_what_else_changed_is_the_reason_for_a_line_that_moved(nights: Nights) -> None:
    first = nights.night()
    found = between(first.folder, nights.night(seed=9).folder)
    assert {row["detail"] for row in found.table.to_pylist()} == {"seed"}
    assert {why for why, _ in found.why(OUT)} == {"a setting changed"}


def test_weights_that_change_are_in_both_lists(nights: Nights) -> None:
    first = nights.night()
    second = nights.night(steps=[{"exact_dedup": {}}, {"random": {"budget": 21}}])
    place = second.folder / "selection.parquet"
    table = pq.read_table(place)
    weights = [3.0 if rank == 1 else 1.0 for rank in table["rank"].to_pylist()]
    pq.write_table(table.set_column(table.schema.get_field_index("weight"), "weight", [weights]), place)
    found = between(first.folder, second.folder)
    best = table["key"][0].as_py()
    assert whys(found, OUT) == {best: "counts another number of times"}
    assert whys(found, IN)[best] == "counts another number of times" and found.count(IN) == 2
    assert found.stay == 19 and {row["detail"] for row in found.table.to_pylist() if row["key"] == best} == {"1 → 3"}


def test_where_nothing_is_left_to_tell_it_by_no_reason_is_made_up(nights: Nights) -> None:
    first = nights.night(publish=None)
    nights.comes("one", [{**one, "text": one["text"] + " anew"} for one in texts("m", 39)])
    nights.night(publish=None)
    nights.comes("two", texts("n", 10))
    last = nights.night(publish=None)
    told = whys(between(first.folder, last.folder), OUT)
    assert "its file does not hold it any more" in told.values() or "its content changed" in told.values()
    with hushed():
        collect(nights.store, delete=True, old=Old(keep_runs=1))
    found = changes(open_complete(first.folder, thinned_too=True), open_complete(last.folder))
    known = "its content changed"  # by the selections, which stand
    assert {why for why, _ in found.why(OUT)} == {known, "not chosen again, and of that run no ledger is left"}
    assert {why for why, _ in found.why(IN)} == {known, "not chosen before, and of that run no ledger is left"}


def test_runs_of_two_stores_are_refused(nights: Nights, tmp_path: Path) -> None:
    first = nights.night()
    other = Nights(tmp_path / "other") if (tmp_path / "other").mkdir() is None else nights
    other.comes("one", texts("m", 40))
    with pytest.raises(RunError, match="runs of two stores"):
        changes(open_complete(first.folder), open_complete(other.night().folder))


def test_it_is_told_in_a_terminal_as_markdown_and_as_a_page(nights: Nights, tmp_path: Path) -> None:
    first = nights.night()
    nights.comes("two", [{**one, "part": "<b>|x"} for one in texts("n", 40)])
    found = between(first.folder, nights.night().folder)
    assert f"{found.count(OUT):,}  below the cut, because of newer ones" in text(found)
    assert "<b>" not in markdown(found) and "\\<b\\>\\|x" in markdown(found)
    page(found, tmp_path / "diff.html")
    written = (tmp_path / "diff.html").read_text()
    assert "below the cut, because of newer ones" in written and "<b>|x" not in written and "&lt;b&gt;|x" in written


def tamis(*words: Any) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "tamis.pipeline.cli.app", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_from_the_command_line(nights: Nights) -> None:
    first = nights.night()
    nights.comes("two", texts("n", 40))
    second = nights.night()
    both = (first.folder, second.folder)
    counted = tamis("diff", *both, "--sql", "select change, count(*) as n from diff group by all", "--format", "json")
    rows = {one["change"]: one["n"] for one in map(json.loads, counted.stdout.splitlines())}
    assert rows[OUT] == rows[IN] > 0
    in_view = tamis("sql", second.folder, "select count(*) as n from changes", "--format", "json")
    assert json.loads(in_view.stdout) == {"n": rows[OUT] + rows[IN]}
    lines = tamis("diff", *both, "--format", "csv").stdout.splitlines()
    assert lines[0].startswith("change,sample_id,key,") and len(lines) == 1 + rows[OUT] + rows[IN]
    assert tamis("path", nights.store, "added").stdout.strip().endswith("000002-added.parquet")
    wrong = tamis("diff", *both, "--sql", "select nothing from diff")
    assert wrong.returncode == 2 and "the view is `diff`: change, sample_id" in wrong.stderr
    outside = tamis("diff", *both, "--sql", "select * from read_text('/etc/passwd')")
    assert outside.returncode == 2 and "root:" not in outside.stdout
