"""Each export is opened by whom it is for, and says what the selection says."""

import csv
import json
import os
import subprocess
import sys
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tamis.pipeline.emit.outputs import uids
from tamis.pipeline.errors import RecipeError, RunFailed
from tamis.pipeline.read.identity import hex_id
from tamis.pipeline.recipe.recipe import parse_recipe
from tamis.pipeline.store.manifest import verify
from tamis.pipeline.store.runs import open_complete
from tests_support import OF_PHOTOS, Runner


def test_webdataset_opens_the_shards_and_finds_the_files_own_bytes(
    run_in: Runner, photos: Path, tmp_path: Path
) -> None:
    import webdataset

    (photos / "china" / "00.txt").write_text("a temple")
    emit = [{"webdataset": {"per_shard": 50}}]
    outcome = run_in(tmp_path, **{**OF_PHOTOS, "emit": emit})
    folder = outcome.folder / "exports" / "webdataset"
    found = {}
    for shard in sorted(folder.glob("*.tar")):
        for sample in webdataset.WebDataset(str(shard), shardshuffle=False):
            told = json.loads(sample["json"])
            assert sample["__key__"] == told["sample_id"]
            found[told["key"]] = (sample.get("jpg") or sample["png"], sample.get("txt"), told["rank"], told["weight"])
    assert len(found) == 112 and found["china/00"][1] == b"a temple"
    for key, (data, *_) in found.items():
        assert data == next(photos.glob(f"{key}.[jp]*g")).read_bytes(), "copied, not encoded again"
    index = json.loads(folder.with_suffix(".json").read_text())
    assert [(shard["url"], shard["nsamples"]) for shard in index["shardlist"]] == [
        ("webdataset/00000.tar", 50), ("webdataset/00001.tar", 50), ("webdataset/00002.tar", 12),
    ]  # fmt: skip
    for row in pq.read_table(folder.with_suffix(".parquet")).to_pylist()[::10]:
        with (folder.parent / row["shard"]).open("rb") as file:
            file.seek(row["offset"])
            assert file.read(row["n_bytes"]) == found[row["key"]][0]


def test_shards_are_the_same_bytes_again_and_shuffled_on_request(run_in: Runner, photos: Path, tmp_path: Path) -> None:
    tars = []
    for name, emit in (("a", ["webdataset"]), ("b", ["webdataset"]), ("c", [{"webdataset": {"shuffle": True}}])):
        outcome = run_in(tmp_path, name=name, **{**OF_PHOTOS, "emit": emit})
        tars.append(outcome.folder / "exports" / "webdataset" / "00000.tar")
    assert tars[0].read_bytes() == tars[1].read_bytes() != tars[2].read_bytes()
    with tarfile.open(tars[0]) as plain, tarfile.open(tars[2]) as shuffled:
        assert plain.getnames() != shuffled.getnames() and sorted(plain.getnames()) == sorted(shuffled.getnames())


def test_an_image_that_is_gone_fails_the_export_by_name_and_the_run_goes_on_when_it_is_back(
    run_in: Runner, photos: Path, tmp_path: Path
) -> None:
    rows = [f"photos/china/{number:02d}.jpg" for number in range(9)]
    (tmp_path / "p.csv").write_text("photo\n" + "\n".join(rows) + "\n")
    source = {"format": "csv", "path": "p.csv", "image": "photo"}
    given = {**OF_PHOTOS, "pool": [source], "columns": {}}
    run_in(tmp_path, **given)
    held = (photos / "china" / "03.jpg").read_bytes()
    (photos / "china" / "03.jpg").unlink()
    with pytest.raises(RunFailed, match=r"1 images are gone or changed .* photos/china/03"):
        run_in(tmp_path, name="second", **{**given, "emit": ["webdataset"]})
    (photos / "china" / "03.jpg").write_bytes(held)
    assert run_in(tmp_path, name="second", **{**given, "emit": ["webdataset"]}).selected == 9


