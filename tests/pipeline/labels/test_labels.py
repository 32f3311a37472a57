"""Rounds of labels: read from each tool's own export, checked, kept whole, and never asked for again."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tamis.pipeline.columns.detect.rounds import rounds
from tamis.pipeline.columns.labels import read_labels
from tamis.pipeline.emit.tasks import export_tasks
from tamis.pipeline.errors import RecipeError, StoreError
from tamis.pipeline.labels.answers import Answer, Boxes
from tamis.pipeline.labels.files import read_answers
from tamis.pipeline.labels.rounds import import_answers
from tamis.pipeline.labels.status import status
from tamis.pipeline.store.runs import open_complete
from tests_support import Runner, write_jsonl

KEYS = [f"s{number:02d}" for number in range(30)]
VECTORS = {"columns": {"v": {"embed": "precomputed", "path": "vectors.npz"}}, "target": []}
ACTIVE: dict[str, Any] = {**VECTORS, "steps": [{"active": {"column": "v", "budget": 5}}], "emit": []}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    import numpy as np

    write_jsonl(tmp_path / "pool.jsonl", [{"id": key, "part": "a", "text": f"text {key}"} for key in KEYS])
    kinds = np.arange(30) % 3
    vectors = np.eye(4)[kinds] + np.random.default_rng(0).normal(size=(30, 4)) * 0.1
    np.savez(tmp_path / "vectors.npz", key=np.array(KEYS), vector=vectors)
    return tmp_path


def keys_of(folder: Path) -> list[str]:
    return pq.read_table(folder / "selection.parquet", columns=["key"])["key"].to_pylist()  # type: ignore[no-any-return]


def test_rounds_go_on_until_all_is_labeled_and_nothing_is_asked_twice(run_in: Runner, place: Path) -> None:
    asked: list[str] = []
    for number in range(7):
        outcome = run_in(place, name=f"round-{number}", **ACTIVE, labels="store/labels")
        keys = keys_of(outcome.folder)
        assert len(keys) == (5 if number < 6 else 0) and not set(keys) & set(asked)
        asked += keys
        answers = [Answer(key, "abc"[int(key[1:]) % 3], "ann", None, 0.5) for key in keys]
        found = import_answers(place / "store", answers, f"{number}.csv", None, print)
        assert (found.round, found.added) == ((number + 1, 5) if keys else (None, 0))
    assert len(asked) == 30
    told = status(place / "store", None)
    assert "  all       30    15.00" in told
    assert "round-5                        5         5       0  5 rows, 0 left" in told
    assert "compare rounds alone" in told and told.splitlines()[-1].split()[2] == "1.000", "the classes lie far apart"


def test_what_is_wrong_is_listed_and_never_guessed(run_in: Runner, place: Path) -> None:
    run_in(place, **ACTIVE)
    answers = [
        Answer("s00", "a", "ann"), Answer("s00", "a", "bob"), Answer("s01", "a", "ann"), Answer("s01", "b", "bob"),
        Answer("nobody", "a"), Answer("s02", "unicorn"), Answer("s03", "b"),
    ]  # fmt: skip
    found = import_answers(place / "store", answers, "x.csv", ["a", "b"], print)
    assert (found.added, found.repeated, found.unknown_keys) == (2, 1, ["nobody"])
    assert found.unknown_classes == ["s02: unicorn"] and found.conflicts == ["s01: a (ann), b (bob)"]
    again = import_answers(place / "store", [Answer("s00", "a"), Answer("s03", "a")], "y.csv", None, print)
    assert again.round is None and again.conflicts == ["s03: a (unnamed), before: b"]
    assert len(rounds(place / "store" / "labels")) == 1


def test_held_out_labels_measure_and_answers_to_labels_in_doubt_replace_them(run_in: Runner, place: Path) -> None:
    store = place / "store"
    run_in(place, **ACTIVE)
    truth = {key: "abc"[int(key[1:]) % 3] for key in KEYS}
    import_answers(store, [Answer(key, truth[key]) for key in KEYS[:10]], "test.csv", None, print, held_out=True)
    assert set(read_labels(store / "labels").by_id.values()) == {""}, "labeled, and nothing learns from it"
    import_answers(store, [Answer(key, "a") for key in KEYS[10:16]], "1.csv", None, print)
    import_answers(store, [Answer(key, truth[key]) for key in KEYS[16:]], "2.csv", None, print)
    lines = status(store, "v").splitlines()
    assert "on 10 labels held out for measuring" in lines[-5]
    assert [line.split()[1] for line in lines[-3:]] == ["0", "6", "20"]
    assert "wants two classes" in lines[-2]
    again = [Answer(key, truth[key]) for key in KEYS[10:16]]
    assert len(import_answers(store, again, "3.csv", None, print).conflicts) == 4
    settled = import_answers(store, again, "3.csv", None, print, replace=True)
    assert settled.added == 6, "four that change, and two that are confirmed"
    assert import_answers(store, again, "3.csv", None, print, replace=True).round is None, "the same file again"
    told = {
        row["key"]: row["sample_id"] for path in rounds(store / "labels") for row in pq.read_table(path).to_pylist()
    }
    labels = read_labels(store / "labels")
    assert labels.of(told["s10"], "s10") == truth["s10"]
    twice = {told[key] for key in KEYS[10:16] if truth[key] == "a"}
    assert labels.confirmed == twice and len(twice) == 2, (
        "two rounds gave the same label; a correction is no such thing"
    )
    assert float(status(store, None).splitlines()[-1].split()[2]) == 1.0


def test_each_tools_own_export_is_read(tmp_path: Path) -> None:
    studio = [
        {"data": {"key": "s00"}, "annotations": [{"completed_by": {"email": "a@b"}, "created_at": "2026-01-01", "lead_time": 30, "was_cancelled": False, "result": [{"value": {"choices": ["cat"]}}]}]},
        {"data": {"sample_id": "00ff"}, "annotations": [{"was_cancelled": True, "result": []}]},
        {"data": {"key": "s02"}, "annotations": [{"result": [
            {"from_name": "label", "value": {"x": 10, "y": 20, "width": 30, "height": 40, "rotation": 0, "rectanglelabels": ["cat"]}}
        ]}]},
        {"data": {"key": "s03"}, "annotations": [{"result": [], "was_cancelled": False}]},
    ]  # fmt: skip
    (tmp_path / "a.json").write_text(json.dumps(studio))
    assert read_answers(tmp_path / "a.json") == [
        Answer("s00", "cat", "a@b", "2026-01-01", 0.5),
        Answer("s02", "cat", boxes=Boxes(((0.1, 0.2, 0.4, 0.6000000000000001),), ("cat",), (1, 1))),
        Answer("s03", "", boxes=Boxes((), (), (1, 1))),
    ]
    small = [
        {"key": "s03", "label": {"choices": ["a", "b"]}},
        {"key": "s04", "label": ["a"]},
        {"key": "s05", "choice": "c "},
    ]
    (tmp_path / "min.json").write_text(json.dumps(small))
    assert [answer.label for answer in read_answers(tmp_path / "min.json")] == ["", "a", "c"]
    (tmp_path / "a.csv").write_text("key,label,cost\ns00,cat,1.5\ns01,,\n")
    empty = Answer("s01", "", unclear="its label is empty", left_out=True)
    assert read_answers(tmp_path / "a.csv") == [Answer("s00", "cat", cost=1.5), empty]
    (tmp_path / "a.xml").write_text('<annotations><image name="f/s00.jpg"><tag label="cat"/></image><image name="x.jpg"/></annotations>')  # fmt: skip
    assert read_answers(tmp_path / "a.xml") == [
        Answer("f/s00.jpg", "cat"),
        Answer("x.jpg", "", unclear="no tag and no shape: nobody looked, or there is nothing", left_out=True),
    ]
    coco = {"images": [{"id": 1, "file_name": "s00.jpg"}], "categories": [{"id": 1, "name": "cat"}], "annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}]}  # fmt: skip
    (tmp_path / "c.json").write_text(json.dumps(coco))
    assert read_answers(tmp_path / "c.json") == [Answer("s00.jpg", "cat", boxes=Boxes(((1, 2, 4, 6),), ("cat",), None))]


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.json", "[1]"), ("a.json", "{"), ("a.csv", "name\nx\n"), ("a.xml", "<a"), ("a.txt", "x"), ("a.csv", "key,label,cost\na,b,much\n"), ("a.csv", "key,label,cost\na,b,nan\n"),
     ("a.xml", '<!DOCTYPE a [<!ENTITY b "b">]><a>&b;</a>')],
)  # fmt: skip
def test_a_file_that_is_no_answers_is_one_clear_error(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(RecipeError, match="labels "):
        read_answers(tmp_path / name)
    with pytest.raises(StoreError, match="holds no pool"):
        import_answers(tmp_path, [], "x", None, print)


def test_the_verbs_of_the_command_line(run_in: Runner, place: Path) -> None:
    outcome = run_in(place, **ACTIVE)
    tamis = Path(sys.executable).with_name("tamis")

    def call(*arguments: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run([tamis, "label", *arguments], cwd=place, capture_output=True, text=True, check=False)

    out = call("export", outcome.folder, "--to", "csv", "-o", "tasks.csv")
    assert out.returncode == 0, out.stderr
    lines = (place / "tasks.csv").read_text().splitlines()
    assert lines[0] == "key,label,sample_id,uri,text" and len(lines) == 6
    (place / "tasks.csv").write_text("\n".join([lines[0], *(line.replace(",,", ",cat,", 1) for line in lines[1:])]))
    assert "round 1: 5 labels" in call("import", "store", "tasks.csv").stdout
    assert "nothing new" in call("import", "store", "tasks.csv").stdout
    assert "cat" in call("status", "store").stdout
    assert call("export", outcome.folder, "--to", "csv", "-o", "tasks.csv").returncode == 2
    assert call("status", "nowhere").returncode == 2


def test_a_deleted_round_is_gone_and_no_other_one_is_overwritten(run_in: Runner, place: Path) -> None:
    store = place / "store"
    run_in(place, **ACTIVE)
    for key in ("s00", "s01"):
        import_answers(store, [Answer(key, "a")], f"{key}.csv", None, print)
    rounds(store / "labels")[0].unlink()
    assert import_answers(store, [Answer("s02", "a")], "s02.csv", None, print).round == 3
    assert len(read_labels(store / "labels")) == 2


def test_what_is_held_out_stays_so_and_can_become_so(run_in: Runner, place: Path) -> None:
    store = place / "store"
    run_in(place, **ACTIVE)
    import_answers(store, [Answer("s00", "a")], "1.csv", None, print, held_out=True)
    import_answers(store, [Answer("s00", "b")], "2.csv", None, print, replace=True)
    import_answers(store, [Answer("s01", "a")], "3.csv", None, print)
    assert import_answers(store, [Answer("s01", "a")], "4.csv", None, print, held_out=True).added == 1
    assert set(read_labels(store / "labels").by_id.values()) == {""}


def test_answers_by_id_by_file_name_and_of_several_namespaces(run_in: Runner, place: Path) -> None:
    outcome = run_in(place, **ACTIVE)
    ids = pq.read_table(outcome.folder / "selection.parquet", columns=["sample_id", "key"]).to_pylist()
    names = [f"{row['sample_id']:016x}" for row in ids]
    answers = [Answer(names[0], "a"), Answer(f"images/{names[1]}", "b"), Answer("0" * 16, "c")]
    found = import_answers(place / "store", answers, "x.json", None, print)
    assert (found.added, found.unknown_keys) == (2, ["0" * 16])
    again = run_in(place, name="again", **ACTIVE, labels="store/labels")
    assert not {row["key"] for row in ids[:2]} & set(keys_of(again.folder)), "not asked again"
    two = [{"format": "jsonl", "path": "pool.jsonl", "key": "id", "namespace": space} for space in ("p", "q")]
    run_in(place, name="two", **ACTIVE, pool=two, store="both")
    both = import_answers(place / "both", [Answer("s00", "a")], "x.csv", None, print)
    assert both.several == ["s00"] and both.round is None


def test_what_lies_outside_of_where_is_not_exported(run_in: Runner, place: Path) -> None:
    step = {"active": {"column": "v", "budget": 3, "where": "key < 's10'"}}
    outcome = run_in(place, **{**ACTIVE, "steps": [step]})
    export_tasks(open_complete(outcome.folder), "csv", place / "tasks.csv")
    keys = [line.split(",")[0] for line in (place / "tasks.csv").read_text().splitlines()[1:]]
    assert len(keys) == 3 and max(keys) < "s10"


KILLED = """
import os, signal, sys
from pathlib import Path
from tamis.pipeline.files import atomic
from tamis.pipeline.cli import app
moment, how = int(sys.argv[1]), getattr(signal, sys.argv[2])
count = 0
def stop():
    global count
    count += 1
    if count == moment:
        os.kill(os.getpid(), how)
