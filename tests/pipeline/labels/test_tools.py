"""What labeling tools' own files say: each answer is taken whole or listed, never guessed."""

import csv
import json
import zipfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tamis.pipeline.cli.app import app
from tamis.pipeline.columns.detect.file import read_class_names
from tamis.pipeline.columns.detect.rounds import round_rows
from tamis.pipeline.emit.tasks import export_tasks
from tamis.pipeline.errors import RecipeError
from tamis.pipeline.labels.answers import Answer
from tamis.pipeline.labels.files import read_answers
from tamis.pipeline.labels.rounds import Imported, import_answers
from tamis.pipeline.store.runs import open_complete
from tests_support import Runner, write_jsonl

BOX = {"x": 10.0, "y": 20.0, "width": 30.0, "height": 40.0, "rotation": 0, "original_width": 64, "original_height": 48}
BEAR = {**BOX, "rectanglelabels": ["bear"]}
ABOUT = {"annotator": 1, "annotation_id": 7, "id": 3, "lead_time": 90.0, "created_at": "2025-01-02T03:04:05Z"}
DRAWN = [{"box": [0.1, 0.2, 0.4, 0.6], "class": "bear"}]


@pytest.fixture
def photos(tmp_path: Path, run_in: Runner) -> Path:
    """A store of three photos of 64 x 48, in folders `photos/a` and `photos/b`."""
    image = pytest.importorskip("PIL.Image")
    for number, name in enumerate(("a/p1", "a/p2", "b/p1")):
        place = tmp_path / "photos" / f"{name}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        image.new("RGB", (64, 48), (90 * number, 10, 200)).save(place)
    run_in(tmp_path, pool=[{"format": "images", "path": "photos"}], target=[], steps=[], emit=[])
    return tmp_path


def taken(place: Path, file: str, held: Any, **more: Any) -> tuple[Imported, dict[str, Any]]:
    path = place / file
    if not path.exists():
        path.write_text(held if isinstance(held, str) else json.dumps(held), encoding="utf-8")
    found = import_answers(place / "store", read_answers(path, **more), path.name, None, lambda _: None)
    return found, {row["key"]: row for rows in round_rows(place / "store" / "labels") for row in rows}


def rows_as_csv(path: Path, rows: list[dict[str, Any]], delimiter: str = ",") -> None:
    """As Label Studio writes them: what is no word is JSON."""
    with path.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, list(dict.fromkeys(name for row in rows for name in row)), delimiter=delimiter)
        writer.writeheader()
        for row in rows:
            writer.writerow({k: json.dumps(v) if isinstance(v, list | dict) else v for k, v in row.items()})


