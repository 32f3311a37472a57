"""100,000 images with 1 million objects, from a tar and a table of boxes to the choice: seconds by stage, and memory.

    python bench/object_scale.py --images 100000

Images are drawn (64 x 64 pixels, JPEG), ten boxes each, of 80 classes whose sizes fall as 1/rank; features are the
classic ones of the crops; the budget is a tenth of the images. Runs the command line in a process of its own; its peak
memory is the largest of that process. Prints one table."""

import argparse
import io
import json
import resource
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

OBJECTS, CLASSES, SIDE = 10, 80, 64


def draw_pool(folder: Path, images: int) -> None:
    draw = np.random.default_rng(0)
    share = 1 / np.arange(1, CLASSES + 1)
    with tarfile.open(folder / "pool.tar", "w") as tar:
        for number in range(images):
            base = draw.integers(0, 255, (8, 8, 3), np.uint8)
            held = io.BytesIO()
            Image.fromarray(base).resize((SIDE, SIDE)).save(held, "JPEG", quality=85)
            about = tarfile.TarInfo(f"{number:06d}.jpg")
            about.size = held.tell()
            held.seek(0)
            tar.addfile(about, held)
    count = images * OBJECTS
    corner = draw.integers(0, SIDE - 17, (count, 2))
    sides = draw.integers(8, 17, (count, 2))
    kinds = draw.choice(CLASSES, count, p=share / share.sum())
    rows = {
        "key": [f"{number // OBJECTS:06d}" for number in range(count)],
        "x1": corner[:, 0], "y1": corner[:, 1], "x2": corner[:, 0] + sides[:, 0], "y2": corner[:, 1] + sides[:, 1],
        "class": [f"class {kind:02d}" for kind in kinds], "confidence": draw.random(count),
    }  # fmt: skip
    pq.write_table(pa.table(rows), folder / "boxes.parquet")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    images = parser.parse_args().images
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        draw_pool(work, images)
        recipe = {
            "name": "scale",
            "pool": [{"format": "webdataset", "path": "pool.tar"}],
            "columns": {"objects": {"detect": "file", "path": "boxes.parquet", "features": {"embed": "classic"}}},
            "steps": [{"object_coverage": {"column": "objects", "budget": images // 10}}],
            "emit": ["keys"],
        }
        (work / "scale.yaml").write_text(json.dumps(recipe))
        command = [Path(sys.executable).with_name("tamis"), "run", "scale.yaml", "--store", "store", "--local"]
        subprocess.run(command, cwd=work, check=True, stdout=subprocess.DEVNULL)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
        manifest = json.loads((work / "store" / "runs" / "scale" / "manifest.json").read_text())
    stages = manifest["seconds"]
    print(f"| images | objects | {' | '.join(f'{name}, s' for name in stages)} | peak, GB |")
    print("|---:" * (3 + len(stages)) + "|")
    seconds = " | ".join(f"{value:,.0f}" for value in stages.values())
    print(f"| {images:,} | {images * OBJECTS:,} | {seconds} | {peak:.1f} |")


if __name__ == "__main__":
    main()
