"""Stores and pools on object storage: a real server that speaks S3 on loopback, without rename, with conditional put."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from tamis.pipeline.errors import DamageFound, RunFailed, SourceError
from tamis.pipeline.files import remote_lock
from tamis.pipeline.files.mirror import Mirror, in_order
from tamis.pipeline.files.remote import readable, working_copy
from tamis.pipeline.read import ingest
from tamis.pipeline.recipe.recipe import parse_recipe
from tamis.pipeline.starting import run_recipe
from tamis.pipeline.store.manifest import verify
from tamis.pipeline.store.runs import open_complete, open_run
from tamis.pipeline.store.whereabouts import forget, where
from tamis.pipeline.view.rows.seen import seen
from tamis.pipeline.view.session import Session
from tests_support import BASIC, OF_PHOTOS, Runner, result_bytes, s3_server

pytest.importorskip("s3fs", reason="needs the extra `s3`")
TAMIS = Path(sys.executable).with_name("tamis")


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    with s3_server() as system:
        yield system


def run_at(url: str, folder: Path, **changes: Any) -> Any:
    return run_recipe(parse_recipe({**BASIC, "name": "run", **changes}, folder), folder, Path(url))


def test_a_store_on_s3_has_the_bytes_of_one_on_disk(s3: Any, run_in: Runner, workplace: Path) -> None:
    wanted = result_bytes(run_in(workplace, name="run").folder)
    there = run_at("s3://tamis/same", workplace)
    assert result_bytes(there.folder) == wanted
    assert s3.exists("tamis/same/runs/run/manifest.json") and not s3.glob("tamis/same/**/.work/**")
    for name, content in wanted.items():
        assert s3.cat_file(f"tamis/same/runs/run/{name}") == content
    assert not run_at("s3://tamis/same", workplace).fresh, "the same again writes nothing"


@pytest.mark.thorough
def test_another_machine_reads_goes_on_and_takes_down(
    s3: Any, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run_at("s3://tamis/moved", workplace)
    key = pq.read_table(first.folder / "selection.parquet")["key"][0].as_py()
    monkeypatch.setenv("TAMIS_CACHE", str(workplace / "another machine"))
    env = dict(os.environ)
    run = "s3://tamis/moved/runs/run"
    for arguments in (
        ["why", run, key],
        ["verify", run],
        ["sql", run, "select count(*) from ledger"],
        ["where", "s3://tamis/moved", key],
    ):
        ended = subprocess.run([TAMIS, *arguments], env=env, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr
    made = {
        path: info["LastModified"]
        for path, info in s3.find("tamis/moved/columns", detail=True).items()
        if "part-" in path
    }
    ended = subprocess.run(
        [TAMIS, "forget", "s3://tamis/moved", key], env=env, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0 and "run run holds 1 of them" in ended.stdout
    again = run_recipe(parse_recipe({**BASIC, "name": "run"}, workplace), workplace, Path("s3://tamis/moved"), "second")
    assert key not in pq.read_table(again.folder / "selection.parquet")["key"].to_pylist()
    assert {path: s3.info(path)["LastModified"] for path in made} == made, "columns that stand are not made again"


def test_a_machine_that_never_saw_the_run_tells_where_a_sample_is_and_lists_what_was_delivered(
    s3: Any, run_in: Runner, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"emit": ["jsonl", "webdataset"]}
    run = run_in(workplace, name="run", **asked).folder
    store, key = run.parent.parent, pq.read_table(run / "selection.parquet")["key"][0].as_py()
    run_at("s3://tamis/unseen", workplace, **asked)

    def told(*arguments: str) -> str:
        env = {**os.environ, "TAMIS_CACHE": str(workplace / f"a machine for {arguments[0]}")}
        return subprocess.run([TAMIS, *arguments], env=env, capture_output=True, text=True, check=True).stdout

    assert told("where", "s3://tamis/unseen", key) == where(store, key) + "\n"
    forget(store, [key])
    told("forget", "s3://tamis/unseen", key)
    s3.get("tamis/unseen/removals", str(workplace / "there"), recursive=True)
    here, there = (
        sorted((row for path in folder.glob("*.parquet") for row in pq.read_table(path).to_pylist()), key=str)
        for folder in (store / "removals", workplace / "there")
    )
    assert here == there and {"exports/selection.jsonl", "report.html"} < {row["file"] for row in there}


@pytest.mark.thorough
def test_a_killed_run_goes_on_on_another_machine_and_the_manifest_is_last(
    s3: Any, run_in: Runner, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = result_bytes(run_in(workplace, name="run").folder)
    (workplace / "run.yaml").write_text(yaml.safe_dump({**BASIC, "name": "run"}))
    began = time.monotonic()
    command = [TAMIS, "run", "run.yaml", "--local", "--store"]
    assert subprocess.run([*command, "s3://tamis/timed"], cwd=workplace, check=False).returncode == 0
    usual_s = time.monotonic() - began
    for number, share in enumerate((0.5, 0.7, 0.8, 0.9, 0.95)):
        env = {**os.environ, "TAMIS_CACHE": str(workplace / f"machine {number % 2}")}
        process = subprocess.Popen([*command, "s3://tamis/killed"], cwd=workplace, env=env, start_new_session=True)
        try:
            process.wait(share * usual_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if s3.exists("tamis/killed/runs/run/manifest.json"):
            monkeypatch.setenv("TAMIS_CACHE", str(workplace / f"reader {number}"))
            assert verify(open_complete(readable(Path("s3://tamis/killed/runs/run")))) == [], (
                "a manifest speaks of what is there"
            )
    monkeypatch.setenv("TAMIS_CACHE", str(workplace / "the last"))
    assert result_bytes(run_at("s3://tamis/killed", workplace).folder) == wanted


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["texts", "images"])
def test_what_was_put_up_before_a_kill_is_enough_to_go_on(
    kind: str, run_in: Runner, workplace: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever went up last: each beginning of what is put up leads to the same bytes. Of images with the journal of a
    group that was being read."""
    asked = {} if kind == "texts" else OF_PHOTOS
    whole = run_in(workplace, store="whole", **asked).folder
    wanted, store = result_bytes(whole), whole.parent.parent
    if kind == "images":
        begun = workplace / "begun"
        with monkeypatch.context() as patch, pytest.raises(RunFailed):
            patch.setattr(ingest.GroupWriter, "_record", _no_room)
            run_in(workplace, store="begun", **asked)
        shutil.copy2(begun / "pool" / ".groups" / "00000.partial", store / "pool" / ".groups")
    names = in_order([*Mirror("memory://tamis/order", store)._local()])
    assert names[-1] == "runs/run/manifest.json" and len(names) > 12
    for count in range(len(names)):
        begun = workplace / f"begun {count}"
        for name in names[:count]:
            (begun / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(store / name, begun / name)
        assert result_bytes(run_in(workplace, store=begun.name, **asked).folder) == wanted, names[count - 1]


def _no_room(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_journal_of_shards_that_are_not_here_is_not_gone_on_from(
    run_in: Runner, workplace: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = result_bytes(run_in(workplace, store="whole", **OF_PHOTOS).folder)
    with monkeypatch.context() as patch, pytest.raises(RunFailed):
        patch.setattr(ingest.GroupWriter, "_record", _no_room)
        run_in(workplace, store="cut", **OF_PHOTOS)
    assert (workplace / "cut" / "pool" / ".groups" / "00000.partial").exists()
    next((workplace / "cut" / "pool").glob("part-*.parquet")).unlink()
    assert result_bytes(run_in(workplace, store="cut", **OF_PHOTOS).folder) == wanted


def test_a_missing_record_of_what_was_read_is_damage(run_in: Runner, workplace: Path) -> None:
    """Its number is not given again, and a store of which one run did not end still answers."""
    lines = (workplace / "pool.jsonl").read_text().splitlines(keepends=True)
    (workplace / "pool").mkdir()
    source = {**BASIC["pool"][0], "path": "pool/*.jsonl"}
    for number in range(2):
        (workplace / "pool" / f"{number}.jsonl").write_text("".join(lines[number * 500 : number * 500 + 500]))
        whole = run_in(workplace, name=f"run{number}", pool=[source]).folder
    key = json.loads(lines[0])["id"]
    begun = shutil.copytree(whole, whole.with_name("begun"))
    (begun / "manifest.json").unlink()
    last = workplace / "store" / "pool" / ".groups" / "00001.json"
    hidden = last.rename(last.with_suffix(".hidden"))
    with pytest.raises(DamageFound, match=r"00001\.json: missing, of what a run has seen"):
        open_run(begun).pool  # noqa: B018
    with pytest.raises(DamageFound, match="missing"):
        where(workplace / "store", key)
    (whole / "manifest.json").rename(whole / "manifest.hidden")
    assert "run0: " in where(workplace / "store", key)
    hidden.rename(last)
    (workplace / "store" / "pool" / ".groups" / "00000.json").unlink()
    with pytest.raises(DamageFound, match=r"00000\.json: missing"):
        run_in(workplace, name="new", pool=[source])


def test_one_holds_the_store_at_a_time_and_who_was_given_up_ends(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_lock, "STALE_S", 2.0)
    monkeypatch.setattr(remote_lock, "BEAT_S", 0.0)
    monkeypatch.setattr(remote_lock.socket, "gethostname", lambda: f"host-{threading.get_ident()}")  # two machines
    held, order = [Mirror("s3://tamis/locked", tmp_path / str(n)) for n in range(2)], []

    def second() -> None:
        with remote_lock.lease(held[1]):
            order.append("second")

    with remote_lock.lease(held[0]) as mine:
        waiting = threading.Thread(target=second)
        waiting.start()
        for _ in range(15):
            mine.beat()
            time.sleep(0.2)
        order.append("first ends")
    waiting.join()
    assert order == ["first ends", "second"], "it waited while there were signs of life"
    with pytest.raises(RunFailed, match="took it over"), remote_lock.lease(held[0]) as mine:
        waiting = threading.Thread(target=second)
        waiting.start()
        waiting.join()
        mine.beat()
    assert order[-1] == "second"


def test_only_one_of_many_creates_a_lock(s3: Any, tmp_path: Path) -> None:
    got: list[Any] = []

    def take(n: int) -> None:
        if remote_lock._created(Mirror("s3://tamis/raced", tmp_path / str(n)), 1) is not None:
            got.append(n)

    rivals = [threading.Thread(target=take, args=(n,)) for n in range(8)]
    for one in rivals:
        one.start()
    for one in rivals:
        one.join()
    assert len(got) == 1


def test_a_pool_on_s3_is_read_and_only_what_is_new_again(s3: Any, run_in: Runner, workplace: Path) -> None:
    lines = (workplace / "pool.jsonl").read_text().splitlines()
    s3.pipe_file("tamis/pool/a.jsonl", "\n".join([*lines[:400], "no json"]).encode())
    s3.pipe_file("tamis/pool/b.jsonl", "\n".join(lines[400:800]).encode())
    source = {"format": "jsonl", "path": "s3://tamis/pool/*.jsonl", "key": "id", "keep": ["part"]}
    asked: dict[str, Any] = {"pool": [source], "steps": [{"exact_dedup": {}}]}
    first = run_in(workplace, name="first", **asked)
    (workplace / "local").mkdir()
    (workplace / "local" / "a.jsonl").write_text("\n".join(lines[:800]))
    local = run_in(workplace, name="local", store="other", **{**asked, "pool": [{**source, "path": "local/*.jsonl"}]})
    keys = [pq.read_table(r.folder / "selection.parquet")["key"].to_pylist() for r in (first, local)]
    assert sorted(keys[0]) == sorted(keys[1])
    rejects = pq.read_table(workplace / "store" / "pool" / "rejects.parquet").to_pylist()
    assert [(r["source"], r["position"]) for r in rejects if r["reason"] == "bad_json"] == [
        ("s3://tamis/pool/a.jsonl", 401)
    ]
    assert not list((workplace / "cache" / "fetched").glob("*")), "what was fetched went when it was read"
    shard = next((workplace / "store" / "pool").glob("part-*.parquet"))
    before = shard.stat().st_mtime_ns
    s3.pipe_file("tamis/pool/c.jsonl", "\n".join(lines[800:900]).encode())
    second = run_in(workplace, name="second", **asked)
    assert second.manifest["pool"]["rows"] == 901 and shard.stat().st_mtime_ns == before
    s3.pipe_file("tamis/pool/b.jsonl", "\n".join(lines[400:500]).encode())
    third = run_in(workplace, name="third", **asked)
    assert third.manifest["pool"]["rows"] == 601


def test_what_can_not_be_read_from_there_is_said(s3: Any, run_in: Runner, workplace: Path) -> None:
    for source, told in (
        ({"format": "jsonl", "path": "s3://tamis/nowhere/*.jsonl"}, "no jsonl file is there"),
        ({"format": "texts", "path": "s3://tamis/pool"}, "from a URL come jsonl"),
        ({"format": "jsonl", "path": "nonsense://a/b.jsonl"}, "nonsense"),
    ):
        with pytest.raises(SourceError, match=told):
            run_in(workplace, pool=[source], steps=[])


def test_a_copy_knows_what_it_put_up_when_it_was_killed_before_it_could_note_it(s3: Any, tmp_path: Path) -> None:
    with working_copy(Path("s3://tamis/noted")) as here:
        (here / "a.bin").write_bytes(b"a")
    state = here / ".remote.json"
    known = json.loads(state.read_text())
    (here / "b.bin").write_bytes(b"b")
    s3.pipe_file("tamis/noted/b.bin", b"b")  # put up, and killed
    (here / "c.bin").write_bytes(b"c")  # not put up yet
    assert "b.bin" not in known
    with working_copy(Path("s3://tamis/noted")) as here:
        assert (here / "c.bin").read_bytes() == b"c", "nothing is thrown away"
    assert s3.cat_file("tamis/noted/c.bin") == b"c"
    s3.pipe_file("tamis/noted/d.bin", b"of another machine")
    (here / "e.bin").write_bytes(b"never put up")
    with working_copy(Path("s3://tamis/noted")) as here:
        assert (here / "d.bin").exists() and not (here / "e.bin").exists(), "the other machine's word counts"
    shutil.rmtree(here)


def test_marks_of_a_store_up_there_are_put_up_as_they_are_made(
    s3: Any, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_at("s3://tamis/marked", workplace)
    run, place = Path("s3://tamis/marked/runs/run"), "tamis/marked/runs/run"
    session = Session(seen([run]))
    row = session.row(3)
    session.marks.set([(row["id"], row["key"])], {"mark": "wrong_keep"})
    session.marks.export("forget")
    s3.invalidate_cache()
    assert row["key"] in s3.cat_file(f"{place}/marks.json").decode()
    assert s3.cat_file(f"{place}/marks/forget.txt").decode() == f"{row['key']}\n"
    monkeypatch.setenv("TAMIS_CACHE", str(workplace / "another machine"))
    assert len(Session(seen([run])).marks) == 1
