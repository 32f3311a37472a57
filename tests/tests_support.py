"""What several test files share: the basic recipe, a writer of JSON lines, a run's bytes."""

import json
import os
import socket
import subprocess
import sys
import tarfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tamis.pipeline.starting import Outcome

ROOT = Path(__file__).resolve().parent.parent
Runner = Callable[..., Outcome]

BASIC: dict[str, Any] = {
    "pool": [{"format": "jsonl", "path": "pool.jsonl", "key": "id", "text": "text", "keep": ["part"]}],
    "target": [{"format": "jsonl", "path": "target.jsonl", "text": "text"}],
    "steps": [{"exact_dedup": {}}, {"importance_resampling": {"features": "ngrams", "budget": 100}}],
    "emit": ["parquet", "jsonl"],
}


def write_jsonl(path: Path, records: Iterable[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    return path


LIKE_THESE = """\
name: like-these
pool:
  - {format: images, path: photos, keep: [label]}
target:
  - {format: images, path: examples}
columns:
  look: {embed: classic}
steps:
  - importance_resampling: {features: look, budget: 200}
emit: [parquet, keys, webdataset, uids]
"""
OF_PHOTOS: dict[str, Any] = {  # for run_in: a pool of images, and a step that keeps them all
    "pool": [{"format": "images", "path": "photos", "keep": ["label"]}],
    "target": [],
    "columns": {"look": {"embed": "classic"}},
    "steps": [{"random": {"fraction": 1.0}}],
    "emit": [],
}


def write_tar(path: Path, folder: Path) -> Path:
    """All files of a folder as a plain tar."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for file in sorted(file for file in folder.rglob("*") if file.is_file()):
            tar.add(file, str(file.relative_to(folder)))
    return path


def column_of(store: Path, name: str) -> dict[int, list[float] | None]:
    """A column's values by sample id, checked against the pool's rows."""
    value = name.rpartition("/")[2]
    found: dict[int, list[float] | None] = {}
    for part in sorted((store / "columns" / name).glob("part-*.parquet")):
        table = pq.read_table(part)
        assert table["sample_id"].equals(pq.read_table(store / "pool" / part.name)["sample_id"])
        found |= dict(zip(table["sample_id"].to_pylist(), table[value].to_pylist(), strict=True))
    return found


def result_bytes(folder: Path) -> dict[str, bytes]:
    """Ledger and selection of a run, by file."""
    files = [*sorted((folder / "ledger").rglob("*.parquet")), folder / "selection.parquet"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@contextmanager
def s3_server() -> Iterator[Any]:
    """A bucket `tamis` of a server of our own; this process's environment leads there."""
    import s3fs

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    command = [Path(sys.executable).with_name("moto_server"), "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    before = dict(os.environ)
    os.environ |= {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    try:
        for _ in range(200):
            try:
                urllib.request.urlopen(address, timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        s3fs.S3FileSystem.clear_instance_cache()  # one of an earlier server would be found again
        system = s3fs.S3FileSystem(skip_instance_cache=True)
        system.mkdir("tamis")
        yield system
    finally:
        server.terminate()
        os.environ.clear()
        os.environ.update(before)