def test_the_hugging_face_dataset_opens_with_its_images(run_in: Runner, photos: Path, tmp_path: Path) -> None:
    import datasets

    (photos / "china" / "00.txt").write_text("a temple")
    outcome = run_in(tmp_path, **{**OF_PHOTOS, "emit": ["hf"]})
    found = datasets.load_from_disk(str(outcome.folder / "exports" / "hf"))
    rows = {row["key"]: row for row in found}
    assert len(rows) == 112 and rows["china/00"]["image"].size == (220, 180)
    assert rows["china/00"]["captions"] == [{"text": "a temple", "source": "txt"}]
    assert rows["china/00"]["weight"] == 1.0 and rows["digits/00"]["label"] == "digits"
    assert isinstance(found.features["image"], datasets.Image)


def test_a_text_pool_becomes_a_hugging_face_dataset_and_shards(run_in: Runner, workplace: Path) -> None:
    import datasets

    outcome = run_in(workplace, emit=["hf", "webdataset", "uids"])
    found = datasets.load_from_disk(str(outcome.folder / "exports" / "hf"))
    chosen = pq.read_table(outcome.folder / "selection.parquet")
    assert found["text"][:5] == chosen["text"].to_pylist()[:5]
    with tarfile.open(outcome.folder / "exports" / "webdataset" / "00000.tar") as tar:
        assert len(tar.getnames()) == 200, "a .txt and a .json each"


def test_uids_are_datacomps_pairs_sorted() -> None:
    """The example of the DataComp layout."""
    found = uids(["f" * 32, "139e4a9b22a614771f06c700a8ebe150"])
    assert found.dtype == np.dtype("u8,u8")
    assert tuple(found[0]) == (0x139E4A9B22A61477, 0x1F06C700A8EBE150)
    assert f"{found[0][0]:016x}{found[0][1]:016x}" == "139e4a9b22a614771f06c700a8ebe150"


def test_uids_are_the_pools_own_or_the_content_hashes(run_in: Runner, photos: Path, tmp_path: Path) -> None:
    for number in range(3):
        (photos / "china" / f"{number:02d}.json").write_text(json.dumps({"uid": f"{number:032x}"}))
    source = {"format": "images", "path": "photos/china/0[0-2].jpg", "keep": ["uid"]}
    own = run_in(tmp_path, **{**OF_PHOTOS, "pool": [source], "emit": ["uids"]})
    assert np.load(own.folder / "exports" / "uids.npy").tolist() == [(0, 0), (0, 1), (0, 2)]
    hashes = run_in(tmp_path, name="b", store="b", **{**OF_PHOTOS, "emit": ["uids"]})
    found = np.load(hashes.folder / "exports" / "uids.npy")
    table = pq.read_table(tmp_path / "b" / "pool" / "part-00000.parquet")
    assert {f"{a:016x}{b:016x}" for a, b in found.tolist()} == {
        value.hex() for value in table["content_hash"].to_pylist()
    }


def test_verify_finds_a_changed_byte_in_every_export(run_in: Runner, photos: Path, tmp_path: Path) -> None:
    emit = ["parquet", "jsonl", "csv", "keys", "uids", "webdataset", "hf"]
    outcome = run_in(tmp_path, **{**OF_PHOTOS, "emit": emit})
    run = open_complete(outcome.folder)
    assert verify(run) == []
    files = [path for path in (outcome.folder / "exports").rglob("*") if path.is_file()]
    assert len(files) == 11
    for path in files:
        before = path.read_bytes()
        path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
        assert [line for line in verify(run) if str(path) in line], path
        path.write_bytes(before)


def test_outputs_with_wrong_settings_are_refused(tmp_path: Path) -> None:
    for emit, message in (
        ([{"webdataset": {"per_shrd": 5}}], "unknown setting 'per_shrd'"),
        ([{"uids": {"a": 1}}], "unknown setting 'a'"),
        (["webdatset"], "did you mean 'webdataset'"),
    ):
        with pytest.raises(RecipeError, match=message):
            parse_recipe({"name": "x", **OF_PHOTOS, "emit": emit}, tmp_path)


def test_the_report_shows_contact_sheets_of_kept_and_dropped(run_in: Runner, photos: Path, tmp_path: Path) -> None:
    (photos / "china" / "00.txt").write_text("<b>a temple</b>")
    outcome = run_in(tmp_path, **{**OF_PHOTOS, "steps": [{"random": {"budget": 50}}]})
    page = (outcome.folder / "report.html").read_text()
    assert page.count('<img src="data:image/jpeg;base64,') == 24 + 36 + 6
    assert "img-src data:" in page and "<b>a temple" not in page


