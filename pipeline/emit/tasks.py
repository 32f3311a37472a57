"""Tasks for labeling tools: Label Studio's tasks, CVAT's annotations, COCO's JSON, with proposals as pre-annotations.

Boxes are those of the image as displayed. Names of classes and files come from outside: XML and JSON are written by
libraries, never by joining texts."""

import csv
import json
import re
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow.compute as pc
import pyarrow.parquet as pq

from tamis.pipeline.choose.selection import placed
from tamis.pipeline.columns.labels import read_labels
from tamis.pipeline.decode.locate import image_bytes, is_image
from tamis.pipeline.emit.proposals import classes_of, objects_column, objects_of
from tamis.pipeline.emit.webdataset import ending
from tamis.pipeline.errors import RecipeError, RunFailed, Unusable
from tamis.pipeline.files.atomic import atomic_path
from tamis.pipeline.files.sheets import for_sheets
from tamis.pipeline.progress import say
from tamis.pipeline.read.identity import hex_id
from tamis.pipeline.read.sources import IMAGE_SUFFIXES
from tamis.pipeline.recipe.outputs import LabelStudio
from tamis.pipeline.store.runs import Run
from tamis.selectors.catalog import findable

TOOLS = {"label-studio": "label_studio", "cvat": "cvat", "csv": "labels.csv", "coco": "coco.json"}  # and where to
Sample = dict[str, Any]
Objects = list[dict[str, Any]]


def asked_ids(run: Run) -> set[int] | None:
    """What the last ranking step chose, where it looked at a part of the pool only: what lies outside of its `where` is
    selected, too, but was not asked for. None: all of the selection. Runs no user's code."""
    ranking = [
        (number, step)
        for number, step in enumerate(run.recipe.steps_given)
        if (kind := findable(step.name)) is not None and kind.ranks
    ]
    if not ranking or ranking[-1][1].where is None:
        return None
    found: set[int] = set()
    for part in run.pool.parts:
        ledger = pq.read_table(run.ledger(ranking[-1][0]) / part.name, columns=["sample_id", "reason"])
        found |= set(ledger.filter(pc.equal(ledger["reason"], "chosen"))["sample_id"].to_pylist())
    return found


def known_classes(run: Run) -> list[str]:
    """Classes that the labels at hand name, for the tool's interface."""
    if run.recipe.labels is None:
        return []
    labels = read_labels(Path(run.recipe.labels))
    return sorted({label for label in (*labels.by_key.values(), *labels.by_id.values()) if label})


def doubts(run: Run) -> dict[int, str]:
    """Of samples whose label is to be checked what is held against it, as the last step that asks so tells it."""
    asking = [n for n, step in enumerate(run.recipe.steps_given) if (kind := findable(step.name)) and kind.needs_labels]
    found: dict[int, str] = {}
    for part in run.pool.parts if asking else ():
        ledger = pq.read_table(run.ledger(asking[-1]) / part.name, columns=["sample_id", "kept", "detail"])
        kept = ledger.filter(pc.and_(ledger["kept"], pc.is_valid(ledger["detail"])))
        found |= dict(zip(kept["sample_id"].to_pylist(), kept["detail"].to_pylist(), strict=True))
    return found


class Chosen:
    """The selection's samples, with their proposals where the run has a column of objects."""

    def __init__(self, run: Run, batches: Iterator[Any], classes: list[str] | None = None) -> None:
        """`classes`: what may be answered, whatever the recipe says."""
        self.run = run
        asked = asked_ids(run)
        self.samples: list[Sample] = [
            row for batch in batches for row in batch.to_pylist() if asked is None or row["sample_id"] in asked
        ]
        self.column = objects_column(run)
        known = list(run.recipe.label_classes) or (classes_of(run, self.column) if self.column else known_classes(run))
        self.classes = classes or known
        ids = [sample["sample_id"] for sample in self.samples]
        self.told = doubts(run)
        self._objects = objects_of(run, self.column, ids) if self.column else {}

    def __iter__(self) -> Iterator[tuple[Sample, Objects]]:
        for sample in self.samples:
            yield sample, self._objects.get(sample["sample_id"], [])


