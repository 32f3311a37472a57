"""The manifest: what went in, what was asked, what came out, with digests. Written last; then the run is complete.

`verify` holds the store against it: every file's digest, and every count against every other."""

import platform
import socket
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tamis.pipeline.columns.declared import Maker
from tamis.pipeline.errors import DamageFound
from tamis.pipeline.files.atomic import (
    digest_file,
    digest_of,
    fingerprint,
    json_bytes,
    read_json,
    write_parquet,
    write_record,
)
from tamis.pipeline.files.sealed import seal_of
from tamis.pipeline.read.pool import Pool, reject_batches
from tamis.pipeline.schemas import REJECTS
from tamis.pipeline.store.costs import COSTS, by_stage, money, noted
from tamis.pipeline.store.learned import answered_by_ledger, model_path
from tamis.pipeline.store.runs import Run, open_run, stays
from tamis.pipeline.store.set_aside import aside

EVENLY = 1 << 16  # rejects that are compared at once
PACKAGES = ("tamis", "numpy", "numba", "pyarrow", "duckdb", "pydantic", "prefect")


def write_manifest(folder: Path) -> Path:
    run = open_run(folder)
    costs = noted(folder)
    stages = by_stage(costs)
    write_parquet(folder / "costs.parquet", pa.Table.from_pylist(costs, COSTS))
    manifest = {
        "run": run.name,
        "recipe": run.recipe.model_dump(exclude_defaults=True),
        "seed": run.recipe.seed,
        "pool": _pool(run.pool),
        "target": _pool(run.beside) if run.beside else None,
        "held": _pool(run.held.beside) if run.held and run.held.beside else None,
        "columns": [
            {
                "name": maker.name,
                "folder": str(run.column(maker).relative_to(run.store)),
                **maker.settings,
                "parts": {part.name: digest_of(run.column(maker) / part.name) for part in run.pool.parts},
                **(_of_target(run, maker, run.beside) if run.beside and maker.of_target else {}),
            }
            for maker in run.makers
        ],
        "steps": [run.summary(step.number) for step in run.steps],
        "models": {str(path.relative_to(run.store)): digest_of(path) for path in _models(run)},
        "history": run.history,
        "vanishing": run.vanishing,
        "selected": pq.read_metadata(folder / "selection.parquet").num_rows,
        "files": {str(path.relative_to(folder)): _file(path) for path in outputs(run)},
        "versions": versions(),
        "python": platform.python_version(),
        "host": socket.gethostname(),
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": {row["stage"]: row["wall_s"] for row in stages},
        "peak_bytes": max((row["peak_bytes"] for row in stages), default=0) or None,
        "costs": stages,
        "money": money(stages, run.recipe.prices),
    }
    write_record(folder / "manifest.json", manifest)
    return folder / "manifest.json"


def _models(run: Run) -> list[Path]:
    """Files of what the run's steps and columns learned."""
    fitted = [model_path(run, step.number) for step in run.steps]
    learned = [run.learned(maker) for maker in run.makers if maker.kind.learns]
    inside = [path for folder in learned for path in sorted(folder.rglob("*")) if path.is_file()]
    return sorted({*fitted, *(path for path in inside if not path.name.startswith("."))})


def _of_target(run: Run, maker: Maker, target: Pool) -> dict[str, Any]:
    folder = run.column(maker, of_target=True)
    return {
        "target_folder": str(folder.relative_to(run.store)),
        "target_parts": {part.name: digest_of(folder / part.name) for part in target.parts},
    }


def versions() -> dict[str, str | None]:
    """Of what a run's results depend on; None where it is not installed."""
    return {name: _version(name) for name in PACKAGES}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _pool(pool: Pool) -> dict[str, Any]:
    return {
        "groups": pool.groups,
        "records": {path.name: digest_of(path) for path in pool.records},
        "rows": pool.source_rows,
        "samples": pool.rows,
        "rejects": dict(sorted(pool.rejects.items())),
        "parts": {part.name: {"rows": part.rows, "digest": part.digest} for part in pool.parts},
    }


def _file(path: Path) -> dict[str, Any]:
    known = seal_of(path)
    size = known.size if known else path.stat().st_size
    return {"bytes": size, "digest": digest_of(path)}


def outputs(run: Run) -> list[Path]:
    """All files that the run wrote for its users, the manifest apart."""
    ledger = sorted((run.folder / "ledger").rglob("*.parquet"))
    exports = sorted(path for path in (run.folder / "exports").rglob("*") if path.is_file() and path.name[0] != ".")
    apart = [path for name in ("aside.parquet", "history.json", "groups.json") if (path := run.folder / name).exists()]
    names = ("request.json", "inputs.json", "selection.parquet", "report.html", "costs.parquet")
    steps = [run.step_record(step) for step in range(len(run.recipe.steps))]
    steps += [path for step in range(len(run.recipe.steps)) if (path := run.spikes(step)).exists()]
    return [*apart, *ledger, *steps, *exports, *(run.folder / name for name in names)]


