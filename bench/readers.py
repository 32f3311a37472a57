"""Reading a pool with two versions of tamis, alternating: processor seconds of the second over the first.

    pip install --no-deps --target before .    # at the older commit; --target after at the newer one
    python bench/readers.py --folder readers-work --before before --after after

JSON lines of 64 and 640 MB, and 10,000 made photos as a folder and as a tar. Prints the median of ten ratios with the
90% interval of the median (order statistics 2 and 9)."""

import argparse
import io
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

PAIRS, PHOTOS = 10, 10_000
SOURCES: dict[str, dict[str, Any]] = {
    "64 MB of JSONL": {"format": "jsonl", "path": "64.jsonl", "key": "id", "keep": ["domain", "n"]},
    "640 MB of JSONL": {"format": "jsonl", "path": "640.jsonl", "key": "id", "keep": ["domain", "n"]},
    "10,000 photos in folders": {"format": "images", "path": "photos"},
    "10,000 photos in a tar": {"format": "webdataset", "path": "photos.tar"},
}
READ = """
import json, sys
from pathlib import Path
from tamis.pipeline.read.ingest import ingest
from tamis.pipeline.recipe.recipe import parse_recipe
recipe = parse_recipe({"name": "t", "pool": [json.loads(sys.argv[1])]}, Path(sys.argv[2]))
ingest(Path(sys.argv[3]), recipe.pool, False, lambda line: None)
"""


def make(base: Path) -> None:
    chance = random.Random(0)
    words = [f"{chance.randrange(1 << 24):x}" for _ in range(20_000)]
    for name, size in (("64.jsonl", 64 << 20), ("640.jsonl", 640 << 20)):
        if (base / name).exists():
            continue
        with (base / name).open("w", encoding="utf-8") as out:
            number = 0
            while out.tell() < size:
                text = " ".join(chance.choices(words, k=chance.randrange(50, 400)))
                out.write(
                    json.dumps({"id": number, "text": text, "domain": chance.choice("abcdef"), "n": number % 97}) + "\n"
                )
                number += 1
    if not (base / "photos.tar").exists():
        _photos(base)


def _photos(base: Path) -> None:
    import numpy as np
    from PIL import Image

    noise = np.random.default_rng(0)
    kinds = []
    for _ in range(50):
        packed = io.BytesIO()
        small = Image.fromarray((noise.random((8, 8, 3)) * 255).astype("uint8"))
        small.resize((256, 192)).save(packed, "JPEG", quality=90)
        kinds.append(packed.getvalue())
    for number in range(PHOTOS):
        path = base / "photos" / f"{number % 20:02d}" / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(kinds[number % 50] + number.to_bytes(4, "big"))
    with tarfile.open(base / "photos.tar", "w") as out:
        for path in sorted((base / "photos").rglob("*.jpg")):
            out.add(path, path.relative_to(base / "photos").as_posix())


def seconds(base: Path, library: Path, source: dict[str, Any]) -> float:
    """Of user and system, with those of its workers."""
    store = base / "store"
    shutil.rmtree(store, ignore_errors=True)
    command = [sys.executable, "-c", READ, json.dumps(source), str(base), str(store / "pool")]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(library)}, cwd=base)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{library}: reading failed")
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("folder", "before", "after"):
        parser.add_argument(f"--{name}", type=lambda text: Path(text).resolve(), required=True)
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    make(asked.folder)
    print("| source | after / before: median | 90% interval |\n|---|---:|---|")
    for name, source in SOURCES.items():
        ratios = []
        for pair in range(PAIRS):
            order = [asked.before, asked.after][:: 1 if pair % 2 else -1]
            took = {library: seconds(asked.folder, library, source) for library in order}
            ratios.append(took[asked.after] / took[asked.before])
        ratios.sort()
        print(f"| {name} | {statistics.median(ratios):.3f} | {ratios[1]:.3f} to {ratios[8]:.3f} |", flush=True)


if __name__ == "__main__":
    main()