def export_tasks(
    run: Run,
    to: str,
    out: Path | None,
    classes: list[str] | None = None,
    *,
    root: str | None = None,
    url: str | None = None,
) -> Path:
    """The selection of a complete run for one tool; returns where. `classes` may be answered; `root` and `url` make
    addresses for Label Studio. Raises RecipeError where something is there."""
    if to != "label-studio" and (root or url):
        raise RecipeError(f"label export: root and url make addresses for label-studio, and not for {to}")
    final = (out or run.folder / "exports" / TOOLS[to]).absolute()
    if final.exists():
        raise RecipeError(f"{final}: exists and is not overwritten; choose another place with -o")
    chosen = Chosen(run, placed(run), classes)
    if to == "csv":
        with atomic_path(final, sealed=out is None) as path, path.open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["key", "label", "sample_id", "uri", "text", *["told"] * bool(chosen.told)])
            for sample in chosen.samples:
                about = [hex_id(sample["sample_id"]), sample["uri"] or "", sample["text"] or ""]
                about += [chosen.told.get(sample["sample_id"], "")] * bool(chosen.told)
                rows.writerow(map(for_sheets, [sample["key"], "", *about]))
    elif to == "coco":
        with atomic_path(final, sealed=out is None) as path:
            write_coco(chosen, path)
    else:
        beside = final.with_name(f".{final.name}.writing")
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        if to == "cvat":
            write_cvat(chosen, beside)
        else:
            asked = {name: value for name, value in (("root", root), ("url", url)) if value is not None}
            write_label_studio(chosen, LabelStudio(**asked), beside, final)
        beside.rename(final)
    return final


def file_name(sample: Sample) -> str:
    """The key with the image's suffix, as its source writes it: a path below the pool's root."""
    suffix = Path((sample["uri"] or "").rpartition("#")[2]).suffix
    if suffix.lower() not in IMAGE_SUFFIXES:
        suffix = f".{ending(sample, image_bytes(sample))}"
    return f"{sample['key']}{suffix}"


def on_one_line(text: str) -> str:
    """A key or path that would break its line is quoted as in JSON."""
    return text if len(text.splitlines()) == 1 else json.dumps(text)


