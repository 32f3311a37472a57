"""What a part of a pool tells of a run before it is made: what of the target's kind is found, and how long it takes.

The first rows of files of each source, spread over all of them, are run through the recipe's steps aside, in
a store that is gone afterwards; budgets are scaled to the part. Only where that costs seconds: texts and folders of
images that lie here, and columns that no model makes."""

import gzip
import json
import math
import os
import tempfile
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from tamis.pipeline.columns.declared import Maker
from tamis.pipeline.errors import TamisError
from tamis.pipeline.explain.show import found_lines
from tamis.pipeline.files.urls import as_url
from tamis.pipeline.progress import hushed
from tamis.pipeline.read.formats import block_calls
from tamis.pipeline.read.kept_types import settle_types
from tamis.pipeline.read.sources import IMAGE_SUFFIXES, SourceFile, find_files
from tamis.pipeline.recipe.plans import StepPlan
from tamis.pipeline.recipe.recipe import Recipe
from tamis.pipeline.recipe.source import Source
from tamis.pipeline.starting import run_recipe
from tamis.selectors.budget import AsFound, Budget, Fraction

ROWS, FILES = 16_000, 40  # of each source: some seconds to run through
FEW = 24_000  # rows of a pool that is run through whole, and once
TIMES = 16  # as long as a text an image takes, about
MOST_BYTES = 32 << 20  # of a source's part
FIRST = 4  # two runs over as small a share of these rows come before: one loads what runs need, one is like the third
PLAIN = (".jsonl", ".json", ".ndjson", ".csv")
LOOKED_AT = 2 << 20  # bytes of a text file by which its rows are reckoned
START_S = 1.0  # of a process, before its first stage


class Look(NamedTuple):
    """What a part tells: lines on what would be found, and the seconds of the whole, or why they are unknown."""

    found: list[str]
    seconds: float | None = None
    of: str = ""  # what they were measured on
    unknown: str = ""


class PartRun(NamedTuple):
    """A run over the first rows of each source: how many, of about how many (0: not known), and its manifest."""

    rows: int
    there: int
    manifest: dict[str, Any]

    @property
    def share(self) -> float | None:
        return self.rows / self.there if self.there and self.rows else None

    @property
    def stages(self) -> dict[str, tuple[float, int]]:
        """Seconds of each stage, and the rows that it worked on; none where it has none of its own, as in trainings."""
        return {stage["stage"]: (stage["wall_s"], stage["rows"]) for stage in self.manifest["costs"]}

    @property
    def seconds(self) -> float:
        return sum(seconds for seconds, _ in self.stages.values())


