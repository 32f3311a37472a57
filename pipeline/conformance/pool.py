"""A small pool with all that a selector may ask for: texts, fields, vectors, losses, labels, images and objects.

Samples of equal text have equal vectors, losses and images, so that what belongs to the content can be told from what
belongs to the sample. 90 samples, one group of files; everything is drawn from the text, the same on every machine."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

Record = dict[str, Any]
RECORDS: list[Record] = [
    {
        "id": f"s{i:03d}",
        "part": "abc"[i % 3],
        "sure": [0.9, 0.4, 0.8, 0.7][i % 4],
        "sure_best": "ppq"[i % 3],
        "text": f"word{i % 7} alice went {'to the store ' * (i % 5)}number {i % 23}",
    }
    for i in range(90)
]
TWIN: Record = {**RECORDS[5], "id": "twin"}  # of s005
TARGET: list[Record] = [{"id": "t0", "text": "alice went to the store"}, {"id": "t1", "text": "word3 to the store"}]
WRONG = ("s003", "s017", "s031", "s044", "s058", "s066", "s071", "s085")  # whose label is wrong
FIELDS = ["part", "sure", "sure_best"]

TEXTS: dict[str, Any] = {
    "pool": [{"format": "jsonl", "path": "pool.jsonl", "key": "id", "keep": FIELDS}],
    "target": [{"format": "jsonl", "path": "target.jsonl", "key": "id"}],
}
IMAGES: dict[str, Any] = {"pool": [{"format": "images", "path": "photos", "keep": ["part"]}]}
VECTORS = {name: {"embed": "precomputed", "path": "vectors.npz", "vector": name} for name in ("v", "w")}
LOSSES = {
    f"v_{name}": {"loss": "precomputed", "path": "vectors.npz", "value": name} for name in ("prior", "conditional")
}
MEASURES = {"read": {"measure": "text"}}
OBJECTS = {"objects": {"detect": "file", "path": "boxes.parquet", "features": {"embed": "classic"}}}
PICTURES = {"photo": {"measure": "image"}, "seen": {"embed": "perceptual_hash"}}
OF_IMAGES = {**OBJECTS, **PICTURES}


def place(folder: Path, records: list[Record]) -> Path:
    """Write the pool's files, those of texts and those of images."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_lines(folder / "pool.jsonl", records)
    _write_lines(folder / "target.jsonl", TARGET)
    every = records + TARGET
    vectors = np.array([_draw(record).normal(size=8) for record in every])
    keys = np.array([record["id"] for record in every])
    kinds = ["pq"[int(vector[0] > 0) ^ (record["id"] in WRONG)] for record, vector in zip(every, vectors, strict=True)]
    rows = [f"{record['id']},{kind}" for record, kind in zip(every, kinds, strict=True)]
    (folder / "labels.csv").write_text("\n".join(["key,label", *rows]) + "\n", encoding="utf-8")
    losses = vectors[:, :2].T + 5
    beside = vectors + np.roll(vectors, 1, axis=1)
    np.savez(folder / "vectors.npz", key=keys, v=vectors, w=beside, prior=losses[0], conditional=losses[1])
    return folder


def place_images(folder: Path, records: list[Record]) -> Path:
    """An image for each record, with its field beside it, and some boxes in it. Needs Pillow."""
    from PIL import Image

    shutil.rmtree(folder / "photos", ignore_errors=True)
    (folder / "photos").mkdir()
    boxes: list[Record] = []
    for record in records:
        draw = _draw(record)
        Image.fromarray(draw.integers(0, 255, (24, 24, 3), np.uint8)).save(folder / "photos" / f"{record['id']}.png")
        (folder / "photos" / f"{record['id']}.json").write_text(json.dumps({"part": record["part"]}))
        for _ in range(draw.integers(0, 4)):
            x, y = draw.integers(0, 12, 2).tolist()
            kind, sure = "abcd"[int(draw.choice(4, p=[0.6, 0.2, 0.15, 0.05]))], float(draw.random())
            boxes.append(_box(record["id"], x, y, kind, sure))
        if not boxes or boxes[-1]["key"] != record["id"]:  # known to be empty: a box that lies outside and is dropped
            boxes.append(_box(record["id"], 90, 90, "a", 1.0))
    pq.write_table(pa.Table.from_pylist(boxes), folder / "boxes.parquet")
    return folder


def _draw(record: Record) -> np.random.Generator:
    return np.random.default_rng(list(record["text"].encode()))


def _box(key: str, x: int, y: int, kind: str, sure: float) -> Record:
    return {"key": key, "x1": x, "y1": y, "x2": x + 8, "y2": y + 8, "class": kind, "confidence": sure}


def _write_lines(path: Path, records: list[Record]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
