"""A real Prefect server's deployments, a worker that runs them, and what the server answers: for tests of flows/."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests_support import ROOT

WAIT_S = 300


PREFECT = [sys.executable, "-m", "prefect"]


class Worker:
    """A worker of the pool, in a group of processes of its own; it can be killed, and started anew."""

    def __init__(self, place: Path, address: str) -> None:
        self.place, self.address = place, address
        self.start()

    def start(self) -> None:
        with (self.place / "log.txt").open("a") as log:
            self.process = subprocess.Popen(
                [*PREFECT, "worker", "start", "--pool", "tamis"], cwd=self.place,
                env=environment(self.place, self.address), stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(60)

    def end(self) -> None:
        os.killpg(self.process.pid, signal.SIGINT)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()


@contextmanager
def worker(place: Path, address: str) -> Iterator[Worker]:
    """The lines of docs/operating.md, with this server."""
    env = environment(place, address)
    subprocess.run(
        [*PREFECT, "work-pool", "create", "--type", "process", "tamis"], env=env, check=True, capture_output=True
    )
    ended = subprocess.run(
        [*PREFECT, "--no-prompt", "deploy", "--all"], cwd=ROOT, env=env, check=False, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    started = Worker(place, address)
    try:
        yield started
    finally:
        started.end()


def environment(place: Path, address: str) -> dict[str, str]:
    quick = {"PREFECT_WORKER_QUERY_SECONDS": "1"}
    return {**os.environ, "PREFECT_API_URL": address, "TAMIS_FOLDER": str(place), **quick}


def ask(address: str, what: str, body: dict[str, Any]) -> Any:
    word = b64encode(os.environ["PREFECT_API_AUTH_STRING"].encode()).decode()
    headers = {"content-type": "application/json", "Authorization": f"Basic {word}"}
    request = urllib.request.Request(f"{address}/{what}", json.dumps(body).encode(), headers, method="POST")
    for _ in range(60):
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.loads(answer.read() or b"null")
        except OSError:
            time.sleep(1)  # its database is busy
    raise AssertionError(what)


def state_of(address: str, run: str) -> str:
    return str(ask(address, "flow_runs/filter", {"flow_runs": {"id": {"any_": [run]}}})[0]["state_type"])


def until(found: Callable[[], Any], place: Path) -> None:
    end = time.monotonic() + WAIT_S
    while not found():
        assert time.monotonic() < end, (place / "log.txt").read_text()[-3000:]
        time.sleep(0.5)
