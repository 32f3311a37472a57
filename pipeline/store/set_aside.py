"""Samples of the pool that no step may choose: those that `tamis forget` named, with `against: kept` those that earlier
runs of the recipe chose, with `hold_out` those whose content is of the target's held part, and copies of `judge:`.

Settled when a run reads its inputs, and recorded in its aside.parquet; the first step's ledger tells of each."""

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tamis.pipeline.files.atomic import fingerprint, read_json, write_parquet
from tamis.pipeline.files.sealed import sound
from tamis.pipeline.read.held_out import holds
from tamis.pipeline.read.pool import Pool
from tamis.pipeline.recipe.recipe import Recipe
from tamis.pipeline.store.current import kept_from_consumers
from tamis.pipeline.store.runs import Run

FORGOTTEN, EARLIER, HELD_OUT, JUDGE = "forgotten", "kept_earlier", "held_out", "of_the_judge"
SET_ASIDE = (FORGOTTEN, EARLIER, HELD_OUT, JUDGE)  # reasons in the ledger
ASIDE = pa.schema([pa.field("sample_id", pa.uint64(), nullable=False), pa.field("reason", pa.string(), nullable=False)])
NAMED = pa.schema([pa.field("key", pa.string(), nullable=False), pa.field("forgotten_at", pa.string(), nullable=False)])
Ids = npt.NDArray[np.uint64]
APART = ("name", "prices", "publish", "limits", "engine")  # of a recipe: they change no decision


def settle(run: Run, pool: Pool, held: Ids, judge: Ids) -> str:
    """Write what this run sets aside of the pool; returns what stands for it, `""` where there is nothing. `held`:
    contents that are held out; `judge`: those of the judge's texts."""
    reasons: dict[int, str] = {}
    for part in pool.parts if len(held) or len(judge) else ():
        for batch in pq.ParquetFile(part.path).iter_batches(columns=["sample_id", "content_hash"]):
            for contents, reason in ((judge, JUDGE), (held, HELD_OUT)):
                mine = batch["sample_id"].to_numpy()[holds(batch, contents)]
                reasons |= dict.fromkeys(mine.tolist(), reason)
    if run.recipe.against == "kept":
        for earlier in earlier_runs(run):
            ids = pq.read_table(earlier / "selection.parquet", columns=["sample_id"])["sample_id"].to_pylist()
            reasons |= dict.fromkeys(ids, EARLIER)
    named = forgotten_keys(run.store)
    if len(named):
        for part in pool.parts:
            table = pq.read_table(part.path, columns=["sample_id", "key"])
            mine = table.filter(pc.is_in(table["key"], value_set=named))
            reasons |= dict.fromkeys(mine["sample_id"].to_pylist(), FORGOTTEN)
    path = run.folder / "aside.parquet"
    if not reasons:
        path.unlink(missing_ok=True)
        return ""
    ids = sorted(reasons)
    write_parquet(path, pa.table([pa.array(ids, pa.uint64()), [reasons[i] for i in ids]], schema=ASIDE))
    return fingerprint([[f"{i:016x}", reasons[i]] for i in ids])


def aside(run: Run) -> tuple[Ids, npt.NDArray[Any]]:
    """Ids that are set aside, rising, and the reason of each."""
    path = run.folder / "aside.parquet"
    return _read(path, path.stat().st_mtime_ns) if path.exists() else (np.zeros(0, np.uint64), np.zeros(0, object))


@lru_cache(maxsize=4)
def _read(path: Path, _changed_ns: int) -> tuple[Ids, npt.NDArray[Any]]:
    table = pq.read_table(path)
    return table["sample_id"].to_numpy(), np.array(table["reason"].to_pylist(), object)


def reasons_of(run: Run, ids: Ids) -> list[str | None]:
    """[rows] why each is set aside; None: it is not."""
    known, reasons = aside(run)
    if not len(known):
        return [None] * len(ids)
    places = np.minimum(np.searchsorted(known, ids), len(known) - 1)
    there = (known[places] == ids).tolist()
    return [why if found else None for why, found in zip(reasons[places].tolist(), there, strict=True)]


def earlier_runs(run: Run) -> list[Path]:
    """Folders of the complete runs of this recipe, whatever their names, in the order of these; where it publishes,
    without those that were held or withdrawn, for nobody was given what they chose."""
    mine = _asked(run.folder)
    complete = sorted(path.parent for path in (run.store / "runs").glob("*/manifest.json"))
    apart = {run.name, *(kept_from_consumers(run.store) if run.recipe.publish else ())}
    return [folder for folder in complete if folder.name not in apart and _asked(folder) == mine]


def _asked(folder: Path) -> dict[str, Any]:
    recipe = Recipe.model_validate(read_json(folder / "request.json")["recipe"]).model_dump(mode="json")
    return {key: value for key, value in recipe.items() if key not in APART}


def forgotten_keys(store: Path) -> pa.Array:
    path = store / "forgotten.parquet"
    return pq.read_table(sound(path))["key"].combine_chunks() if path.exists() else pa.array([], pa.string())


def forget_keys(store: Path, keys: Iterable[str], now: str) -> list[str]:
    """Add keys to those that no run may choose; returns the new ones."""
    path = store / "forgotten.parquet"
    known = pq.read_table(sound(path)).to_pylist() if path.exists() else []
    new = sorted(set(keys) - {row["key"] for row in known})
    if new:
        rows = [*known, *({"key": key, "forgotten_at": now} for key in new)]
        write_parquet(path, pa.Table.from_pylist(rows, NAMED))
    return new
