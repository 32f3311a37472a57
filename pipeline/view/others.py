"""Others' viewers, started on a run: they draw and edit what this page does not.

Each is given a copy of what the run decided, in a folder that is gone when it ends: Embedding Atlas the export `atlas`,
FiftyOne the export `fiftyone`, LightlyStudio links to the images, in a folder for kept and one for each reason, which
become its tags."""

import csv
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pyarrow.parquet as pq

from tamis.pipeline.emit.maps import write_atlas, write_fiftyone
from tamis.pipeline.errors import TamisError
from tamis.pipeline.recipe.extras import missing
from tamis.pipeline.store.runs import Run
from tamis.pipeline.view.rows.brief import room_of

Viewer = Literal["atlas", "fiftyone", "lightly"]
FIFTYONE = """
import sys
import fiftyone as fo
words = {name: str for name in ("key", "tamis_kept", "tamis_reason", "tamis_step")}
numbers = {name: float for name in sys.argv[2:]}
pool = fo.Dataset.from_dir(
    dataset_type=fo.types.CSVDataset, labels_path=sys.argv[1], data_path="/", fields={**words, **numbers}
)
fo.launch_app(pool).wait()
"""
LIGHTLY = """
import sys
import lightly_studio as ls
from lightly_studio import db_manager
db_manager.connect(db_file=sys.argv[1])
pool = ls.ImageDataset.create()
pool.add_images_from_path(path=sys.argv[2], embed=False, tag_depth=1)
ls.start_gui(host="127.0.0.1")
"""


QUIET = {"LIGHTLY_STUDIO_ANALYTICS_ENABLED": "false", "FIFTYONE_DO_NOT_TRACK": "true"}  # unless the user says otherwise


def open_with(run: Run, viewer: Viewer) -> int:
    """Until it ends; its exit code. Raises TamisError where it is not installed, RunFailed where it could show none."""
    with tempfile.TemporaryDirectory(dir=room_of(run.store), prefix="view-") as folder:
        command = COMMANDS[viewer](run, Path(folder))
        return subprocess.run(command, check=False, env={**QUIET, **os.environ}).returncode  # noqa: S603  words of ours, and no shell


def _atlas(run: Run, folder: Path) -> list[str]:
    beside = Path(sys.executable).with_name("embedding-atlas")
    found = str(beside) if beside.exists() else shutil.which("embedding-atlas")
    if found is None:
        raise TamisError("embedding-atlas is not installed: pip install embedding-atlas")
    write_atlas(run, folder / "atlas.parquet")
    names = pq.read_schema(folder / "atlas.parquet").names
    places = ["--x", "tamis_x", "--y", "tamis_y"] if "tamis_x" in names else ["--disable-projection"]
    return [found, str(folder / "atlas.parquet"), *places, "--text", "text"]


def _fiftyone(run: Run, folder: Path) -> list[str]:
    _needed("fiftyone")
    write_fiftyone(run, folder / "fiftyone.csv")
    with (folder / "fiftyone.csv").open(encoding="utf-8", newline="") as file:
        names = next(csv.reader(file))
    numbers = [name for name in ("tamis_score", "tamis_x", "tamis_y") if name in names]
    return [sys.executable, "-c", FIFTYONE, str(folder / "fiftyone.csv"), *numbers]


def _lightly(run: Run, folder: Path) -> list[str]:
    _needed("lightly_studio")
    write_fiftyone(run, folder / "images.csv")
    with (folder / "images.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            reason = "kept" if row["tamis_kept"] == "True" else re.sub(r"\W", "_", row["tamis_reason"]) or "dropped"
            link = folder / "images" / reason / f"{row['sample_id']}{Path(row['filepath']).suffix}"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(row["filepath"])
    return [sys.executable, "-c", LIGHTLY, str(folder / "studio.db"), str(folder / "images")]


def _needed(package: str) -> None:
    if missing(package):
        raise TamisError(f"{package} is not installed in this environment: pip install {package.replace('_', '-')}")


COMMANDS: dict[Viewer, Callable[[Run, Path], list[str]]] = {
    "atlas": _atlas, "fiftyone": _fiftyone, "lightly": _lightly,
}  # fmt: skip
