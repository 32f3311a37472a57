"""Whole-process time and peak memory against data-selection 1.0.3 (nltk 3.9.1), alternating, on the same real JSONL.

    python bench/speed.py --sizes 64 640 --runs 3

Prints one table. `--sizes` in MB of JSONL; with three sizes it also shows how time grows. `--peer-up-to` leaves the
peer out above a size (it takes half a second a megabyte)."""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from real_text import write_pool

COUNT = 5000
RECIPE = """\
pool: [{{format: jsonl, path: {pool}, key: id, text: text, keep: [domain]}}]
target: [{{format: jsonl, path: {target}, key: id, text: text}}]
steps: [importance_resampling: {{features: ngrams, form: {form}, min_length: 0, budget: {count}}}]
emit: [jsonl]
"""


def measure(command: list[str], folder: Path) -> tuple[float, float]:
    """Wall seconds and peak megabytes (largest single process) of a command run in a fresh folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    errors = process.stderr.read() if process.stderr else b""
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - began
    if os.waitstatus_to_exitcode(status):
        sys.exit(f"{' '.join(command)} failed:\n{errors.decode()[-2000:]}")
    return seconds, usage.ru_maxrss / (1000 if sys.platform == "linux" else 1e6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--peer-up-to", type=int, default=1000, help="MB")
    parser.add_argument(
        "--folder", type=Path, default=None, help="where pools and stores go (default: a temporary one)"
    )
    chosen = parser.parse_args()
    base = chosen.folder or Path(tempfile.mkdtemp(prefix="tamis-speed-"))
    base.mkdir(parents=True, exist_ok=True)
    print("| MB | program | seconds, median (all) | MB/s | times the peer | peak MB, largest process |")
    print("|---|---|---|---|---|---|")
    for size in chosen.sizes:
        compare(size, chosen.runs, size <= chosen.peer_up_to, base)


def compare(size: int, runs: int, with_peer: bool, base: Path) -> None:
    pool, target, work = base / f"pool-{size}.jsonl", base / "target.jsonl", base / "work"
    if not pool.exists():
        write_pool(pool, size, target)
    tamis = str(Path(sys.executable).with_name("tamis"))
    commands = {}
    for form in ("tamis", "published"):
        recipe = base / f"{form}-{size}.yaml"
        recipe.write_text(RECIPE.format(pool=pool, target=target, form=form, count=COUNT))
        commands[f"tamis, form {form}"] = [tamis, "run", str(recipe), "--store", str(work / "store"), "--local"]
    if with_peer:
        peer = str(Path(__file__).with_name("peer_data_selection.py"))
        commands["data-selection 1.0.3"] = [sys.executable, peer, str(pool), str(target), str(work), str(COUNT)]
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    measure(commands["tamis, form tamis"], work)  # warm the file cache and the compiled loops for all
    for _ in range(runs):
        for name, command in commands.items():
            seen[name].append(measure(command, work))
    shutil.rmtree(work, ignore_errors=True)
    theirs = statistics.median(s for s, _ in seen["data-selection 1.0.3"]) if with_peer else None
    for name, pairs in seen.items():
        median = statistics.median(seconds for seconds, _ in pairs)
        every = ", ".join(f"{seconds:.2f}" for seconds, _ in pairs)
        times = f"{theirs / median:.1f}" if theirs else ""
        peak = statistics.median(peak for _, peak in pairs)
        print(f"| {size} | {name} | {median:.2f} ({every}) | {size / median:.1f} | {times} | {peak:.0f} |", flush=True)


if __name__ == "__main__":
    main()
