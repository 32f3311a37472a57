"""What a run would do: rows and bytes to read, what is reused, and how long earlier runs of this store took."""

from pathlib import Path

import pyarrow.parquet as pq

from tamis.pipeline.atomic import read_json
from tamis.pipeline.columns import Maker, check_judges, declared_makers, ngrams_maker
from tamis.pipeline.database import check_where
from tamis.pipeline.plans import resolve_steps
from tamis.pipeline.recipe import IMAGE_FORMATS, Recipe, Source, emitted
from tamis.pipeline.sources import SourceFile, find_files
from tamis.selectors.contract import inputs_of


def forecast(recipe: Recipe, recipe_folder: Path, store: Path | None, allow_code: bool) -> str:
    """Lines for `tamis plan`. Reads no data: sizes, records and manifests alone."""
    steps = resolve_steps(recipe, recipe_folder, allow_code)
    for step in steps:
        if step.where is not None:
            check_where(step.where)
    declared = declared_makers(recipe, recipe_folder, allow_code)
    check_judges(declared, recipe.kept, bool(recipe.target))
    lines = [f"recipe   {recipe.name}, seed {recipe.seed}"]
    pool_bytes = 0
    for what, sources, _folder in (("pool", recipe.pool, "pool"), ("target", recipe.target, None)):
        for number, source in enumerate(sources):
            files = find_files(source)
            size = sum(file.size for file in files)
            line = f"{what:<8} {source.format}: {len(files):,} files, {size / 1e6:,.1f} MB"
            if what == "pool":
                pool_bytes += size
                known = _read_already(store, number, files) if store else 0
                line += f"; {known:,} already in the store" if known else ""
            lines.append(line + _fields(source))
    for step in steps:
        if (ngrams := inputs_of(step.selector).ngrams) is not None:
            declared.append(ngrams_maker(ngrams))
    once = {maker.fingerprint: maker for maker in declared}
    lines += [f"column   {maker.name}: {_column_state(store, maker)}" for maker in once.values()]
    for step in steps:
        scope = f" where {step.where}" if step.where else ""
        lines.append(f"step {step.number}   {step.name}: {step.budget or 'no budget: keeps or drops by rule'}{scope}")
    lines.append(f"emit     {', '.join(emitted(entry)[0] for entry in recipe.emit) or 'selection.parquet alone'}")
    lines.append(f"time     {_time(store, recipe, pool_bytes)}")
    return "\n".join(lines)


def _fields(source: Source) -> str:
    kept = f", keeps {', '.join(source.keep)}" if source.keep else ""
    by_path = source.format in ("texts", *IMAGE_FORMATS)
    return f" (key: {source.key or ('path' if by_path else 'content hash')}{kept})"


def _read_already(store: Path, number: int, files: list[SourceFile]) -> int:
    records = [read_json(path) for path in (store / "pool" / ".groups").glob("*.json")]
    known = [file for record in records if record["origin"] == number for file in record["files"]]
    return sum(file.record() in known for file in files)


def _column_state(store: Path | None, maker: Maker) -> str:
    column, _, output = maker.name.partition(".")
    learns = maker.judge is not None and maker.judge.learns
    for found in sorted((store / "columns").glob(f"{column}*")) if store else []:
        folder = found / output
        record = folder / "column.json"
        known = read_json(record) if record.exists() else {}
        asked = known.get("learned_from", {}).get("asked") if learns else known.get("fingerprint")
        if asked == maker.fingerprint:
            parts = list(folder.glob("part-*.parquet"))
            made = f"{len(parts):,} shards made ({sum(pq.read_metadata(p).num_rows for p in parts):,} rows), reused"
            return made + (" where what it learned from is unchanged" if learns else "")
    return "to be trained and made" if learns else "to be made"


def _time(store: Path | None, recipe: Recipe, pool_bytes: int) -> str:
    """Seconds of an earlier run of this store with as many steps."""
    paths = sorted((store / "runs").glob("*/manifest.json")) if store else []
    same = [m for m in map(read_json, paths) if len(m["steps"]) == len(recipe.steps)]
    if not same and recipe.reads_images:
        return "no earlier run to judge by; the first shard's line says how many images a second"
    if not same:
        return (
            f"no earlier run to judge by; on 2 cores about {max(2, pool_bytes / 60e6):,.0f} s (60 MB/s of JSON lines)"
        )
    last = same[-1]
    return f"run {last['run']!r} took {sum(last['seconds'].values()):.1f} s for {last['pool']['samples']:,} samples"
