"""Files that come, go and change under a pool of images: nothing stale is used, nothing is lost, nothing hangs."""

import datetime as dt
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tamis.pipeline.columns.catalog import kind_of
from tamis.pipeline.errors import RunFailed
from tamis.pipeline.explain.why import why
from tamis.pipeline.files.atomic import read_json, write_json
from tamis.pipeline.recipe.recipe import load_recipe
from tamis.pipeline.store.runs import open_complete
from tests_support import OF_PHOTOS, Runner

RESAMPLE = [{"importance_resampling": {"features": "look", "budget": 10}}]


def counts(outcome: Any) -> tuple[int, dict[str, int]]:
    pool = outcome.manifest["pool"]
    return pool["samples"], pool["rejects"]


def test_a_target_whose_only_image_was_broken_can_be_mended(run_in: Runner, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "like").mkdir()
    (tmp_path / "like" / "a.jpg").write_bytes(b"no image")
    asked = {**OF_PHOTOS, "target": [{"format": "images", "path": "like"}], "steps": RESAMPLE}
    with pytest.raises(Exception, match="not one usable sample"):
        run_in(tmp_path, **asked)
    shutil.copy(photos / "china" / "00.jpg", tmp_path / "like" / "a.jpg")
    assert run_in(tmp_path, **asked).selected == 10


def test_exports_are_of_the_selection_that_they_stand_beside(run_in: Runner, photos: Path, tmp_path: Path) -> None:
    """hf was written; then webdataset found a changed image; then the pool was mended by reading it again."""
    asked = {
        **OF_PHOTOS,
        "pool": [{"format": "csv", "path": "list*.csv", "image": "path"}],
        "emit": ["hf", "webdataset"],
    }
    names = [f"photos/china/{number:02d}.jpg" for number in range(6)]
    (tmp_path / "list1.csv").write_text("path\n" + "\n".join(names) + "\n")
    run_in(tmp_path, **{**asked, "emit": []}, name="before")
    shutil.copy(photos / "flower" / "01.jpg", photos / "china" / "01.jpg")
    for emit in (["hf"], ["webdataset"]):
        with pytest.raises(RunFailed, match=r"its bytes are others now.*another --store"):
            run_in(tmp_path, **{**asked, "emit": emit}, name=emit[0])
    outcome = run_in(tmp_path, store="new", **asked)
    (tmp_path / "new" / "runs" / "run" / "manifest.json").unlink()  # as if killed at the very end
    (tmp_path / "list2.csv").write_text("path\nphotos/digits/01.png\n")
    outcome = run_in(tmp_path, store="new", **asked)
    assert outcome.selected == 7
    with pa.ipc.open_stream(outcome.folder / "exports" / "hf" / "data-00000.arrow") as table:
        assert table.read_all().num_rows == 7


def test_a_caption_that_comes_later_joins_its_image(run_in: Runner, photos: Path, tmp_path: Path) -> None:
    before = run_in(tmp_path, name="before", **OF_PHOTOS)
    (photos / "china" / "03.txt").write_text("a temple")
    after = run_in(tmp_path, name="after", **OF_PHOTOS)
    assert counts(before) == counts(after) == (112, {})
    found = pq.read_table(after.folder / "selection.parquet", columns=["key", "captions"]).to_pylist()
    assert {row["key"]: row["captions"] for row in found}["china/03"] == [{"text": "a temple", "source": "txt"}]


def test_the_tar_of_a_download_that_comes_after_its_table(run_in: Runner, photos: Path, tmp_path: Path) -> None:
    import tarfile

    (tmp_path / "got").mkdir()
    rows = pa.table({"key": ["china/00", "china/01"], "status": ["success"] * 2})
    pq.write_table(rows, tmp_path / "got" / "00000.parquet")
    (tmp_path / "got" / "00001.txt").write_text("")
    asked = {**OF_PHOTOS, "pool": [{"format": "img2dataset", "path": "got"}, *OF_PHOTOS["pool"]]}
    before = run_in(tmp_path, name="before", **asked)
    with tarfile.open(tmp_path / "got" / "00000.tar", "w") as tar:
        for name in ("00", "01"):
            tar.add(photos / "flower" / f"{name}.jpg", f"china/{name}.jpg")
    after = run_in(tmp_path, name="after", **asked)
    assert counts(before) == (112, {"missing_image": 2})
    assert sum(counts(after)[1].values()) + counts(after)[0] == 114 and "missing_image" not in counts(after)[1]


def test_classes_of_another_file_are_told_from_the_vectors_that_stand(
    run_in: Runner, photos: Path, tmp_path: Path
) -> None:
    column = {"embed": "open_clip", "model": "ViT-S-32-alt", "pretrained": "random", "batch": 16}
    asked = {**OF_PHOTOS, "pool": [{"format": "images", "path": "photos/*/0[0-1].*"}]}
    asked["columns"] = {"clip": {**column, "classes": "classes.yaml", "outputs": ["image"]}}
    for name, classes in (("one", "{a: a temple, b: a flower}"), ("two", "{c: a digit, d: a flower}")):
        (tmp_path / "classes.yaml").write_text(classes)
        outcome = run_in(tmp_path, name=name, **asked)
    folders = {column["name"]: column["folder"] for column in outcome.manifest["columns"]}
    assert folders["clip.image"] == "columns/clip/image" and folders["clip.class"] != "columns/clip/class"
    found = pq.read_table(tmp_path / "store" / folders["clip.class"] / "part-00000.parquet")["class"].to_pylist()
    assert set(found) <= {"c", "d"} and len(found) == 6


