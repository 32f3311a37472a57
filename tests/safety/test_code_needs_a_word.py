"""Promise: a recipe's own Python runs where the person who starts a command says --allow-code, and nowhere else: no word
in a store counts, nor one of a request."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tamis.flows import deployed, settings
from tamis.pipeline.errors import CodeNotAllowed, RecipeError
from tamis.pipeline.files.atomic import read_json, write_json
from tamis.pipeline.recipe import user_code
from tamis.pipeline.store.runs import open_run
from tests_support import Runner, write_jsonl

CODE = """\
import os, pathlib
pathlib.Path(os.environ["MARK"]).touch()
from dataclasses import dataclass
import numpy as np
@dataclass(frozen=True, kw_only=True)
class Mine:
    def fit(self, pool, targets): return self
    def score(self, batch): return np.arange(batch.num_rows, dtype=float)
def of(batch): return [1.0] * batch.num_rows
"""
VERBS = [
    "why {run} k1", "sql {run} select+1", "verify {run}", "report {run}", "explain {run}", "where {store} k1", "gc {store}",
    "gc {store} --delete", "probe {run} x", "label export {run} --to csv --out tasks.csv", "label status {store}",
    "forget {store} k2", "compact {store}",
]  # fmt: skip


@pytest.fixture
def run(run_in: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose recipe names code, in a store that says so itself."""
    monkeypatch.setenv("MARK", str(tmp_path / "RAN"))
    write_jsonl(tmp_path / "pool.jsonl", [{"id": f"k{n}", "text": f"text {n} of them"} for n in range(40)])
    (tmp_path / "mine.py").write_text(f"{CODE}# {tmp_path}")  # known by its digest: another test's ran already
    pool = [{"format": "jsonl", "path": "pool.jsonl", "key": "id"}]
    asked = {"pool": pool, "target": [], "columns": {"x": {"python": "mine.py:of"}}, "emit": []}
    folder = run_in(tmp_path, **asked, steps=[{"mine.py:Mine": {"budget": 10}}], allow_code=True).folder
    write_json(folder / "request.json", {**read_json(folder / "request.json"), "allow_code": True})
    (tmp_path / "RAN").unlink()
    return folder


def in_another_process(verbs: list[str], **more: str) -> dict[str, tuple[int, str]]:
    """What each of the verbs ended with and said, one after another in a process that knows of nothing."""
    code = """\
import contextlib, io, json, os, sys
from tamis.pipeline.cli.app import main
found = {}
for words in json.load(sys.stdin):
    sys.argv = ["tamis", *words.split()]
    told = io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
        try:
            ended = main() or 0
        except SystemExit as error:
            ended = error.code or 0
    found[words] = ended, told.getvalue() + ("RAN" if os.path.exists(os.environ["MARK"]) else "")
print(json.dumps(found))
"""
    env = {**os.environ, **more}
    ended = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(verbs), env=env, capture_output=True, text=True, check=True
    )
    return {words: tuple(found) for words, found in json.loads(ended.stdout.splitlines()[-1]).items()}


def test_no_verb_over_a_recorded_request_runs_its_code(run: Path, tmp_path: Path) -> None:
    verbs = [verb.format(run=run, store=run.parent.parent) for verb in VERBS]
    for words, (ended, told) in in_another_process(verbs).items():
        assert "RAN" not in told, words
        assert "Traceback" not in told, words
        refused = "--allow-code" in told or "not the bytes that the run wrote" in told
        assert ended == 0 or refused or ended == 2, (words, told)
    word = f"label export {run} --to csv --out {tmp_path / 'tasks2.csv'} --allow-code"
    assert in_another_process([word])[word][0] == 0, "with the word it goes"


def test_the_word_is_for_one_run(run: Path, tmp_path: Path, run_in: Runner) -> None:
    other = run.with_name("other")
    other.mkdir()
    for name in ("request.json", "inputs.json"):
        (other / name).write_bytes((run / name).read_bytes())
    with pytest.raises(CodeNotAllowed, match="--allow-code"):
        _ = open_run(other).steps
    user_code.allow(other)
    assert open_run(other).steps


@pytest.mark.parametrize("said", ["0", "true", "yes", "", "1 "])
def test_the_environment_allows_by_one_word_alone(said: str, run: Path) -> None:
    words = f"probe {run} x"
    assert "RAN" not in in_another_process([words], TAMIS_ALLOW_CODE=said)[words][1]


CHANGES: list[dict[str, Any]] = [
    {"allow_code": True}, {"columns.x.python": "/tmp/evil.py:f"}, {"steps.0.random.where": "true"}, {"pool.0.path": "/etc/passwd"},
    {"emit": ["split"]}, {"steps": []}, {"steps.0": {"/tmp/evil.py:F": {}}}, {"name": "../x"}, {"steps.0.random.budget.x": 1},
]  # fmt: skip


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_a_request_to_what_is_served_changes_numbers_alone(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "served.json"
    recipe = {"pool": [{"format": "jsonl", "path": "p.jsonl"}], "steps": [{"random": {"budget": 1}}]}
    served = {"recipe": recipe, "recipe_folder": str(tmp_path), "store": str(tmp_path / "store"), "allow_code": False}
    write_json(told, {**served, "urls": {}, "process": os.getpid()})
    monkeypatch.setenv(deployed.SERVED, str(told))
    with pytest.raises(RecipeError, match="not a request's to set"):
        deployed.recipe_flow.fn(changes)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("flow", [deployed.recipe_flow, deployed.curate_file, deployed.embed_new, deployed.label_round])
def test_no_flow_takes_the_permission_from_its_request(flow: Any) -> None:
    assert "allow_code" not in flow.parameters.properties


@pytest.mark.parametrize("place", ["../elsewhere", "/etc", "store/../../x", "link/x", "."])
def test_a_workers_paths_lie_below_its_folder(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "link").symlink_to(tmp_path)
    monkeypatch.setenv("TAMIS_FOLDER", str(mine))
    if place == ".":
        assert deployed._allowed(Path("store")) == Path("store")
        return
    with pytest.raises(RecipeError, match="TAMIS_FOLDER"):
        deployed._allowed(Path(place))


def test_a_server_of_ours_has_a_word_that_nobody_can_guess(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    words = set()
    for name in ("PREFECT_API_URL", "PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_AUTH_STRING"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    for _ in range(2):
        monkeypatch.delenv(settings.AUTH, raising=False)
        monkeypatch.delenv("PREFECT_API_AUTH_STRING", raising=False)
        settings.apply()
        words.add(os.environ[settings.AUTH])
        assert os.environ["PREFECT_API_AUTH_STRING"] == os.environ[settings.AUTH]
        assert os.environ["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"] != "*"
    assert len(words) == 2 and all(len(word) > 24 for word in words)
