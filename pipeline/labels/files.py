"""Answers of labeling tools, read from their own exports: tables, Label Studio's JSON, CVAT's XML, COCO's JSON, folders
and zips of YOLO's and VOC's files. A file's kind is told by what it holds."""

import csv
import lzma
import math
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from tamis.pipeline.columns.detect.boxes import Found
from tamis.pipeline.columns.detect.file import FileBoxes, found_in
from tamis.pipeline.errors import RecipeError
from tamis.pipeline.files.plain_json import load_json
from tamis.pipeline.files.plain_xml import load_xml
from tamis.pipeline.files.sheets import from_sheets
from tamis.pipeline.labels import label_studio
from tamis.pipeline.labels.answers import Answer, Boxes
from tamis.pipeline.progress import visible

MOST_BYTES = 1 << 30  # of a file of answers, and of what is unpacked of a zip
UNPACKED = (".txt", ".xml", ".json", ".yaml", ".yml")  # images stay where they are
SUFFIXES = (".csv", ".tsv", ".json", ".xml", ".zip")
UNREADABLE = (  # an encrypted zip is a RuntimeError
    OSError, ValueError, LookupError, TypeError, AttributeError, csv.Error, zipfile.BadZipFile, RuntimeError, EOFError,
    zlib.error, lzma.LZMAError, struct.error, OverflowError,
)  # fmt: skip
OF_STUDIO = "annotation_id"  # a column of every CSV of Label Studio