def verify(run: Run) -> list[str]:
    """Everything that is not as the manifest says, one line each; nothing: all is well."""
    try:
        manifest = read_json(run.folder / "manifest.json")
    except DamageFound as error:
        return [str(error)]
    if not _is_as_written(run.folder / "manifest.json", manifest):
        return [f"{run.folder / 'manifest.json'}: not the bytes that the run wrote"]
    damage: list[str] = []
    if run.thinned:
        return _of_thinned(run, manifest)
    spare = answered_by_ledger(run)
    for name, digest in manifest.get("models", {}).items():
        if (path := run.stored(name)).exists() or path not in spare:
            damage += _changed(path, digest)
    for name, record in manifest["files"].items():
        damage += _changed(run.stored(f"runs/{run.name}/{name}"), record["digest"])
    pools = [(run.store / "pool", manifest["pool"])]
    if manifest["target"]:
        pools.append((run.target_folder, manifest["target"]))
    if manifest.get("held") and run.held:
        pools.append((run.held.target_folder, manifest["held"]))
    for folder, record in pools:
        for name, part in record["parts"].items():
            damage += _changed(run.stored(f"{folder.relative_to(run.store)}/{name}"), part["digest"])
        for name, digest in record.get("records", {}).items():
            damage += _changed(run.stored(f"{folder.relative_to(run.store)}/.groups/{name}"), digest)
        if record["rows"] != record["samples"] + sum(record["rejects"].values()):
            damage.append(f"{folder}: {record['rows']} rows are not samples + rejects")
        damage += _rejects_differ(folder, record)
    for column in manifest["columns"]:
        for name, digest in column["parts"].items():
            damage += _changed(run.stored(f"{column['folder']}/{name}"), digest)
        for name, digest in column.get("target_parts", {}).items():
            damage += _changed(run.stored(f"{column['target_folder']}/{name}"), digest)
    if not damage:  # counting in damaged files would only fail less clearly
        damage += _sums_differ(run, manifest)
    return damage


def _of_thinned(run: Run, manifest: dict[str, Any]) -> list[str]:
    """What stands of it is as it was written, and what each step counted adds up."""
    damage = []
    for name, record in manifest["files"].items():
        if stays(name):
            damage += _changed(run.stored(f"runs/{run.name}/{name}"), record["digest"])
    expected = manifest["pool"]["samples"]
    for step in manifest["steps"]:
        if (step["candidates"], step["kept"] + step["dropped"]) != (expected, expected):
            damage.append(
                f"step {step['step']} ({step['selector']}): its counts are not those of {expected} candidates"
            )
        expected = step["kept"]
    if manifest["steps"] and expected != manifest["selected"]:
        damage.append(f"selection: {manifest['selected']} rows, the last step kept {expected}")
    return damage


def _is_as_written(path: Path, manifest: dict[str, Any]) -> bool:
    """Of an older version's, which says a digest of its own, or none."""
    if "digest" not in manifest:
        return True
    told = {name: value for name, value in manifest.items() if name != "digest"}
    return manifest["digest"] == fingerprint(told) and path.read_bytes() == json_bytes(manifest)


def _changed(path: Path, digest: str) -> list[str]:
    if not path.exists():
        return [f"{path}: missing"]
    return [] if digest_file(path) == digest else [f"{path}: not the bytes that the run wrote"]


def _rejects_differ(folder: Path, record: dict[str, Any]) -> list[str]:
    """The file of all rejects is written anew by later runs: what it holds is compared, not its bytes."""
    path = folder / "rejects.parquet"
    if not path.exists():
        return [f"{path}: missing"]
    try:
        found: Counter[str] = Counter()
        groups = pa.array(record["groups"], pa.int32())
        mine = (batch.filter(pc.is_in(batch["part_group"], groups)) for batch in pq.ParquetFile(path).iter_batches())
        same = True
        for some, others in zip_longest(_evenly(mine), _evenly(reject_batches(folder, record["groups"]))):
            same = same and some is not None and others is not None and some.equals(others)
            found.update(some["reason"].to_pylist() if some is not None else ())
    except Exception as error:  # noqa: BLE001  damage has many faces; each is reported, none raised
        return [f"{path}: can't be read ({error})"]
    return [] if same and dict(found) == record["rejects"] else [f"{path}: rejects differ from what the run saw"]


def _evenly(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """The rows in tables of EVENLY, the last one shorter."""
    held = REJECTS.empty_table()
    for batch in batches:
        held = pa.concat_tables([held, pa.table(batch).cast(REJECTS)]).combine_chunks()
        while len(held) >= EVENLY:
            yield held.slice(0, EVENLY)
            held = held.slice(EVENLY)
    if len(held):
        yield held


def _sums_differ(run: Run, manifest: dict[str, Any]) -> list[str]:
    """Each step's candidates are what the step before kept, and each has one ledger row."""
    damage = []
    expected = manifest["pool"]["samples"] - (0 if manifest["steps"] else len(aside(run)[0]))
    for step in manifest["steps"]:
        files = sorted(run.ledger(step["step"]).glob("*.parquet"))
        rows = sum(pq.read_metadata(path).num_rows for path in files)
        kept = sum(int(pq.read_table(path, columns=["kept"])["kept"].to_numpy().sum()) for path in files)
        place = f"step {step['step']} ({step['selector']})"
        if rows != expected or step["candidates"] != expected:
            damage.append(f"{place}: {rows} ledger rows for {expected} candidates")
        if kept != step["kept"] or rows - kept != step["dropped"]:
            damage.append(
                f"{place}: {kept} kept + {rows - kept} dropped are not the {step['kept']} + {step['dropped']} recorded"
            )
        expected = kept
    if expected != manifest["selected"]:
        damage.append(f"selection: {manifest['selected']} rows, the last step kept {expected}")
    return damage