class TestLabelStudio:
    ROWS = (
        {"key": "a/p1", **ABOUT, "label": "cat"},
        {"key": "a/p2", **ABOUT, "label": {"choices": ["cat", "dog"]}},
        {"key": "b/p1", **ABOUT, "label": [BEAR]},
    )

    @pytest.mark.parametrize("kind", ["json", "csv", "tsv"])
    def test_a_row_an_annotation(self, photos: Path, kind: str) -> None:
        if kind != "json":
            rows_as_csv(photos / f"x.{kind}", [dict(row) for row in self.ROWS], "\t" if kind == "tsv" else ",")
        found, rows = taken(photos, f"x.{kind}", list(self.ROWS))
        assert {key: row["label"] for key, row in rows.items()} == {"a/p1": "cat", "a/p2": "", "b/p1": "bear"}
        assert found.unclear == ["a/p2: several choices (cat, dog)"]
        assert (rows["a/p1"]["cost"], rows["a/p1"]["labeled_at"]) == (1.5, "2025-01-02T03:04:05Z")
        assert [rows[key]["boxes"] for key in ("a/p1", "b/p1")] == [None, DRAWN]

    def annotated(self, *results: dict[str, Any], key: str = "a/p1") -> dict[str, Any]:
        return {"data": {"key": key}, "annotations": [{"completed_by": 1, "result": list(results)}]}

    def test_several_controls_are_listed_and_one_can_be_named(self, photos: Path) -> None:
        task = self.annotated(
            {"from_name": "kind", "value": {"choices": ["cat"]}}, {"from_name": "mood", "value": {"choices": ["sad"]}}
        )
        found, rows = taken(photos, "x.json", [task])
        assert rows["a/p1"]["label"] == ""
        assert found.unclear == ["a/p1: several controls (kind, mood): name one with --control"]
        assert read_answers(photos / "x.json", "mood")[0].label == "sad"

    def test_a_control_of_another_name_is_not_guessed_in_rows(self, photos: Path) -> None:
        found, rows = taken(photos, "x.json", [{"key": "a/p1", **ABOUT, "sentiment": "good", "city": "Rome"}])
        assert (found.empty, rows) == (True, {})
        assert found.left_out == ["a/p1: an answer under sentiment, city? name it with --control"]
        assert read_answers(photos / "x.json", "sentiment")[0].label == "good"

    def test_choices_beside_boxes_label_and_the_boxes_come_along(self, photos: Path) -> None:
        task = self.annotated(
            {"from_name": "kind", "value": {"choices": ["cat"]}}, {"from_name": "label", "value": BEAR}
        )
        _, rows = taken(photos, "x.json", [task])
        assert (rows["a/p1"]["label"], rows["a/p1"]["boxes"]) == ("cat", DRAWN)

    @pytest.mark.parametrize(
        ("value", "why"),
        [
            ({"points": [[1, 2], [3, 4], [5, 6]], "polygonlabels": ["bear"]}, "other shapes"),
            ({**BEAR, "rotation": 30}, "a turned box"),
            ({"start": 0, "end": 3, "text": "abc", "labels": ["name"]}, "other shapes"),
        ],
    )
    def test_what_is_no_box_and_no_choice_is_labeled_without_a_class(
        self, photos: Path, value: dict[str, Any], why: str
    ) -> None:
        found, rows = taken(photos, "x.json", [self.annotated({"from_name": "label", "value": value})])
        assert (rows["a/p1"]["label"], rows["a/p1"]["boxes"], why in found.unclear[0]) == ("", None, True)

    @pytest.mark.parametrize("beside", ["turned", "polygon", "region"])
    def test_what_is_not_read_beside_a_label_is_listed(self, photos: Path, beside: str) -> None:
        other: dict[str, Any] = {
            "turned": {**BEAR, "rotation": 30}, "polygon": {"points": [[1, 2]], "polygonlabels": ["bear"]},
            "region": {**BOX, "choices": ["occluded"]},
        }[beside]  # fmt: skip
        results = [{"from_name": "kind", "value": {"choices": ["cat"]}}, {"from_name": "label", "value": other}]
        if beside == "region":
            results.append({"from_name": "label", "value": BEAR})
        found, rows = taken(photos, "x.json", [self.annotated(*results)])
        assert (rows["a/p1"]["label"], rows["a/p1"]["boxes"]) == ("cat", DRAWN if beside == "region" else None)
        assert len(found.partly) == 1

    def test_tasks_that_nobody_answered_are_none(self, photos: Path) -> None:
        tasks = [{"id": 1, "data": {"key": "a/p1"}, "predictions": []}, self.annotated({"value": BEAR}, key="a/p2")]
        _, rows = taken(photos, "x.json", tasks)
        assert set(rows) == {"a/p2"}
        assert read_answers(photos / "x.json")[0].key == "a/p2"

    def test_a_remark_beside_boxes_is_no_class(self, photos: Path) -> None:
        note = {"from_name": "note", "value": {"text": ["blurred"]}}
        rating = {"from_name": "stars", "value": {"rating": 3}}
        _, rows = taken(photos, "x.json", [self.annotated({"from_name": "label", "value": BEAR}, note, rating)])
        assert (rows["a/p1"]["label"], rows["a/p1"]["boxes"]) == ("bear", DRAWN)

    def test_a_list_of_the_tasks_own_data_is_no_answer(self, photos: Path) -> None:
        found, rows = taken(photos, "x.json", [{"key": "a/p1", **ABOUT, "tags": ["outdoor"]}])
        assert (rows, found.left_out) == ({}, ["a/p1: an answer under tags? name it with --control"])

    def test_where_boxes_are_drawn_an_empty_answer_says_that_there_is_nothing(self, photos: Path) -> None:
        drawn = self.annotated({"from_name": "label", "value": BEAR})
        _, rows = taken(photos, "x.json", [drawn, self.annotated(key="a/p2")])
        assert rows["a/p2"]["boxes"] == []
        other = self.annotated({"from_name": "label", "value": {"choices": ["cat"]}}, key="b/p1")
        found, _ = taken(photos, "y.json", [other, self.annotated(key="a/p1")])
        assert found.left_out == ["a/p1: an empty answer"]

    def test_people_who_draw_otherwise_contradict_each_other(self, photos: Path) -> None:
        moved = {**BEAR, "x": 12.0}
        tasks = [
            {"data": {"key": "a/p1"}, "annotations": [
                {"completed_by": who, "result": [{"from_name": "label", "value": value}]}
                for who, value in enumerate((BEAR, moved))
            ]},
            {"data": {"key": "a/p2"}, "annotations": [
                {"completed_by": who, "result": [{"from_name": "label", "value": BEAR}]} for who in (1, 2)
            ]},
        ]  # fmt: skip
        found, rows = taken(photos, "x.json", tasks)
        assert found.conflicts == ["a/p1: bear (0), bear (1), other boxes"]
        assert rows["a/p2"]["boxes"] == DRAWN

    def test_typed_words_are_labels_where_no_class_was_known(self, photos: Path) -> None:
        _, rows = taken(photos, "x.json", [self.annotated({"from_name": "label", "value": {"text": ["river"]}})])
        assert rows["a/p1"]["label"] == "river"


