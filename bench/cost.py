"""What does a change cost? Runs of this checkout and of another one, alternating, by processor seconds.

    python bench/cost.py OTHER_CHECKOUT --folder F [--sizes 64 640] [--pairs 10]

Both run with this environment's packages on the same real text (MB of JSONL), each time in a new store. Counted are user
and system seconds of all their processes, for those of the clock vary by a third. Prints the median of the pairs' ratios
and the interval that holds the true one with 95% at least, by the sign test (of ten pairs the second and the ninth). A run that
ended stands in F/cells.jsonl and is not done again."""

import argparse
import math
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

from cells import add_cell, cells_in
from speed import COUNT, RECIPE

from real_text import write_pool

HERE = Path(__file__).resolve().parent.parent
ROOMS = ("pipeline", "selectors", "flows", "sql")
MAIN = "from tamis.pipeline.cli.app import main; main()"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 640])
    parser.add_argument("--pairs", type=int, default=10)
    asked = parser.parse_args()
    folder = asked.folder.absolute()
    checkouts = {"this": as_package(HERE, folder / "this"), "other": as_package(asked.other, folder / "other")}
    record = folder / "cells.jsonl"
    known = dict(cells_in(record))
    print("| MB | pairs | other, s | this, s | ratio | interval |\n|---:|---:|---:|---:|---:|---|")
    for size in asked.sizes:
        recipe = recipe_of(size, folder)
        for number in range(asked.pairs + 1):  # the first one is to warm files and compiled loops
            for which in ("this", "other") if number % 2 else ("other", "this"):
                cell = f"{size} {which} {number}"
                if cell not in known:
                    known[cell] = seconds(checkouts[which], recipe, folder / "work")
                    add_cell(record, [cell, known[cell]])
        pairs = [(known[f"{size} other {n}"], known[f"{size} this {n}"]) for n in range(1, asked.pairs + 1)]
        ratios = sorted(this / other for other, this in pairs)
        theirs, ours = (statistics.median(some) for some in zip(*pairs, strict=True))
        spread = f"{ratios[inner(len(ratios))]:.3f} to {ratios[-1 - inner(len(ratios))]:.3f}"
        print(
            f"| {size} | {len(pairs)} | {theirs:.1f} | {ours:.1f} | {statistics.median(ratios):.3f} | {spread} |",
            flush=True,
        )


def inner(pairs: int) -> int:
    """How many of the sorted ratios lie outside on each side: as many as leave 95% by the sign test."""
    outside = 0
    while sum(math.comb(pairs, n) for n in range(outside + 2)) * 2 <= 0.05 * 2**pairs:
        outside += 1
    return outside


def as_package(checkout: Path, place: Path) -> Path:
    """A folder for PYTHONPATH in which a checkout's rooms are `tamis`."""
    (place / "tamis").mkdir(parents=True, exist_ok=True)
    for room in ROOMS:
        link = place / "tamis" / room
        link.unlink(missing_ok=True)
        link.symlink_to((checkout / room).resolve())
    return place


def recipe_of(size: int, folder: Path) -> Path:
    pool, target, recipe = folder / f"pool-{size}.jsonl", folder / "target.jsonl", folder / f"{size}.yaml"
    if not pool.exists():
        write_pool(pool, size, target)
    recipe.write_text(RECIPE.format(pool=pool, target=target, form="tamis", count=COUNT))
    return recipe


def seconds(package: Path, recipe: Path, work: Path) -> float:
    """User and system seconds of a run and all its processes."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    command = [sys.executable, "-c", MAIN, "run", str(recipe), "--store", str(work / "store"), "--local"]
    env = {**os.environ, "PYTHONPATH": str(package)}
    with (work / "said").open("w") as said:
        process = subprocess.Popen(command, cwd=work, env=env, stdout=said, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status):
        sys.exit(f"{' '.join(command)} failed:\n{(work / 'said').read_text()[-2000:]}")
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
