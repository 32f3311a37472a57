"""Do those who read what tamis writes find the same in it?

    make consumers && python bench/consumers.py --folder consumers-work

Photos with captions and boxes, and conversations with lists, times and bytes, are made, chosen from and exported; each
consumer opens the export in an environment of its own (tests/consumers/tools.txt), and what it finds is held against
the files and records that went in. Prints the table of docs/consumers.md; exit code 1 where something differs."""

import argparse
import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from opens import pixels

from tamis.pipeline.progress import hushed
from tamis.pipeline.recipe.recipe import parse_recipe
from tamis.pipeline.starting import run_recipe

TOOLS = Path(__file__).parents[1] / ".consumers" / "tools" / "bin" / "python"
PHOTOS, CHATS = 12, 9
BEGAN = datetime(2024, 1, 1, 12, tzinfo=UTC)
OPENED = {  # consumer -> what it opens, of which pool
    "datasets_disk": ("hf", "photos"), "datasets_webdataset": ("webdataset", "pairs"),
    "webdataset": ("webdataset", "photos"), "pycocotools": ("coco.json", "photos"),
    "supervision": ("coco.json", "photos"), "ultralytics": ("coco.json, by convert_coco", "photos"),
    "datumaro": ("cvat/annotations.xml", "photos"), "datasets_json": ("selection.jsonl", "chats"),
    "datasets_parquet": ("selection.parquet", "chats"), "datasets_splits": ("splits", "chats"),
    "trl": ("selection.jsonl, selection.parquet, hf", "chats"),
    "polars": ("selection.parquet, selection.jsonl", "chats"), "pandas": ("selection.csv, selection.jsonl", "chats"),
}  # fmt: skip
CLASSES = ("bear", "wolf", "elk")
WORDS = {  # of the table, for what was equal
    "pixels": "pixels of {} images", "captions": "{} captions", "boxes": "boxes and classes of {} images",
    "numbers": "numbers of {} classes", "shares": "lines of YOLO of {} images", "messages": "{} conversations",
    "tags": "lists of {} rows", "seen": "times of {} rows", "rows": "{} rows", "conversational": "are conversations",
}  # fmt: skip


def make_photos(base: Path, mixed: bool) -> dict[str, Any]:
    """Photos in two folders, with boxes by YOLO's files, and what every consumer should find; `mixed`: of two formats,
    some without a caption."""
    from PIL import Image

    truth: dict[str, Any] = {name: {} for name in ("pixels", "captions", "boxes", "shares")}
    for number in range(PHOTOS):
        name, ending = f"{'ab'[number % 2]}/p {number:02d} é", ("jpg", "png")[mixed and number % 3 == 0]
        path = base / "photos" / f"{name}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.new("RGB", (200, 100), (20 * number, 60, 255 - 20 * number))
        image.save(path)
        truth["pixels"][name] = pixels(Image.open(path))
        if number % 4 or not mixed:
            path.with_suffix(".txt").write_text(caption := f"photo {number}", encoding="utf-8")
            truth["captions"][name] = caption
        kinds = [number % 3] if number % 5 else []
        place = base / "labels" / f"{name}.txt"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("".join(f"{kind} 0.25 0.4 0.3 0.4\n" for kind in kinds))
        truth["boxes"][f"{name}.{ending}"] = [[CLASSES[kind], 20, 20, 60, 40] for kind in kinds]
        if kinds:
            truth["shares"][name] = [[kind, 0.25, 0.4, 0.3, 0.4] for kind in kinds]
    (base / "labels" / "classes.txt").write_text("\n".join(CLASSES))
    truth["numbers"] = {name: number for number, name in enumerate(CLASSES, 1)}
    return truth


def make_chats(base: Path) -> dict[str, Any]:
    rows = []
    for number in range(CHATS):
        turns = [
            {"role": ("user", "assistant")[turn % 2], "content": f"turn {turn} of {number}"}
            for turn in range(2 + number % 3)
        ]
        seen = (BEGAN + timedelta(hours=number)).isoformat()
        rows.append(
            {
                "id": f"{number:03d}",
                "text": f"chat {number}",
                "messages": turns,
                "tags": ["x"] * (number % 3),
                "seen": seen,
            }
        )
    (base / "chats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return {name: {row["id"]: row[name] for row in rows} for name in ("messages", "tags", "seen")}


def export(base: Path, name: str, recipe: dict[str, Any]) -> Path:
    with hushed():
        run = run_recipe(parse_recipe({"name": name, **recipe}, base), base, base / "store" / name)
    return run.folder / "exports"


def opened(base: Path) -> list[dict[str, Any]]:
    """A row for each consumer: what it opened, and what differs from what went in."""
    for place in (base, base / "pairs"):
        shutil.rmtree(place / "store", ignore_errors=True)
        place.mkdir(parents=True, exist_ok=True)
    truth = {"photos": make_photos(base, mixed=True), "chats": make_chats(base)}
    truth["pairs"] = make_photos(base / "pairs", mixed=False)
    exports = {
        "photos": export(base, "photos", {
            "pool": [{"format": "images", "path": "photos"}], "emit": ["hf", "webdataset", "coco", "cvat"],
            "columns": {"drawn": {"detect": "file", "path": "labels"}},
        }),
        "pairs": export(base / "pairs", "pairs", {
            "pool": [{"format": "images", "path": "photos"}], "emit": ["webdataset"],
        }),
        "chats": export(base, "chats", {
            "pool": [{"format": "jsonl", "path": "chats.jsonl", "key": "id", "keep": ["messages", "tags", "seen"]}],
            "emit": ["jsonl", "parquet", "csv", "hf", {"splits": {"shares": {"train": 0.8, "test": 0.2}}}],
        }),
    }  # fmt: skip
    return [_open(name, *of, exports[of[1]], truth[of[1]]) for name, of in OPENED.items()]


def _open(name: str, what: str, pool: str, exports: Path, truth: dict[str, Any]) -> dict[str, Any]:
    command = [str(TOOLS), str(Path(__file__).with_name("opens.py")), name, str(exports)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"consumer": name, "version": "?", "opened": what, "equal": {}, "differs": done.stderr.strip()[-300:]}
    found = json.loads(done.stdout.strip().splitlines()[-1])
    told = found.pop("version")
    if name == "trl":
        wanted: dict[str, Any] = {"rows": 3 * CHATS, "conversational": True}
    else:
        wanted = {what: truth[what] for what in found if what in truth}
    differs = [what for what in wanted if found[what] != wanted[what]]
    counts = {what: len(value) if isinstance(value, dict) else value for what, value in wanted.items()}
    return {
        "consumer": name,
        "version": told,
        "opened": what,
        "pool": pool,
        "equal": counts,
        "differs": ", ".join(differs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    rows = opened(parser.parse_args().folder.resolve())
    print("| consumer | opened | equal to what went in |\n|---|---|---|")
    for row in rows:
        package, _, how = row["consumer"].partition("_")
        equal = ", ".join(WORDS[what].format(count) for what, count in row["equal"].items())
        told = f"**differs: {row['differs']}**" if row["differs"] else equal
        print(f"| {package} {row['version']}{f' ({how})' if how else ''} | {row['opened']} | {told} |")
    sys.exit(any(row["differs"] for row in rows))


if __name__ == "__main__":
    main()
