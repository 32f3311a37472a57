"""Promise: a name that came from outside leads to a file inside of its folder, or to none."""

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tamis.pipeline.errors import DamageFound, StoreError
from tamis.pipeline.files import mirror
from tamis.pipeline.files.atomic import read_json, write_json
from tamis.pipeline.files.inside import NotInside, inside, is_inside, plain_file, spelled
from tamis.pipeline.files.mirror import Mirror
from tamis.pipeline.read.pool import current_pool
from tamis.pipeline.store.garbage import collect
from tamis.pipeline.store.manifest import verify
from tamis.pipeline.store.runs import open_complete
from tests_support import Runner, write_jsonl

BAD = ["../x", "a/../../x", "/etc/passwd", "a//b", "a/./b", "", ".", "..", "a\0b", "x" * 2000, "out/file", "a/"]


@pytest.mark.parametrize("name", BAD)
def test_a_name_that_leads_elsewhere_is_refused(name: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "a").mkdir(parents=True)
    (home / "out").symlink_to(tmp_path)
    with pytest.raises(NotInside) as refused:
        inside(home, name)
    assert "\0" not in str(refused.value)
    assert inside(home, "a/b.json") == home / "a" / "b.json"


def test_a_link_is_no_plain_file_and_a_circle_is_nowhere(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "round").symlink_to(tmp_path / "round")
    assert plain_file(tmp_path, "real").read_text() == "x"
    with pytest.raises(NotInside):
        plain_file(tmp_path, "link")
    assert not is_inside(tmp_path / "sub", tmp_path / "round")