replaced = atomic.os.replace
def replace(*arguments):
    stop()
    replaced(*arguments)
    stop()
atomic.os.replace = replace
sys.argv = ["tamis", *sys.argv[3:]]
app.main()
"""


@pytest.mark.thorough
@pytest.mark.parametrize("how", ["SIGINT", "SIGKILL"])
@pytest.mark.parametrize("moment", [1, 2])
def test_a_round_is_whole_or_absent_wherever_an_import_is_stopped(
    run_in: Runner, place: Path, how: str, moment: int
) -> None:
    run_in(place, **ACTIVE)
    rows = [f"{key},{'abc'[number % 3]}" for number, key in enumerate(KEYS)]
    (place / "first.csv").write_text("\n".join(["key,label", *rows[:10]]))
    (place / "second.csv").write_text("\n".join(["key,label", *rows]))
    import_answers(place / "store", read_answers(place / "first.csv"), "first.csv", None, print)
    command = [sys.executable, "-c", KILLED, str(moment), how, "label", "import", "store", "second.csv"]
    stopped = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    assert stopped.returncode == (130 if how == "SIGINT" else -9), stopped.stderr
    held = [len(rows) for rows in map(pq.read_table, rounds(place / "store" / "labels"))]
    assert held in ([10], [10, 20]), "the round that stood, and the new one whole or not at all"
    again = [Path(sys.executable).with_name("tamis"), "label", "import", "store", "second.csv"]
    assert subprocess.run(again, cwd=place, capture_output=True, check=False).returncode == 0
    assert len(read_labels(place / "store" / "labels")) == 30
    assert len(rounds(place / "store" / "labels")) == 2


@pytest.mark.thorough
def test_a_killed_round_asks_the_same_when_it_goes_on(run_in: Runner, place: Path) -> None:
    rows = [f"{key},{'abc'[number % 3]}" for number, key in enumerate(KEYS[:12])]
    (place / "labels.csv").write_text("\n".join(["key,label", *rows]))
    whole = keys_of(run_in(place, name="whole", **ACTIVE, labels="labels.csv").folder)
    recipe = {
        "name": "killed", "pool": [{"format": "jsonl", "path": "pool.jsonl", "key": "id", "text": "text"}],
        "labels": "labels.csv", **{name: value for name, value in ACTIVE.items() if name != "target"},
    }  # fmt: skip
    (place / "killed.yaml").write_text(json.dumps(recipe))
    arguments = ["run", "killed.yaml", "--store", "other", "--local"]
    stops = 0
    for moment in (1, 2, 3, 5, 8, 13, 21):
        command = [sys.executable, "-c", KILLED, str(moment), "SIGKILL", *arguments]
        stops += subprocess.run(command, cwd=place, capture_output=True, check=False).returncode == -9
    done = [Path(sys.executable).with_name("tamis"), *arguments]
    assert subprocess.run(done, cwd=place, capture_output=True, check=False).returncode == 0
    assert keys_of(place / "other" / "runs" / "killed") == whole and stops >= 4


def test_who_checks_a_label_is_told_what_speaks_against_it(run_in: Runner, place: Path) -> None:
    store = place / "store"
    run_in(place, **ACTIVE)
    truth = {key: "abc"[int(key[1:]) % 3] for key in KEYS}
    wrong = {KEYS[0]: "b", KEYS[1]: "c"}
    import_answers(store, [Answer(key, {**truth, **wrong}[key]) for key in KEYS], "1.csv", None, print)
    doubt = {**ACTIVE, "steps": [{"label_errors": {"column": "v", "budget": 9}}], "labels": "store/labels"}
    run = open_complete(run_in(place, name="doubt", **doubt).folder)
    with export_tasks(run, "csv", place / "ask.csv").open(newline="") as file:
        rows = {row["key"]: row["told"] for row in csv.DictReader(file)}
    assert rows and all(told.startswith("labeled ") and "rather" in told for told in rows.values())
    folder = export_tasks(run, "label-studio", place / "tasks")
    tasks = json.loads((folder / "tasks.json").read_text())
    assert {task["data"]["key"]: task["data"]["told"] for task in tasks} == rows
    assert 'value="$told"' in (folder / "labels.xml").read_text()


def test_a_class_that_nobody_gave_before_is_told_and_so_is_an_empty_answer(run_in: Runner, place: Path) -> None:
    run_in(place, **ACTIVE)
    store = place / "store"
    import_answers(store, [Answer("s00", "ketch"), Answer("s01", "watch")], "1.csv", None, print)
    (place / "2.csv").write_text("key,label\ns02,kettch\ns03,watch\ns04,\n")
    found = import_answers(store, read_answers(place / "2.csv"), "2.csv", None, print)
    assert found.added == 2 and found.new_classes == ["kettch (1)"]
    told = found.lines()
    assert any("classes that no earlier round gave" in line and "kettch (1)" in line for line in told)
    assert any("1 no answers, left out: s04: its label is empty" in line for line in told)
    named = import_answers(store, [Answer("s05", "boat")], "3.csv", ["boat"], print)
    assert named.new_classes == []
