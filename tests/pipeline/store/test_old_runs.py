"""Promise: what goes of old runs is told in bytes before, what is published, pinned or marked stays, and what stands of a
thinned run answers for itself."""

import os
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from dying import Death, changes_of, killed
from nights import Nights, chosen, texts

from tamis.pipeline.errors import RecipeError, RunError, StoreError
from tamis.pipeline.explain.why import why
from tamis.pipeline.progress import hushed
from tamis.pipeline.publish.changes import changes
from tamis.pipeline.publish.decide import approve, hold
from tamis.pipeline.store.garbage import collect
from tamis.pipeline.store.learned import load_fitted
from tamis.pipeline.store.listing import told
from tamis.pipeline.store.manifest import verify
from tamis.pipeline.store.old_runs import Old, pin
from tamis.pipeline.store.query import ask
from tamis.pipeline.store.runs import open_complete
from tamis.pipeline.store.whereabouts import forget, where

SEVEN = 7


def bytes_of(folder: Path) -> int:
    """On the disk: a file with two names counts once."""
    states = {(s.st_dev, s.st_ino): s.st_size for path in folder.rglob("*") if path.is_file() and (s := path.lstat())}
    return sum(states.values())


@pytest.fixture
def nights(tmp_path: Path) -> Nights:
    """Nine nights of a store."""
    made = Nights(tmp_path, publish={})
    for number in range(9):
        made.comes(f"n{number}", texts(f"n{number}x", 30))
        made.night()
    return made


def runs_of(nights: Nights) -> dict[str, bool]:
    """By name whether it is whole."""
    folders = sorted(path.parent for path in (nights.store / "runs").glob("*/request.json"))
    return {folder.name[-2:]: (folder / "ledger").exists() for folder in folders}


def test_old_runs_are_thinned_and_what_goes_is_told_before(nights: Nights) -> None:
    before = bytes_of(nights.store)
    told_first = collect(nights.store, delete=False, old=Old(keep_runs=SEVEN))
    assert bytes_of(nights.store) == before and "run nightly-0001: thinned" in told_first
    assert "run nightly-0003" not in told_first and "can go; --delete takes it away" in told_first
    assert collect(nights.store, delete=True, old=Old(keep_runs=SEVEN)).replace("deleted", "") == told_first.replace(
        "can go; --delete takes it away", ""
    )
    promised = float(told_first.splitlines()[-1].split()[0])
    assert (before - bytes_of(nights.store)) / 1e6 == pytest.approx(promised, abs=0.06)
    assert runs_of(nights) == {f"0{n}": n > 2 for n in range(1, 10)}
    assert "everything is needed" in collect(nights.store, delete=True, old=Old(keep_runs=SEVEN))


def test_a_thinned_run_answers_for_what_stands(nights: Nights) -> None:
    first = nights.store / "runs" / "nightly-0001"
    key = next(iter(chosen(first)))[0]
    dropped = next(record["id"] for record in texts("n0x", 30) if (record["id"], 1.0) not in chosen(first))
    with hushed():
        collect(nights.store, delete=True, old=Old(keep_runs=SEVEN))
    run = open_complete(first, thinned_too=True)
    assert verify(run) == []
    assert "SELECTED" in why(run, key) and "no step's decisions are left, but their counts" in why(run, key)
    assert f"{dropped}  not in the selection" in why(run, dropped) and "-10 below_cut" in why(run, dropped)
    assert next(ask(run, "select count(*) as n from selection")).to_pylist() == [{"n": 20}]
    assert "nightly-0001: SELECTED" in where(nights.store, key)
    assert "nightly-0001: not in its selection; the run was thinned" in where(nights.store, dropped)
    assert "run nightly-0001 holds 1 of them" in forget(nights.store, [key])
    found = changes(run, open_complete(nights.store / "runs" / "nightly-0009"))
    assert found.rows_before - found.count("out") + found.count("in") == found.rows_after
    assert "thinned" in told(nights.store)
    with pytest.raises(RunError, match="was thinned by `tamis gc`"):
        open_complete(first)
    with pytest.raises(StoreError, match="was thinned"):
        approve(first, "back to the start")
    (first / "selection.parquet").write_bytes(b"")
    assert verify(run)


def test_runs_that_stay_are_whole_and_so_are_the_next(nights: Nights) -> None:
    with hushed():
        collect(nights.store, delete=True, old=Old(keep_runs=2))
    for number in (8, 9):
        assert verify(open_complete(nights.store / "runs" / f"nightly-000{number}")) == []
    nights.comes("more", texts("m", 30))
    assert verify(open_complete(nights.night().folder)) == []


def test_published_pinned_and_marked_runs_stay(nights: Nights) -> None:
    runs = nights.store / "runs"
    with hushed():
        approve(runs / "nightly-0002", "the second was best")
    pin(nights.store, "nightly-0004", pinned=True)
    (runs / "nightly-0005" / "marks.json").write_text("{}")
    collect(nights.store, delete=True, old=Old(keep_runs=1, fate="remove"))
    assert runs_of(nights) == {"02": True, "04": True, "05": False, "09": True}  # 09 was published before 02
    assert (runs / "nightly-0005" / "marks.json").exists()
    assert hold(runs / "nightly-0002", "it was not").endswith("names nightly-0009 again")
    pin(nights.store, "nightly-0004", pinned=False)
    collect(nights.store, delete=True, old=Old(keep_runs=1, fate="remove"))
    assert runs_of(nights) == {"02": True, "05": False, "09": True}
    with pytest.raises(RunError, match="no run 'nightly-0001' that has ended"):
        pin(nights.store, "nightly-0001", pinned=True)
    with pytest.raises(RecipeError, match="can't name a folder"):
        pin(nights.store, "../runs/nightly-0002", pinned=True)


