"""Others' viewers are started on what the run decided, where they are installed."""

import csv
import json
import os
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tamis.pipeline.errors import TamisError
from tamis.pipeline.store.runs import open_complete
from tamis.pipeline.view.others import Viewer, open_with
from tests_support import OF_PHOTOS, Runner

TELLS = """
import json, os, shutil, sys
from pathlib import Path
def tell(**what):
    Path(os.environ["TOLD"]).write_text(json.dumps(what))
"""
FIFTYONE = f"""{TELLS}
class types:
    CSVDataset = "csv"
class Dataset:
    @staticmethod
    def from_dir(dataset_type, labels_path, data_path, fields):
        shutil.copy(labels_path, os.environ["TOLD"] + ".csv")
        tell(fields=sorted(fields), data_path=data_path)
class launch_app:
    def __init__(self, pool): pass
    def wait(self): pass
"""
LIGHTLY = f"""{TELLS}
class db_manager:
    @staticmethod
    def connect(db_file): Path(db_file).touch()
class ImageDataset:
    @staticmethod
    def create(): return ImageDataset()
    def add_images_from_path(self, path, embed, tag_depth):
        tell(images=sorted([one.parent.name, one.read_bytes()[:2].hex()] for one in Path(path).rglob("*.*")), embed=embed)
def start_gui(host): assert host == "127.0.0.1" and os.environ["LIGHTLY_STUDIO_ANALYTICS_ENABLED"] == "false"
"""


@pytest.fixture
def run(run_in: Runner, photos: Path) -> Path:
    steps = [{"exact_dedup": {}}, {"random": {"budget": 30}}]
    return run_in(photos.parent, **{**OF_PHOTOS, "steps": steps}).folder


def told_by(
    viewer: Viewer, run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **modules: str
) -> dict[str, object]:
    for name, text in modules.items():
        (tmp_path / "fakes" / name).mkdir(parents=True)
        (tmp_path / "fakes" / name / "__init__.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "fakes"))
    monkeypatch.syspath_prepend(str(tmp_path / "fakes"))
    monkeypatch.setenv("TOLD", str(tmp_path / "told.json"))
    assert open_with(open_complete(run), viewer) == 0
    assert list((run.parent.parent / ".tmp").glob("view-*")) == []
    found: dict[str, object] = json.loads((tmp_path / "told.json").read_text())
    return found


def test_embedding_atlas(run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "bin" / "embedding-atlas"
    script.parent.mkdir()
    script.write_text(
        f"#!{sys.executable}\n{TELLS}\nshutil.copy(sys.argv[1], os.environ['TOLD'] + '.parquet')\ntell(words=sys.argv[2:])\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")
    told = told_by("atlas", run, monkeypatch, tmp_path)
    assert told["words"] == ["--x", "tamis_x", "--y", "tamis_y", "--text", "text"]
    table = pq.read_table(tmp_path / "told.json.parquet")
    assert sum(table["tamis_kept"].to_pylist()) == 30 < len(table)


def test_fiftyone(run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told = told_by("fiftyone", run, monkeypatch, tmp_path, fiftyone=FIFTYONE)
    assert told["fields"] == ["key", "tamis_kept", "tamis_reason", "tamis_score", "tamis_step", "tamis_x", "tamis_y"]
    with (tmp_path / "told.json.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(Path(row["filepath"]).is_file() for row in rows)
    assert set(told["fields"]) <= set(rows[0])  # type: ignore[call-overload]


def test_lightly_studio(run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told = told_by("lightly", run, monkeypatch, tmp_path, lightly_studio=LIGHTLY)
    images = told["images"]
    assert isinstance(images, list)
    assert len(images) == 112
    assert {name: sum(one[0] == name for one in images) for name, _ in images} == {"kept": 30, "below_cut": 82}
    assert {start for _, start in images} == {"ffd8", "8950"}  # the images themselves, through links
    assert told["embed"] is False  # nothing is fetched


@pytest.mark.parametrize("viewer", ["atlas", "fiftyone", "lightly"])
def test_what_is_not_installed_is_said(viewer: Viewer, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(TamisError, match="pip install"):
        open_with(open_complete(run), viewer)
