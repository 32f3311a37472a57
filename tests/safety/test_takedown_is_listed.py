"""Promise: what a takedown withdraws is listed, wherever it was delivered, in words that a consumer can act on."""

import csv
import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tamis.pipeline.store.whereabouts import forget
from tests_support import Runner, write_jsonl

ODD = ["a key", 'with "quotes" and, commas', "two\nlines", "../../etc/passwd", "Ärger 日本 \u202e", "0" * 32]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write_jsonl(tmp_path / "pool.jsonl", [{"id": key, "text": f"the text of number {n}"} for n, key in enumerate(ODD)])
    return tmp_path


def asked(*emit: str) -> dict[str, Any]:
    pool = [{"format": "jsonl", "path": "pool.jsonl", "key": "id"}]
    return {"pool": pool, "target": [], "steps": [{"random": {"fraction": 1.0}}], "emit": list(emit)}


def removals(store: Path) -> list[dict[str, Any]]:
    return [row for path in sorted((store / "removals").glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def keys_in(path: Path) -> set[str]:
    """Keys that an export holds, read as its consumers read it."""
    if path.is_dir():
        return {key for one in path.rglob("*.arrow") for key in pa.ipc.open_stream(one.read_bytes()).read_all()["key"].to_pylist()}  # fmt: skip
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            return {row["key"] for row in csv.DictReader(file)}
    if path.suffix == ".parquet":
        return set(pq.read_table(path)["key"].to_pylist())
    if path.suffix == ".tar":
        with tarfile.open(path) as tar:
            members = [tar.extractfile(one) for one in tar if one.name.endswith(".json")]
            return {json.load(one)["key"] for one in members if one}
    return {json.loads(line)["key"] for line in path.read_text(encoding="utf-8").splitlines()}


@pytest.mark.parametrize("export", ["jsonl", "csv", "parquet", "webdataset", "hf"])
def test_every_export_that_holds_it_is_named_and_no_other(export: str, run_in: Runner, place: Path) -> None:
    run = run_in(place, **asked(export)).folder
    told = forget(place / "store", ODD[:2])
    rows = removals(place / "store")
    assert {row["key"] for row in rows} == set(ODD[:2]) and {row["run"] for row in rows} == {run.name}
    files = {row["file"] for row in rows if row["file"].startswith("exports/")}
    assert all(file in told for file in files) and str(place / "store" / "removals") in told
    assert {"selection.parquet", "report.html"} <= {row["file"] for row in rows}, "the run's own files hold it, too"
    mine = [
        file
        for file in files
        if "attribution" not in file and not file.endswith(("webdataset.parquet", "webdataset.json"))
    ]
    assert mine and all(set(ODD[:2]) <= keys_in(run / file) for file in mine)


def test_a_consumer_takes_them_out_of_tars_by_the_list_alone(run_in: Runner, place: Path) -> None:
    run = run_in(place, **asked("webdataset")).folder
    forget(place / "store", ODD[1:3])
    for file in {row["file"] for row in removals(place / "store") if row["member"]}:
        gone = {row["member"] for row in removals(place / "store") if row["file"] == file}
        with tarfile.open(run / file) as tar, tarfile.open(place / "clean.tar", "w") as out:
            for member in tar:
                if member.name.partition(".")[0] not in gone:
                    out.addfile(member, tar.extractfile(member))
        assert keys_in(place / "clean.tar") == {*ODD} - {*ODD[1:3]}


def test_a_uid_is_said_as_one(run_in: Runner, place: Path) -> None:
    run_in(place, **asked("uids", "keys"))
    forget(place / "store", [ODD[5], ODD[0]])
    assert {row["key"]: row["uid"] for row in removals(place / "store")} == {ODD[5]: ODD[5], ODD[0]: None}


def test_runs_that_never_held_it_are_not_named(run_in: Runner, place: Path) -> None:
    few = {**asked("jsonl"), "steps": [{"sql": {"where": "key <> 'a key'"}}]}
    run_in(place, name="without", **few)
    run_in(place, name="with", **asked("jsonl"))
    told = forget(place / "store", [ODD[0]])
    assert {row["run"] for row in removals(place / "store")} == {"with"} and "without" not in told


def test_asked_twice_and_for_what_was_never_delivered(run_in: Runner, place: Path) -> None:
    run_in(place, **asked("jsonl"))
    assert "not in the pool" in forget(place / "store", ["never seen"]) and removals(place / "store") == []
    forget(place / "store", [ODD[0]])
    first = removals(place / "store")
    forget(place / "store", [ODD[0]])
    again = removals(place / "store")
    assert first and all(row in first for row in again), "a list that was lost is had again"


def test_two_takedowns_of_one_second_are_both_listed(run_in: Runner, place: Path) -> None:
    run_in(place, **asked("jsonl"))
    for key in ODD[:3]:
        forget(place / "store", [key])
    assert {row["key"] for row in removals(place / "store")} == set(ODD[:3])


def test_the_next_run_delivers_none_of_them(run_in: Runner, place: Path) -> None:
    run_in(place, **asked("jsonl"))
    forget(place / "store", ODD[:3])
    next_one = run_in(place, name="next", **asked("jsonl")).folder
    assert keys_in(next_one / "exports" / "selection.jsonl") == set(ODD[3:])
    told = forget(place / "store", ODD[:3])
    assert "run run holds 3" in told and "run next" not in told and "two lines" in told
