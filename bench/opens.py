"""One consumer opens what tamis wrote and says what it found, as JSON on the last line; run in the consumers' own
environment by consumers.py.

    python bench/opens.py CONSUMER FOLDER"""

import contextlib
import hashlib
import io
import json
import os
import shutil
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "YOLO_OFFLINE": "true", "HF_DATASETS_OFFLINE": "1"}
Found = dict[str, Any]


def pixels(image: Any) -> str:
    return hashlib.sha256(image.convert("RGB").tobytes()).hexdigest()[:16]


def datasets_disk(exports: Path) -> Found:
    import datasets

    data = datasets.load_from_disk(str(exports / "hf"))
    return {"pixels": {row["key"]: pixels(row["image"]) for row in data}, "weights": [row["weight"] for row in data]}


def datasets_webdataset(exports: Path) -> Found:
    import datasets

    data = datasets.load_dataset(str(exports / "webdataset"), split="train", cache_dir=str(exports.parent / "cache"))
    rows = {row["json"]["key"]: row for row in data}
    return {
        "pixels": {key: pixels(row.get("png") or row["jpg"]) for key, row in rows.items()},
        "captions": {key: row["txt"] for key, row in rows.items() if row.get("txt")},
    }


def webdataset(exports: Path) -> Found:
    import webdataset

    tars = sorted(map(str, (exports / "webdataset").glob("*.tar")))
    rows = {row["json"]["key"]: row for row in webdataset.WebDataset(tars, shardshuffle=False).decode("pil")}
    return {
        "pixels": {key: pixels(row.get("png") or row["jpg"]) for key, row in rows.items()},
        "captions": {key: row["txt"] for key, row in rows.items() if row.get("txt")},
    }


def datasets_json(exports: Path) -> Found:
    return _datasets(exports, "json", "selection.jsonl")


def datasets_parquet(exports: Path) -> Found:
    return _datasets(exports, "parquet", "selection.parquet")


def datasets_splits(exports: Path) -> Found:
    import datasets

    data = datasets.load_dataset(str(exports / "splits"), cache_dir=str(exports.parent / "cache"))
    rows = {row["key"]: row for part in data.values() for row in part}
    return {"messages": {key: row["messages"] for key, row in rows.items()}, "splits": sorted(data)}


def _datasets(exports: Path, kind: str, file: str) -> Found:
    import datasets

    data = datasets.load_dataset(
        kind, data_files=str(exports / file), split="train", cache_dir=str(exports.parent / "cache")
    )
    return {
        "messages": {row["key"]: row["messages"] for row in data}, "tags": {row["key"]: row["tags"] for row in data},
        "seen": {row["key"]: _utc(row["seen"]) for row in data},
    }  # fmt: skip


def _utc(value: Any) -> str:
    from datetime import UTC, datetime

    told = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return (told if told.tzinfo else told.replace(tzinfo=UTC)).astimezone(UTC).isoformat()


def trl(exports: Path) -> Found:
    import datasets
    import torch

    declared = torch.library.Library("torchvision", "FRAGMENT")  # beside a CPU build the registry's lacks them
    for operator in ("nms", "qnms"):
        declared.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    from trl.data_utils import is_conversational

    told = {}
    for name in ("selection.jsonl", "selection.parquet"):
        kind = "json" if name.endswith("jsonl") else "parquet"
        data = datasets.load_dataset(
            kind, data_files=str(exports / name), split="train", cache_dir=str(exports.parent / "cache")
        )
        told[name] = [is_conversational({"messages": row["messages"]}) for row in data]
    told["hf"] = [
        is_conversational({"messages": row["messages"]}) for row in datasets.load_from_disk(str(exports / "hf"))
    ]
    return {"conversational": all(all(some) for some in told.values()), "rows": sum(map(len, told.values()))}


def polars(exports: Path) -> Found:
    import polars as pl

    table, lines = pl.read_parquet(exports / "selection.parquet"), pl.read_ndjson(exports / "selection.jsonl")
    return {
        "messages": {row["key"]: row["messages"] for row in table.iter_rows(named=True)},
        "tags": {row["key"]: row["tags"] for row in lines.iter_rows(named=True)},
        "seen": {row["key"]: _utc(row["seen"]) for row in table.iter_rows(named=True)},
    }


def pandas(exports: Path) -> Found:
    import pandas as pd

    lines = pd.read_json(exports / "selection.jsonl", lines=True, dtype={"key": str}, convert_dates=False)
    table = pd.read_csv(exports / "selection.csv", dtype={"key": str})
    return {
        "messages": {row["key"]: json.loads(row["messages"]) for _, row in table.iterrows()},
        "tags": {row["key"]: row["tags"] for _, row in lines.iterrows()},
        "seen": {row["key"]: _utc(row["seen"]) for _, row in lines.iterrows()},
    }


def pycocotools(exports: Path) -> Found:
    from pycocotools.coco import COCO

    with contextlib.redirect_stdout(io.StringIO()):
        held = COCO(str(exports / "coco.json"))
    names = {one["id"]: one["name"] for one in held.loadCats(held.getCatIds())}
    boxes = {
        held.loadImgs(image)[0]["file_name"]: sorted(
            [names[row["category_id"]], *map(round, row["bbox"])] for row in held.loadAnns(held.getAnnIds(image))
        )
        for image in held.getImgIds()
    }
    return {"boxes": boxes, "numbers": {name: number for number, name in names.items()}}


def supervision(exports: Path) -> Found:
    import supervision

    photos = str(exports.parents[4] / "photos")
    data = supervision.DetectionDataset.from_coco(photos, str(exports / "coco.json"))
    return {
        "boxes": {
            str(Path(path).relative_to(photos)): sorted(
                [data.classes[kind], *(round(x) for x in (box[0], box[1], box[2] - box[0], box[3] - box[1]))]
                for box, kind in zip(found.xyxy, found.class_id, strict=True)
            )
            for path, _, found in data
        }
    }


def datumaro(exports: Path) -> Found:
    import datumaro

    place = exports.parent / "cvat"  # as CVAT's own dump: the images beside
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(exports.parents[4] / "photos", place / "images", ignore=shutil.ignore_patterns("*.txt"))
    shutil.copy(exports / "cvat" / "annotations.xml", place)
    data = datumaro.Dataset.import_from(str(place), "cvat")
    labels = data.categories()[datumaro.AnnotationType.label]
    return {
        "boxes": {
            f"{item.id}{Path(getattr(item.media, 'path', '') or '.png').suffix}": sorted(
                [labels[one.label].name, *map(round, one.get_bbox())] for one in item.annotations
            )
            for item in data
        }
    }


def ultralytics(exports: Path) -> Found:
    from ultralytics.data.converter import convert_coco

    place = exports.parent / "yolo"
    shutil.rmtree(place, ignore_errors=True)
    (place / "in").mkdir(parents=True)
    shutil.copy(exports / "coco.json", place / "in" / "photos.json")
    convert_coco(str(place / "in"), str(place / "out"), cls91to80=False)
    found = {}
    for path in sorted((place / "out" / "labels").rglob("*.txt")):
        lines = [line.split() for line in path.read_text().splitlines()]
        found[path.relative_to(place / "out" / "labels" / "photos").with_suffix("").as_posix()] = sorted(
            [int(line[0]), *(round(float(value), 3) for value in line[1:])] for line in lines
        )
    return {"shares": found}


def main() -> None:
    name, exports = sys.argv[1], Path(sys.argv[2])
    found = globals()[name](exports)
    package = name.partition("_")[0]
    print("\n" + json.dumps({"version": version(package), **found}))


if __name__ == "__main__":
    main()