def coco(names: list[str], boxes: list[int]) -> dict[str, Any]:
    images = [{"id": n, "file_name": name, "width": 64, "height": 48} for n, name in enumerate(names)]
    rows = [{"id": n, "image_id": at, "category_id": 3, "bbox": [6.4, 9.6, 19.2, 19.2]} for n, at in enumerate(boxes)]
    return {"images": images, "annotations": rows, "categories": [{"id": 3, "name": "bear"}]}


VOC = (
    "<annotation><size><width>64</width><height>48</height></size><object><name>bear</name>"
    "<bndbox><xmin>6.4</xmin><ymin>9.6</ymin><xmax>25.6</xmax><ymax>28.8</ymax></bndbox></object></annotation>"
)


class TestOtherTools:
    def test_images_are_known_by_addresses_paths_and_uploads(self, photos: Path) -> None:
        names = ["/data/local-files/?d=data/photos/a/p1.jpg", "upload/1/0a1b2c3d-p2.jpg", "http://host/x/b/p1.jpg"]
        found, rows = taken(photos, "x.json", coco(names, [0, 1, 2]))
        assert set(rows) == {"a/p1", "a/p2", "b/p1"}
        assert not found.unknown_keys
        assert rows["a/p1"]["boxes"] == DRAWN
        other, _ = taken(photos, "y.json", coco(["elsewhere/p1.jpg", "gone.jpg"], [0, 1]))
        assert (other.several, other.unknown_keys) == (["elsewhere/p1.jpg"], ["gone.jpg"])

    def test_an_image_without_a_box_is_no_answer_of_coco(self, photos: Path) -> None:
        found, rows = taken(photos, "x.json", coco(["a/p1.jpg", "a/p2.jpg"], [0]))
        assert (set(rows), len(found.left_out)) == ({"a/p1"}, 1)

    @pytest.mark.parametrize("packed", [False, True])
    def test_yolo_and_voc_come_as_folders_and_zips(self, photos: Path, packed: bool) -> None:
        yolo, voc = photos / "yolo", photos / "voc"
        for place, name, text in (
            (yolo, "classes.txt", "bear\nwolf\n"), (yolo, "labels/a/p1.txt", "0 0.25 0.4 0.3 0.4\n"),
            (yolo, "labels/a/p2.txt", ""), (yolo, "images/a/p1.jpg", "no text of ours"),
            (voc, "Annotations/a/p1.xml", VOC),
        ):  # fmt: skip
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_text(text)
        for place in (yolo, voc):
            file = place.name
            if packed:
                file = f"{place.name}.zip"
                with zipfile.ZipFile(photos / file, "w") as out:
                    for path in sorted(one for one in place.rglob("*") if one.is_file()):
                        out.write(path, path.relative_to(place))
            _, rows = taken(photos, file, "")
            assert rows["a/p1"]["boxes"] == DRAWN
        assert rows["a/p2"]["boxes"] == []

    def test_a_zip_writes_nowhere_else(self, photos: Path) -> None:
        with zipfile.ZipFile(photos / "x.zip", "w") as out:
            out.writestr("../../evil.txt", "0 0.5 0.5 1 1")
        with pytest.raises(RecipeError, match="leaves the zip"):
            read_answers(photos / "x.zip")

    def test_equal_tags_of_cvat_are_one(self, tmp_path: Path) -> None:
        (tmp_path / "x.xml").write_text(
            '<annotations><image name="a.jpg"><tag label="cat"/><tag label=" cat "/></image>'
            '<image name="b.jpg" width="64" height="48"><box label="bear" xtl="6.4" ytl="9.6" xbr="25.6" ybr="28.8"/></image>'
            '<image name="c.jpg"><tag label="a"/><tag label="b"/></image>'
            '<image name="d.jpg"><box label="cat" xtl="1" ytl="1" xbr="2" ybr="2"/><polygon label="dog" points="1,2"/></image>'
            '<image name="e.jpg"><tag label="ok"/><box label="dog" rotation="30" xtl="1" ytl="1" xbr="2" ybr="2"/></image>'
            "</annotations>"
        )
        one, two, three, four, five = read_answers(tmp_path / "x.xml")
        assert one == Answer("a.jpg", "cat")
        assert (two.label, two.boxes and two.boxes.size) == ("bear", (64.0, 48.0))
        assert three.unclear == "several tags (a, b)"
        assert four == Answer("d.jpg", "", unclear="its shapes are not read (polygon)")
        assert five == Answer("e.jpg", "ok", unclear="its shapes are not read (turned boxes)")

    def test_tracks_of_a_video_are_refused_by_name(self, tmp_path: Path) -> None:
        (tmp_path / "x.xml").write_text('<annotations><track label="a"/></annotations>')
        with pytest.raises(RecipeError, match="of a video, with tracks"):
            read_answers(tmp_path / "x.xml")

    @pytest.mark.parametrize("box", [[float("nan"), 0, 5, 5], [0, 0, 0, 0]])
    def test_a_box_without_size_is_listed(self, photos: Path, box: list[float]) -> None:
        held = coco(["a/p1.jpg"], [0])
        held["annotations"][0]["bbox"] = box
        found, rows = taken(photos, "x.json", held)
        assert (rows, len(found.left_out)) == ({}, 1)

    def test_a_zip_that_cannot_be_opened_is_one_line(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "x.zip", "w") as out:
            out.writestr("a.txt", "0 0.5 0.5 1 1")
        held = bytearray((tmp_path / "x.zip").read_bytes())
        held[6] |= 1  # encrypted, says the header
        held[held.index(b"PK\1\2") + 8] |= 1
        (tmp_path / "x.zip").write_bytes(held)
        with pytest.raises(RecipeError, match="encrypted"):
            read_answers(tmp_path / "x.zip")

    def test_names_of_classes_may_begin_with_a_mark_and_be_blank(self, tmp_path: Path) -> None:
        (tmp_path / "classes.txt").write_bytes("\ufeffbear\r\n\r\nelk\n".encode())
        assert read_class_names(tmp_path / "classes.txt") == ["bear", "", "elk"]

    @pytest.mark.parametrize(
        "text", ["key, label\na/p1,cat\n", "key,label\na/p1,cat\n", '"key", "label"\na/p1, cat\n'], ids=range(3)
    )
    def test_headers_may_have_spaces(self, photos: Path, text: str) -> None:
        _, rows = taken(photos, "x.csv", text)
        assert rows["a/p1"]["label"] == "cat"

    @pytest.mark.parametrize("header", ["key,class", "key,label,label", "name,label"])
    def test_other_headers_are_refused_by_name(self, tmp_path: Path, header: str) -> None:
        (tmp_path / "x.csv").write_text(f"{header}\na,b,c\n")
        with pytest.raises(RecipeError, match=r"two columns|wanted columns key and label"):
            read_answers(tmp_path / "x.csv")


