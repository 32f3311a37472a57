"""A real Label Studio (SQLite, on loopback): it takes what tamis writes, and its answers come back in each of its formats.

It stands in an environment of its own, which `make consumers` makes of label_studio.txt."""

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tamis.pipeline.columns.detect.rounds import round_rows
from tamis.pipeline.labels.files import read_answers
from tamis.pipeline.labels.rounds import Imported, import_answers
from tests_support import Runner, write_jsonl

SERVER = Path(__file__).parents[2] / ".consumers" / "label-studio" / "bin" / "label-studio"
TOKEN = "0123456789abcdef0123456789abcdef01234567"
ROWS = ("JSON", "JSON_MIN", "CSV", "TSV")
OF_BOXES = (*ROWS, "COCO", "COCO_WITH_IMAGES", "YOLO", "YOLO_WITH_IMAGES", "VOC")
HELD = {"x": 10, "y": 20, "width": 30, "height": 40, "rotation": 0}  # in percent
pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(not SERVER.exists(), reason="no Label Studio: `make consumers` makes its environment"),
]


class Studio:
    """A server with its documents below `root`."""

    def __init__(self, url: str, root: Path) -> None:
        self.url, self.root = url, root

    def call(self, method: str, path: str, body: Any = None) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Token {TOKEN}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return bytes(answer.read())

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        return json.loads(self.call(method, path, body))

    def project(self, tasks: Path) -> tuple[int, list[dict[str, Any]]]:
        """A project of the interface and tasks that tamis wrote."""
        made = self.ask("POST", "/api/projects", {"title": "round", "label_config": (tasks / "labels.xml").read_text()})
        self.ask("POST", f"/api/projects/{made['id']}/import", json.loads((tasks / "tasks.json").read_text()))
        return made["id"], self.ask("GET", f"/api/tasks?project={made['id']}&page_size=100")["tasks"]

    def answer(self, task: int, who: int, result: list[dict[str, Any]]) -> None:
        body = {"result": result, "lead_time": 90.0, "was_cancelled": False, "completed_by": who}
        self.ask("POST", f"/api/tasks/{task}/annotations", body)

    def export(self, project: int, kind: str, place: Path) -> Path:
        data = self.call("GET", f"/api/projects/{project}/export?exportType={kind}")
        ending = "zip" if data[:2] == b"PK" else kind.lower() if kind in ("CSV", "TSV") else "json"
        path = place / f"{kind}.{ending}"
        path.write_bytes(data)
        return path


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    home, root = tmp_path_factory.mktemp("studio"), tmp_path_factory.mktemp("documents")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = {
        "HOME": str(home), "LABEL_STUDIO_BASE_DATA_DIR": str(home), "LABEL_STUDIO_USERNAME": "a@example.com",
        "LABEL_STUDIO_PASSWORD": "not a secret", "LABEL_STUDIO_USER_TOKEN": TOKEN,
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true", "COLLECT_ANALYTICS": "False", "LATEST_VERSION_CHECK": "False",
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true", "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(root),
    }  # fmt: skip
    command = [str(SERVER), "start", "--no-browser", "--port", str(port), "--internal-host", "127.0.0.1"]
    with (home / "log").open("wb") as log:
        server = subprocess.Popen(command, env={**os.environ, **told}, cwd=home, stdout=log, stderr=log)
        try:
            found = Studio(f"http://127.0.0.1:{port}", root)
            _until_up(found, server, home / "log")
            yield found
        finally:
            server.terminate()
            server.wait(30)


