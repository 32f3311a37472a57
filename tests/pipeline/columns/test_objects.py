"""Columns of objects: every format gives the same boxes, wrong ones are counted, crops are described as images are."""

import json
import os
import tarfile
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tamis.pipeline.columns.detect.boxes import Found, checked
from tamis.pipeline.columns.detect.file import read_class_names
from tamis.pipeline.columns.detect.onnx import corners, decode, suppress
from tamis.pipeline.columns.detect.open_vocabulary import OpenVocabulary, OpenVocabularyModel, by_class
from tamis.pipeline.columns.fill_objects import Proposing
from tamis.pipeline.decode.classic import PLAN, describe
from tamis.pipeline.decode.pixels import resized
from tamis.pipeline.errors import RecipeError, RunError, RunFailed
from tamis.pipeline.explain.why import why
from tamis.pipeline.files.atomic import read_json
from tamis.pipeline.starting import Outcome
from tamis.pipeline.store.runs import open_complete
from tests_support import ROOT, Runner, result_bytes

BOXES: dict[str, list[tuple[str, list[float], float]]] = {  # image: class, xyxy, confidence
    "a/one": [("cat", [4, 6, 20, 30], 0.9), ("dog", [10, 10, 39, 47], 0.8)],
    "a/two": [("dog", [0, 0, 40, 48], 1.0)],
    "b/three": [],
}
SIZE = (40, 48)
OF_OBJECTS: dict[str, Any] = {
    "pool": [{"format": "images", "path": "photos"}],
    "target": [],
    "steps": [{"object_coverage": {"column": "objects", "budget": 2}}],
    "emit": [],
}