def test_boxes_that_people_drew_are_a_column_of_objects(photos: Path, run_in: Runner) -> None:
    asked: dict[str, Any] = {
        "pool": [{"format": "images", "path": "photos"}], "target": [], "emit": ["coco"],
        "columns": {"people": {"detect": "file", "path": "store/labels"}},
        "steps": [{"random": {"budget": 9, "where": "people_count > 0"}}],
    }  # fmt: skip
    nothing = {**asked, "steps": [], "emit": []}
    assert run_in(photos, name="before", **nothing).selected == 3, "there are no answers yet"
    taken(photos, "x.json", coco(["a/p1.jpg"], [0]))
    outcome = run_in(photos, name="after", **asked)
    assert pq.read_table(outcome.folder / "selection.parquet")["key"].to_pylist() == ["a/p1"]
    told = json.loads((outcome.folder / "exports" / "coco.json").read_text())
    assert [round(side, 1) for side in told["annotations"][0]["bbox"]] == [6.4, 9.6, 19.2, 19.2]


class TestTasks:
    def test_without_a_class_people_type_theirs(self, tmp_path: Path, run_in: Runner) -> None:
        write_jsonl(tmp_path / "pool.jsonl", [{"id": "a", "text": "x", "part": "p"}])
        outcome = run_in(tmp_path, target=[], steps=[], emit=["label_studio"])
        text = (outcome.folder / "exports" / "label_studio" / "labels.xml").read_text()
        assert text.startswith("<View>"), "Label Studio refuses a declaration of the encoding"
        assert "<TextArea" in text and "<Choices" not in text

    @pytest.mark.parametrize("how", ["recipe", "verb"])
    def test_classes_are_named_in_the_recipe_or_at_the_export(self, tmp_path: Path, run_in: Runner, how: str) -> None:
        write_jsonl(tmp_path / "pool.jsonl", [{"id": "a", "text": "x", "part": "p"}])
        (tmp_path / "classes.txt").write_text("b & c\nd\n")
        more = {"label_classes": ["b & c", "d"]} if how == "recipe" else {}
        outcome = run_in(tmp_path, target=[], steps=[], emit=["label_studio"], **more)
        place = outcome.folder / "exports" / "label_studio"
        if how == "verb":
            place = tmp_path / "round"
            verb = ["label", "export", str(outcome.folder), "--to", "label-studio", "-o", str(place)]
            app([*verb, "--classes", str(tmp_path / "classes.txt")], result_action="return_value")
        text = (place / "labels.xml").read_text()
        assert '<Choice value="b &amp; c" />' in text and '<Choice value="d" />' in text

    def test_addresses_name_the_files_where_they_end_up(self, photos: Path, run_in: Runner) -> None:
        import tarfile

        with tarfile.open(photos / "a.tar", "w") as out:
            out.add(photos / "photos" / "a" / "p1.jpg", "p1.jpg")
        pool = [{"format": "webdataset", "path": "a.tar"}]
        outcome = run_in(photos, store="tars", pool=pool, target=[], steps=[], emit=["label_studio"])
        places = [outcome.folder / "exports" / "label_studio"]
        places.append(export_tasks(open_complete(outcome.folder), "label-studio", photos / "round", None))
        root = export_tasks(
            open_complete(outcome.folder), "label-studio", photos / "rooted", None, root=str(photos), url="http://x/"
        )
        for place in places:
            (task,) = json.loads((place / "tasks.json").read_text())
            assert Path("/" + task["data"]["image"].partition("?d=")[2]).is_file()
        (task,) = json.loads((root / "tasks.json").read_text())
        assert (photos / task["data"]["image"].removeprefix("http://x/")).is_file()
        with pytest.raises(RecipeError, match="not for cvat"):
            export_tasks(open_complete(outcome.folder), "cvat", photos / "no", None, root="/")


