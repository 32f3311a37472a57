"""A recipe served by a real Prefect server on loopback: deployed, triggered through its API, on its schedule."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tamis.pipeline.recipe.recipe import load_recipe
from tamis.pipeline.starting import run_next
from tamis.pipeline.store.manifest import verify
from tamis.pipeline.store.runs import open_complete
from tests_support import write_jsonl

pytestmark = pytest.mark.thorough

RECIPE = """\
pool: [{format: jsonl, path: "new/*.jsonl", key: id}]
against: kept
steps: [random: {budget: 5}]
emit: [keys]
"""
BUSY = 503
words: list[str] = []  # of the servers, the last one's last
WAIT_S = 240  # a loaded machine starts a server and two flow runs within it


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "new").mkdir()
    write_jsonl(tmp_path / "new" / "a.jsonl", [{"id": f"a{n}", "text": f"text {n}"} for n in range(20)])
    (tmp_path / "daily.yaml").write_text(RECIPE)
    return tmp_path


def chosen(folder: Path) -> set[str]:
    return set(pq.read_table(folder / "selection.parquet")["key"].to_pylist())


def test_the_next_run_is_the_last_one_until_something_is_new(place: Path) -> None:
    recipe = load_recipe(place / "daily.yaml")
    first = run_next(recipe, place, place / "store")
    again = run_next(recipe, place, place / "store")
    assert first.folder.name == again.folder.name == "daily-0001" and first.fresh and not again.fresh
    write_jsonl(place / "new" / "b.jsonl", [{"id": f"b{n}", "text": f"more {n}"} for n in range(3)])
    second = run_next(recipe, place, place / "store")
    assert second.folder.name == "daily-0002" and not chosen(second.folder) & chosen(first.folder)
    (second.folder / "manifest.json").unlink()
    assert run_next(recipe, place, place / "store").folder.name == "daily-0002", "what did not end goes on"


def test_a_served_recipe_runs_when_asked_and_when_due(place: Path) -> None:
    port = free_port()
    tamis = Path(sys.executable).with_name("tamis")
    command = [tamis, "serve", "daily.yaml", "--store", "store", "--every", "1m", "--port", str(port)]
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    env = {**plain, "PREFECT_HOME": str(place / "prefect"), "PREFECT_PROFILES_PATH": str(place / "profiles.toml")}
    with (place / "log.txt").open("w") as log:
        served = subprocess.Popen(command, cwd=place, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        until(lambda: "serving daily" in (place / "log.txt").read_text(), served, place)
        words.append(re.search(r"gives its word, (\S+);", (place / "log.txt").read_text())[1])  # type: ignore[index]
        assert (place / "store" / "runs" / "daily-0001" / "manifest.json").exists(), "the first run is made at once"
        deployment = until(lambda: ask(port, "deployments/filter", {}), served, place)[0]
        assert "against: kept" in deployment["description"] and not deployment["parameters"]
        assert "changes" in json.dumps(deployment["parameter_openapi_schema"]), "the page shows a form"
        assert strangers(port, deployment["id"]) == ([401, 401, 401], None)
        write_jsonl(place / "new" / "b.jsonl", [{"id": f"b{n}", "text": f"more {n}"} for n in range(9)])
        begin = f"deployments/{deployment['id']}/create_flow_run"
        for changes in ({"steps.0.random.where": "true"}, {"emit": ["split"]}, {"pool.0.path": "/etc/*"}):
            refused = ask(port, begin, {"parameters": {"changes": {**changes}}, "enforce_parameter_schema": False})
            until(lambda one=refused["id"]: state(port, one) in ("FAILED", "CRASHED"), served, place)
        run = ask(port, begin, {"parameters": {"changes": {"steps.0.random.budget": 5}}})
        until(lambda: state(port, run["id"]) == "COMPLETED", served, place)
        second = place / "store" / "runs" / "daily-0002"
        assert verify(open_complete(second)) == [] and len(chosen(second)) == 5
        assert not chosen(second) & chosen(second.with_name("daily-0001"))
        keys = {artifact["key"] for artifact in ask(port, "artifacts/filter", {})} - {None}  # what failed leaves one
        assert keys == {"funnel", "summary", "progress", "changes", "changed", "composition"}
        shown_on_page(port, run["id"], second.name)
        until(lambda: due(port), served, place)
        begun = ask(port, begin, {})
        until(lambda: state(port, begun["id"]) in ("PENDING", "RUNNING", "COMPLETED"), served, place)
        mine = children(served.pid)
        assert mine
        served.kill()
        served.wait(10)
        end = time.monotonic() + 20
        while time.monotonic() < end and any(Path(f"/proc/{one}").exists() for one in mine):
            time.sleep(0.2)
        assert not [one for one in mine if Path(f"/proc/{one}").exists()], "the children die with it"
    finally:
        subprocess.run(["pkill", "-9", "-f", "--", f"--port {port}"], check=False)
        served.kill()
    assert "Traceback" not in (place / "log.txt").read_text()


@contextmanager
def serving(place: Path, port: int, *more: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Started, and past its first run or its pause; ended by SIGTERM, cleanly."""
    tamis = Path(sys.executable).with_name("tamis")
    command = [tamis, "serve", "daily.yaml", "--store", "store", "--port", str(port), *more]
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    env = {**plain, "PREFECT_HOME": str(place / "prefect"), "PREFECT_PROFILES_PATH": str(place / "profiles.toml")}
    env |= {"PREFECT_RUNNER_POLL_FREQUENCY": "1"}
    (place / "log.txt").write_text("")
    with (place / "log.txt").open("w") as log:
        served = subprocess.Popen(command, cwd=place, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        until(lambda: "serving daily" in (place / "log.txt").read_text(), served, place)
        words.append(re.search(r"gives its word, (\S+);", (place / "log.txt").read_text())[1])  # type: ignore[index]
        yield served
        served.terminate()
        assert served.wait(60) == 0, (place / "log.txt").read_text()
        told = (place / "log.txt").read_text()
        assert "never awaited" not in told and "Traceback" not in told, told
    finally:
        subprocess.run(["pkill", "-9", "-f", "--", f"--port {port}"], check=False)
        served.kill()


def test_a_pause_on_the_page_outlives_serve_and_new_files_begin_a_run(place: Path) -> None:
    port = free_port()
    (place / "daily.yaml").write_text(RECIPE + "publish: {rows: 4}\n")
    with serving(place, port, "--cron", "0 3 1 1 *", "--look", "1s", "--keep-runs", "1") as served:
        assert json.loads((place / "store" / "current.json").read_text())["run"] == "daily-0001"
        half = place / "new" / "b.jsonl"
        half.write_text('{"id": "b0", "text": "more')
        time.sleep(0.5)
        write_jsonl(half, [{"id": f"b{n}", "text": f"more {n}"} for n in range(9)])
        until(lambda: named(port, "daily-0002"), served, place)
        until(lambda: named(port, "daily-0002")[0]["state_name"] == "Completed", served, place)
        assert json.loads((place / "store" / "current.json").read_text())["run"] == "daily-0002"
        write_jsonl(place / "new" / "c.jsonl", [{"id": f"c{n}", "text": f"much more {n}"} for n in range(40)])
        until(lambda: named(port, "daily-0003"), served, place)
        until(lambda: named(port, "daily-0003")[0]["state_type"] == "COMPLETED", served, place)
        until((place / "store" / "runs" / "daily-0001" / "thinned.json").exists, served, place)
        deployment = ask(port, "deployments/filter", {})[0]
        ask(port, f"deployments/{deployment['id']}/pause_deployment", {})
    write_jsonl(place / "new" / "d.jsonl", [{"id": f"d{n}", "text": f"most {n}"} for n in range(9)])
    with serving(place, port, "--cron", "0 3 1 1 *") as served:
        assert "was paused on its page" in (place / "log.txt").read_text()
        deployment = ask(port, "deployments/filter", {})[0]
        assert deployment["paused"] and all(one["active"] for one in deployment["schedules"]), "one switch was set"
        assert not (place / "store" / "runs" / "daily-0004").exists()


def test_a_held_night_ends_as_held_and_says_why(place: Path) -> None:
    port = free_port()
    (place / "daily.yaml").write_text(RECIPE + "publish: {rows: 99}\n")
    with serving(place, port, "--every", "1d", "--if-running", "skip") as served:
        held = until(lambda: named(port, "daily-0001"), served, place)[0]
        assert held["state_name"] == "Held" and "wanted at least 99" in held["state"]["message"]
        limit = ask(port, "deployments/filter", {})[0]
        assert (
            limit["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"
            and limit["global_concurrency_limit"]["limit"] == 1
        )


def test_what_was_missed_is_made_up_for_once_and_what_was_cut_off_is_not_running(place: Path) -> None:
    port = free_port()
    with serving(place, port, "--cron", "0 3 1 1 *"):
        deployment = ask(port, "deployments/filter", {})[0]["id"]
        soon = (datetime.now(UTC) + timedelta(seconds=20)).isoformat()
        due = {"type": "SCHEDULED", "state_details": {"scheduled_time": soon}}
        missed = [ask(port, f"deployments/{deployment}/create_flow_run", {"state": due})["id"] for _ in range(2)]
        later = {"type": "SCHEDULED", "state_details": {"scheduled_time": "2100-01-01T00:00:00Z"}}
        cut_off = ask(port, f"deployments/{deployment}/create_flow_run", {"state": later})["id"]
        ask(port, f"flow_runs/{cut_off}/set_state", {"state": {"type": "RUNNING"}, "force": True})
    write_jsonl(place / "new" / "b.jsonl", [{"id": f"b{n}", "text": f"more {n}"} for n in range(9)])
    time.sleep(max(0.0, (datetime.fromisoformat(soon) - datetime.now(UTC)).total_seconds() + 1))
    with serving(place, port, "--cron", "0 3 1 1 *"):
        assert (place / "store" / "runs" / "daily-0002" / "manifest.json").exists()
        assert [state(port, one) for one in (*missed, cut_off)] == ["CANCELLED", "CANCELLED", "CRASHED"]
        assert not (place / "store" / "runs" / "daily-0003").exists()


def named(port: int, name: str) -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = ask(port, "flow_runs/filter", {"flow_runs": {"name": {"any_": [name]}}})
    return runs


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def shown_on_page(port: int, run: str, name: str) -> None:
    """One flow run, of the run's name, with tamis's lines in its log; and a page that asks the server that serves it."""
    runs = ask(port, "flow_runs/filter", {})
    assert [one["name"] for one in runs if one["id"] == run] == [name]
    assert {one["name"] for one in runs if one["flow_id"] != runs[0]["flow_id"]} == set(), "no flow within the flow"
    end, lines = time.monotonic() + WAIT_S, list[str]()
    while time.monotonic() < end and f"{name}: 5 selected" not in lines:  # they are on their way when the run has ended
        time.sleep(0.5)
        lines = [one["message"] for one in ask(port, "logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}})]
    assert any("pool: 29 rows = 29 samples + 0 rejects" in line for line in lines), lines
    assert any(line == f"{name}: 5 selected" for line in lines), lines
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/ui-settings", timeout=30) as answer:
        assert json.load(answer)["api_url"] == f"http://127.0.0.1:{port}/api"
    told = json.dumps(ask(port, "artifacts/filter", {}))
    assert words[-1] not in told and "5 selected" in told


def strangers(port: int, deployment: str) -> tuple[list[int], str | None]:
    """What is answered to who doesn't know the word, or comes from elsewhere, and the leave that its page has."""
    address = f"http://127.0.0.1:{port}/api"
    found, leave = [], None
    for what in ("deployments/filter", f"deployments/{deployment}/create_flow_run", "flow_runs/filter"):
        headers = {"content-type": "application/json", "Origin": "http://evil.example", "Authorization": "Basic eDp5"}
        try:
            urllib.request.urlopen(urllib.request.Request(f"{address}/{what}", b"{}", headers), timeout=30)
        except urllib.error.HTTPError as error:
            found.append(error.code)
            leave = leave or error.headers.get("access-control-allow-origin")
    return found, leave


def children(process: int) -> list[int]:
    """All that descend from a process."""
    found = subprocess.run(["pgrep", "-P", str(process)], capture_output=True, text=True, check=False).stdout.split()
    return [one for each in found for one in (int(each), *children(int(each)))]


def test_a_port_that_another_server_has_is_no_server_of_ours(place: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        command = [Path(sys.executable).with_name("tamis"), "serve", "daily.yaml", "--store", "store", "--every", "1h"]
        plain = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        env = {**plain, "PREFECT_HOME": str(place / "prefect")}
        asked = [*command, "--port", str(other.getsockname()[1])]
        ended = subprocess.run(asked, cwd=place, env=env, capture_output=True, text=True, check=False)
    assert ended.returncode == 1 and "is taken, and what answers there is none of ours" in ended.stderr


def ask(port: int, what: str, body: dict[str, Any]) -> Any:
    """The answer; a server that says 503, for its database is busy, is asked again."""
    data = json.dumps(body).encode()
    headers = {"content-type": "application/json", "Authorization": f"Basic {b64encode(words[-1].encode()).decode()}"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/{what}", data, headers, method="POST")
    end = time.monotonic() + WAIT_S
    while True:
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            if error.code != BUSY or time.monotonic() > end:
                raise
            time.sleep(1)


def state(port: int, run: str) -> str:
    return str(ask(port, "flow_runs/filter", {"flow_runs": {"id": {"any_": [run]}}})[0]["state_type"])


def due(port: int) -> list[Any]:
    """Runs that the schedule made."""
    runs = ask(port, "flow_runs/filter", {"flow_runs": {"deployment_id": {"is_null_": False}}})
    return [run for run in runs if run["auto_scheduled"]]


def until(found: Callable[[], Any], served: "subprocess.Popen[bytes]", place: Path) -> Any:
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        assert served.poll() is None, (place / "log.txt").read_text()
        if answer := found():
            return answer
        time.sleep(0.5)
    raise AssertionError((place / "log.txt").read_text())


@pytest.mark.parametrize(
    ("given", "told"),
    [([], "wanted either --every"), (["--every", "6x"], "wanted a number and s, m, h or d"), (["--every", "0h"], "wanted a number")],
)  # fmt: skip
def test_a_wrong_schedule_is_one_line(place: Path, given: list[str], told: str) -> None:
    tamis = Path(sys.executable).with_name("tamis")
    command = [tamis, "serve", "daily.yaml", "--store", "store", *given]
    ended = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    assert ended.returncode == 2 and told in ended.stderr and ended.stderr.count("\n") < 3