def read_answers(path: Path, control: str | None = None) -> list[Answer]:
    """All answers of a file or folder. `control`: of Label Studio's several controls the one whose choices are the
    labels. Raises RecipeError."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise RecipeError(f"labels {path}: neither a file nor a folder")
    try:
        if path.is_dir():
            return list(_folder(path))
        if path.stat().st_size > MOST_BYTES:
            raise RecipeError(f"labels {path}: more than {MOST_BYTES >> 30} GB")
        kind = path.suffix.lower()
        if kind in (".csv", ".tsv"):
            return list(_table(path, control, "\t" if kind == ".tsv" else ","))
        if kind == ".xml":
            return list(_cvat(path))
        if kind == ".zip":
            return _zip(path, control)
        if kind == ".json":
            held = load_json(path.read_text(encoding="utf-8-sig"))
            return list(_coco(path, held) if isinstance(held, dict) else label_studio.of_tasks(held, control))
    except UNREADABLE as error:
        told = f"no field {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:200]
        raise RecipeError(f"labels {path}: can't be read ({told})") from error
    raise RecipeError(
        f"labels {path}: wanted a .csv or .tsv, a .json (Label Studio, COCO), a .xml (CVAT), or a folder or .zip of "
        "YOLO's or VOC's files"
    )


def _table(path: Path, control: str | None, delimiter: str) -> Iterator[Answer]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, strict=True, delimiter=delimiter, skipinitialspace=True)
        rows.fieldnames = [name.strip() for name in rows.fieldnames or []]
        header = list(rows.fieldnames)
        if twice := sorted({name for name in header if header.count(name) > 1}):
            raise RecipeError(f"labels {path}: two columns are named {twice[0]!r}")
        if OF_STUDIO in header:
            yield from label_studio.of_rows([dict(row) for row in rows], control)
            return
        if not {"key", "label"} <= set(header):
            found = visible(", ".join(header)) or "none"
            raise RecipeError(f"labels {path}: wanted columns key and label, found {found}")
        for given in rows:
            if None in given or None in given.values():
                raise RecipeError(f"labels {path}: line {rows.line_num} has not {len(header)} fields")
            row = {name: from_sheets(cell) for name, cell in given.items()}
            if label := row["label"].strip():
                yield _of_row(path, rows.line_num, row, label)
            else:
                yield Answer(row.get("sample_id") or row["key"], "", unclear="its label is empty", left_out=True)


def _of_row(path: Path, line: int, row: dict[str, Any], label: str) -> Answer:
    cost = float(row["cost"]) if row.get("cost") else None
    if cost is not None and not 0 <= cost < math.inf:
        raise RecipeError(f"labels {path}: line {line}: a cost of {row['cost']}")
    key = row.get("sample_id") or row["key"]
    return Answer(key, label, row.get("annotator") or None, row.get("labeled_at") or None, cost)


def _cvat(path: Path) -> Iterator[Answer]:
    """Tags are labels, boxes are boxes; what is of other shapes, or turned, is not read, and said."""
    top = load_xml(path)
    if top.find("track") is not None:
        raise ValueError('it is of a video, with tracks: export it as "CVAT for images 1.1"')
    for image in top.iter("image"):
        key = image.get("name", "")
        tags = list(dict.fromkeys(tag.get("label", "").strip() for tag in image.iter("tag")))
        others = sorted({one.tag for one in image if one.tag not in ("tag", "box")})
        turned = any(float(box.get("rotation") or 0) for box in image.iter("box"))
        boxes = None if others or turned else _cvat_boxes(image)
        left = "turned boxes" if turned else ", ".join(others)
        if not len(image):
            yield Answer(key, "", unclear="no tag and no shape: nobody looked, or there is nothing", left_out=True)
        elif len(tags) > 1:
            yield Answer(key, "", boxes=boxes, unclear=f"several tags ({', '.join(tags)})")
        else:
            label = tags[0] if tags else boxes.label if boxes else ""
            yield Answer(key, label, boxes=boxes, unclear=f"its shapes are not read ({left})" if left else "")


def _cvat_boxes(image: Any) -> Boxes | None:
    found = list(image.iter("box"))
    if not found:
        return None
    corners = tuple(tuple(float(box.get(side)) for side in ("xtl", "ytl", "xbr", "ybr")) for box in found)
    size = (float(image.get("width") or 0), float(image.get("height") or 0))
    return Boxes(corners, tuple(box.get("label", "").strip() for box in found), size if min(size) > 0 else None)


def _coco(path: Path, held: dict[str, Any]) -> Iterator[Answer]:
    """Instances; an image that tamis named has its id."""
    ids = {str(image["file_name"]): image.get("sample_id") for image in held["images"]}
    for name, found in found_in(path, FileBoxes(path=path.name), path.parent):
        if len(found.names):
            yield _of_found(ids.get(name) or name, found)
        else:
            yield Answer(ids.get(name) or name, "", unclear="no box: nobody looked, or there is nothing", left_out=True)


def _folder(place: Path) -> Iterator[Answer]:
    """YOLO's or VOC's files, one an image: an empty one says that there is nothing."""
    for name, found in found_in(place, FileBoxes(path=place.name), place.parent):
        yield _of_found(name, found)


def _of_found(name: str, found: Found) -> Answer:
    names = tuple(str(one or "") for one in found.names)
    boxes = Boxes(tuple(tuple(map(float, box)) for box in found.boxes), names, found.size)
    if "" in names:
        return Answer(name, "", unclear="a box of a class that has no name", left_out=True)
    if not all(math.isfinite(side) for box in boxes.corners for side in box) or any(
        box[0] >= box[2] or box[1] >= box[3] for box in boxes.corners
    ):
        return Answer(name, "", unclear="an object without a box of some size", left_out=True)
    return Answer(name, boxes.label, boxes=boxes)


def _zip(path: Path, control: str | None) -> list[Answer]:
    """Small files of a zip, beside each other in a folder that goes again; names that leave it are refused."""
    with zipfile.ZipFile(path) as packed, tempfile.TemporaryDirectory(prefix="tamis-answers-") as folder:
        wanted = [one for one in packed.infolist() if _is_told(PurePosixPath(one.filename))]
        if sum(one.file_size for one in wanted) > MOST_BYTES:
            raise RecipeError(f"labels {path}: more than {MOST_BYTES >> 30} GB unpacked")
        for one in wanted:
            parts = PurePosixPath(one.filename).parts
            if one.filename.startswith("/") or ".." in parts or "\\" in one.filename:
                raise ValueError(f"{one.filename!r} leaves the zip")
            place = Path(folder, *parts)
            place.parent.mkdir(parents=True, exist_ok=True)
            with packed.open(one) as source, place.open("wb") as out:
                held = source.read(one.file_size + 1)
                out.write(held)
        return _unpacked(path, Path(folder), control)


def _is_told(name: PurePosixPath) -> bool:
    hidden = any(part.startswith((".", "__MACOSX")) and part != ".." for part in name.parts)
    return name.suffix.lower() in UNPACKED and not hidden


def _unpacked(path: Path, folder: Path, control: str | None) -> list[Answer]:
    """Of a folder with the zip's files. Raises RecipeError that speaks of the zip."""
    tables = [one for one in folder.rglob("*.json") if one.name != "notes.json"]
    xml = list(folder.rglob("annotations.xml"))
    try:
        if len(tables) == 1:
            return read_answers(tables[0], control)
        return read_answers(xml[0]) if len(xml) == 1 else list(_folder(folder))
    except RecipeError as error:
        raise RecipeError(f"labels {path}: {str(error).partition(str(folder))[2].lstrip(':/ ')}") from error