def test_an_import_that_takes_in_nothing_is_an_error(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "x.csv").write_text("key,label\nnobody,cat\n")
    with pytest.raises(RecipeError, match="not one answer of it was taken in"):
        app(["label", "import", str(photos / "store"), str(photos / "x.csv")], result_action="return_value")
    assert "1 unknown keys, left out: nobody" in capsys.readouterr().out


@pytest.mark.parametrize("layout", ["cvat", "ultralytics", "beside"])
def test_folders_of_yolo_as_tools_write_them(photos: Path, run_in: Runner, layout: str) -> None:
    inside = {"cvat": "obj_train_data/", "ultralytics": "labels/", "beside": "labels/"}[layout]
    names = {"cvat": "obj.names", "ultralytics": "data.yaml", "beside": "classes.txt"}[layout]
    place = photos / "ds"
    texts = {
        f"{inside}{key}.txt": f"{kind} 0.25 0.4 0.3 0.4\n" for key, kind in (("a/p1", 0), ("b/p1", 1), ("a/p2", 1))
    }
    texts |= {names: "names: [bear, wolf]" if names.endswith("yaml") else "bear\nwolf\n"}
    texts |= {"train.txt": "data/obj_train_data/a/p1.jpg\n"} if layout == "cvat" else {}
    for name, text in texts.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    column = {"detect": "file", "path": "ds/labels" if layout == "beside" else "ds"}
    pool = [{"format": "images", "path": "photos"}]
    outcome = run_in(photos, name="yolo", pool=pool, target=[], steps=[], columns={"people": column}, emit=["coco"])
    told = json.loads((outcome.folder / "exports" / "coco.json").read_text())
    classes = {one["id"]: one["name"] for one in told["categories"]}
    files = {one["id"]: one["file_name"] for one in told["images"]}
    found = {files[one["image_id"]]: classes[one["category_id"]] for one in told["annotations"]}
    assert found == {"a/p1.jpg": "bear", "b/p1.jpg": "wolf", "a/p2.jpg": "wolf"}, "equal names, each with its own boxes"
    assert classes == {1: "bear", 2: "wolf"}
