"""What grows with a pool: planning many shards through the real code, and what a shard and a sample cost each stage.

    python bench/scale.py plan 100000       # records of so many shards: opened, planned, sent through Prefect, chosen over
    python bench/scale.py shards 250 1000   # real runs over shards of ten rows: what a shard costs beside its rows
    python bench/scale.py samples 64 256    # real runs over so many MB of real texts: what a sample costs

`plan` runs no model and reads no row of a pool: what a task does is replaced by nothing; what is left is the planning."""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from real_text import documents, write_pool
from tamis.flows import settings
from tamis.pipeline import machine
from tamis.pipeline.curate import Loop
from tamis.pipeline.files.atomic import write_json
from tamis.pipeline.progress import hushed
from tamis.pipeline.read import shards
from tamis.pipeline.read.ingest import _settled, ingest
from tamis.pipeline.read.sources import find_files
from tamis.pipeline.recipe.recipe import parse_recipe
from tamis.pipeline.schemas import SCORES
from tamis.pipeline.starting import claim, run_recipe
from tamis.pipeline.store.database import connect, rows
from tamis.pipeline.store.runs import open_run
from tamis.sql import text as sql_text

SHARDS_A_FILE = 20
MOST_LINKS = 50_000  # file systems allow some 65,000 names of one file


def main() -> None:
    what, sizes = sys.argv[1], [int(size) for size in sys.argv[2:]]
    folder = Path(tempfile.mkdtemp(prefix="tamis-scale-"))
    {"plan": plan, "shards": of_shards, "samples": of_samples}[what](folder, sizes)


@contextmanager
def told(what: str) -> Iterator[None]:
    machine.forget_peak()
    began = time.monotonic()
    yield
    print(f"| {what} | {time.monotonic() - began:.1f} | {(machine.peak() or 0) / 1e6:,.0f} |", flush=True)


def nothing(_folder: Path, _names: list[str]) -> None:
    """What a task does here."""


