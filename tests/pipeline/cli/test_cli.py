"""The command line as a person types it: exit codes, one clear line, results on stdout, nothing lost."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests_support import BASIC, write_jsonl

TAMIS = str(Path(sys.executable).with_name("tamis"))


def tamis(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([TAMIS, *arguments], cwd=folder, capture_output=True, text=True, check=False)


def recipe(folder: Path, **changes: object) -> None:
    (folder / "r.yaml").write_text(yaml.safe_dump({**BASIC, **changes}))


def test_a_whole_session(workplace: Path) -> None:
    recipe(workplace)
    planned = tamis(workplace, "plan", "r.yaml", "--store", "s")
    assert planned.returncode == 0 and "importance_resampling" in planned.stdout and "to be made" in planned.stdout
    ran = tamis(workplace, "run", "r.yaml", "--store", "s", "--local")
    assert (ran.returncode, ran.stdout.strip()) == (0, str(workplace / "s" / "runs" / "r"))
    assert "below_cut" in ran.stderr and "Traceback" not in ran.stderr
    again = tamis(workplace, "run", "r.yaml", "--store", "s", "--local")
    assert again.returncode == 0 and "complete already" in again.stderr
    assert "reused" in tamis(workplace, "plan", "r.yaml", "--store", "s").stdout
    told = tamis(workplace, "sql", "s/runs/r", "select key from selection where rank = 1", "--format", "json")
    key = json.loads(told.stdout)["key"]
    assert "SELECTED" in tamis(workplace, "why", "s/runs/r", key).stdout
    assert tamis(workplace, "verify", "s/runs/r").returncode == 0
    assert Path(tamis(workplace, "report", "s/runs/r").stdout.strip()).exists()
    (workplace / "s" / "runs" / "r" / "selection.parquet").write_bytes(b"x")
    damaged = tamis(workplace, "verify", "s/runs/r")
    assert damaged.returncode == 1 and "selection.parquet" in damaged.stderr


def test_pick_and_init(workplace: Path) -> None:
    picked = tamis(workplace, "pick", "pool.jsonl", "--like", "target.jsonl", "-n", "20", "-o", "out.jsonl")
    assert (picked.returncode, picked.stdout.strip()) == (0, "out.jsonl")
    assert len((workplace / "out.jsonl").read_text().splitlines()) == 20
    assert (
        tamis(workplace, "pick", "pool.jsonl", "--like", "target.jsonl", "-n", "20", "-o", "keys.txt").returncode == 0
    )
    assert tamis(workplace, "pick", "pool.jsonl", "--like", "target.jsonl", "-n", "2", "-o", "x.doc").returncode == 2
    drafted = tamis(workplace, "init", "pool.jsonl", "-o", "new.yaml")
    assert (drafted.returncode, drafted.stdout.strip()) == (0, "new.yaml")
    assert tamis(workplace, "run", "new.yaml", "--store", "s2", "--local").returncode == 0
    assert tamis(workplace, "init", "pool.jsonl", "-o", "new.yaml").returncode == 2
    assert tamis(workplace, "init", "pool.jsonl", "--like", "target.jsonl", "-o", "like.yaml").returncode == 0
    assert tamis(workplace, "plan", "like.yaml").returncode == 0
    assert not (workplace / ".sealed").exists(), "only stores have seals"
    steps = yaml.safe_load((workplace / "like.yaml").read_text())["steps"]
    assert [next(iter(step)) for step in steps] == ["exact_dedup", "near_dedup", "importance_resampling"]


def test_init_reads_every_format(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("some words")
    pq.write_table(pa.table({"uid": ["1", "2"], "caption": ["one text", "two text"]}), tmp_path / "p.parquet")
    (tmp_path / "p.csv").write_text("id,content,lang\n1,hello there,en\n2,good day,en\n")
    for number, path in enumerate(("texts", "p.parquet", "p.csv")):
        assert tamis(tmp_path, "init", path, "-o", f"{number}.yaml").returncode == 0
        ran = tamis(tmp_path, "run", f"{number}.yaml", "--store", f"s{number}", "--local")
        assert ran.returncode == 0, ran.stderr
    assert tamis(tmp_path, "init", "nowhere").returncode == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "none.yaml", "--store", "s"], "none.yaml"),
        (["run", "bad.yaml", "--store", "s"], "did you mean 'steps'"),
        (["run", "r.yaml", "--store", "s", "--set", "seed"], "wanted KEY=VALUE"),
        (["run", "r.yaml", "--store", "s", "--set", "steps.0.exact_dedup.x=1"], "unknown setting 'x'"),
        (["run", "r.yaml"], "--store"),
        (["why", "nowhere", "key"], "no such run"),
        (["pick", "none.jsonl", "--like", "target.jsonl", "-n", "5", "-o", "o.jsonl"], "none.jsonl"),
        (["pick", "pool.jsonl", "--like", "target.jsonl", "-n", "-5", "-o", "o.jsonl"], "1 or more"),
        (["frobnicate"], "frobnicate"),
    ],
)
def test_bad_input_is_exit_2_and_a_few_lines(workplace: Path, arguments: list[str], words: str) -> None:
    recipe(workplace)
    (workplace / "bad.yaml").write_text("pool: [{format: jsonl, path: pool.jsonl}]\nstepps: []\n")
    result = tamis(workplace, *arguments)
    assert result.returncode == 2, result.stderr
    assert words in result.stderr + result.stdout
    assert len(result.stderr.splitlines()) <= 6 and "Traceback" not in result.stderr


def test_ctrl_c_is_one_line_and_the_same_command_goes_on(tmp_path: Path) -> None:
    write_jsonl(
        tmp_path / "pool.jsonl",
        ({"id": str(i), "part": "x", "text": f"number {i} of many words " * 40} for i in range(60_000)),
    )
    write_jsonl(tmp_path / "target.jsonl", [{"text": "many words"}])
    recipe(tmp_path)
    command = [TAMIS, "run", "r.yaml", "--store", "s", "--local"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 20
    while not (tmp_path / "s" / "pool").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130 and "goes on behind the last whole shard" in said and "Traceback" not in said
    assert tamis(tmp_path, "run", "r.yaml", "--store", "s", "--local").returncode == 0


def test_help_names_every_verb_and_version_answers(tmp_path: Path) -> None:
    told = tamis(tmp_path, "--help").stdout
    for verb in ("pick", "init", "run", "plan", "why", "sql", "verify", "report", "selectors", "demo"):
        assert verb in told
    assert tamis(tmp_path, "--version").stdout.strip() == "0.1.0"
    listed = tamis(tmp_path, "selectors", "importance_resampling").stdout
    assert "importance_resampling" in listed and "smoothing" in listed


def test_a_closed_pipe_is_no_error(workplace: Path) -> None:
    recipe(workplace)
    tamis(workplace, "run", "r.yaml", "--store", "s", "--local")
    shell = f"{TAMIS} sql s/runs/r 'select * from pool' --format csv | head -1; exit ${{PIPESTATUS[0]}}"
    result = subprocess.run(
        ["bash", "-c", shell], cwd=workplace, capture_output=True, text=True, check=False, env=os.environ
    )
    assert "Traceback" not in result.stderr