def write_label_studio(chosen: Chosen, settings: LabelStudio, folder: Path, final: Path) -> None:
    """tasks.json to import, labels.xml to paste as the labeling interface, and images that lie in no file of their
    own, into `folder`, which becomes `final`. Raises RunFailed where such an image is gone."""
    name = _one_kind(chosen)
    tasks = []
    for sample, objects in chosen:
        data = {"key": sample["key"], "sample_id": hex_id(sample["sample_id"])}
        if chosen.told:
            data["told"] = chosen.told.get(sample["sample_id"], "")
        data[name] = _address(sample, settings, folder, final) if name == "image" else sample["text"] or ""
        task: dict[str, Any] = {"data": data}
        if chosen.column is not None:
            results = [_region(sample, place, item) for place, item in enumerate(objects)]
            sure = [item["confidence"] for item in objects]
            task["predictions"] = [
                {
                    "model_version": chosen.column.name,
                    "score": round(sum(sure) / len(sure), 4) if sure else 0.0,
                    "result": results,
                }
            ]
        tasks.append(task)
    (folder / "tasks.json").write_text(json.dumps(tasks, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    view = ET.Element("View")
    if chosen.told:
        ET.SubElement(view, "Text", name="told", value="$told")
    ET.SubElement(view, name.capitalize(), name=name, value=f"${name}")
    if not chosen.classes:
        told = "every box is an `object`" if chosen.column is not None else "people type theirs"
        say(
            f"label_studio: no class is known, so {told}; `label_classes: [...]` in the recipe names them, or --classes"
        )
    if chosen.column is not None:
        labels = ET.SubElement(view, "RectangleLabels", name="label", toName=name)
        for one in chosen.classes or ["object"]:  # Label Studio takes no control without a class
            ET.SubElement(labels, "Label", value=one)
    elif chosen.classes:
        labels = ET.SubElement(view, "Choices", name="label", toName=name)
        for one in chosen.classes:
            ET.SubElement(labels, "Choice", value=one)
    else:
        ET.SubElement(view, "TextArea", name="label", toName=name, maxSubmissions="1", required="true")
    _write_xml(view, folder / "labels.xml", declared=False)  # Label Studio refuses one that says its encoding


def _one_kind(chosen: Chosen) -> str:
    """What the tasks show: images, or texts. Raises RunFailed where it is both."""
    images = sum(map(is_image, chosen.samples))
    if 0 < images < len(chosen.samples):
        raise RunFailed(
            f"label_studio: {images:,} of the chosen samples are images, {len(chosen.samples) - images:,} texts; tasks "
            "are of one kind: choose it with `where: width is not null`"
        )
    return "image" if images else "text"


def _address(sample: Sample, settings: LabelStudio, folder: Path, final: Path) -> str:
    """What the tool's server finds the image by. Raises RunFailed where it lies outside the root."""
    uri = sample["uri"] or ""
    if uri.startswith(("http://", "https://", "s3://", "gs://")):
        return str(uri)
    path, root = Path(uri), Path(settings.root)
    if not _lies_alone(sample):
        path = final / _copied(sample, folder)
    if not path.is_relative_to(root):
        raise RunFailed(f"label_studio: {path} lies outside root: {root}; name the folder that the address stands for")
    return settings.url + quote(path.relative_to(root).as_posix())


def _lies_alone(sample: Sample) -> bool:
    """Whether the image is a file of its own, and no part of a tar or table."""
    return sample["offset"] is None and not (sample["uri"] or "").startswith(f"{sample['source']}#")


def _copied(sample: Sample, folder: Path) -> str:
    """Copy an image of a tar or table beside the tasks; its path there."""
    try:
        data = image_bytes(sample)
    except Unusable as error:
        raise RunFailed(f"{sample['key']}: {error.args[1]}. Restore it and run the same command.") from error
    name = f"images/{hex_id(sample['sample_id'])}.{ending(sample, data)}"
    (folder / "images").mkdir(exist_ok=True)
    (folder / name).write_bytes(data)
    return name


def _region(sample: Sample, place: int, item: dict[str, Any]) -> dict[str, Any]:
    """One box in percent of the image."""
    x1, y1, x2, y2 = item["box"]
    width, height = sample["width"], sample["height"]
    return {
        "id": f"{hex_id(sample['sample_id'])}-{place}",
        "type": "rectanglelabels", "from_name": "label", "to_name": "image",
        "original_width": width, "original_height": height, "image_rotation": 0,
        "score": round(item["confidence"], 4),
        "value": {
            "x": round(100 * x1 / width, 4), "y": round(100 * y1 / height, 4),
            "width": round(100 * (x2 - x1) / width, 4), "height": round(100 * (y2 - y1) / height, 4),
            "rotation": 0, "rectanglelabels": [_sayable(item["class"])],
        },
    }  # fmt: skip


def write_coco(chosen: Chosen, path: Path) -> None:
    """COCO instances with the proposals as annotations; `score` is the detector's confidence."""
    numbers = chosen.column.kind.class_numbers(chosen.column.folder) if chosen.column is not None else {}
    if not set(chosen.classes) <= set(numbers):  # else a class keeps the number that its own file gives it
        numbers = {name: number for number, name in enumerate(chosen.classes, 1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (sample, objects) in enumerate(chosen, 1):
        if not is_image(sample):
            continue
        about = {"id": number, "file_name": file_name(sample), "width": sample["width"], "height": sample["height"]}
        images.append({**about, "sample_id": hex_id(sample["sample_id"])})
        for item in objects:
            x1, y1, x2, y2 = (round(side, 2) for side in item["box"])
            box = [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)]
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": number, "category_id": numbers[item["class"]],
                    "bbox": box, "area": round(box[2] * box[3], 2), "iscrowd": 0, "score": round(item["confidence"], 4),
                }
            )  # fmt: skip
    categories = [{"id": number, "name": name} for name, number in numbers.items()]
    held = {"images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(held, ensure_ascii=False) + "\n", encoding="utf-8")


def write_cvat(chosen: Chosen, folder: Path) -> None:
    """annotations.xml ("CVAT for images 1.1") for a task of the images that images.txt lists, in this order."""
    top = ET.Element("annotations")
    ET.SubElement(top, "version").text = "1.1"
    task = ET.SubElement(ET.SubElement(top, "meta"), "task")
    ET.SubElement(task, "name").text = chosen.run.name
    ET.SubElement(task, "size").text = str(len(chosen.samples))
    ET.SubElement(task, "mode").text = "annotation"
    labels = ET.SubElement(task, "labels")
    for name in chosen.classes:
        ET.SubElement(ET.SubElement(labels, "label"), "name").text = name
    listed = []
    for number, (sample, objects) in enumerate(chosen):
        if not is_image(sample):
            continue
        alone = _lies_alone(sample)
        name = file_name(sample) if alone else _copied(sample, folder)
        listed.append(sample["uri"] if alone else name)
        size = {"width": str(sample["width"]), "height": str(sample["height"])}
        image = ET.SubElement(top, "image", {"id": str(number), "name": name, **size})
        for item in objects:
            about = {"label": item["class"], "source": "auto", "occluded": "0", "z_order": "0"}
            corners = zip(("xtl", "ytl", "xbr", "ybr"), item["box"], strict=True)
            ET.SubElement(image, "box", about | {name: f"{side:.2f}" for name, side in corners})
    _write_xml(top, folder / "annotations.xml")
    (folder / "images.txt").write_text("".join(f"{on_one_line(uri)}\n" for uri in listed), encoding="utf-8")


def _write_xml(top: ET.Element, path: Path, declared: bool = True) -> None:
    ET.indent(top, " ")
    for element in top.iter():
        element.text = element.text and _sayable(element.text)
        for name, value in element.attrib.items():
            element.set(name, _sayable(value))
    path.write_bytes(ET.tostring(top, encoding="utf-8", xml_declaration=declared) + b"\n")


NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _sayable(text: str) -> str:
    """What XML 1.0 can't hold, as control characters, is replaced."""
    return NOT_XML.sub("\ufffd", text)