def test_runs_older_than_a_time(nights: Nights) -> None:
    collect(nights.store, delete=True, old=Old(older_than=timedelta(days=30)))
    assert all(runs_of(nights).values())
    collect(nights.store, delete=True, old=Old(older_than=timedelta(seconds=-5), fate="remove"))
    assert runs_of(nights) == {"08": True, "09": True}  # published, and published before


def test_what_later_nights_leave_out_is_thinned_never_taken_away(tmp_path: Path) -> None:
    nights = Nights(tmp_path, against="kept")
    for number in range(3):
        nights.comes(f"n{number}", texts(f"n{number}x", 30))
        nights.night()
    collect(nights.store, delete=True, old=Old(keep_runs=1, fate="remove"))
    assert runs_of(nights) == {"01": False, "02": True, "03": True}
    nights.comes("more", texts("m", 5))
    fourth = nights.night()
    every = [chosen(nights.store / "runs" / f"nightly-000{n}") for n in range(1, 5)]
    assert sum(map(len, every)) == len(set.union(*every)) and fourth.selected == 20


def test_fitted_values_that_the_ledger_answers_for_go(tmp_path: Path) -> None:
    good = tmp_path / "good.jsonl"
    good.write_text('{"id": "g", "text": "wine bread river"}\n')
    nights = Nights(tmp_path, target=[{"format": "jsonl", "path": "good.jsonl", "key": "id"}])
    nights.comes("one", texts("a", 60))
    outcome = nights.night(steps=[{"near_dedup": {}}, {"importance_resampling": {"budget": 20}}])
    before = sorted((nights.store / "models").glob("*/fitted.npz"))
    collect(nights.store, delete=True)
    after = sorted((nights.store / "models").glob("*/fitted.npz"))
    assert len(before) == 2 and len(after) == 1  # importance's takes scores apart
    run = open_complete(outcome.folder)
    load_fitted.cache_clear()
    assert verify(run) == [] and "n-grams" in why(run, next(iter(chosen(outcome.folder)))[0])
    after[0].unlink()
    assert "missing" in verify(run)[0]


@pytest.fixture
def large(tmp_path: Path) -> Nights:
    """Two nights whose first step decides alike on the first shard."""
    made = Nights(tmp_path, publish={}, steps=[{"exact_dedup": {}}, {"random": {"budget": 300}}])
    for number in range(2):
        made.comes(f"n{number}", texts(f"n{number}x", 400))
        made.night()
    return made


def test_equal_files_of_several_runs_stand_once(large: Nights) -> None:
    before = bytes_of(large.store)
    assert "files that several runs have: each stands once" in collect(large.store, delete=True)
    assert bytes_of(large.store) < before
    parts = sorted((large.store / "runs").glob("*/ledger/step-00/part-00000.parquet"))
    assert parts[0].samefile(parts[1])
    for folder in (large.store / "runs").iterdir():
        assert verify(open_complete(folder)) == []


def test_a_damaged_file_takes_no_twin_along(large: Nights) -> None:
    parts = sorted((large.store / "runs").glob("*/ledger/step-00/part-00000.parquet"))
    parts[0].write_bytes(bytes(parts[0].stat().st_size))
    collect(large.store, delete=True)
    assert not parts[0].samefile(parts[1])
    assert verify(open_complete(large.store / "runs" / "nightly-0002")) == []


def test_killed_while_thinning_nothing_is_half(nights: Nights, tmp_path: Path) -> None:
    command = lambda: collect(nights.store, delete=True, old=Old(keep_runs=SEVEN))  # noqa: E731
    backup = tmp_path / "backup"
    shutil.copytree(nights.store, backup, symlinks=True)
    count = changes_of(command, nights.store)
    wanted = {path.relative_to(nights.store) for path in nights.store.rglob("*") if path.is_file()}
    places = range(1, count + 1, max(1, count // 20))
    for at in places:
        shutil.rmtree(nights.store)
        shutil.copytree(backup, nights.store, symlinks=True)
        killed(command, nights.store, Death(at, half=bool(at % 2)))
        for folder in (nights.store / "runs").iterdir():
            if not (folder / "thinned.json").exists():
                assert verify(open_complete(folder)) == [], (at, folder.name)
            else:
                assert verify(open_complete(folder, thinned_too=True)) == []
        with hushed():
            command()
        now = {path.relative_to(nights.store) for path in nights.store.rglob("*") if path.is_file()}
        assert now == wanted, at


@pytest.mark.parametrize("keep_runs", [0, -1])
def test_to_keep_none_is_refused(keep_runs: int) -> None:
    with pytest.raises(RecipeError, match="wanted 1 or more"):
        Old(keep_runs)


def test_from_the_command_line(nights: Nights) -> None:
    def tamis(*words: Any) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "tamis.pipeline.cli.app", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ})

    assert "nightly-0002: pinned" in tamis("gc", nights.store, "--pin", "nightly-0002").stdout
    told_first = tamis("gc", nights.store, "--keep-runs", 3).stdout
    assert "nightly-0001: thinned" in told_first and "nightly-0002" not in told_first
    assert tamis("gc", nights.store, "--old", "remove").returncode == 2
    assert "wanted a number" in tamis("gc", nights.store, "--older-than", "soon").stderr
    assert tamis("gc", nights.store, "--keep-runs", 0).returncode == 2
