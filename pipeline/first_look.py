"""What a part of a pool tells of a run before it is made: how much of the target's kind a step will find.

The first rows of each source's files, taken from as many as eight of them, are run through the recipe's steps aside, in
a store that is gone afterwards; budgets are scaled to the part. Only where that costs seconds: texts that lie here, and
columns that no model makes."""

import json
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tamis.pipeline.columns.declared import Maker
from tamis.pipeline.errors import TamisError
from tamis.pipeline.explain.show import found_lines
from tamis.pipeline.files.urls import as_url
from tamis.pipeline.progress import hushed
from tamis.pipeline.read.formats import block_calls
from tamis.pipeline.read.kept_types import settle_types
from tamis.pipeline.read.sources import SourceFile, find_files
from tamis.pipeline.recipe.plans import StepPlan
from tamis.pipeline.recipe.recipe import Recipe, Source
from tamis.pipeline.starting import run_recipe
from tamis.selectors.budget import AsFound, Budget, Fraction

ROWS, FILES = 4_000, 8  # of each source: 2 s to run through
LOOKED_AT = 8 << 20  # bytes of a text file by which its rows are reckoned


def first_look(recipe: Recipe, recipe_folder: Path, steps: list[StepPlan], makers: list[Maker]) -> list[str]:
    """Lines for `tamis plan`; none where nothing can be told cheaply."""
    mine = next((step.number for step in reversed(steps) if step.judges and step.budget is not None), None)
    heavy = any(maker.kind.heavy or maker.kind.joins_by_name for maker in makers)
    aside = recipe.reads_images or recipe.against or recipe.labels or any(":" in step.name for step in steps)
    far = any(as_url(path) for source in [*recipe.pool, *recipe.beside] for path in source.paths)
    if mine is None or not recipe.target or heavy or aside or far:
        return []
    with tempfile.TemporaryDirectory(prefix="tamis-plan-") as folder, hushed():
        place = Path(folder)
        try:
            whole = [_rows_of(source) for source in recipe.pool]
            part = [_write_part(source, place / f"part-{n}.jsonl") for n, source in enumerate(recipe.pool)]
            read, there = sum(part), sum(rows or 0 for rows in whole)
            share = read / there if all(whole) and read else None
            pool = [_as_part(source, place / f"part-{n}.jsonl") for n, source in enumerate(recipe.pool)]
            scaled = [_scaled(given, step, share) for given, step in zip(recipe.steps, steps, strict=True)][: mine + 1]
            more = {"name": "part", "pool": pool, "steps": scaled, "emit": [], "guard": None}
            outcome = run_recipe(recipe.model_copy(update=more), recipe_folder, place / "store")
        except (TamisError, OSError, pa.ArrowException) as error:
            return [f"found    can't be told from a part: {' '.join(str(error).split())}"]
        found = (outcome.manifest["steps"][mine]["facts"] or {}).get("found")
    lines = [line.replace("there are", "there would be") for line in found_lines(_of_whole(found, share))]
    if found and found.get("number", {}).get("none"):
        most = f", so at most {found['number']['high'] / share:,.0f} of all" if share else ""
        lines = [lines[0].replace("is there", f"is among the first {read:,} rows{most}")]
    told = f"judging by the first {read:,} rows" + (f" of about {there:,}" if share else "")
    name = steps[mine].name
    return [f"found    {name} {line}" for line in lines[:1]] + [f"         {line}" for line in [*lines[1:], told]]


def _of_whole(found: dict[str, Any] | None, share: float | None) -> dict[str, Any] | None:
    """Numbers of the part as numbers of all; without a share of which it is, none."""
    if not found or "number" not in found or found["number"]["none"]:
        return found
    if not share:
        return {name: value for name, value in found.items() if name not in ("number", "next")}
    times = 1 / min(1.0, share)
    number = {
        name: value * times if name in ("value", "low", "high", "of") else value
        for name, value in found["number"].items()
    }
    return {**found, "number": number, "next": {**found["next"], "of_kind": 0}}


def _scaled(given: dict[str, Any], step: StepPlan, share: float | None) -> dict[str, Any]:
    """The step with a budget for the part."""
    name, settings = next(iter(given.items()))
    if step.budget is None or isinstance(step.budget, Fraction | AsFound):
        return given
    assert isinstance(step.budget, Budget)
    budget = (settings or {})["budget"]
    part = min(1.0, share or 1.0)
    if not isinstance(budget, dict):
        return {name: {**settings, "budget": max(1, round(budget * part))}}
    unit = step.budget.unit
    amount = budget[unit] * part
    return {
        name: {**settings, "budget": {**budget, unit: amount if unit in ("minutes", "cost") else max(1, round(amount))}}
    }


def _rows_of(source: Source) -> int | None:
    """About how many rows a source has; None where that takes reading it."""
    files = [file for file in find_files(source) if not file.problem]
    if source.chunk:
        return None
    if source.format == "texts":
        return len(files)
    if source.format == "parquet":
        return sum(pq.read_metadata(file.path).num_rows for file in files)
    plain = all(Path(file.path).suffix in (".jsonl", ".json", ".ndjson", ".csv") for file in files)
    if source.format not in ("jsonl", "csv") or not plain:
        return None
    with Path(files[0].path).open("rb") as head:
        some = head.read(LOOKED_AT)
    return max(1, round(some.count(b"\n") * sum(file.size for file in files) / max(1, len(some))))


def _write_part(source: Source, path: Path) -> int:
    """The first rows as JSON lines under the pool's names; returns how many."""
    files = [file for file in find_files(source) if not file.problem]
    most = ROWS if source.format == "texts" else FILES
    some = files[:: max(1, len(files) // most)][:most]
    each = -(-ROWS // len(some))
    written = 0
    with path.open("w", encoding="utf-8") as out:
        for file in some:
            for row in islice(_rows(source, file), each):
                out.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
                written += 1
    return written


def _rows(source: Source, file: SourceFile) -> Iterator[dict[str, Any]]:
    types, _ = settle_types([source], [(0, [file])], None)
    for call in block_calls(source, [file], types):
        table: pa.Table = call().table
        for batch in table.to_batches(max_chunksize=1000):
            for row in batch.to_pylist():
                yield {name: value for name, value in row.items() if name != "position"}


def _as_part(source: Source, path: Path) -> Source:
    key = source.key or source.format == "texts"
    kept = {name: name for name in source.keep}
    told = {"path": [str(path)], "key": "key" if key else None, "text": "text", "keep": kept, "chunk": None}
    return source.model_copy(update={"format": "jsonl", **told})