def test_every_file_of_a_models_folder_counts(tmp_path: Path) -> None:
    def made_of() -> Any:
        settings = {"embed": "sentence_transformers", "model": "model"}
        return kind_of("mini", settings, tmp_path, allow_code=False).made_of(tmp_path)

    (tmp_path / "model").mkdir()
    found = []
    for name, text in (("pytorch_model.bin", "1"), ("pytorch_model.bin", "2"), ("tokenizer.json", "{}")):
        (tmp_path / "model" / name).write_text(text)
        found.append(json.dumps(made_of()))
    assert len(set(found)) == 3
    onnx = {"embed": "onnx", "model": "model/m.onnx"}
    graph = bytes([0x2A, 20, 0x6A, 18, 0x0A, 8]) + b"location" + bytes([0x12, 6]) + b"m.data"  # initializer, external
    (tmp_path / "model" / "m.onnx").write_bytes(bytes([0x3A, len(graph)]) + graph)
    found = []
    for weights in (b"1", b"2"):
        (tmp_path / "model" / "m.data").write_bytes(weights)
        found.append(json.dumps(kind_of("m", onnx, tmp_path, allow_code=False).made_of(tmp_path)))
    assert len(set(found)) == 2


def test_a_run_of_a_version_that_recorded_no_columns_is_still_the_same_run(
    run_in: Runner, photos: Path, tmp_path: Path
) -> None:
    outcome = run_in(tmp_path, **OF_PHOTOS)
    request = read_json(outcome.folder / "request.json")
    del request["columns"]
    write_json(outcome.folder / "request.json", request)
    assert not run_in(tmp_path, **OF_PHOTOS).fresh


def test_on_is_a_word_in_a_recipe_and_so_is_the_language_no(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(
        "pool: [{format: jsonl, path: p.jsonl}]\ncolumns:\n  v: {embed: precomputed, path: v.npz, on: uid}\n"
        "steps: [{quota: {field: lang, of: {no: 1, yes: 2}, budget: 3}}]\nstrict: false\n"
    )
    recipe = load_recipe(tmp_path / "r.yaml")
    assert recipe.columns["v"]["on"] == "uid" and recipe.steps[0]["quota"]["of"] == {"no": 1, "yes": 2}


def test_why_asks_the_targets_own_column(run_in: Runner, photos: Path, tmp_path: Path) -> None:
    column = {"embed": "open_clip", "model": "ViT-S-32-alt", "pretrained": "random", "outputs": ["image"], "batch": 16}
    asked = {
        **OF_PHOTOS,
        "pool": [{"format": "images", "path": "photos/*/0[0-4].*"}],
        "target": [{"format": "images", "path": "photos/flower"}],
        "steps": RESAMPLE,
    }
    run_in(tmp_path, name="first", **asked)
    other = {"look": {**column, "dims": 64}}
    asked["steps"] = [{"importance_resampling": {"features": "look.image", "budget": 10}}]
    outcome = run_in(tmp_path, name="second", **{**asked, "target": OF_PHOTOS["pool"], "columns": other})
    assert "nearest" in why(open_complete(outcome.folder), "flower/01")


def test_selections_that_the_exports_had_no_form_for(run_in: Runner, photos: Path, tmp_path: Path) -> None:
    from datasets import load_from_disk

    emit = ["hf", "keys", {"webdataset": {"shuffle": True}}]
    nothing = run_in(tmp_path, store="s1", **{**OF_PHOTOS, "steps": [{"random": {"budget": 0}}], "emit": emit})
    assert load_from_disk(str(nothing.folder / "exports" / "hf")).num_rows == 0
    rows = pa.table(
        {
            "id": ["a\nb", "c", "d"],
            "text": ["one", "two", "three"],
            "day": [dt.date(2026, 1, day) for day in (1, 2, 3)],
        }
    )
    pq.write_table(rows, tmp_path / "t.parquet")
    texts = {"format": "parquet", "path": "t.parquet", "key": "id", "keep": ["day"]}
    mixed = run_in(
        tmp_path, store="s2", **{**OF_PHOTOS, "pool": [texts, {"format": "images", "path": "photos"}], "emit": emit}
    )
    found = load_from_disk(str(mixed.folder / "exports" / "hf"))
    assert found.num_rows == 115 and sum(image is not None for image in found["image"]) == 112
    assert '"a\\nb"' in (mixed.folder / "exports" / "selection.keys.txt").read_text().splitlines()
    assert "images_gone" not in read_json(tmp_path / "s2" / "columns" / "look" / "column.json")