def test_atlas_and_fiftyone_hold_every_sample_and_what_became_of_it(
    run_in: Runner, photos: Path, tmp_path: Path
) -> None:
    steps = [{"exact_dedup": {}}, {"random": {"budget": 30}}]
    columns = {"look": {"embed": "classic"}}
    outcome = run_in(tmp_path, **{**OF_PHOTOS, "columns": columns, "steps": steps, "emit": ["atlas", "fiftyone"]})
    run = open_complete(outcome.folder)
    atlas = pq.read_table(outcome.folder / "exports" / "atlas.parquet")
    assert atlas.num_rows == run.pool.rows and {"tamis_x", "tamis_y", "key", "text"} <= set(atlas.column_names)
    rows = {row["sample_id"]: row for row in atlas.to_pylist()}
    chosen = pq.read_table(outcome.folder / "selection.parquet")["sample_id"].to_pylist()
    assert {sample_id for sample_id, row in rows.items() if row["tamis_kept"]} == set(map(hex_id, chosen))
    last = {}
    for step in (0, 1):
        for part in sorted(run.ledger(step).glob("*.parquet")):
            last |= {hex_id(row["sample_id"]): row["reason"] for row in pq.read_table(part).to_pylist()}
    assert {sample_id: row["tamis_reason"] for sample_id, row in rows.items()} == last
    places = np.array([[row["tamis_x"], row["tamis_y"]] for row in rows.values()])
    assert np.isfinite(places).all() and places.std(0).min() > 0.1
    with (outcome.folder / "exports" / "fiftyone.csv").open(encoding="utf-8", newline="") as file:
        told = list(csv.DictReader(file))
    assert {row["filepath"] for row in told} == {row["uri"] for row in rows.values()}
    assert all(Path(row["filepath"]).is_file() for row in told)
    assert {row["key"]: row["tamis_kept"] for row in told} == {r["key"]: str(r["tamis_kept"]) for r in rows.values()}


def test_a_pool_of_texts_has_an_atlas_and_nothing_for_fiftyone(run_in: Runner, workplace: Path) -> None:
    outcome = run_in(workplace, target=[], steps=[], emit=["atlas"])
    assert set(pq.read_table(outcome.folder / "exports" / "atlas.parquet")["tamis_kept"].to_pylist()) == {True}
    assert (
        pq.read_table(outcome.folder / "exports" / "atlas.parquet").num_rows == open_complete(outcome.folder).pool.rows
    )
    with pytest.raises(RecipeError, match="FiftyOne shows images, and the pool has none"):
        run_in(workplace, name="b", target=[], steps=[], emit=["fiftyone"])


def test_times_are_the_same_in_every_zone_of_a_machine(tmp_path: Path) -> None:
    began = datetime(2024, 1, 1, tzinfo=UTC)
    times = pa.array([began, None], pa.timestamp("us", "UTC"))
    away = pa.array([began, began], pa.timestamp("us", "America/New_York"))
    raw = pa.array([b"\x00\xff", b"fine"])
    pq.write_table(pa.table({"text": ["a", "b"], "seen": times, "there": away, "raw": raw}), tmp_path / "p.parquet")
    keep = "[seen, there, raw]"
    emit = "[jsonl, csv, parquet, hf, webdataset, atlas]"
    (tmp_path / "r.yaml").write_text(f"pool: [{{format: parquet, path: p.parquet, keep: {keep}}}]\nemit: {emit}\n")
    found = []
    for zone in ("UTC", "America/New_York"):
        store = tmp_path / zone.replace("/", "-")
        command = [sys.executable, "-c", "from tamis.pipeline.cli.app import main; main()"]
        subprocess.run([*command, "run", "r.yaml", "--store", str(store), "--local"], env={**os.environ, "TZ": zone},
                       cwd=tmp_path, check=True, capture_output=True)  # fmt: skip
        exports = store / "runs" / "r" / "exports"
        found.append({path.relative_to(exports): path.read_bytes() for path in exports.rglob("*") if path.is_file()})
    assert found[0] == found[1]
    line = json.loads(found[0][Path("selection.jsonl")].splitlines()[0])
    assert (line["seen"], line["raw"]) in (("2024-01-01T00:00:00+00:00", "AP8="), (None, "ZmluZQ=="))
    assert line["there"] == "2023-12-31T19:00:00-05:00", "in the zone that it came with"
