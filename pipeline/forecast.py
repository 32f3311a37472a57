"""What a run would do: rows and bytes to read, what is reused, and how long earlier runs of this store took."""

from itertools import takewhile
from math import ceil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tamis.pipeline.columns.declared import Maker
from tamis.pipeline.columns.hashed import hashed_makers
from tamis.pipeline.files.atomic import read_json
from tamis.pipeline.first_look import Look, first_look
from tamis.pipeline.machine import cores, memory_bytes
from tamis.pipeline.progress import counted, joined
from tamis.pipeline.read.pool import records_of
from tamis.pipeline.read.sources import SourceFile, find_files
from tamis.pipeline.recipe.outputs import emitted
from tamis.pipeline.recipe.recipe import Recipe
from tamis.pipeline.recipe.source import Source
from tamis.pipeline.starting import check
from tamis.pipeline.store.costs import ADDED, money

OF_NEW = ("read", "columns", "judge")  # stages that work on new rows alone; older runs called one `judge`


def forecast(recipe: Recipe, recipe_folder: Path, store: Path | None, allow_code: bool) -> str:
    """Lines for `tamis plan`: from sizes, records and manifests; where there is a target, from a part of the pool."""
    declared, steps = check(recipe, recipe_folder, allow_code)
    lines = [f"recipe   {recipe.name}, seed {recipe.seed}"]
    pool_bytes = new_bytes = 0
    for what, sources, _folder in (
        ("pool", recipe.pool, "pool"),
        ("target", recipe.target, None),
        ("evaluation", recipe.evaluation, None),
        ("judge", recipe.judge, None),
    ):
        for number, source in enumerate(sources):
            files = find_files(source)
            size = sum(file.size for file in files)
            line = f"{what:<8} {source.format}: {counted(len(files), 'files')}, {size / 1e6:,.1f} MB"
            if what == "pool":
                pool_bytes += size
                known, known_bytes = _read_already(store, number, files) if store else (0, 0)
                new_bytes += size - known_bytes
                line += f"; {known:,} already in the store" if known else ""
            lines.append(line + _fields(source))
    for step in steps:
        declared += hashed_makers(step.selector.inputs())
    once = {maker.fingerprint: maker for maker in declared}
    lines += [f"column   {maker.name}: {_column_state(store, maker)}" for maker in once.values()]
    for step in steps:
        scope = f" where {step.where}" if step.where else ""
        lines.append(f"step {step.number}   {step.name}: {step.budget or 'no budget: keeps or drops by rule'}{scope}")
    look = first_look(recipe, recipe_folder, steps, list(once.values()))
    lines += look.found
    lines.append(f"emit     {', '.join(emitted(entry)[0] for entry in recipe.emit) or 'selection.parquet alone'}")
    lines.append(f"machine  {_machine()}")
    lines.append(f"time     {_time(store, recipe, pool_bytes, new_bytes, look)}")
    return joined(lines)


def _machine() -> str:
    """What a run here may use."""
    memory = memory_bytes()
    return f"{cores()} processors" + ("" if memory is None else f", {memory / 1e9:,.1f} GB of memory")


def _fields(source: Source) -> str:
    kept = f", keeps {', '.join(source.keep)}" if source.keep else ""
    by_path = source.format == "texts" or source.reads_images
    return f" (key: {source.key or ('path without suffix' if by_path else 'content hash')}{kept})"


def _read_already(store: Path, number: int, files: list[SourceFile]) -> tuple[int, int]:
    """How many of the files, and bytes of them."""
    known = [file for record in records_of(store / "pool") if record["origin"] == number for file in record["files"]]
    same = [file.size for file in files if file.record() in known]
    return len(same), sum(same)