class Bucket:
    """Of a file system no more than a mirror asks for."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        self.objects = objects

    def invalidate_cache(self) -> None:
        pass

    def find(self, root: str, detail: bool) -> dict[str, Any]:
        return {f"{root}/{name}": {"size": len(b), "ETag": "x"} for name, b in self.objects.items()}

    def get_file(self, there: str, here: str) -> None:
        Path(here).write_bytes(self.objects[there.removeprefix("bucket/store/")])


NAMES = [
    "../above", "runs/r/../../../above", "/absolute", "a/../../above", ".remote.json", ".held/.lock", ".lock", "pool/",
    "runs//x", "pool/x\0y", "x" * 1500, ".tmp/x", "runs/r/.work/step-00/x", "pool/.part.1-2.writing",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_an_objects_name_writes_nothing_outside_of_the_copy(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here = tmp_path / "cache" / "copy"
    here.mkdir(parents=True)
    bucket = Bucket({name: b"evil", "pool/part-00000.parquet": b"good"})
    monkeypatch.setattr(mirror, "filesystem", lambda url: (bucket, "bucket/store"))
    copy = Mirror("s3://bucket/store", here)
    copy.pull(None)
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {"cache/copy/pool/part-00000.parquet", "cache/copy/.remote.json"}
    assert "evil" not in (here / ".remote.json").read_text()
    assert "are left alone" in capsys.readouterr().err


def test_an_object_that_is_a_file_and_a_folder_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = Bucket({"pool": b"file", "pool/part-00000.parquet": b"good"})
    monkeypatch.setattr(mirror, "filesystem", lambda url: (bucket, "bucket/store"))
    with pytest.raises(StoreError, match="a file there and a folder"):
        Mirror("s3://bucket/store", tmp_path).pull(None)


@pytest.fixture
def store(run_in: Runner, tmp_path: Path) -> Path:
    """A store with one complete run, and beside it what is dear to somebody."""
    write_jsonl(tmp_path / "pool.jsonl", [{"id": f"k{n}", "text": f"text {n} of them"} for n in range(30)])
    pool = [{"format": "jsonl", "path": "pool.jsonl", "key": "id"}]
    run_in(
        tmp_path, pool=pool, target=[], columns={"t": {"measure": "text"}}, steps=[{"random": {"budget": 10}}], emit=[]
    )
    (tmp_path / "dear").mkdir()
    for name in ("dear/part-00000.parquet", "dear/file", "precious"):
        (tmp_path / name).write_text("precious")
    return tmp_path / "store"


def dear(store: Path) -> None:
    for name in ("dear/part-00000.parquet", "dear/file", "precious"):
        assert (store.parent / name).read_text() == "precious", name


PARTS = [
    "../../precious",
    "../../dear/part-00000.parquet",
    "/etc/passwd",
    "part-00000.parquet/../../x",
    "x",
    "part-1.parquet",
]


@pytest.mark.parametrize("name", PARTS)
def test_gc_deletes_nothing_that_a_record_names(name: str, store: Path) -> None:
    record = {"group": 1, "origin": 0, "files": [], "rejects": {}, "leans_on": []}
    write_json(
        store / "pool" / ".groups" / "00001.json", {**record, "parts": [{"name": name, "rows": 1, "digest": "x"}]}
    )
    with pytest.raises(DamageFound, match="which is no shard"):
        collect(store, delete=True)
    dear(store)


def test_gc_deletes_no_folder_that_a_link_leads_to(store: Path) -> None:
    (store / ".tmp").symlink_to(store.parent / "dear")
    (store / "models" / "abc").parent.mkdir(exist_ok=True)
    (store / "models" / "abc").symlink_to(store.parent / "dear")
    (store / "targets").mkdir(exist_ok=True)
    (store / "targets" / "abc").symlink_to(store.parent / "dear")
    (store / "columns" / "gone").symlink_to(store.parent / "dear")
    (store.parent / "dear" / "column.json").write_text("{}")
    (store.parent / "dear" / ".x.1-1.writing").write_text("theirs")
    collect(store, delete=True)
    dear(store)
    assert (store.parent / "dear" / ".x.1-1.writing").exists()
    assert not (store / "models" / "abc").is_symlink(), "of a link the link is deleted"
    assert verify(open_complete(store / "runs" / "run")) == []


def test_gc_through_a_folder_of_the_store_that_is_a_link_deletes_nothing(store: Path) -> None:
    shutil.move(store / "models", store.parent / "moved") if (store / "models").exists() else None
    elsewhere = store.parent / "elsewhere" / "abc"
    elsewhere.mkdir(parents=True)
    (elsewhere / "fitted.npz").write_text("theirs")
    shutil.rmtree(store / "models", ignore_errors=True)
    (store / "models").symlink_to(elsewhere.parent)
    with pytest.raises(StoreError, match="leads out of the store"):
        collect(store, delete=True)
    assert (elsewhere / "fitted.npz").exists()


@pytest.mark.parametrize("name", ["../../../precious", "/etc/passwd", "columns/../../dear", "columns/out"])
def test_a_manifests_names_are_read_inside_of_the_store_alone(name: str, store: Path) -> None:
    (store / "columns" / "out").symlink_to(store.parent / "dear")
    path = store / "runs" / "run" / "manifest.json"
    manifest = read_json(path)
    manifest["columns"][0]["folder"] = name
    path.write_text(json.dumps(manifest))
    with pytest.raises(DamageFound, match=r"manifest\.json"):
        verify(open_complete(path.parent))
    manifest["columns"] = []
    manifest["files"] = {name: {"bytes": 1, "digest": "x"}}
    path.write_text(json.dumps(manifest))
    os.utime(path, (time.time() + 5, time.time() + 5))
    if not name.startswith("columns/out"):
        with pytest.raises(DamageFound, match=r"manifest\.json"):
            verify(open_complete(path.parent))


@pytest.mark.parametrize("name", ["../../precious", "/etc/hostname", "part-0.parquet"])
def test_a_records_shards_are_shards_of_the_pool(name: str, store: Path) -> None:
    path = store / "pool" / ".groups" / "00000.json"
    record = read_json(path)
    record["parts"][0]["name"] = name
    write_json(path, record)
    with pytest.raises(DamageFound, match="which is no shard"):
        current_pool(store / "pool", [0])


@pytest.mark.parametrize("how", ["absolute", "above", "linked", "percent", "null"])
def test_a_tables_images_lie_in_the_pool(how: str, run_in: Runner, tmp_path: Path) -> None:
    pool, secret = tmp_path / "pool", tmp_path / "secret.png"
    pool.mkdir()
    Image.new("RGB", (40, 40), (200, 10, 10)).save(secret)
    Image.new("RGB", (40, 40), (10, 200, 10)).save(pool / "good.png")
    (pool / "link.png").symlink_to(secret)
    name = {
        "absolute": str(secret),
        "above": "../secret.png",
        "linked": "link.png",
        "percent": "%2e%2e/secret.png",
        "null": "a\0b",
    }
    rows = [{"image": "good.png"}, {"image": name[how]}]
    pq.write_table(pa.Table.from_pylist(rows), pool / "table.parquet")
    asked: dict[str, Any] = {
        "target": [],
        "columns": {},
        "steps": [{"random": {"fraction": 1.0}}],
        "emit": ["webdataset"],
    }
    source = {"format": "parquet", "path": "pool/table.parquet", "image": "image"}
    run = run_in(tmp_path, pool=[source], **asked)
    assert run.manifest["pool"]["samples"] == 1 and sum(run.manifest["pool"]["rejects"].values()) == 1
    assert secret.read_bytes() not in b"".join(p.read_bytes() for p in run.folder.rglob("*.tar"))
    if how in ("absolute", "above", "linked"):
        assert run.manifest["pool"]["rejects"] == {"link": 1}
        followed = run_in(tmp_path, store="other", pool=[{**source, "follow_links": True}], **asked)
        assert followed.manifest["pool"]["samples"] == 2, "who writes the recipe may want it"


def test_no_two_names_are_spelled_alike() -> None:
    names = [b"a\xff", rb"a\xff", b"a\xfe", rb"a\x5cxff", rb"a\\xff", "aé".encode(), b"a\xc3", rb"a\xc3"]
    spellings = [spelled(os.fsdecode(name)) for name in names]
    assert len(set(spellings)) == len(names) and all(one.encode() for one in spellings)
    assert spelled("plain/name.txt") == "plain/name.txt"