def _until_up(studio: Studio, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(240):
        if server.poll() is not None:
            break
        try:
            studio.call("GET", "/api/version")
        except OSError:
            time.sleep(0.5)
        else:
            return
    pytest.fail(f"Label Studio did not start: {log.read_text()[-2000:]}")


@pytest.fixture(scope="module")
def people(studio: Studio) -> tuple[int, int]:
    """Two of them."""
    second = {
        "email": "b@example.com",
        "username": "b",
        "password": "not a secret",
        "first_name": "B",
        "last_name": "B",
    }
    return studio.ask("GET", "/api/current-user/whoami")["id"], studio.ask("POST", "/api/users/", second)["id"]


def taken(store: Path, path: Path) -> tuple[Imported, dict[str, Any]]:
    found = import_answers(store, read_answers(path), path.name, None, lambda _: None)
    return found, {row["key"]: row for rows in round_rows(store / "labels") for row in rows}


@pytest.mark.parametrize("known", [True, False], ids=["classes", "typed"])
def test_texts_go_out_and_the_answers_of_two_people_come_back(
    studio: Studio, people: tuple[int, int], run_in: Runner, tmp_path: Path, known: bool
) -> None:
    write_jsonl(
        tmp_path / "pool.jsonl", [{"id": f"t{n}", "text": f'text <{n}> & "more"', "part": ""} for n in range(8)]
    )
    step = [{"random": {"budget": 5}}]
    asked: dict[str, Any] = {"target": [], "steps": step, "emit": ["label_studio"]}
    asked |= {"label_classes": ["cats & dogs", "<none>"]} if known else {}
    outcome = run_in(tmp_path, name="first", **asked)
    project, tasks = studio.project(outcome.folder / "exports" / "label_studio")
    truth = {}
    for number, task in enumerate(tasks):
        truth[task["data"]["key"]] = name = ("cats & dogs", "<none>")[number % 2]
        kind, value = ("choices", {"choices": [name]}) if known else ("textarea", {"text": [name]})
        for who in people:
            studio.answer(task["id"], who, [{"from_name": "label", "to_name": "text", "type": kind, "value": value}])
    disputed = tasks[0]["data"]["key"]
    value = {"choices": ["<none>"]} if known else {"text": ["<none>"]}
    other = {"from_name": "label", "to_name": "text", "type": "choices" if known else "textarea", "value": value}
    studio.answer(tasks[0]["id"], people[1], [other])
    for kind in ROWS:
        store = tmp_path / f"store-{kind}"
        shutil.copytree(tmp_path / "store", store)
        found, rows = taken(store, studio.export(project, kind, tmp_path))
        assert {key: row["label"] for key, row in rows.items()} == {k: v for k, v in truth.items() if k != disputed}
        assert [one.partition(":")[0] for one in found.conflicts] == [disputed]
        assert {row["cost"] for row in rows.values()} == {3.0}, "two people, 90 seconds each, in minutes"
        again = {**asked, "steps": [{"random": {"budget": 9, "where": "labels is null"}}], "emit": []}
        following = run_in(tmp_path, name="next", store=store.name, **{**again, "labels": f"{store.name}/labels"})
        keys = set(pq.read_table(following.folder / "selection.parquet")["key"].to_pylist())
        assert keys == {f"t{n}" for n in range(8)} - set(rows), "what was answered is not asked again"


def test_boxes_go_out_as_proposals_and_come_back_as_objects(
    studio: Studio, people: tuple[int, int], run_in: Runner, tmp_path: Path
) -> None:
    image = pytest.importorskip("PIL.Image")
    for number in range(4):
        place = studio.root / "photos" / f"p{number} &é.jpg"
        place.parent.mkdir(exist_ok=True)
        image.new("RGB", (200, 100), (60 * number, 20, 90)).save(place)
    names = [f"p{number} &é" for number in range(4)]
    boxes = [{"id": 1, "image_id": 0, "category_id": 7, "bbox": [20, 20, 60, 40]}]
    images = [{"id": n, "file_name": f"{name}.jpg", "width": 200, "height": 100} for n, name in enumerate(names)]
    held = {
        "images": images,
        "annotations": boxes,
        "categories": [{"id": 7, "name": "bear"}, {"id": 9, "name": "wolf"}],
    }
    (tmp_path / "boxes.json").write_text(json.dumps(held))
    outcome = run_in(
        tmp_path, pool=[{"format": "images", "path": str(studio.root / "photos")}], target=[], steps=[],
        columns={"found": {"detect": "file", "path": "boxes.json"}}, emit=[{"label_studio": {"root": str(studio.root)}}],
    )  # fmt: skip
    project, tasks = studio.project(outcome.folder / "exports" / "label_studio")
    storage = {"project": project, "path": str(studio.root / "photos"), "use_blob_urls": True, "title": "s"}
    studio.ask("POST", "/api/storages/localfiles", storage)
    for task in tasks:
        data = studio.call("GET", task["data"]["image"])
        assert data == (studio.root / "photos" / f"{task['data']['key']}.jpg").read_bytes(), "the server finds it"
    first = next(task["id"] for task in tasks if task["data"]["key"] == names[0])
    proposed = studio.ask("GET", f"/api/tasks/{first}")["predictions"][0]["result"]
    assert proposed[0]["value"]["rectanglelabels"] == ["bear"]
    for task in tasks:
        drawn = [] if task["data"]["key"] == names[3] else ["wolf", "bear"]
        studio.answer(task["id"], people[0], [
            {"from_name": "label", "to_name": "image", "type": "rectanglelabels", "original_width": 200,
             "original_height": 100, "image_rotation": 0, "value": {**HELD, "rectanglelabels": [name]}}
            for name in drawn
        ])  # fmt: skip
    for kind in OF_BOXES:
        store = tmp_path / f"store-{kind}"
        shutil.copytree(tmp_path / "store", store)
        found, rows = taken(store, studio.export(project, kind, tmp_path))
        says_nothing = (
            kind.startswith("COCO") or kind == "VOC"
        )  # these formats can't tell it from an image not looked at
        assert sorted(rows) == names[: 3 if says_nothing else 4], (kind, found.lines())
        for name in names[:3]:
            assert sorted(one["class"] for one in rows[name]["boxes"]) == ["bear", "wolf"]
            for one in rows[name]["boxes"]:
                assert np.allclose(one["box"], [0.1, 0.2, 0.4, 0.6], atol=0.011), kind  # VOC has whole pixels
        if not says_nothing:
            assert rows[names[3]]["boxes"] == []
        following = run_in(
            tmp_path, name="next", store=store.name, pool=[{"format": "images", "path": str(studio.root / "photos")}],
            target=[], steps=[{"random": {"budget": 9, "where": "people_count > 0"}}], emit=[],
            columns={"people": {"detect": "file", "path": f"{store.name}/labels"}},
        )  # fmt: skip
        assert following.selected == 3
