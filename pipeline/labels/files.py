"""Answers of labeling tools, read from their own exports: CSV, Label Studio JSON, CVAT XML, COCO JSON."""

import csv
import json
import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from tamis.pipeline.errors import RecipeError
from tamis.pipeline.files.plain_xml import load_xml
from tamis.pipeline.labels.rounds import Answer

MOST_BYTES = 1 << 30  # of a file of answers


def read_answers(path: Path) -> list[Answer]:
    """All labels of a file; its kind is told by what it holds. Raises RecipeError."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise RecipeError(f"labels {path}: more than {MOST_BYTES >> 30} GB")
        if path.suffix == ".csv":
            return list(_csv(path))
        if path.suffix == ".xml":
            return list(_cvat(path))
        if path.suffix == ".json":
            held = json.loads(path.read_text(encoding="utf-8-sig"))
            return list(_coco(held) if isinstance(held, dict) else _label_studio(held))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, csv.Error, RecursionError) as error:
        told = f"no field {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:200]
        raise RecipeError(f"labels {path}: can't be read ({told})") from error
    raise RecipeError(f"labels {path}: wanted a .csv, a .json (Label Studio, COCO) or a .xml (CVAT)")


def _csv(path: Path) -> Iterator[Answer]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, strict=True)
        if not {"key", "label"} <= set(rows.fieldnames or []):
            raise RecipeError(f"labels {path}: wanted columns key and label, found {rows.fieldnames or 'none'}")
        for row in rows:
            if label := row["label"].strip():
                cost = float(row["cost"]) if row.get("cost") else None
                if cost is not None and not 0 <= cost < math.inf:
                    raise RecipeError(f"labels {path}: line {rows.line_num}: a cost of {row['cost']}")
                key = row.get("sample_id") or row["key"]
                yield Answer(key, label, row.get("annotator"), row.get("labeled_at"), cost)


def _label_studio(tasks: list[dict[str, Any]]) -> Iterator[Answer]:
    """The full export (JSON), or JSON-MIN. Minutes are taken from the tool's lead time."""
    for task in tasks:
        data = task.get("data", task)
        key = str(data.get("sample_id") or data["key"])
        if "annotations" not in task:
            label = task.get("label") or task.get("choice")
            label = label.get("choices") if isinstance(label, dict) else label
            if label:
                one = label if isinstance(label, str) else str(label[0]) if len(label) == 1 else ""
                yield Answer(key, one.strip(), _name(task.get("annotator")), task.get("created_at"), _minutes(task))
            continue
        for annotation in task["annotations"]:
            if annotation.get("was_cancelled") or not annotation["result"]:
                continue
            values = [result.get("value", {}) for result in annotation["result"]]
            labels = [str(name) for value in values for name in value.get("choices", [])]
            one = labels[0].strip() if len(labels) == 1 else ""
            who = _name(annotation.get("completed_by"))
            yield Answer(key, one, who, annotation.get("created_at"), _minutes(annotation))


def _name(who: Any) -> str | None:
    return str(who.get("email") or who.get("id")) if isinstance(who, dict) else None if who is None else str(who)


def _minutes(held: dict[str, Any]) -> float | None:
    seconds = held.get("lead_time")
    return round(seconds / 60, 4) if isinstance(seconds, (int, float)) else None


def _cvat(path: Path) -> Iterator[Answer]:
    """Tags are labels; an image with shapes alone is labeled without one class."""
    for image in load_xml(path).iter("image"):
        tags = [tag.get("label", "") for tag in image.iter("tag")]
        if tags or len(image):
            yield Answer(_key(image.get("name", "")), tags[0] if len(tags) == 1 else "")


def _coco(held: dict[str, Any]) -> Iterator[Answer]:
    """An image with boxes of one class has that label; of several, none."""
    names = {one["id"]: str(one["name"]) for one in held["categories"]}
    classes: dict[Any, set[str]] = {image["id"]: set() for image in held["images"]}
    for row in held["annotations"]:
        classes[row["image_id"]].add(names[row["category_id"]])
    for image in held["images"]:
        if not (mine := classes[image["id"]]):  # not annotated; an image known to be empty can't be told from it
            continue
        yield Answer(image.get("sample_id") or _key(image["file_name"]), next(iter(mine)) if len(mine) == 1 else "")


def _key(name: str) -> str:
    """The sample's key of an image's name: without its suffix."""
    suffix = PurePosixPath(name).suffix
    return name.removesuffix(suffix) if suffix else name