def _column_state(store: Path | None, maker: Maker) -> str:
    column, _, output = maker.name.partition(".")
    learns = maker.kind.learns
    for found in sorted((store / "columns").glob(f"{column}*")) if store else []:
        folder = found / output
        record = folder / "column.json"
        known = read_json(record) if record.exists() else {}
        asked = known.get("learned_from", {}).get("asked") if learns else known.get("fingerprint")
        if asked == maker.fingerprint:
            parts = list(folder.glob("part-*.parquet"))
            rows = sum(pq.read_metadata(part).num_rows for part in parts)
            reused = "reused where what it learned from is unchanged" if learns else "reused"
            return f"{counted(len(parts), 'shards')} made ({rows:,} rows), {reused}"
    return "to be trained and made" if learns else "to be made"


def _time(store: Path | None, recipe: Recipe, pool_bytes: int, new_bytes: int, look: Look) -> str:
    """From what earlier runs of this store cost: seconds a row of each stage, for the rows that are to come."""
    paths = sorted((store / "runs").glob("*/manifest.json")) if store else []
    told = [manifest for manifest in map(read_json, paths) if manifest.get("costs")]
    if not told:
        if look.seconds is None:
            return f"unknown: {look.unknown}"
        return f"about {look.seconds:,.0f} s, {look.of}" + _nights(recipe, look.seconds, 0.0, None)
    last = max(told, key=lambda manifest: (_alike(manifest, recipe), manifest["ended"]))
    share_new = new_bytes / pool_bytes if pool_bytes else 0.0
    rows = last["pool"]["rows"] / max(1e-9, 1 - share_new)
    stages = []
    for stage in last["costs"]:
        of_new = stage["stage"].startswith(OF_NEW)
        known = [
            row for manifest in told for row in manifest["costs"] if row["stage"] == stage["stage"] and row["rows"]
        ]
        worked_on = sum(row["rows"] for row in known)
        to_come = rows * share_new if of_new else stage["rows"] * rows / max(1, last["pool"]["rows"])
        scale = to_come / worked_on if worked_on else 0.0 if of_new else 1.0
        sums = {name: scale * sum(row[name] for row in known or [stage]) for name in ("wall_s", *ADDED)}
        stages.append({**stage, **sums})
    whole = {name: sum(stage[name] for stage in stages) for name in ("wall_s", "processor_s", "gpu_s")}
    said = [f"about {whole['wall_s']:,.1f} s", f"{whole['processor_s']:,.1f} s of processor"]
    said += [f"{whole['gpu_s']:,.1f} s of GPU"] if whole["gpu_s"] else []
    said += [f"at most {max(stage['peak_bytes'] for stage in stages) / 1e6:,.0f} MB of memory"]
    price = money(stages, recipe.prices)
    said += [] if price is None or recipe.prices is None else [f"{price:,.4g} {recipe.prices.currency}".strip()]
    longest = sorted(stages, key=lambda stage: -stage["wall_s"])[:3]
    nights = _nights(recipe, whole["wall_s"], sum(stage["written_bytes"] for stage in stages), price)
    by = ", ".join(f"{stage['stage']} {stage['wall_s']:,.1f} s" for stage in longest if stage["wall_s"] >= 0.05)
    return f"{', '.join(said)}, judging by run {last['run']!r}" + (f" ({by})" if by else "") + nights


def _nights(recipe: Recipe, seconds: float, written: float, price: float | None) -> str:
    """In how many goes it would end, where the recipe limits what one may spend."""
    limits = recipe.limits
    if limits is None:
        return ""
    pairs = ((seconds, limits.seconds), (written, limits.bytes), (price or 0.0, limits.cost))
    goes = max(ceil(spent / most) for spent, most in pairs if most is not None)
    return f"; within its limits in {counted(max(1, goes), 'runs')}"


def _alike(manifest: dict[str, Any], recipe: Recipe) -> int:
    """How many of the recipe's steps an earlier run took, too, up to the first that differs."""
    pairs = zip(manifest["steps"], recipe.steps_given, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0]["selector"] == pair[1].name, pairs))
