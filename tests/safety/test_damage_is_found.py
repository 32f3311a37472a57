"""Promise: what is damaged in a store is found before it is built upon, and made again where it can be; a store of
another version, and a machine that gives out, are one line of their own."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tamis.pipeline.doors import import_labels
from tamis.pipeline.errors import DamageFound, NoMemory, NoRoom, ReadOnly, RunError, StoreError, TooManyFiles, said
from tamis.pipeline.files.atomic import digest_file, read_json, write_json
from tamis.pipeline.files.sealed import SEALS, checking, is_whole, seal_of
from tamis.pipeline.files.store_format import FORMAT, check_format
from tamis.pipeline.store import runs
from tamis.pipeline.store.compact import compact
from tamis.pipeline.store.manifest import verify
from tamis.pipeline.store.runs import open_complete, open_run
from tamis.pipeline.store.set_aside import forgotten_keys
from tamis.pipeline.store.whereabouts import forget, where
from tests_support import Runner, result_bytes, write_jsonl

POOL = [{"format": "jsonl", "path": "pool.jsonl", "key": "id"}]
STEPS = [{"exact_dedup": {}}, {"importance_resampling": {"budget": 40}}]
ASKED: dict[str, Any] = {
    "pool": POOL, "target": [{"format": "jsonl", "path": "target.jsonl"}], "columns": {"t": {"measure": "text"}}, "steps": STEPS,
}  # fmt: skip


@pytest.fixture
def place(tmp_path: Path, doc_records: list[dict[str, str]]) -> Path:
    write_jsonl(tmp_path / "pool.jsonl", doc_records[:300])
    write_jsonl(tmp_path / "target.jsonl", [{"text": one["text"]} for one in doc_records[400:420]])
    return tmp_path


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def zeroed(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 3 : len(whole) // 3 + 64] = bytes(64)
    path.write_bytes(whole)


def flipped(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 4
    path.write_bytes(whole)


def swapped(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:8] + whole[8:][::-1])


DAMAGE = [emptied, cut, zeroed, flipped, swapped]
FILES = [
    "columns/t",
    "columns/ngrams",
    "models",
    "pool/rejects.parquet",
    "ledger/step-00",
    "ledger/step-01",
    "pool/part",
]


def damaged_file(store: Path, what: str) -> Path:
    base = store / "runs" / "run" if what.startswith("ledger") else store
    if what == "pool/part":
        return store / "pool" / "part-00000.parquet"
    found = base / what
    return found if found.is_file() else min(path for path in found.rglob("*") if path.suffix in (".parquet", ".npz"))


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("what", FILES)
def test_a_run_that_goes_on_over_damage_ends_with_the_same_bytes_or_one_line(
    what: str, damage: Callable[[Path], None], run_in: Runner, place: Path
) -> None:
    wanted = result_bytes(run_in(place, **ASKED).folder)
    store = place / "store"
    (store / "runs" / "run" / "manifest.json").unlink()  # it was at its end when the power went
    damage(damaged_file(store, what))
    try:
        again = run_in(place, **ASKED)
    except DamageFound as error:
        assert what == "pool/part" and "Restore it, or delete it and run again" in str(error)
        (store / "pool" / "part-00000.parquet").unlink()
        again = run_in(place, **ASKED)
    found = result_bytes(again.folder)
    if what != "pool/part":  # read anew it has another name
        assert found == wanted
    assert found["selection.parquet"] == wanted["selection.parquet"]
    assert verify(open_complete(again.folder)) == []


@pytest.mark.parametrize("damage", DAMAGE)
def test_the_next_run_builds_on_no_damage(damage: Callable[[Path], None], run_in: Runner, place: Path) -> None:
    run_in(place, name="first", **ASKED)
    other = {**ASKED, "steps": [STEPS[0], {"importance_resampling": {"budget": 60}}]}
    wanted = result_bytes(run_in(place, name="second", **other).folder)
    shutil.rmtree(place / "store" / "runs" / "second")
    for what in ("columns/ngrams", "columns/t"):
        damage(damaged_file(place / "store", what))
    assert result_bytes(run_in(place, name="second", **other).folder) == wanted
    damage(place / "store" / "pool" / "part-00000.parquet")
    third = {**other, "steps": [{"random": {"budget": 3}}]}
    try:
        assert run_in(place, name="third", **third).selected == 3
    except DamageFound as error:
        assert "part-00000.parquet: damaged" in str(error)


def test_a_manifest_holds_what_was_written_not_what_lies_there(
    run_in: Runner, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tamis.pipeline import curate

    real = curate.write_manifest

    def after_damage(folder: Path) -> Path:
        flipped(folder / "ledger" / "step-00" / "part-00000.parquet")
        flipped(folder / "selection.parquet")
        return real(folder)

    monkeypatch.setattr(curate, "write_manifest", after_damage)
    run = run_in(place, **ASKED).folder
    told = "\n".join(verify(open_complete(run)))
    assert "step-00/part-00000.parquet: not the bytes" in told and "selection.parquet: not the bytes" in told


def test_each_file_is_safe_on_the_disk_before_its_line_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    for name in ("fsync", "replace", "write"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *given, real=real, name=name: (done.append(name), real(*given))[1])
    write_json(tmp_path / "x.json", {"a": 1})
    assert done == ["fsync", "write", "fsync", "replace", "fsync"], "file, line, line's file, name, folder"
    known = seal_of(tmp_path / "x.json")
    assert known and known.digest == digest_file(tmp_path / "x.json")


@pytest.mark.parametrize("line", ["", "garbage\n", '["other", 1, "x"]\n', '["x.json", 9, ', "\x00\n"])
def test_a_file_without_a_whole_line_was_never_finished(line: str, tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"a": 1})
    assert is_whole(tmp_path / "x.json")
    (tmp_path / SEALS).write_text(line)
    assert not is_whole(tmp_path / "x.json")
    (tmp_path / SEALS).unlink()
    assert is_whole(tmp_path / "x.json"), "of older stores nothing is known"


def test_who_only_looks_does_not_read_all_of_it(run_in: Runner, place: Path) -> None:
    run = open_complete(run_in(place, **ASKED).folder)
    flipped(run.store / "pool" / "part-00000.parquet")
    assert run.pool.parts[0].path.exists()
    with checking(), pytest.raises(DamageFound):
        _ = run.pool.parts[0].path
    assert verify(run)


def test_compact_does_not_bless_damage(run_in: Runner, tmp_path: Path) -> None:
    for number in range(3):
        write_jsonl(
            tmp_path / f"p{number}.jsonl", [{"id": f"{number}-{n}", "text": f"text {number} {n}"} for n in range(9)]
        )
        pool = [{"format": "jsonl", "path": "p*.jsonl", "key": "id"}]
        run_in(tmp_path, name=f"r{number}", pool=pool, target=[], steps=[{"random": {"budget": 2}}])
    flipped(tmp_path / "store" / "pool" / "part-00001.parquet")
    with pytest.raises(DamageFound, match=r"part-00001\.parquet: damaged"):
        compact(tmp_path / "store")
    assert not (tmp_path / "store" / "pool" / "part-00003.parquet").exists()


@pytest.mark.parametrize("told", [{"format": FORMAT + 1}, {"format": "x"}, {}, [], {"format": None}])
def test_a_store_of_a_newer_version_is_refused_in_one_line(told: Any, run_in: Runner, place: Path) -> None:
    run = run_in(place, **ASKED).folder
    store = place / "store"
    assert read_json(store / "store.json") == {"format": FORMAT}
    (store / "store.json").write_text(json.dumps(told))
    verbs: list[Callable[[], Any]] = [
        lambda: run_in(place, name="other", **ASKED), lambda: open_run(run), lambda: where(store, "x"),
        lambda: forget(store, ["x"]), lambda: compact(store), lambda: check_format(store),
    ]  # fmt: skip
    for verb in verbs:
        with pytest.raises(StoreError, match="newer tamis") as refused:
            verb()
        assert "\n" not in str(refused.value)


def test_a_store_of_before_is_read_and_becomes_of_this_version(run_in: Runner, place: Path) -> None:
    run = run_in(place, **ASKED).folder
    store = place / "store"
    (store / "store.json").unlink()
    for path in store.rglob(SEALS):
        path.unlink()
    assert verify(open_complete(run)) == []
    assert not run_in(place, **ASKED).fresh
    assert run_in(place, name="next", **{**ASKED, "steps": [{"random": {"budget": 2}}]}).fresh
    assert read_json(store / "store.json") == {"format": FORMAT}


@pytest.mark.parametrize("change", ["key", "step", "type", "no recipe", "list"])
def test_a_request_of_a_newer_version_is_one_line(change: str, run_in: Runner, place: Path) -> None:
    run = run_in(place, **ASKED).folder
    request = read_json(run / "request.json")
    request["made_by"]["tamis"] = "99.0"
    if change == "key":
        request["recipe"]["of_a_later_version"] = 1
    elif change == "step":
        request["recipe"]["pool"][0]["sort_of"] = "x"
    elif change == "type":
        request["recipe"]["seed"] = {"deep": 1}
    elif change == "no recipe":
        del request["recipe"]
    (run / "request.json").write_text(json.dumps([request] if change == "list" else request))
    runs._open.cache_clear()
    with pytest.raises(RunError, match="was made by tamis"):
        open_run(run)


TROUBLES: list[tuple[Exception, type[Exception]]] = [
    (OSError(errno.ENOSPC, "No space left on device"), NoRoom), (OSError(errno.EDQUOT, "Disk quota exceeded"), NoRoom),
    (OSError("error writing: No space left on device"), NoRoom), (OSError(errno.EMFILE, "Too many open files"), TooManyFiles),
    (OSError(errno.EROFS, "Read-only file system"), ReadOnly), (MemoryError(), NoMemory), (RuntimeError("std::bad_alloc"), NoMemory),
    (RuntimeError("Out of Memory Error: could not allocate block"), NoMemory), (OSError(errno.ENOMEM, "Cannot allocate"), NoMemory),
]  # fmt: skip


@pytest.mark.parametrize(("error", "kind"), TROUBLES, ids=lambda one: getattr(one, "__name__", str(one)))
def test_a_machines_trouble_is_told_as_what_it_is(error: Exception, kind: type[Exception], tmp_path: Path) -> None:
    told = said(error, tmp_path)
    assert type(told) is kind and "\n" not in str(told) and getattr(told, "exit_code", None) == 1
    if kind is NoMemory:
        assert "space" not in str(told)


@pytest.mark.parametrize("error", ["ENOSPC", "EMFILE", "EROFS", "EDQUOT"])
def test_every_verb_that_writes_says_it_and_leaves_the_store_whole(error: str, run_in: Runner, place: Path) -> None:
    run = run_in(place, **ASKED).folder
    store = place / "store"
    (place / "answers.csv").write_text(
        "key,label\n" + pq.read_table(run / "selection.parquet")["key"][0].as_py() + ",yes\n"
    )
    before = {path: digest_file(path) for path in store.rglob("*") if path.is_file() and path.name[0] != "."}
    code = """\
