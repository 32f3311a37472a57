"""What a person sees while tamis works: nothing is silent for long, and what is said is true."""

import io
import re
import sys
import time
from pathlib import Path

import pytest

from tamis.pipeline import progress
from tamis.pipeline.doors import run
from tamis.pipeline.progress import Counter, coming, hushed, still
from tests_support import Runner


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SILENT", 0.05)
    monkeypatch.setattr(progress, "REDRAW", 0.0)
    monkeypatch.setattr(progress, "LEAST_TIMED", 0.0)
    coming("")


def test_work_that_counts_nothing_is_told_of_again_and_again(capsys: pytest.CaptureFixture[str]) -> None:
    with still("step 1 semantic_dedup: fit"):
        time.sleep(0.5)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) >= 3 and all(line.startswith("step 1 semantic_dedup: fit") for line in lines)
    assert re.search(r"0\.\d s$", lines[-1]), "and how long it took"


def test_work_that_is_over_at_once_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with still("selection"):
        pass
    assert capsys.readouterr().err == ""


def test_nothing_is_said_when_hushed(capsys: pytest.CaptureFixture[str]) -> None:
    with hushed(), still("read"):
        counter = Counter("read", 10, "rows")
        for _ in range(10):
            counter.add(1)
            time.sleep(0.02)
        counter.end()
    assert capsys.readouterr().err == ""


def test_away_from_a_terminal_long_counts_are_told_in_lines(capsys: pytest.CaptureFixture[str]) -> None:
    counter = Counter("train on pool", 100, "tokens")
    for number in range(100):
        time.sleep(0.005)
        counter.add(1, note=f"loss {3 - number / 100:.3f}")
    counter.end()
    lines = capsys.readouterr().err.splitlines()
    assert 3 <= len(lines) <= 30, "now and then"
    assert all("loss" in line and "tokens" in line for line in lines)
    assert re.search(r"\d+%  \d+ tokens  \d+/s  \d+ s left  loss \d", lines[0])


def test_on_a_terminal_a_bar_has_rows_rate_what_is_left_and_what_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    out = Terminal()
    monkeypatch.setattr(sys, "stderr", out)
    monkeypatch.setenv("COLUMNS", "160")
    coming("step 2 quota")
    counter = Counter("step 1 near_dedup: score", 4, "shards", rows=4000)
    for _ in range(4):
        counter.add(1)
        time.sleep(0.01)
    counter.end()
    drawn = [line for line in out.getvalue().split("\r") if "█" in line]
    assert len(drawn) == 4
    assert "2 shards" in drawn[1] and "2,000 rows" in drawn[1] and "/s" in drawn[1]
    assert drawn[1].rstrip("\x1b[K").endswith("then step 2 quota")
    assert "-0 s" not in out.getvalue()
    assert out.getvalue().splitlines()[-1].split("\x1b[K")[-1].startswith("step 1 near_dedup: score")


@pytest.mark.parametrize("columns", [20, 60, 100])
def test_no_drawing_is_wider_than_the_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    out = Terminal()
    monkeypatch.setattr(sys, "stderr", out)
    monkeypatch.setenv("COLUMNS", str(columns))
    coming("a step with quite a long name")
    counter = Counter("columns one, two, three and 17 more", 10, "rows")
    for _ in range(10):
        counter.add(1, note="loss 3.100")
    drawn = [line.replace("\x1b[K", "") for line in out.getvalue().split("\r") if line]
    assert drawn and max(map(len, drawn)) < columns


def test_what_stands_already_is_said_in_one_line(
    run_in: Runner, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_in(workplace, name="one")
    run(workplace / "one.yaml", store=workplace / "store", name="two")
    told = capsys.readouterr().err
    lines = [line for line in told.splitlines() if line.startswith("columns")]
    assert told and len(lines) == 1 and ": there already" in lines[0]