DATA = Path(os.environ.get("TAMIS_TEST_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture(scope="module")
def real_coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of COCO-256; skips where a machine does not have it."""
    path = DATA / "det_coco256_384px.tar"
    if not path.exists():
        pytest.skip(f"no {path}; set TAMIS_TEST_DATA")
    folder = tmp_path_factory.mktemp("coco")
    with tarfile.open(path) as tar:
        tar.extractall(folder, filter="data")
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    for name in BOXES:
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 255, (SIZE[1], SIZE[0], 3), np.uint8)).save(
            tmp_path / "photos" / f"{name}.png"
        )
    return tmp_path


def write_coco(folder: Path, results: bool = False) -> dict[str, Any]:
    numbers = {name: 10 + place for place, name in enumerate(BOXES)}
    images = [{"id": n, "file_name": f"{name}.png", "width": 40, "height": 48} for name, n in numbers.items()]
    rows = [
        {"image_id": numbers[name], "category_id": {"cat": 3, "dog": 7}[kind], "score": sure,
         "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]]}
        for name, some in BOXES.items() for kind, box, sure in some
    ]  # fmt: skip
    about = {"images": images, "categories": [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}]}
    if results:
        (folder / "results.json").write_text(json.dumps(rows))
        (folder / "instances.json").write_text(json.dumps({**about, "annotations": []}))
        return {"path": "results.json", "images": "instances.json"}
    (folder / "boxes.json").write_text(json.dumps({**about, "annotations": rows}))
    return {"path": "boxes.json"}


def write_yolo(folder: Path) -> dict[str, Any]:
    for name, some in BOXES.items():
        path = folder / "labels" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = []
        for kind, (x1, y1, x2, y2), sure in some:
            numbers = [(x1 + x2) / 2 / 40, (y1 + y2) / 2 / 48, (x2 - x1) / 40, (y2 - y1) / 48, sure]
            lines.append(" ".join([str(["cat", "dog"].index(kind)), *map(str, numbers)]))
        path.write_text("\n".join(lines))
    return {"path": "labels", "classes": ["cat", "dog"]}


def write_voc(folder: Path) -> dict[str, Any]:
    for name, some in BOXES.items():
        top = ET.Element("annotation")
        for kind, box, _ in some:
            item = ET.SubElement(top, "object")
            ET.SubElement(item, "name").text = kind
            inside = ET.SubElement(item, "bndbox")
            for side, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True):
                ET.SubElement(inside, side).text = str(value)
        path = folder / "Annotations" / f"{Path(name).name}.xml"  # VOC knows no folders: by unique basename
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(ET.tostring(top))
    return {"path": "Annotations"}


def write_parquet(folder: Path) -> dict[str, Any]:
    rows = [
        {"key": name, "x1": box[0], "y1": box[1], "x2": box[2], "y2": box[3], "class": kind, "confidence": sure}
        for name, some in BOXES.items() for kind, box, sure in some
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), folder / "boxes.parquet")
    return {"path": "boxes.parquet"}


def objects_of(outcome: Outcome, name: str = "objects") -> dict[str, Any]:
    """Objects by key, as stored."""
    store = outcome.folder.parent.parent
    found = {}
    for part in sorted((store / "columns" / name).glob("part-*.parquet")):
        keys = pq.read_table(store / "pool" / part.name, columns=["key"])["key"].to_pylist()
        found |= dict(zip(keys, pq.read_table(part)[name].to_pylist(), strict=True))
    return found


@pytest.mark.parametrize(
    ("write", "whole"),
    [
        (write_coco, True), (lambda folder: write_coco(folder, results=True), True), (write_yolo, True),
        (write_voc, True), (write_parquet, False),
    ],
    ids=["coco", "coco results", "yolo", "voc", "parquet"],
)  # fmt: skip
def test_every_format_gives_the_same_objects(run_in: Runner, photos: Path, write: Any, whole: bool) -> None:
    columns = {"objects": {"detect": "file", **write(photos), "features": {"embed": "classic"}}}
    found = objects_of(run_in(photos, **OF_OBJECTS, columns=columns))
    for name, some in BOXES.items():
        if not some and not whole:
            assert found[name] is None, "a table of boxes does not tell of images without one"
            continue
        assert [item["class"] for item in found[name]] == [kind for kind, _, _ in some]
        np.testing.assert_allclose(
            [item["box"] for item in found[name]], [box for _, box, _ in some] or found[name], atol=1e-3
        )
        if write is not write_voc:
            np.testing.assert_allclose([item["confidence"] for item in found[name]], [sure for _, _, sure in some])
    assert found["a/two"][0]["area"] == pytest.approx(1.0)


def test_a_crop_is_described_with_its_margin(run_in: Runner, photos: Path) -> None:
    columns = {"objects": {"detect": "file", **write_coco(photos), "features": {"embed": "classic", "margin": 0.25}}}
    found = objects_of(run_in(photos, **OF_OBJECTS, columns=columns))
    crop = Image.open(photos / "photos" / "a" / "one.png").crop((0, 0, 24, 36))  # 4-4, 6-6, 20+4, 30+6
    np.testing.assert_allclose(found["a/one"][0]["feature"], describe(crop, PLAN), atol=1e-3)


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"bbox": [0, 0, 1]}, "has 3 numbers"), ({"bbox": [0, 0, 9, 0, 9, 9, 0, 9]}, "has 8 numbers"),
        ({"bbox": []}, "has 0 numbers"), ({"bbox": ["a", 0, 1, 1]}, "can't be read"),
    ],
)  # fmt: skip
def test_boxes_of_another_length_are_an_error_and_never_another_images(
    run_in: Runner, photos: Path, about: dict[str, Any], words: str
) -> None:
    write_coco(photos)
    held = json.loads((photos / "boxes.json").read_text())
    held["annotations"][0] |= about
    (photos / "boxes.json").write_text(json.dumps(held))
    with pytest.raises(RecipeError, match=words):
        run_in(photos, **{**OF_OBJECTS, "steps": []}, columns={"objects": {"detect": "file", "path": "boxes.json"}})


def test_two_images_of_one_id_are_an_error(run_in: Runner, photos: Path) -> None:
    write_coco(photos)
    held = json.loads((photos / "boxes.json").read_text())
    held["images"][1]["id"] = held["images"][0]["id"]
    (photos / "boxes.json").write_text(json.dumps(held))
    with pytest.raises(RecipeError, match="two of its images have one id"):
        run_in(photos, **{**OF_OBJECTS, "steps": []}, columns={"objects": {"detect": "file", "path": "boxes.json"}})


def test_class_numbers_may_have_gaps_and_be_texts(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("names: {0: car, 2: bus, '10': dog}")
    assert read_class_names(tmp_path / "data.yaml") == ["car", "", "bus", *[""] * 7, "dog"]


def test_hidden_files_are_no_labels_and_a_namespaces_twin_has_none(run_in: Runner, photos: Path) -> None:
    given = write_yolo(photos)
    (photos / "labels" / ".idea").mkdir()
    (photos / "labels" / ".idea" / "workspace.xml").write_text("<x/>")
    (photos / "labels" / "._one.txt").write_bytes(b"\xff\xfe")
    columns = {"objects": {"detect": "file", **given, "features": {"embed": "classic"}}}
    assert len(objects_of(run_in(photos, **OF_OBJECTS, columns=columns))["a/one"]) == 2
    twins = [{"format": "images", "path": "photos"}, {"format": "images", "path": "photos", "namespace": "other"}]
    outcome = run_in(photos, store="twins", **{**OF_OBJECTS, "pool": twins}, columns=columns)
    record = read_json(next((photos / "twins" / "columns").glob("objects*/column.json")))
    assert outcome.manifest["pool"]["samples"] == 6
    assert sum(record["images_of_ambiguous_name"].values()) == 6


def test_a_grown_pool_gives_the_same_objects_as_a_new_one(run_in: Runner, photos: Path) -> None:
    columns = {"objects": {"detect": "file", **write_voc(photos), "features": {"embed": "classic"}}}
    run_in(photos, **OF_OBJECTS, columns=columns)
    Image.new("RGB", SIZE, "red").save(photos / "photos" / "b" / "one.png")
    grown = run_in(photos, name="grown", **OF_OBJECTS, columns=columns)
    anew = run_in(photos, name="grown", store="anew", **OF_OBJECTS, columns=columns)
    picks = [pq.read_table(one.folder / "selection.parquet")["key"].to_pylist() for one in (grown, anew)]
    assert picks[0] == picks[1]


def test_counts_are_there_before_the_part_is(run_in: Runner, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_coco(photos)
    held = json.loads((photos / "boxes.json").read_text())
    held["annotations"][0]["bbox"] = [900, 900, 5, 5]
    (photos / "boxes.json").write_text(json.dumps(held))
    columns = {"objects": {"detect": "file", "path": "boxes.json", "features": {"embed": "classic"}}}
    folder = photos / "store" / "columns" / "objects"
    real = Proposing.count

    def counted(self: Proposing, what: str, part: str, rows: int) -> None:
        assert not (folder / part).exists(), "a kill here must not leave the part without its counts"
        real(self, what, part, rows)

    monkeypatch.setattr(Proposing, "count", counted)
    run_in(photos, **OF_OBJECTS, columns=columns)
    assert read_json(folder / "column.json")["boxes_outside"] == {"part-00000.parquet": 1}


def test_kept_fields_called_labels_label_nothing_and_counts_may_stand_in_where(run_in: Runner, photos: Path) -> None:
    columns = {"objects": {"detect": "file", **write_coco(photos), "features": {"embed": "classic"}}}
    for path in (photos / "photos").rglob("*.png"):
        path.with_suffix(".json").write_text('{"labels": "x"}')
    pool = [{"format": "images", "path": "photos", "keep": ["labels"]}]
    steps = [{"object_coverage": {"column": "objects", "budget": 5, "where": "objects_count > 0"}}]
    outcome = run_in(photos, **{**OF_OBJECTS, "pool": pool, "steps": steps}, columns=columns)
    assert outcome.manifest["steps"][0]["reasons"] == {"chosen": 2, "not_in_scope": 1}


def test_labels_without_a_suffix_are_read_and_a_wrong_name_is_told(run_in: Runner, photos: Path) -> None:
    columns = {"objects": {"detect": "file", **write_coco(photos), "features": {"embed": "classic"}}}
    (photos / "labels").write_text("key,label\na/one,cat\n")
    assert run_in(photos, **OF_OBJECTS, columns=columns, labels="labels").selected == 2
    for name, words in (("lables", "no such file"), ("bad.csv", "has no key")):
        (photos / "bad.csv").write_text("label,key\na\n")
        with pytest.raises(RecipeError, match=words):
            run_in(photos, name=name[:3], **OF_OBJECTS, columns=columns, labels=name)


def test_names_in_tasks_are_those_on_disk_and_those_of_the_interface(run_in: Runner, photos: Path) -> None:
    (photos / "photos" / "a" / "one.png").rename(photos / "photos" / "a" / "one.PNG")
    about = {"images": [{"id": 1, "file_name": "a/one.PNG"}], "categories": [{"id": 1, "name": "交通\u3000灯\x07"}]}
    (photos / "boxes.json").write_text(json.dumps({**about, "annotations": [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9]}]}))  # fmt: skip
    columns = {"objects": {"detect": "file", "path": "boxes.json", "features": {"embed": "classic"}}}
    emit: list[Any] = ["label_studio", "coco"]
    outcome = run_in(photos, **{**OF_OBJECTS, "emit": emit}, columns=columns)
    tasks = json.loads((outcome.folder / "exports" / "label_studio" / "tasks.json").read_text())
    told = {label for task in tasks for one in task["predictions"][0]["result"] for label in one["value"]["rectanglelabels"]}  # fmt: skip
    labels = ET.parse(outcome.folder / "exports" / "label_studio" / "labels.xml").getroot()
    assert told == {label.get("value") for label in labels.iter("Label")} == {"交通\u3000灯\ufffd"}
    coco = json.loads((outcome.folder / "exports" / "coco.json").read_text())
    assert "a/one.PNG" in {image["file_name"] for image in coco["images"]}
    with pytest.raises(RunFailed, match="lies outside root"):
        run_in(photos, name="root", **{**OF_OBJECTS, "emit": [{"label_studio": {"root": "/data"}}]}, columns=columns)


def test_wrong_boxes_are_dropped_and_counted_by_reason() -> None:
    lost: Counter[str] = Counter()
    boxes = [
        [0, 0, 10, 10], [90, 0, 99, 10], [5, 5, 5, 10], [8, 8, 4, 4], [np.nan, 0, 1, 1], [30, 30, 70, 70], [0, 0, 9, 9],
        [0, 0, 9, 9],
    ]  # fmt: skip
    names = ["cat", "cat", "cat", "cat", "cat", "cat", None, "cat"]
    found = Found(np.array(boxes, float), names, np.array([1.0] * 7 + [0.1]))
    stands = checked(found, 50, 50, ["cat"], lambda _: 0.3, lost)
    assert stands.boxes.tolist() == [[0, 0, 10, 10], [30, 30, 50, 50]]
    assert lost == {
        "boxes_outside": 1, "boxes_without_area": 2, "boxes_not_finite": 1, "boxes_of_unknown_class": 1,
        "boxes_not_sure": 1, "boxes_clipped": 1,
    }  # fmt: skip


def test_boxes_of_the_full_size_fit_the_smaller_copy_and_those_of_another_shape_do_not() -> None:
    lost: Counter[str] = Counter()
    large = Found(np.array([[10.0, 20, 100, 200]]), ["a"], np.ones(1), (400.0, 480.0))
    assert checked(large, 40, 48, None, lambda _: 0, lost).boxes.tolist() == [[1, 2, 10, 20]]
    turned = large._replace(size=(480.0, 400.0))
    assert not checked(turned, 40, 48, None, lambda _: 0, lost).names and lost == {"boxes_of_another_size": 1}


def test_a_basename_that_the_pool_has_twice_means_none_of_them(run_in: Runner, photos: Path) -> None:
    Image.new("RGB", SIZE, "red").save(photos / "photos" / "b" / "one.png")
    columns = {"objects": {"detect": "file", **write_voc(photos), "features": {"embed": "classic"}}}
    outcome = run_in(photos, **OF_OBJECTS, columns=columns)
    found = objects_of(outcome)
    assert found["a/one"] is None and found["b/one"] is None and len(found["a/two"]) == 1
    record = read_json(outcome.folder.parent.parent / "columns" / "objects" / "column.json")
    assert sum(record["images_of_ambiguous_name"].values()) == 2


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("x.json", "[1, 2", "can't be read"),
        ("x.json", '{"boxes": []}', "no field 'annotations'"),
        ("x.json", '{"images": [], "categories": [], "annotations": [{"image_id": 1, "category_id": 1, "bbox": [0,0,1,1]}]}', "doesn't list"),
        ("x/a.xml", "<annotation><object>", "can't be read"),
        ("x/a.xml", '<!DOCTYPE a [<!ENTITY b "b">]><annotation>&b;</annotation>', "declarations"),
        ("x/a.txt", "0 0.5 0.5 0.1\n", "a.txt: a line has not 5 or 6 numbers"),
        ("x.json", "[" * 100_000, "can't be read"),
        ("x/readme.md", "nothing", "neither .xml"),
        ("x.parquet", "PAR1", "can't be read"),
        ("x.csv", "a,b", "wanted a .json"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_boxes_is_one_clear_error(
    run_in: Runner, photos: Path, name: str, text: str, words: str
) -> None:
    (photos / name).parent.mkdir(exist_ok=True)
    (photos / name).write_text(text)
    columns = {"objects": {"detect": "file", "path": name.split("/", maxsplit=1)[0], "classes": ["cat"]}}
    with pytest.raises(RecipeError, match=words):
        run_in(photos, **{**OF_OBJECTS, "steps": []}, columns=columns)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"detect": "eyes"}, "no detector 'eyes'"),
        ({"detect": "file", "path": "gone.json"}, "nothing at"),
        ({"detect": "file", "path": "boxes.json", "features": "classic"}, "wanted {embed: NAME"),
        ({"detect": "file", "path": "boxes.json", "features": {"embed": "classic", "margin": -1}}, "margin"),
        ({"detect": "file", "path": "boxes.json", "features": {"embed": "sentence_transformers", "model": "m"}}, "images"),
        ({"detect": "file", "path": "boxes.json", "features": {"embed": "onnx", "model": "boxes.json", "scaled_decode": True}}, "not for crops|scaled_decode"),
        ({"detect": "onnx", "model": "gone.onnx"}, "no file"),
        ({"detect": "onnx", "model": "boxes.json", "size": [400, 400]}, "multiples of 32"),
        ({"detect": "open_vocabulary", "model": "m", "classes": []}, "at least one"),
    ],
)  # fmt: skip
def test_wrong_columns_of_objects_are_refused_before_anything_starts(
    run_in: Runner, photos: Path, settings: dict[str, Any], words: str
) -> None:
    write_coco(photos)
    with pytest.raises(RecipeError, match=words):
        run_in(photos, **{**OF_OBJECTS, "steps": []}, columns={"objects": settings})


def test_the_recipe_of_the_docs_runs_and_says_why(run_in: Runner, photos: Path) -> None:
    columns = {"objects": {"detect": "file", **write_coco(photos), "features": {"embed": "classic"}}}
    emit = ["keys", "label_studio", "coco", "cvat"]
    outcome = run_in(photos, **{**OF_OBJECTS, "emit": emit}, columns=columns)
    run = open_complete(outcome.folder)
    assert "cat (0.90), object 0 at [4, 6, 20, 30], cluster 1 of 1" in why(run, "a/one")
    assert "no_objects (no object that the step covers was proposed in it)" in why(run, "b/three")
    exports = outcome.folder / "exports"
    tasks = {task["data"]["key"]: task for task in json.loads((exports / "label_studio" / "tasks.json").read_text())}
    value = tasks["a/one"]["predictions"][0]["result"][0]["value"]
    assert value == {"x": 10, "y": 12.5, "width": 40, "height": 50, "rotation": 0, "rectanglelabels": ["cat"]}
    assert tasks["a/one"]["data"]["image"].endswith("photos/a/one.png")
    labels = ET.parse(exports / "label_studio" / "labels.xml").getroot()
    assert [label.get("value") for label in labels.iter("Label")] == ["cat", "dog"]
    coco = json.loads((exports / "coco.json").read_text())
    assert {image["file_name"] for image in coco["images"]} == {"a/one.png", "a/two.png"}
    assert sorted(one["bbox"] for one in coco["annotations"]) == [[0, 0, 40, 48], [4, 6, 16, 24], [10, 10, 29, 37]]
    cvat = ET.parse(exports / "cvat" / "annotations.xml").getroot()
    assert {box.get("label") for box in cvat.iter("box")} == {"cat", "dog"}
    page = (outcome.folder / "report.html").read_text()
    assert "Coverage by class, rarest first" in page and "data:image/jpeg;base64" in page


def test_a_target_beside_objects_is_left_alone(run_in: Runner, photos: Path) -> None:
    columns = {"objects": {"detect": "file", **write_coco(photos), "features": {"embed": "classic"}}}
    target = [{"format": "images", "path": "photos"}]
    outcome = run_in(photos, **{**OF_OBJECTS, "target": target}, columns=columns)
    assert outcome.selected == 2


def test_a_class_may_be_called_anything(run_in: Runner, photos: Path) -> None:
    evil = '<script>alert(1)</script>&"\x07'
    about = {"images": [{"id": 1, "file_name": "a/one.png"}], "categories": [{"id": 1, "name": evil}]}
    rows = [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9]}]
    (photos / "boxes.json").write_text(json.dumps({**about, "annotations": rows}))
    columns = {"objects": {"detect": "file", "path": "boxes.json", "features": {"embed": "classic"}}}
    outcome = run_in(photos, **{**OF_OBJECTS, "emit": ["label_studio", "cvat"]}, columns=columns)
    assert "<script>" not in (outcome.folder / "report.html").read_text()
    for name in ("label_studio/labels.xml", "cvat/annotations.xml"):
        ET.parse(outcome.folder / "exports" / name)


def test_images_in_tars_are_copied_for_the_labeling_tool(run_in: Runner, photos: Path) -> None:
    from tests_support import write_tar

    write_tar(photos / "photos.tar", photos / "photos")
    columns = {"objects": {"detect": "file", **write_coco(photos), "features": {"embed": "classic"}}}
    pool = [{"format": "webdataset", "path": "photos.tar"}]
    emit: list[Any] = [{"label_studio": {"root": str(photos), "url": "http://files/"}}]
    outcome = run_in(photos, **{**OF_OBJECTS, "pool": pool, "emit": emit}, columns=columns)
    tasks = json.loads((outcome.folder / "exports" / "label_studio" / "tasks.json").read_text())
    for task in tasks:
        assert (photos / task["data"]["image"].removeprefix("http://files/")).is_file()


def test_labels_are_a_column_and_their_samples_are_not_asked_for_again(run_in: Runner, photos: Path) -> None:
    (photos / "labels.csv").write_text("key,label\na/one,cat\na/two,dog\na/two,cat\nnobody,dog\n")
    columns = {"objects": {"detect": "file", **write_coco(photos), "features": {"embed": "classic"}}}
    outcome = run_in(photos, **OF_OBJECTS, columns=columns, labels="labels.csv")
    assert outcome.selected == 1
    assert "already_labeled (it has a label)" in why(open_complete(outcome.folder), "a/one")
    store = outcome.folder.parent.parent
    found = pq.read_table(store / "columns" / "labels" / "part-00000.parquet")["labels"].to_pylist()
    assert sorted(found, key=str) == ["", None, "cat"], "two that differ: labeled, and not said as what"
    (photos / "labels.csv").write_text("name\nx\n")
    with pytest.raises(RecipeError, match="wanted one column key and one column label, found name"):
        run_in(photos, name="other", **OF_OBJECTS, columns=columns, labels="labels.csv")


def test_boxes_of_another_file_are_another_column(run_in: Runner, photos: Path) -> None:
    columns = {"objects": {"detect": "file", **write_coco(photos), "features": {"embed": "classic"}}}
    run_in(photos, **OF_OBJECTS, columns=columns)
    held = json.loads((photos / "boxes.json").read_text())
    held["annotations"] = held["annotations"][:1]
    (photos / "boxes.json").write_text(json.dumps(held))
    os.utime(photos / "boxes.json", ns=(1, 1))
    with pytest.raises(RunError, match="other files under column 'objects'"):
        run_in(photos, **OF_OBJECTS, columns=columns)
    assert run_in(photos, name="second", **OF_OBJECTS, columns=columns).selected == 2


def test_the_grid_is_decoded_as_by_hand() -> None:
    values = np.zeros((8 * 8 + 4 * 4 + 2 * 2, 4), np.float32)  # of 64 x 64 pixels
    values[9] = [0.5, 0.25, np.log(2), np.log(3)]  # stride 8, cell (1, 1)
    values[64 + 6] = [0, 0, 0, 0]  # stride 16, cell (2, 1)
    values[-1] = [0.1, 0.2, 0, 0]  # stride 32, cell (1, 1)
    boxes = decode(values, [64, 64])
    np.testing.assert_allclose(boxes[9], [12, 10, 16, 24], rtol=1e-6)
    np.testing.assert_allclose(boxes[64 + 6], [32, 16, 16, 16])
    np.testing.assert_allclose(boxes[-1], [35.2, 38.4, 32, 32], rtol=1e-6)
    np.testing.assert_allclose(corners(boxes[9:10]), [[4, -2, 20, 22]])


def test_of_overlapping_boxes_of_a_class_the_surest_stays() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [0, 0, 10, 10], [20, 20, 30, 30], [0, 0, 10, 4]], float)
    sure, kinds = np.array([0.6, 0.9, 0.5, 0.4, 0.3]), np.array([0, 0, 1, 0, 0])
    assert suppress(boxes, sure, kinds, 0.45).tolist() == [1, 2, 3, 4]
    assert suppress(boxes, sure, kinds, 0.3).tolist() == [1, 2, 3]


def test_the_page_holds_the_image_in_its_corner() -> None:
    page = resized(Image.new("RGB", (100, 50), "white"), [64, 64], "corner", "bilinear", 114)
    assert (page[:32] == 255).all() and (page[32:] == 114).all()


@pytest.fixture(scope="module")
def small_detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A YOLOX-shaped ONNX file whose only sure cell, in each image, is the one that its mean brightness lights."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    cells = 8 * 8 + 4 * 4 + 2 * 2
    base = np.zeros((1, cells, 7), np.float32)
    base[0, 9] = [0, 0, np.log(2), np.log(2), 1, 0, 1]  # centre (8, 8), 16 x 16, the second class, brightness tells
    lit = np.zeros((1, cells, 7), np.float32)
    lit[0, 9, 4] = 1
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "scale"], ["share"]),
        helper.make_node("Unsqueeze", ["share", "axes"], ["wide"]),
        helper.make_node("Mul", ["wide", "lit"], ["light"]),
        helper.make_node("Sub", ["base", "lit"], ["dark"]),
        helper.make_node("Add", ["dark", "light"], ["y"]),
    ]
    held = {"base": base, "lit": lit, "scale": np.float32([1 / 255]), "axes": np.int64([1, 2])}
    graph = helper.make_graph(
        nodes, "small", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 64, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", cells, 7])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in held.items()],
    )  # fmt: skip
    path = tmp_path_factory.mktemp("detector") / "small.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=9), path)
    return path


def test_a_detectors_boxes_are_those_of_the_original_image(
    run_in: Runner, tmp_path: Path, small_detector: Path
) -> None:
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (256, 256), "white").save(tmp_path / "photos" / "bright.png")
    Image.new("RGB", (128, 64), "white").save(tmp_path / "photos" / "wide.png")
    Image.new("RGB", (64, 64), "black").save(tmp_path / "photos" / "dark.png")
    columns = {
        "objects": {
            "detect": "onnx", "model": str(small_detector), "size": [64, 64], "classes": ["no", "yes"],
            "features": {"embed": "classic"},
        }
    }  # fmt: skip
    found = objects_of(run_in(tmp_path, **OF_OBJECTS, columns=columns))
    assert found["dark"] == []
    ((bright,), (wide,)) = found["bright"], found["wide"]
    np.testing.assert_allclose(bright["box"], [0, 0, 64, 64])  # a quarter as large on the page
    np.testing.assert_allclose(wide["box"], [0, 0, 32, 32])  # half as large
    assert bright["class"] == "yes" and bright["confidence"] == pytest.approx(1.0)
    assert wide["confidence"] == pytest.approx((1 + 114 / 255) / 2, abs=1e-3), "below it the page is grey"


def test_a_detector_of_other_classes_is_one_clear_error(run_in: Runner, photos: Path, small_detector: Path) -> None:
    columns = {"objects": {"detect": "onnx", "model": str(small_detector), "size": [64, 64]}}
    with pytest.raises(RecipeError, match=r"gives \[84, 7\] numbers an image"):
        run_in(photos, **{**OF_OBJECTS, "steps": []}, columns=columns)


def test_crops_of_more_than_a_block_keep_their_places(
    run_in: Runner, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = {"objects": {"detect": "file", **write_coco(photos), "features": {"embed": "classic"}}}
    whole = objects_of(run_in(photos, **OF_OBJECTS, columns=columns))
    for module in ("decode.decoders", "read.images.blocks", "columns.fill_images", "columns.fill_objects"):
        monkeypatch.setattr(f"tamis.pipeline.{module}.BLOCK_IMAGES", 1)
    pieces = run_in(photos, store="pieces", **OF_OBJECTS, columns=columns)
    assert objects_of(pieces) == whole


def test_a_cut_column_is_made_whole_again(run_in: Runner, photos: Path) -> None:
    columns = {"objects": {"detect": "file", **write_coco(photos), "features": {"embed": "classic"}}}
    whole = run_in(photos, **OF_OBJECTS, columns=columns)
    part = photos / "store" / "columns" / "objects" / "part-00000.parquet"
    before = part.read_bytes()
    part.unlink()
    again = run_in(photos, name="again", **OF_OBJECTS, columns=columns)
    assert part.read_bytes() == before
    assert result_bytes(again.folder) == result_bytes(whole.folder)


def test_words_of_a_prompt_are_told_apart_by_place_not_by_text() -> None:
    logits = np.zeros((1, 2, 8), np.float32)
    logits[0, 0, 2], logits[0, 1, 4] = 0.9, 0.7
    words = np.zeros((2, 6), bool)
    words[0, 1:3], words[1, 4] = True, True  # "fire truck", "truck": the same word, two places
    np.testing.assert_allclose(by_class(logits, words), [[[0.9, 0], [0, 0.7]]])


def words_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", ".", "cat", "dog", "hot", "a"]
    tokenizer = Tokenizer(models.WordLevel({name: place for place, name in enumerate(names)}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)


@pytest.fixture(scope="module", params=["grounding-dino", "owlv2"])
def tiny_model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights: what it finds means nothing, where and as what it is told does."""
    import torch

    from tamis.pipeline.columns.loss.causal_lm import imported

    transformers = imported()
    folder = tmp_path_factory.mktemp(request.param)
    words_tokenizer(folder)
    torch.manual_seed(0)
    if request.param == "owlv2":
        sides = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
        config = transformers.Owlv2Config(
            text_config={**sides, "vocab_size": 16, "max_position_embeddings": 16, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3},
            vision_config={**sides, "image_size": 64, "patch_size": 16}, projection_dim=32,
        )  # fmt: skip
        transformers.Owlv2ForObjectDetection(config).save_pretrained(folder)
        kind = {"image_processor_type": "Owlv2ImageProcessor"}
    else:
        backbone = transformers.SwinConfig(
            image_size=64, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4,
            out_features=["stage2", "stage3", "stage4"],
        )  # fmt: skip
        text = transformers.BertConfig(
            vocab_size=16, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
        )
        config = transformers.GroundingDinoConfig(
            backbone_config=backbone, text_config=text, d_model=64, encoder_layers=1, decoder_layers=2, num_queries=20,
            encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32,
            num_feature_levels=4, encoder_n_points=2, decoder_n_points=2, disable_custom_kernels=True,
        )  # fmt: skip
        transformers.GroundingDinoForObjectDetection(config).save_pretrained(folder)
        kind = {"image_processor_type": "GroundingDinoImageProcessor"}
    about = {**kind, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "size": {"height": 64, "width": 64}}
    (folder / "preprocessor_config.json").write_text(json.dumps(about))
    return folder


def test_an_open_vocabulary_detector_gives_the_recipes_classes(
    run_in: Runner, photos: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    columns = {
        "objects": {
            "detect": "open_vocabulary", "model": str(tiny_model), "classes": {"kitty": "a cat", "hot dog": "hot dog"},
            "confidence": 0.0, "overlap": 1.0, "side": 64, "batch": 2, "features": {"embed": "classic"},
        }
    }  # fmt: skip
    found = objects_of(run_in(photos, **OF_OBJECTS, columns=columns))
    objects = [item for some in found.values() for item in some]
    assert objects and {item["class"] for item in objects} <= {"kitty", "hot dog"}
    boxes = np.array([item["box"] for item in objects])
    assert (boxes >= 0).all() and (boxes <= [40, 48, 40, 48]).all() and np.isfinite(boxes).all()
    assert all(0 <= item["confidence"] <= 1 for item in objects)


def test_many_classes_are_asked_for_in_passes_and_each_keeps_its_own_score(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    image = np.random.default_rng(0).integers(0, 255, (1, 64, 64, 3), np.uint8)
    asked = OpenVocabulary(model=str(tiny_model), classes=["cat", "dog"], confidence=0.0, overlap=1.0, side=64)
    together = OpenVocabularyModel(asked, Path())
    assert len(together.passes) == 1
    for name in ("MOST_WORDS", "MOST_QUERIES"):
        monkeypatch.setattr(f"tamis.pipeline.columns.detect.open_vocabulary.{name}", 1)
    apart = OpenVocabularyModel(asked, Path())
    assert len(apart.passes) == 2
    assert {name for found in apart.start(image, 1)() for name in found.names} == {"cat", "dog"}


def test_a_folder_without_a_detector_is_one_clear_error(
    run_in: Runner, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (photos / "model").mkdir()
    columns = {"objects": {"detect": "open_vocabulary", "model": "model", "classes": ["cat"]}}
    with pytest.raises(RecipeError, match="no open-vocabulary detector can be loaded"):
        run_in(photos, **{**OF_OBJECTS, "steps": []}, columns=columns)


@pytest.mark.thorough
def test_a_real_detector_finds_what_people_saw(run_in: Runner, real_coco: Path, tmp_path: Path) -> None:
    """YOLOX-nano at 0.3 on the first 60 val photos: 111 of 169 (image, class) pairs, measured elsewhere."""
    (tmp_path / "labels").symlink_to(real_coco / "object_detection" / "labels" / "val2017")
    columns = {
        "objects": {"detect": "onnx", "model": str(DATA / "models" / "yolox_nano.onnx")},
        "truth": {"detect": "file", "path": "labels", "classes": str(real_coco / "object_detection" / "config.yaml")},
    }
    pool = [{"format": "images", "path": str(real_coco / "images" / "val2017")}]
    outcome = run_in(tmp_path, **{**OF_OBJECTS, "pool": pool, "steps": []}, columns=columns)
    true, found = objects_of(outcome, "truth"), objects_of(outcome)
    first = sorted(true)[:60]
    pairs = {(key, item["class"]) for key in first for item in true[key]}
    seen = {(key, item["class"]) for key in first for item in found[key]}
    assert len(pairs) == 169
    assert len(pairs & seen) >= 109, len(pairs & seen)