def plan(folder: Path, sizes: list[int]) -> None:
    settings.apply()
    base = folder
    for count in sizes:
        folder = base / str(count)
        folder.mkdir()
        print(f"{count:,} shards of 50,000 samples\n\n| | s | peak MB |\n|---|---:|---:|")
        recipe = parse_recipe(
            {"name": "plan", "pool": [{"format": "jsonl", "path": "pool/*.jsonl", "key": "id"}],
             "steps": [{"exact_dedup": {}}, {"random": {"fraction": 0.1}}], "emit": []},
            folder,
        )  # fmt: skip
        store = fabricated(folder, recipe, count)
        run = store / "runs" / "plan"
        with told("the pool brought up to date: every source file looked at, nothing new"), hushed():
            pool = ingest(store / "pool", recipe.pool, False, print)
        claim(run, recipe, folder, False)
        write_json(run / "inputs.json", {"pool": pool.groups, "target": [], "aside": ""})
        with told("a run opened, its shards listed"):
            names = [part.name for part in open_run(run).pool.parts]
        assert len(names) == len(set(names)) == count
        assert names == sorted(names, key=lambda name: int(name[5:-8])), "in the order in which they were written"
        with told("a stage in the plain loop"), hushed():
            Loop().many("nothing", nothing, names, run)
        with told("a stage as Prefect tasks of 64 shards"), hushed():
            through_prefect(run, names)
        scores = linked(folder, count)
        for query, more in (
            ("count_eligible", {}),
            ("choose_budget", {"budget": count // 10, "more": [], "distinct": None, "passes": 1, "left": 0}),
        ):
            with told(f"`{query}.sql` over as many score files"), connect(store) as con:
                rows(con, f"select count(*) from ({sql_text(query).rstrip().rstrip(';')})", {"scores": scores, **more})
        with told("a manifest of one column"):
            write_json(run / "manifest.json", {"parts": {name: {"rows": 50_000, "digest": "0" * 32} for name in names}})
        print(f"\nThe manifest has {(run / 'manifest.json').stat().st_size / 1e6:.0f} MB for pool or column.")


def fabricated(folder: Path, recipe: Any, count: int) -> Path:
    """A store with the records of so many shards, and the source files that they were read from; no shard itself."""
    store = folder / f"store-{count}"
    (folder / "pool").mkdir()
    files = -(-count // SHARDS_A_FILE)
    for number in range(files):
        (folder / "pool" / f"{number:06d}.jsonl").write_text("{}\n")
    found = find_files(recipe.pool[0])
    (store / "pool" / ".groups").mkdir(parents=True)
    _settled(store / "pool", recipe.pool, [(0, found)])
    for number, file in enumerate(found):
        first = number * SHARDS_A_FILE
        parts = [
            {"name": f"part-{part:05d}.parquet", "rows": 50_000, "digest": f"{part:032x}"}
            for part in range(first, min(first + SHARDS_A_FILE, count))
        ]
        record = {"group": number, "origin": 0, "files": [file.record()], "parts": parts, "rejects": {}, "leans_on": []}
        (store / "pool" / ".groups" / f"{number:05d}.json").write_text(json.dumps(record))
    return store


def through_prefect(run: Path, names: list[str]) -> None:
    from prefect import flow
    from prefect.task_runners import ThreadPoolTaskRunner

    from tamis.flows.curate import Tasks
    from tamis.flows.server import server

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=2), persist_result=False)
    def stage() -> None:
        Tasks().many("nothing", nothing, names, run)

    with server():
        began = time.monotonic()
        stage()
        print(f"| (of this the tasks, without the server's start and end: {time.monotonic() - began:.1f} s) | | |")


def linked(folder: Path, count: int) -> list[str]:
    """As many score files of one row; one file under as many names."""
    table = pa.table(
        {field.name: pa.nulls(1, field.type) if field.nullable else pa.array([0]).cast(field.type) for field in SCORES}
    )
    (folder / "scores").mkdir()
    names = [str(folder / "scores" / f"part-{number:05d}.parquet") for number in range(count)]
    for number, name in enumerate(names):
        if number % MOST_LINKS == 0:
            one = name
            pq.write_table(table.cast(SCORES), one)
        else:
            os.link(one, name)
    return names


STEPS = [{"exact_dedup": {}}, {"importance_resampling": {"fraction": 0.5}}, {"random": {"fraction": 0.2}}]


def of_shards(folder: Path, sizes: list[int]) -> None:
    docs = [doc["text"][:200] for doc, _ in zip(documents(), range(20_000), strict=False)]
    target = folder / "target.jsonl"
    target.write_text("".join(json.dumps({"text": text}) + "\n" for text in docs[:50]))

    def run(count: int) -> Any:
        shards.SHARD_ROWS = 10
        lines = (json.dumps({"id": n, "text": f"{n} {docs[n % len(docs)]}"}) + "\n" for n in range(10 * count))
        (folder / f"{count}.jsonl").write_text("".join(lines))
        return whole(folder, folder / f"{count}.jsonl", target, f"of-{count}")

    table(sizes, run, lambda manifest: len(manifest["pool"]["parts"]), "shards", "ms a shard", 1e3)


def of_samples(folder: Path, sizes: list[int]) -> None:
    def run(megabytes: int) -> Any:
        write_pool(folder / f"{megabytes}.jsonl", megabytes, folder / "target.jsonl")
        manifest = whole(folder, folder / f"{megabytes}.jsonl", folder / "target.jsonl", f"of-{megabytes}")
        store = folder / f"store-of-{megabytes}"
        told_ = {
            name: sum(path.stat().st_size for path in (store / place).rglob("*.parquet")) / manifest["pool"]["samples"]
            for name, place in (
                ("shards", "pool"),
                ("n-grams", "columns"),
                ("ledger of three steps", f"runs/of-{megabytes}/ledger"),
            )
        }
        print(
            f"{megabytes} MB, bytes a sample: "
            + ", ".join(f"{name} {size:,.0f}" for name, size in told_.items())
            + "\n"
        )
        return manifest

    table(sizes, run, lambda manifest: manifest["pool"]["samples"], "samples", "s a million", 1e6)


def whole(folder: Path, pool: Path, target: Path, name: str) -> Any:
    recipe = parse_recipe(
        {"name": name, "pool": [{"format": "jsonl", "path": str(pool), "key": "id"}],
         "target": [{"format": "jsonl", "path": str(target)}], "steps": STEPS, "emit": ["keys"]},
        folder,
    )  # fmt: skip
    with hushed():
        return run_recipe(recipe, folder, folder / f"store-{name}").manifest


def table(
    sizes: list[int], run: Callable[[int], Any], of: Callable[[Any], int], unit: str, per: str, scale: float
) -> None:
    found = [run(size) for size in sizes]
    counts = [of(manifest) for manifest in found]
    print("| stage | " + " | ".join(f"{count:,} {unit}: {per} | peak MB" for count in counts) + " |")
    print("|---|" + "---:|---:|" * len(found))
    for stages in zip(*(manifest["costs"] for manifest in found), strict=True):
        cells = [
            f"{scale * s['wall_s'] / n:.2f} | {s['peak_bytes'] / 1e6:,.0f}" for s, n in zip(stages, counts, strict=True)
        ]
        print(f"| {stages[0]['stage']} | " + " | ".join(cells) + " |")
    walls = [scale * np.sum([s["wall_s"] for s in m["costs"]]) / n for m, n in zip(found, counts, strict=True)]
    print("| all | " + " | ".join(f"{wall:.2f} | " for wall in walls) + " |")


if __name__ == "__main__":
    main()