def first_look(recipe: Recipe, recipe_folder: Path, steps: list[StepPlan], makers: list[Maker]) -> Look:
    """What a part of the pool tells of a run, where that is told cheaply."""
    if unknown := _not_cheap(recipe, steps, makers):
        return Look([], unknown=unknown)
    mine = next((step.number for step in reversed(steps) if step.judges and step.budget is not None), None)
    with tempfile.TemporaryDirectory(prefix="tamis-plan-") as folder, hushed():
        try:
            there = _rows_there(recipe)
            most, few = (ROWS // TIMES, FEW // TIMES) if recipe.reads_images else (ROWS, FEW)
            sizes = [2 * there] if 0 < there <= few else [most // FIRST, most // FIRST, most]
            runs = [
                _part_run(recipe, recipe_folder, steps, rows, there, Path(folder) / str(n))
                for n, rows in enumerate(sizes)
            ]
        except (TamisError, OSError, pa.ArrowException) as error:
            told = " ".join(str(error).split())
            lines = [] if mine is None else [f"found    can't be told from a part: {told}"]
            return Look(lines, unknown=f"a part of it can't be run: {told}")
    part = runs[-1]
    found = None if mine is None else (part.manifest["steps"][mine]["facts"] or {}).get("found")
    lines = [] if mine is None else _found(found, part, steps[mine].name)
    if not part.there:
        return Look(lines, unknown="how many rows there are is not known before they are read")
    of = f"measured on the first {part.rows:,} rows of about {part.there:,}"
    if len(runs) == 1:
        return Look(lines, START_S + part.seconds, "measured by a run aside" if part.rows >= part.there else of)
    return Look(lines, START_S + _reckoned(*runs), of)


def _reckoned(cold: PartRun, first: PartRun, part: PartRun) -> float:
    """Seconds over all rows: what a first run takes to load, and of each stage its line through two sizes. A stage
    without rows of its own (a fit, a training) looks at a bounded sample, so it counts as in the larger part."""
    seconds = cold.seconds - first.seconds
    for stage, (took, rows) in part.stages.items():
        before = first.stages.get(stage, (0.0, 0))[0]
        slope = max(0.0, took - before) / max(1, part.rows - first.rows)
        seconds += before + slope * (part.there - first.rows) if rows else took
    return max(seconds, part.seconds)


def _not_cheap(recipe: Recipe, steps: list[StepPlan], makers: list[Maker]) -> str:
    """Why a part is not run aside; empty where it is."""
    heavy = [maker.name for maker in makers if maker.kind.heavy or maker.kind.joins_by_name]
    if heavy:
        return f"column {heavy[0]} is made by a model, and no run of this store has made it"
    if recipe.reads_images and any(source.format != "images" for source in recipe.pool):
        return "no run of this store has read these images; the first shard's line says how many a second"
    if recipe.against or recipe.labels:
        return "it depends on earlier runs or on labels, and there is no earlier run"
    if own := [step.name for step in steps if ":" in step.name]:
        return f"step {own[0]} is code of your own, and no run of this store has run it"
    if any(as_url(path) for source in [*recipe.pool, *recipe.beside] for path in source.paths):
        return "sources lie elsewhere, and no run of this store has read them"
    return ""


def _rows_there(recipe: Recipe) -> int:
    """About how many rows the pool's files have; 0 where that takes reading them."""
    whole = [sum(_rows_of(source, files) or [0]) for source in recipe.pool if (files := _files(source))]
    return round(sum(whole)) if all(whole) else 0


def _part_run(
    recipe: Recipe, recipe_folder: Path, steps: list[StepPlan], rows: int, there: int, place: Path
) -> PartRun:
    """Raises TamisError."""
    place.mkdir()
    parts = [_part_of(source, place / f"part-{n}", rows) for n, source in enumerate(recipe.pool)]
    pool, read = [source for source, _ in parts], sum(taken for _, taken in parts)
    there = max(there, read) if there else 0
    share = read / there if there and read else None
    scaled = [_scaled(given, step, share) for given, step in zip(recipe.steps, steps, strict=True)]
    more = {"name": "part", "pool": pool, "steps": scaled, "emit": [], "guard": None, "publish": None, "limits": None}
    outcome = run_recipe(recipe.model_copy(update=more), recipe_folder, place / "store")
    return PartRun(read, there, outcome.manifest)


def _found(found: dict[str, Any] | None, part: PartRun, name: str) -> list[str]:
    """Lines on how much of the target's kind a step will find; none where it tells nothing of that."""
    if not found:
        return []
    lines = [line.replace("there are", "there would be") for line in found_lines(_of_whole(found, part.share))]
    if found.get("number", {}).get("none"):
        most = f", so at most {found['number']['high'] / part.share:,.0f} of all" if part.share else ""
        lines = [lines[0].replace("is there", f"is among the first {part.rows:,} rows{most}")]
    told = f"judging by the first {part.rows:,} rows" + (f" of about {part.there:,}" if part.share else "")
    told = f"judging by all {part.rows:,} rows" if part.rows == part.there else told
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


def _files(source: Source) -> list[SourceFile]:
    return [file for file in find_files(source) if not file.problem]


def _rows_of(source: Source, files: list[SourceFile]) -> list[float] | None:
    """About how many rows each file has; None where that takes reading it. Chunks are cut later."""
    if source.format in ("texts", "images"):
        return [float(source.format == "texts" or _is_image(file)) for file in files]
    if source.format == "parquet":
        return [float(pq.read_metadata(file.path).num_rows) for file in files]
    endings = [Path(file.path).suffix for file in files]
    if source.format not in ("jsonl", "csv") or not all(ending in (*PLAIN, ".gz") for ending in endings):
        return None
    looked = {file.path: _looked_at(Path(file.path)) for file in _spread(files, FILES)}
    bytes_, lines = (sum(of) for of in zip(*looked.values(), strict=True))
    return [file.size * _ratio(*looked.get(file.path, (bytes_, lines))) for file in files]


def _ratio(looked: int, lines: int) -> float:
    """Rows a byte."""
    return max(1, lines) / max(1, looked)


def _spread(files: list[SourceFile], most: int) -> list[SourceFile]:
    """As many of the files, from the first to the last."""
    many = min(most, len(files))
    return [files[place * len(files) // many] for place in range(many)]


def _looked_at(path: Path) -> tuple[int, int]:
    """Bytes of a text file, as it lies there, that were looked at, and the lines in them."""
    with path.open("rb") as held:
        if path.suffix != ".gz":
            some = held.read(LOOKED_AT)
            return len(some), some.count(b"\n")
        try:
            with gzip.GzipFile(fileobj=held) as packed:
                lines = packed.read(LOOKED_AT).count(b"\n")
                return held.tell(), lines
        except (OSError, EOFError, zlib.error):
            return 0, 0


def _part_of(source: Source, place: Path, rows: int) -> tuple[Source, int]:
    """A source of a part of it, below `place`, and how many rows that has."""
    if source.format == "images":
        return source.model_copy(update={"path": [str(place)], "follow_links": True}), _link_part(source, place, rows)
    file = place.with_suffix(".jsonl")
    return _as_part(source, file), _write_part(source, file, rows)


def _is_image(file: SourceFile) -> bool:
    return file.path.lower().endswith(IMAGE_SUFFIXES)


def _link_part(source: Source, place: Path, rows: int) -> int:
    """Links to some of its images, and to what lies beside them under their names; returns how many images."""
    files = _files(source)
    some = _spread([file for file in files if _is_image(file)], rows)
    stems = {os.path.splitext(file.path)[0] for file in some}
    for file in files:
        if os.path.splitext(file.path)[0] in stems:
            link = place / os.path.relpath(file.path, file.root)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file.path)
    return len(some)


def _write_part(source: Source, path: Path, rows: int) -> int:
    """The first rows of some files as JSON lines under the pool's names, at most MOST_BYTES; returns how many. Each
    file gives its share, so that texts are as long, and sources as mixed, as in all of them."""
    files = _files(source)
    some = _spread(files, rows if source.format == "texts" else FILES)
    there = _rows_of(source, some) or [1.0] * len(some)
    written = 0
    with path.open("wb") as out:
        for file, its in zip(some, there, strict=True):
            begins, share = out.tell(), its / sum(there)
            for row in islice(_rows(source.model_copy(update={"chunk": None}), file), math.ceil(rows * share)):
                out.write(json.dumps(row, ensure_ascii=False, default=str).encode() + b"\n")
                written += 1
                if out.tell() - begins > MOST_BYTES * share:
                    break
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
    told = {"path": [str(path)], "key": "key" if key else None, "text": "text", "keep": kept}
    return source.model_copy(update={"format": "jsonl", **told})
