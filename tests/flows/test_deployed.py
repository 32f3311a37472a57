"""prefect.yaml deployed to a real server, its three flows run by a real worker, and an automation that tells of a failure."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from deployments import ask, state_of, until, worker

from tamis.flows import settings
from tamis.pipeline.store.manifest import verify
from tamis.pipeline.store.runs import open_complete
from tests_support import ROOT, write_jsonl

pytestmark = pytest.mark.thorough

settings.apply()
RECIPE = {
    "pool": [{"format": "jsonl", "path": "new/*.jsonl", "key": "id"}],
    "steps": [{"random": {"budget": 5}}],
    "against": "kept",
    "emit": ["keys"],
}
LABELS = {
    "pool": RECIPE["pool"],
    "labels": "my-store/labels",
    "columns": {"look": {"embed": "precomputed", "path": "v.npz"}},
    "steps": [{"k_center": {"column": "look", "budget": 4}}],
    "emit": ["keys"],
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "new").mkdir()
    write_jsonl(tmp_path / "new" / "a.jsonl", [{"id": f"a{n}", "text": f"text {n}"} for n in range(20)])
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    (tmp_path / "labels.yaml").write_text(yaml.safe_dump(LABELS))
    vectors = np.random.default_rng(0).normal(size=(20, 4)).astype("f4")
    np.savez(tmp_path / "v.npz", key=np.array([f"a{n}" for n in range(20)]), vector=vectors)
    (tmp_path / "answers").mkdir()
    return tmp_path


def test_the_deployments_run_and_a_failure_is_told(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tamis.flows.server import server

    monkeypatch.setenv("PREFECT_HOME", str(place / "prefect"))  # a database of its own
    with server() as address, told() as (hook, heard), worker(place, address):
        code = re.search(
            r"```python\n(from prefect.automations.*?)```", (ROOT / "docs" / "operating.md").read_text(), re.DOTALL
        )
        assert code
        made = subprocess.run(
            [sys.executable, "-c", f"HOOK = {hook!r}\n{code[1]}"],
            env={**os.environ, "PREFECT_API_URL": address},
            capture_output=True,
            text=True,
            check=False,
        )
        assert made.returncode == 0, made.stderr
        flows = {one["name"]: one["id"] for one in ask(address, "deployments/filter", {})}
        assert set(flows) == {"curate", "embed", "labels"}

        def run(name: str, state: str, **parameters: Any) -> dict[str, Any]:
            begun = ask(address, f"deployments/{flows[name]}/create_flow_run", {"parameters": parameters})
            until(lambda: state_of(address, begun["id"]) in ("COMPLETED", "FAILED", "CRASHED"), place)
            assert state_of(address, begun["id"]) == state, (place / "log.txt").read_text()[-3000:]
            ended: dict[str, Any] = ask(address, "flow_runs/filter", {"flow_runs": {"id": {"any_": [begun["id"]]}}})[0]
            return ended

        store = place / "my-store"
        run("embed", "COMPLETED")
        assert list((store / "pool").glob("part-*.parquet")) and not list((store / "runs").iterdir())
        run("curate", "COMPLETED")
        first = open_complete(store / "runs" / "recipe-0001")
        assert verify(first) == [] and pq.read_metadata(first.folder / "selection.parquet").num_rows == 5
        run("labels", "COMPLETED")
        waiting = run("labels", "COMPLETED")
        assert (
            waiting["state_name"] == "Waiting" and "0 of 4 asked are answered, wanted 4" in waiting["state"]["message"]
        )
        asked = pq.read_table(store / "runs" / "labels-0001" / "selection.parquet")["key"].to_pylist()
        (place / "answers" / "a_broken.json").write_text("[")  # costs itself alone
        (place / "answers" / "monday.csv").write_text("key,label\n" + "".join(f"{key},yes\n" for key in asked))
        run("labels", "COMPLETED")
        again = pq.read_table(store / "runs" / "labels-0002" / "selection.parquet")["key"].to_pylist()
        assert len(again) == 4 and not set(again) & set(asked), "what was answered is not asked again"
        run("curate", "FAILED", recipe="nowhere.yaml", store="my-store")
        run("curate", "FAILED", store="../elsewhere")
        assert not (place.parent / "elsewhere").exists()
        until(lambda: heard, place)
        assert "Failed: " in heard[0]


@contextmanager
def told() -> Iterator[tuple[str, list[str]]]:
    """Somewhere that hears of failures."""
    heard: list[str] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(self.rfile.read(int(self.headers["content-length"])).decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    here = HTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=here.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{here.server_port}/", heard
    here.shutdown()
