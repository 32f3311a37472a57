"""A year of nights in small: what the last one costs beside the thirtieth, and what the store holds.

    python bench/year.py --folder F [--nights 365] [--texts 10] [--old thin|remove] [--against] [--real]

A file of new texts comes, the recipe runs and publishes, old runs are tidied up (`--keep-runs 7`). The nights that are
told of are processes of their own, as a schedule has them; those between are one. Printed: processor seconds and files opened of some nights, medians of five in a
row; the store's bytes beside those of a fresh one over the same texts; whether all that stands answers for itself. Kept
night by night: stopped, the same command goes on."""

import argparse
import gzip
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from tamis.pipeline.demo.docstrings import docstrings
from tamis.pipeline.explain.why import why
from tamis.pipeline.progress import hushed
from tamis.pipeline.recipe.recipe import parse_recipe
from tamis.pipeline.starting import run_next, run_recipe
from tamis.pipeline.store.current import published
from tamis.pipeline.store.manifest import verify
from tamis.pipeline.store.runs import open_complete
from tamis.pipeline.store.tidy import tidied
from tamis.pipeline.store.whereabouts import where

KEEP_RUNS, AROUND = 7, 5
TOLD = (30, 90, 180, 270, 365)
RECIPE = {
    "name": "nightly",
    "pool": [{"format": "jsonl", "path": "pool/*.jsonl", "key": "id", "keep": ["part"]}],
    "target": [{"format": "jsonl", "path": "good.jsonl", "key": "id"}],
    "steps": [{"exact_dedup": {}}, {"near_dedup": {}}, {"importance_resampling": {"budget": 200}}],
    "emit": ["parquet", "jsonl"],
    "publish": {"rows": 20},
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--nights", type=int, default=365)
    parser.add_argument("--texts", type=int, default=10)
    parser.add_argument("--against", action="store_true", help="each night beside what earlier ones kept")
    parser.add_argument("--real", action="store_true", help="texts of TAMIS_TEST_DATA in the place of docstrings")
    parser.add_argument("--old", choices=["thin", "remove"], default="remove")
    parser.add_argument("--night", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    folder = asked.folder.absolute()
    if asked.night is not None:
        one_night(folder, asked.against, asked.old)
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pool").mkdir(exist_ok=True)
    texts = real() if asked.real else corpus()
    write(folder / "good.jsonl", texts[-100:], "good")
    told = folder / "nights.jsonl"
    known = [json.loads(line) for line in told.read_text().splitlines()] if told.exists() else []
    for number in range(len(known) + 1, asked.nights + 1):
        first = (number - 1) * asked.texts
        some = [texts[(first + n) % (len(texts) - 100)] for n in range(asked.texts)]
        write(folder / "pool" / f"n{number:04d}.jsonl", some, f"n{number:04d}")
        if not any(place - AROUND < number <= place for place in TOLD):
            one = nightly(folder, asked.against, asked.old)
            known.append({"night": number, **one})
            with told.open("a") as out:
                out.write(json.dumps(known[-1]) + "\n")
            continue
        command = [sys.executable, __file__, "--folder", str(folder), "--night", str(number)]
        command += ["--old", asked.old]
        command += ["--against"] if asked.against else []
        ended = subprocess.run(command, capture_output=True, text=True, check=True)
        row = {"night": number, **json.loads(ended.stdout.splitlines()[-1])}
        known.append(row)
        with told.open("a") as out:
            out.write(json.dumps(row) + "\n")
        print(f"night {number}: {row['processor_s']:.2f} s, {row['opened']:,} files", file=sys.stderr, flush=True)
    table(folder, known, asked.against)


def one_night(folder: Path, against: bool, old: str) -> None:
    """In this process: run, publish, tidy up; says what it took."""
    opened: set[str] = set()

    def seen(event: str, arguments: tuple) -> None:
        if event == "open" and isinstance(arguments[0], str) and arguments[0].startswith(str(folder)):
            opened.add(arguments[0])

    sys.addaudithook(seen)
    told = nightly(folder, against, old)
    used = resource.getrusage(resource.RUSAGE_SELF)
    cost = {"processor_s": used.ru_utime + used.ru_stime, "opened": len(opened), "bytes": on_disk(folder / "store")}
    print(json.dumps({**told, **cost}))


def nightly(folder: Path, against: bool, old: str) -> dict:
    recipe = parse_recipe({**RECIPE, **({"against": "kept"} if against else {})}, folder)
    with hushed():
        outcome = run_next(recipe, folder, folder / "store")
        tidied(folder / "store", KEEP_RUNS, old)
    return {"run": outcome.folder.name, "held": outcome.held, "samples": outcome.manifest["pool"]["samples"]}


def corpus() -> list[str]:
    """Docstrings of what this environment has, each once."""
    site = Path(json.__file__).parent.parent
    roots = [Path(json.__file__).parent.parent, Path(sys.prefix) / "lib"]
    found: dict[str, None] = {}
    for root in [*roots, site]:
        for path in sorted(root.rglob("*.py")):
            if "test" in path.parts or len(found) > 40_000:
                continue
            try:
                found |= dict.fromkeys(text for _, text in docstrings(path) if len(text) > 120)
            except (SyntaxError, ValueError, OSError):
                continue
    return list(found)


def real() -> list[str]:
    """The texts of fifteen domains, shuffled alike each time."""
    folder = Path(os.environ["TAMIS_TEST_DATA"]) / "text_pool"
    lines = [line for path in sorted(folder.glob("*.jsonl.gz")) for line in gzip.open(path, "rt")]
    random.Random(0).shuffle(lines)
    return [json.loads(line)["text"] for line in lines]


def write(path: Path, texts: list[str], name: str) -> None:
    rows = ({"id": f"{name}-{n}", "part": "ab"[n % 2], "text": text} for n, text in enumerate(texts))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def on_disk(folder: Path) -> int:
    """A file of two names counts once."""
    states = {(s.st_dev, s.st_ino): s.st_size for path in folder.rglob("*") if path.is_file() and (s := path.lstat())}
    return sum(states.values())


def table(folder: Path, nights: list[dict], against: bool) -> None:
    fresh = folder / "fresh"
    shutil.rmtree(fresh, ignore_errors=True)
    with hushed():
        run_recipe(parse_recipe({**RECIPE, "name": "fresh"}, folder), folder, fresh)
    whole = on_disk(fresh)
    print("| night | processor s | files opened | store MB |\n|---:|---:|---:|---:|")
    base = None
    for place in [n for n in TOLD if n <= len(nights)]:
        some = nights[max(0, place - AROUND) : place]
        seconds, opened = median(n["processor_s"] for n in some), median(n["opened"] for n in some)
        base = (seconds, opened) if place == 30 else base
        ratio = f" ({seconds / base[0]:.2f}x)" if base else ""
        files = f" ({opened / base[1]:.2f}x)" if base else ""
        print(f"| {place} | {seconds:.2f}{ratio} | {opened:,.0f}{files} | {some[-1]['bytes'] / 1e6:.1f} |")
    held = sum(night["held"] for night in nights)
    print(
        f"\nA fresh store over the same texts: {whole / 1e6:.1f} MB; the year's is {on_disk(folder / 'store') / whole:.2f} times that."
    )
    store = folder / "store"
    began = time.monotonic()
    damage = []
    folders = sorted(path.parent for path in (store / "runs").glob("*/manifest.json"))
    for run in folders:
        opened_run = open_complete(run, thinned_too=True)
        damage += verify(opened_run)
        why(opened_run, "n0001-0")
    where(store, "n0001-0")
    took = time.monotonic() - began
    print(
        f"{len(nights):,} nights, {held} held; verify, why and where of {len(folders)} runs: {len(damage)} differences, {took:.0f} s."
    )
    print(f"Published: {published(store)['run']}. Python {sys.version.split()[0]}, {os.cpu_count()} processors.")
    assert not damage, damage[:3]


if __name__ == "__main__":
    main()
