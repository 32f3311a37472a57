"""Pools of images: the same from folder, tar and table; incremental; killed and resumed; every row accounted for."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from tamis.pipeline.decode import decoders
from tamis.pipeline.decode.pixels import decode, resized
from tamis.pipeline.errors import QueryError
from tamis.pipeline.explain.why import why
from tamis.pipeline.read import shards
from tamis.pipeline.read.images.tars import members
from tamis.pipeline.store.manifest import verify
from tamis.pipeline.store.query import ask
from tamis.pipeline.store.runs import open_complete
from tamis.pipeline.store.whereabouts import where
from tests_support import LIKE_THESE, OF_PHOTOS, Runner, column_of, result_bytes, write_tar


def pool_of(store: Path, fields: tuple[str, ...]) -> list[tuple[Any, ...]]:
    table = pa.concat_tables([pq.read_table(part) for part in sorted((store / "pool").glob("part-*.parquet"))])
    return sorted(zip(*(table[name].to_pylist() for name in fields), strict=True))


SAME = ("key", "sample_id", "content_hash", "width", "height", "n_bytes", "label")


def test_folder_and_tar_give_the_same_keys_ids_and_embeddings(run_in: Runner, photos: Path, tmp_path: Path) -> None:
    write_tar(tmp_path / "shards" / "00000.tar", photos)
    run_in(tmp_path, store="a", **OF_PHOTOS)
    tars = [{"format": "webdataset", "path": "shards/*.tar", "keep": ["label"]}]
    run_in(tmp_path, store="b", **{**OF_PHOTOS, "pool": tars})
    found = pool_of(tmp_path / "a", SAME)
    assert found == pool_of(tmp_path / "b", SAME)
    assert len(found) == 112 and found[0][0] == "china/00" and found[0][-1] == "china"
    assert column_of(tmp_path / "a", "look") == column_of(tmp_path / "b", "look")


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["img_caltech101_112px", "det_coco256_384px", "pair_grocery_160px"])
def test_the_real_tars_give_what_their_folders_give(
    run_in: Runner, real_images: Path, tmp_path: Path, name: str
) -> None:
    """Every fifth member, so that the suite stays fast; bench/match.py runs all of Caltech-101."""
    with tarfile.open(real_images / f"{name}.tar") as tar:
        some = [member for member in tar if member.isfile()][::5]
        tar.extractall(tmp_path / "photos", some, filter="data")
    write_tar(tmp_path / "shards" / "00000.tar", tmp_path / "photos")
    first = run_in(tmp_path, store="a", **OF_PHOTOS)
    tars = [{"format": "webdataset", "path": "shards/*.tar", "keep": ["label"]}]
    second = run_in(tmp_path, store="b", **{**OF_PHOTOS, "pool": tars})
    assert pool_of(tmp_path / "a", SAME) == pool_of(tmp_path / "b", SAME)
    assert column_of(tmp_path / "a", "look") == column_of(tmp_path / "b", "look")
    for outcome in (first, second):
        pool = outcome.manifest["pool"]
        assert pool["rows"] == pool["samples"] + sum(pool["rejects"].values())
    assert first.manifest["pool"]["rejects"] == second.manifest["pool"]["rejects"]


def test_the_recipe_of_the_readme_runs_as_written_from_folder_and_from_tars(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "examples").mkdir()
    for number in range(0, 36, 4):
        shutil.move(photos / "flower" / f"{number:02d}.jpg", tmp_path / "examples" / f"{number:02d}.jpg")
    write_tar(tmp_path / "shards" / "00000.tar", photos)
    (tmp_path / "folder.yaml").write_text(LIKE_THESE)
    tars = LIKE_THESE.replace("format: images, path: photos", 'format: webdataset, path: "shards/*.tar"')
    (tmp_path / "tars.yaml").write_text(tars)
    keys = []
    for name in ("folder", "tars"):
        command = [Path(sys.executable).with_name("tamis"), "run", f"{name}.yaml", "--store", name, "--local"]
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        run = tmp_path / name / "runs" / "like-these"
        keys.append((run / "exports" / "selection.keys.txt").read_text().splitlines())
        assert verify(open_complete(run)) == []
        assert {path.name for path in (run / "exports").iterdir()} >= {"webdataset", "uids.npy", "selection.parquet"}
    assert keys[0] == keys[1]
    assert len(keys[0]) == 103, "the budget of 200 is more than the pool holds"
    assert sum(key.startswith("flower/") for key in keys[0][:27]) >= 24


def test_captions_are_lists_and_the_first_is_the_text(run_in: Runner, photos: Path, tmp_path: Path) -> None:
    (photos / "china" / "00.txt").write_text("a temple, from the front")
    told = {"alt": ["a temple", "roofs"], "author": "Ada", "license": "CC0"}
    (photos / "china" / "01.json").write_text(json.dumps(told))
    source = {"format": "images", "path": "photos", "keep": ["author", "license"], "caption": ["txt", "alt"]}
    outcome = run_in(tmp_path, **{**OF_PHOTOS, "pool": [source], "emit": ["jsonl"]})
    found = {key: (text,) for key, text in pool_of(tmp_path / "store", ("key", "text"))}
    assert found["china/00"] == ("a temple, from the front",)
    rows = list(ask(open_complete(outcome.folder), "select captions, author from pool where key = 'china/01'"))
    both = [{"text": "a temple", "source": "alt"}, {"text": "roofs", "source": "alt"}]
    assert rows[0].to_pylist() == [{"captions": both, "author": "Ada"}]
    assert found["china/02"] == (None,), "an image without a caption is a sample"
    assert outcome.manifest["pool"]["rejects"] == {}
    told_of = (outcome.folder / "exports" / "attribution.csv").read_text().splitlines()
    assert told_of[0] == "key,author,license,uri" and any("china/01,Ada,CC0," in line for line in told_of)


def test_a_table_holds_images_or_names_them(run_in: Runner, photos: Path, tmp_path: Path) -> None:
    files = sorted((photos / "china").glob("*.jpg"))
    held = [{"id": f"k{i}", "photo": file.read_bytes(), "words": f"no {i}"} for i, file in enumerate(files)]
    pq.write_table(pa.Table.from_pylist(held), tmp_path / "held.parquet", row_group_size=7)
    named = [
        {"id": f"k{i}", "photo": str(file.relative_to(tmp_path)), "words": f"no {i}"} for i, file in enumerate(files)
    ]
    (tmp_path / "named.jsonl").write_text("".join(json.dumps(row) + "\n" for row in named))
    lines = ["id,photo,words", *(",".join(row.values()) for row in named)]
    (tmp_path / "named.csv").write_text("\n".join(lines) + "\n")
    pools = []
    for form, name in (("parquet", "held.parquet"), ("jsonl", "named.jsonl"), ("csv", "named.csv")):
        source = {"format": form, "path": name, "key": "id", "image": "photo", "caption": "words"}
        outcome = run_in(tmp_path, name=form, store=form, **{**OF_PHOTOS, "pool": [source], "emit": ["webdataset"]})
        pools.append((pool_of(tmp_path / form, ("key", "text", "content_hash")), column_of(tmp_path / form, "look")))
        assert outcome.selected == 36
    assert pools[0] == pools[1] == pools[2]
    with tarfile.open(tmp_path / "parquet" / "runs" / "parquet" / "exports" / "webdataset" / "00000.tar") as tar:
        written = {tar.extractfile(member).read() for member in tar if member.name.endswith(".jpg")}  # type: ignore[union-attr]
    assert written == {file.read_bytes() for file in files}


def test_img2dataset_failures_are_rejects_with_their_message(run_in: Runner, photos: Path, tmp_path: Path) -> None:
    shard = tmp_path / "raw"
    for number, file in enumerate(sorted((photos / "china").glob("*.jpg"))[:3]):
        (shard / "in").mkdir(parents=True, exist_ok=True)
        shutil.copy(file, shard / "in" / f"00000000{number}.jpg")
    for name in ("00000", "00002"):  # a gap in the numbers is no damage
        write_tar(shard / "pool" / f"{name}.tar", shard / "in")
    rows = [
        {"key": f"00000000{i}", "status": "success" if i < 3 else "failed_to_download", "url": f"http://x/{i}",
         "error_message": None if i < 3 else "HTTP Error 404: Not Found", "caption": f"photo {i}"}
        for i in range(5)
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), shard / "pool" / "00000.parquet")
    source = {"format": "img2dataset", "path": "raw/pool", "keep": ["url"]}
    outcome = run_in(tmp_path, **{**OF_PHOTOS, "pool": [source]})
    assert outcome.manifest["pool"]["rejects"] == {"download_failed": 2, "exact_duplicate": 3}
    found = pool_of(tmp_path / "store", ("key", "text", "url"))
    assert found[1] == ("000000001", "photo 1", "http://x/1")
    rejects = pq.read_table(tmp_path / "store" / "pool" / "rejects.parquet").to_pylist()
    assert rejects[0]["detail"] == "failed_to_download: HTTP Error 404: Not Found"


def test_two_tars_of_the_same_names_conflict_unless_they_are_namespaces(
    run_in: Runner, photos: Path, tmp_path: Path
) -> None:
    for number, name in enumerate(("china", "flower")):
        write_tar(tmp_path / "shards" / f"{number}.tar", photos / name)
    both = {"format": "webdataset", "path": "shards/*.tar"}
    assert run_in(tmp_path, **{**OF_PHOTOS, "pool": [both]}).manifest["pool"]["rejects"] == {"key_conflict": 36}
    apart = [{"format": "webdataset", "path": f"shards/{number}.tar", "namespace": str(number)} for number in (0, 1)]
    assert run_in(tmp_path, name="b", store="b", **{**OF_PHOTOS, "pool": apart}).manifest["pool"]["samples"] == 72


def test_new_files_are_decoded_alone_and_a_changed_one_makes_a_new_shard(
    run_in: Runner, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []
    submit = decoders.Decoders._submit

    def counted(self: Any, images: list[decoders.Encoded], slab: int) -> Any:
        decoded.extend(Path(image.path).name for image in images)
        return submit(self, images, slab)

    monkeypatch.setattr(decoders.Decoders, "_submit", counted)
    run_in(tmp_path, **OF_PHOTOS)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("part-*.parquet")}
    decoded.clear()
    shutil.copy(photos / "china" / "00.jpg", photos / "later.jpg")
    second = run_in(tmp_path, name="second", **OF_PHOTOS)
    assert (decoded, second.selected) == (["later.jpg"], 113)
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("part-*.parquet")}
    assert {name: after[name] for name in before} == before, "old shards stay as they are"
    shutil.copy(photos / "china" / "01.jpg", photos / "later.jpg")
    assert run_in(tmp_path, name="third", **OF_PHOTOS).selected == 113
    decoded.clear()
    changed = {**OF_PHOTOS, "columns": {**OF_PHOTOS["columns"], "again": {"embed": "classic"}}}
    run_in(tmp_path, name="fourth", **changed)
    assert len(decoded) == 113, "a column of a later recipe is made from the pool's uris"
    assert column_of(tmp_path / "store", "again").keys() <= column_of(tmp_path / "store", "look").keys()


def test_an_image_that_changed_since_it_was_read_has_no_vector_and_is_never_chosen(
    run_in: Runner, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"id": file.name, "photo": f"photos/china/{file.name}"} for file in sorted((photos / "china").iterdir())]
    (tmp_path / "named.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "examples").mkdir()
    shutil.copy(photos / "flower" / "00.jpg", tmp_path / "examples")
    source = {"format": "jsonl", "path": "named.jsonl", "key": "id", "image": "photo"}
    run_in(tmp_path, **{**OF_PHOTOS, "pool": [source], "columns": {}})
    (photos / "china" / "05.jpg").unlink()
    shutil.copy(photos / "flower" / "01.jpg", photos / "china" / "06.jpg")
    step = {"importance_resampling": {"features": "look", "budget": 100}}
    changes = {"pool": [source], "target": [{"format": "images", "path": "examples"}], "steps": [step]}
    outcome = run_in(tmp_path, name="second", **{**OF_PHOTOS, **changes})
    reasons = outcome.manifest["steps"][0]["reasons"]
    assert reasons == {"chosen": 34, "not_scorable": 2}
    assert "nearest of the target: none" in why(open_complete(outcome.folder), "05.jpg")
    record = json.loads((tmp_path / "store" / "columns" / "look" / "column.json").read_text())
    assert record["images_gone"] == {"part-00000.parquet": 2}


RUN = """
import sys
from pathlib import Path
from tamis.pipeline.decode import decoders
from tamis.pipeline.read import shards
shards.SHARD_IMAGES = 32
decoders.BLOCK_IMAGES = 16
from tamis.pipeline.read.images import blocks as image_blocks
image_blocks.BLOCK_IMAGES = 16
from tamis.pipeline.recipe.recipe import load_recipe
from tamis.pipeline.starting import run_recipe
folder = Path(sys.argv[1])
run_recipe(load_recipe(folder / "run.yaml"), folder, folder / sys.argv[2])
"""


@pytest.mark.thorough
def test_a_killed_pass_over_images_goes_on_at_the_shard_and_gives_the_same_bytes(photos: Path, tmp_path: Path) -> None:
    write_tar(tmp_path / "shards" / "00000.tar", photos)
    tars = {"format": "webdataset", "path": "shards/*.tar", "keep": ["label"]}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({**OF_PHOTOS, "pool": [tars]}))

    def start(store: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-c", RUN, str(tmp_path), store]
        return subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)

    assert start("whole").wait() == 0
    stored = {path.name: path.read_bytes() for path in (tmp_path / "whole").rglob("part-*.parquet")}
    assert len(list((tmp_path / "whole" / "pool").glob("part-*.parquet"))) == 4
    first = tmp_path / "killed" / "pool" / ".groups" / "00000.partial"
    process = start("killed")
    while not first.exists() and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    held = {path: path.stat().st_mtime_ns for path in (tmp_path / "killed" / "pool").glob("part-*.parquet")}
    noted = json.loads(first.read_text())["parts"] if first.exists() else []
    assert start("killed").wait() == 0
    for part in noted:
        path = tmp_path / "killed" / "pool" / part["name"]
        assert path.stat().st_mtime_ns == held[path], "a shard that stood is not made again"
    assert {path.name: path.read_bytes() for path in (tmp_path / "killed").rglob("part-*.parquet")} == stored
    runs = [tmp_path / store / "runs" / "run" for store in ("whole", "killed")]
    assert result_bytes(runs[0]) == result_bytes(runs[1])
    assert not list((tmp_path / "killed").rglob("*.partial"))


def test_a_worker_that_dies_costs_no_image(photos: Path) -> None:
    files = sorted(photos.rglob("*.*"))
    blocks = [(None, [decoders.Encoded(str(file)) for file in files])]
    with decoders.Decoders([], workers=1) as pool:
        first = next(iter(pool.blocks(blocks)))[1]
        first.release()
        os.system("pkill -9 -f tamis.pipeline.decode.worker")
        again = next(iter(pool.blocks(blocks)))[1]
        again.release()
    assert again.facts == first.facts and all(len(fact) == 4 for fact in again.facts)


def test_shards_of_images_do_not_depend_on_blocks_that_hold_rejects_alone(
    run_in: Runner, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(40):
        (photos / f"note{number}.md").write_text("no image")
    monkeypatch.setattr("tamis.pipeline.read.images.blocks.BLOCK_IMAGES", 8)
    monkeypatch.setattr(shards, "SHARD_IMAGES", 30)
    outcome = run_in(tmp_path, **OF_PHOTOS)
    assert outcome.manifest["pool"]["rejects"] == {"no_image": 40}
    assert len(column_of(tmp_path / "store", "look")) == 112


@pytest.mark.parametrize(
    ("size", "off"), [((500, 333), 0), ((333, 500), 0), ((640, 224), 0), ((225, 224), 0), ((7, 100), 32)]
)
@pytest.mark.parametrize("target", [224, 64])
def test_resizing_is_torchvisions_and_near_it_for_strips(size: tuple[int, int], off: int, target: int) -> None:
    """The oracle: resize the shorter side, then crop the middle. Of noise, whose neighbours differ most."""
    noise = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), np.uint8)
    image = Image.fromarray(noise)
    short = min(size)
    full = tuple(target if side == short else int(target * side / short) for side in size)
    left, top = round((full[0] - target) / 2), round((full[1] - target) / 2)
    plain = image.resize(full, Image.Resampling.BICUBIC).crop((left, top, left + target, top + target))
    ours = resized(image, [target, target], "shortest", "bicubic", 0)
    assert np.abs(ours.astype(int) - np.asarray(plain).astype(int)).max() <= off


def test_a_strip_that_would_become_enormous_is_resized_in_no_time() -> None:
    began = time.monotonic()
    assert resized(Image.new("RGB", (1, 10_000), "red"), [224, 224], "shortest", "bicubic", 0).tolist()[0][0] == [
        255,
        0,
        0,
    ]
    assert time.monotonic() - began < 5, "500 million pixels take longer"


def test_our_reading_of_tar_headers_is_the_librarys(photos: Path, tmp_path: Path) -> None:
    (photos / ("long" * 30)).mkdir()
    shutil.copy(photos / "china" / "00.jpg", photos / ("long" * 30) / ("name" * 20 + ".jpg"))
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        path = tmp_path / f"{form}.tar"
        with tarfile.open(path, "w", format=form) as tar:
            tar.add(photos, ".")
        with tarfile.open(path) as tar:
            wanted = [(m.name.removeprefix("./"), m.offset_data, m.size) for m in tar if m.isfile()]
        found, problem = members(path)
        assert [(m.name, m.offset, m.size) for m in found] == wanted and problem is None


def test_the_decoders_shrinking_keeps_the_size_that_is_recorded(photos: Path) -> None:
    data = (photos / "china" / "00.jpg").read_bytes()
    shrunk, width, height = decode(data, scaled_to=40)
    assert (width, height) == (220, 180) and shrunk.size != (220, 180)


def tamis(folder: Path, *words: Any) -> "subprocess.CompletedProcess[str]":
    command = [Path(sys.executable).with_name("tamis"), *map(str, words)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_pick_and_init_know_images(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "examples").mkdir()
    for number in range(0, 36, 4):
        shutil.move(photos / "china" / f"{number:02d}.jpg", tmp_path / "examples")
    picked = tamis(tmp_path, "pick", "photos", "--like", "examples", "-n", 20, "-o", "out.txt")
    assert picked.returncode == 0, picked.stderr
    keys = (tmp_path / "out.txt").read_text().split()
    assert sum(key.startswith("china/") for key in keys) >= 18
    assert tamis(tmp_path, "init", "photos", "-o", "r.yaml").returncode == 0
    drafted = yaml.safe_load((tmp_path / "r.yaml").read_text())
    assert drafted["pool"] == [{"format": "images", "path": "photos", "keep": ["label"]}]
    assert tamis(tmp_path, "run", "r.yaml", "--store", "s", "--local").returncode == 0
    write_tar(tmp_path / "shards" / "00000.tar", photos)
    assert tamis(tmp_path, "init", "shards", "-o", "t.yaml").returncode == 0
    assert yaml.safe_load((tmp_path / "t.yaml").read_text())["pool"][0]["format"] == "webdataset"
    (tmp_path / "texts.jsonl").write_text('{"id": "a", "text": "some words"}\n')
    mixed = tamis(tmp_path, "pick", "photos", "--like", "texts.jsonl", "-n", 5, "-o", "x.txt")
    assert mixed.returncode == 2
    assert "some hold images, others texts" in mixed.stderr


@pytest.mark.thorough
def test_the_image_demo_finds_its_digits(tmp_path: Path) -> None:
    shown = tamis(tmp_path, "demo", "images", "--engine", "local")
    assert shown.returncode == 0, shown.stderr
    assert "Which of these scanned digits look like a 3?" in shown.stdout
    pool, selection = shown.stdout.split("share of 3:")[1].split("\n")[0].split("→")
    assert float(pool.split()[1].rstrip("%")) < 10
    assert float(selection.split()[1].rstrip("%")) > 60
    story = tamis(tmp_path, "why", "tamis-demo-images/store/runs/demo-images", "3/1246")
    assert "image     64 x 64 pixels" in story.stdout
    assert "nearest of the target: 3/" in story.stdout


@pytest.mark.thorough
def test_ctrl_c_in_the_middle_of_decoding_leaves_no_worker_and_goes_on(photos: Path, tmp_path: Path) -> None:
    for copy in range(40):
        shutil.copytree(photos, tmp_path / "many" / str(copy))
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({**OF_PHOTOS, "pool": [{"format": "images", "path": "many"}]}))
    command = [Path(sys.executable).with_name("tamis"), "run", "run.yaml", "--store", "s", "--local"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stderr is not None
    assert process.stderr.readline().startswith("reading ")
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    said = process.stderr.read()
    assert process.wait(timeout=20) == 130
    assert "goes on behind the last whole shard" in said
    assert "Traceback" not in said
    wait_until = time.monotonic() + 10
    while (
        left := subprocess.run(["pgrep", "-f", "decode.worker"], capture_output=True, check=False).stdout.split()
    ) and (time.monotonic() < wait_until):
        time.sleep(0.1)
    assert not left, "a worker ends when nobody can ask it any more"
    assert tamis(tmp_path, "run", "run.yaml", "--store", "s", "--local").returncode == 0


def test_one_image_with_two_captions_is_told_and_two_samples_with_keys(
    run_in: Runner, photos: Path, tmp_path: Path
) -> None:
    image = next(iter(sorted(photos.rglob("*.jpg")))).relative_to(tmp_path)
    rows = [{"n": f"r{n}", "image": str(image), "caption": text} for n, text in enumerate(["a dog", "a cat", "a dog"])]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = {"format": "jsonl", "path": "t.jsonl", "image": "image", "caption": "caption"}
    outcome = run_in(tmp_path, store="a", **{**OF_PHOTOS, "pool": [source], "columns": {}})
    assert outcome.manifest["pool"]["rejects"] == {"key_conflict": 1, "exact_duplicate": 1}
    told = list(ask(open_complete(outcome.folder), "select detail from rejects where reason = 'key_conflict'"))
    assert "other captions; `key: FIELD` makes both samples" in told[0].to_pylist()[0]["detail"]
    keyed = run_in(tmp_path, store="b", **{**OF_PHOTOS, "pool": [{**source, "key": "n"}], "columns": {}})
    assert keyed.manifest["pool"]["samples"] == 3


def test_why_takes_a_photo_by_its_path_and_the_report_shows_what_could_not_be_read(
    run_in: Runner, photos: Path, tmp_path: Path
) -> None:
    (photos / "china" / "cut.jpg").write_bytes(b"no picture")
    outcome = run_in(tmp_path, **OF_PHOTOS)
    run = open_complete(outcome.folder)
    by_key = why(run, "china/01")
    some = next(photos.glob("china/01.*"))
    assert why(run, str(some)) == why(run, f"china/{some.name}") == by_key
    assert "undecodable" in why(run, "china/cut.jpg")
    with pytest.raises(QueryError, match="select key from rejects"):
        why(run, "nowhere.jpg")
    page = (outcome.folder / "report.html").read_text()
    assert "undecodable" in where(tmp_path / "store", "china/cut")
    assert "1 rejects" in page and "china/cut.jpg" in page and "undecodable (1)" in page