import errno, json, os, sys
from tamis.pipeline.cli.app import main
from tamis.pipeline.files import atomic
number = getattr(errno, sys.argv[1])
def refuse(*_):
    raise OSError(number, os.strerror(number))
os.replace = refuse
sys.argv = ["tamis", *json.loads(sys.argv[2])]
main()
"""
    verbs = [
        ["forget", str(store), "some key"], ["label", "import", str(store), str(place / "answers.csv")],
        ["label", "export", str(run), "--to", "csv", "--out", str(place / "tasks.csv")], ["run", "run.yaml", "--store", str(store), "--run", "new", "--local"],
    ]  # fmt: skip
    for verb in verbs:
        given = [sys.executable, "-c", code, error, json.dumps(verb)]
        ended = subprocess.run(given, cwd=place, capture_output=True, text=True, check=False)
        assert ended.returncode == 1, (verb, ended.stderr)
        assert "Traceback" not in ended.stderr, (verb, ended.stderr)
        wanted = {
            "ENOSPC": "no space left",
            "EDQUOT": "no space left",
            "EMFILE": "too many open",
            "EROFS": "read-only",
        }[error]
        assert wanted in ended.stderr, (verb, ended.stderr)
    assert {path: digest_file(path) for path in before} == before
    assert verify(open_complete(run)) == []


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("store.json", "begin a new --store"), ("pool/.pool.json", "begin a new --store"),
        ("pool/.groups/00000.json", "begin a new --store"), ("columns/t/column.json", "delete .*columns/t and run again"),
        ("runs/run/inputs.json", "delete the run's folder"),
    ],
)  # fmt: skip
def test_nobody_is_told_to_delete_more_than_is_made_anew(name: str, advice: str, run_in: Runner, place: Path) -> None:
    run_in(place, **ASKED)
    flipped(place / "store" / name)
    with pytest.raises(DamageFound, match=advice):
        read_json(place / "store" / name)


@pytest.mark.parametrize("damage", [emptied, cut, zeroed, flipped])
@pytest.mark.parametrize("name", ["forgotten.parquet", "labels/round-00001.parquet"])
def test_what_people_said_is_never_read_damaged(
    name: str, damage: Callable[[Path], None], run_in: Runner, place: Path
) -> None:
    run = run_in(place, **ASKED).folder
    first = pq.read_table(run / "selection.parquet")["key"][0].as_py()
    (place / "answers.csv").write_text(f"key,label\n{first},good\n")
    import_labels(place / "store", place / "answers.csv")
    forget(place / "store", [first])
    damage(place / "store" / name)
    asked = {**ASKED, "labels": "store/labels", "steps": [{"random": {"budget": 5}}]}
    with pytest.raises(DamageFound, match=re.escape(name)):
        run_in(place, name="next", **asked)
    with pytest.raises(DamageFound, match=re.escape(name)):
        where(place / "store", first)
    assert verify(open_complete(run)) == [], "and what earlier runs made stands"


def test_a_kill_before_a_list_is_put_in_place_leaves_the_one_before(
    run_in: Runner, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_in(place, **ASKED)
    forget(place / "store", ["one"])
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        forget(place / "store", ["two"])
    assert forgotten_keys(place / "store").to_pylist() == ["one"]
    forget(place / "store", ["two"])
    assert forgotten_keys(place / "store").to_pylist() == ["one", "two"]
