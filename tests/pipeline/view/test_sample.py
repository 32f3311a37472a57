"""One sample, opened; what is beside it; marks and what goes out of them."""

import csv
import json
import threading
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tamis.pipeline.errors import DamageFound, QueryError
from tamis.pipeline.explain.why import why
from tamis.pipeline.labels.files import read_answers
from tamis.pipeline.progress import hushed
from tamis.pipeline.store.garbage import collect
from tamis.pipeline.store.manifest import verify
from tamis.pipeline.store.runs import open_complete
from tamis.pipeline.store.whereabouts import forget
from tamis.pipeline.view.marks import Marks
from tamis.pipeline.view.rows.seen import of_run
from tamis.pipeline.view.sample import differences
from tamis.pipeline.view.session import Session
from tests_support import OF_PHOTOS, Runner, write_jsonl

LONG = " ".join(f"word{n} of a text that is long enough" for n in range(30))
TEXTS = [
    {"id": "a", "text": f"{LONG} with a dog at its end"},
    {"id": "b", "text": f"{LONG} with a cat at its end"},
    {"id": "c", "text": "something else altogether, of which no other text in this pool has a single phrase"},
    {"id": "d", "text": "something else altogether, of which no other text in this pool has a single phrase"},
]
POOL = [{"format": "jsonl", "path": "pool.jsonl", "key": "id", "text": "text"}]


@pytest.fixture
def session(run_in: Runner, tmp_path: Path) -> Session:
    write_jsonl(tmp_path / "pool.jsonl", TEXTS)
    steps = [{"exact_dedup": {}}, {"near_dedup": {}}]
    return Session(of_run(open_complete(run_in(tmp_path, pool=POOL, target=[], steps=steps, emit=[]).folder)))


def test_a_sample_tells_what_why_tells(session: Session) -> None:
    run = session.seen.run
    assert run is not None
    for row in range(session.frame.rows):
        found = session.sample(row)
        told = why(run, found["key"])
        for step in found["steps"]:
            assert (
                f"step {step['step']}    {step['selector']}: {'kept' if step['kept'] else 'dropped'}, {step['reason']}"
                in told
            )
            assert all(line in told for line in step["lines"])
        assert found["selected"] == ("NOT SELECTED" not in told)


def test_a_duplicate_stands_beside_the_one_kept_with_its_differences(session: Session) -> None:
    dropped = session.sample(session.find("d"))
    (winner,) = dropped["beside"]
    assert (winner["key"], winner["title"]) == ("c", "kept instead of it by exact_dedup")
    assert {kind for kind, _ in winner["differences"]} == {"same"}
    kept = session.sample(session.find("c"))
    assert [(one["key"], one["title"]) for one in kept["beside"]] == [("d", "dropped in its favour by exact_dedup")]
    near = [one for key in "ab" for one in session.sample(session.find(key))["beside"]]
    assert sorted(one["key"] for one in near) == ["a", "b"]
    words = {kind: text for kind, text in near[0]["differences"] if kind != "same"}
    assert sorted(words.values()) == ["cat", "dog"]


def test_differences_say_both_texts() -> None:
    mine, other = "one two three four", "one 2 three four five"
    told = differences(mine, other)
    assert " ".join(text for kind, text in told if kind in ("same", "mine")) == mine
    assert " ".join(text for kind, text in told if kind in ("same", "other")) == other
    assert differences(mine, None) == []
    assert differences("x " * 3000, "y " * 3000) == []


def test_the_nearest_of_the_target_and_pictures(run_in: Runner, photos: Path) -> None:
    changes = {
        **OF_PHOTOS,
        "target": [{"format": "images", "path": "photos/china"}],
        "steps": [{"importance_resampling": {"features": "look", "budget": 30}}],
    }
    session = Session(of_run(open_complete(run_in(photos.parent, **changes).folder)))
    sample = session.sample(session.find("china/03"))
    near = [one for one in sample["beside"] if one["title"] == "nearest of the target"]
    assert near[0]["cosine"] == pytest.approx(1, abs=1e-3)
    for query in ({"row": sample["row"], "sample_id": ""}, {"row": None, "sample_id": near[0]["id"]}):
        assert session.picture(side=192, **query)[:3] == b"\xff\xd8\xff"  # type: ignore[arg-type]
    with pytest.raises(QueryError):
        session.picture(None, "0123456789abcdef", 192)


def test_marks_are_kept_beside_the_run_which_is_as_it_was(session: Session) -> None:
    run = session.seen.run
    assert run is not None
    ids = [(session.row(session.find(key))["id"], key) for key in "abc"]
    session.marks.set(ids[:2], {"mark": "wrong_keep"})
    session.marks.set(ids[2:], {"mark": "wrong_drop", "note": '=1+1, and "quotes"'})
    session.marks.set(ids[:1], {"label": "fox"})
    again = Marks(session.seen)
    assert again.of(ids[0][0]) == session.marks.of(ids[0][0])
    assert verify(run) == []
    path, _, count = again.export("csv")
    assert count == 3
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["key"], row["mark"], row["label"]) for row in rows] == [
        ("a", "wrong_keep", "fox"),
        ("b", "wrong_keep", ""),
        ("c", "wrong_drop", ""),
    ]
    assert rows[2]["note"].startswith("'=")  # no formula in a sheet
    assert again.export("forget")[1] == "a\nb\n"
    (answer,) = read_answers(again.export("labels")[0])
    assert (answer.key, answer.label) == (ids[0][0], "fox")
    session.marks.set(ids, {"mark": "none", "label": "", "note": ""})
    assert len(Marks(session.seen)) == 0


def test_what_is_to_be_forgotten_is_chosen_never_again(session: Session, tmp_path: Path, run_in: Runner) -> None:
    seen = session.seen
    row = session.find("c")
    session.marks.set([(session.row(row)["id"], "c")], {"mark": "wrong_keep"})
    path, *_ = session.marks.export("forget")
    with hushed():
        forget(seen.store, path.read_text().splitlines())
    later = run_in(tmp_path, "later", pool=POOL, target=[], steps=[{"exact_dedup": {}}], emit=[])
    assert "c" not in pq.read_table(later.folder / "selection.parquet")["key"].to_pylist()


def test_marks_of_many_threads_are_all_kept(session: Session) -> None:
    row = session.row(session.find("a"))
    threads = [
        threading.Thread(target=session.marks.set, args=([(f"{n:016x}", "k")], {"note": str(n)})) for n in range(24)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(Marks(session.seen)) == 24
    assert row["mark"] is None


def test_marks_that_are_none_are_said_and_not_written_over(session: Session) -> None:
    session.marks.path.write_text('{"marks": {"x": [1]}}')
    with pytest.raises(DamageFound, match=r"marks\.json"):
        Marks(session.seen)
    assert json.loads(session.marks.path.read_text()) == {"marks": {"x": [1]}}


def test_nothing_of_the_page_s_own_files_stays_in_the_store(session: Session) -> None:
    assert list((session.seen.store / ".tmp").glob("view-*")) == []
    assert session.row(0)["text"]


def test_gc_leaves_marks_alone(session: Session) -> None:
    session.marks.set([(session.row(0)["id"], session.row(0)["key"])], {"note": "look again"})
    session.marks.export("csv")
    with hushed():
        collect(session.seen.store, True, False)
    assert len(Marks(session.seen)) == 1
    assert (session.marks.folder / "marks" / "marks.csv").exists()
