"""How what is new in a pool differs from what earlier runs of the recipe saw: a recipe with `against: kept` tells.

Shares kept, and the Kullback-Leibler divergence of the new shards from the earlier ones, in nats: over hashed n-grams
where a step reads them, and over each kept field of few values. 0 is alike; of a small new part it is never quite 0."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tamis.pipeline.columns.hashed import ngrams_maker
from tamis.pipeline.files.atomic import read_json, write_record
from tamis.pipeline.read.pool import Part, Pool, current_pool, leaves, records_of
from tamis.pipeline.schemas import POOL
from tamis.pipeline.store.runs import Run
from tamis.pipeline.store.set_aside import EARLIER, aside, earlier_runs
from tamis.selectors.match.importance_facts import divergence
from tamis.selectors.texts.ngrams import Ngrams

MOST_VALUES = 1000  # of a field; more are names, not kinds


def write_history(run: Run) -> None:
    """Write history.json of a run whose selection stands; nothing where no earlier run chose."""
    path = run.folder / "history.json"
    earlier = earlier_runs(run) if run.recipe.against == "kept" else []
    if not earlier:
        path.unlink(missing_ok=True)
        return
    new, old = new_and_known(run, earlier)
    chosen = pq.read_table(run.folder / "selection.parquet", columns=["sample_id"])["sample_id"].to_numpy()
    told: dict[str, Any] = {
        "earlier_runs": [folder.name for folder in earlier],
        "new_shards": len(new.parts),
        "new_rows": new.rows,
        "new_kept": _inside(new.parts, chosen),
        "earlier_rows": old.rows,
        "earlier_kept": int((aside(run)[1] == EARLIER).sum()),
        "kept_of_earlier": _inside(old.parts, chosen),
        "kl": _divergences(run, new.parts, old.parts) if new.rows and old.rows else {},
    }
    write_record(path, told)


def new_and_known(run: Run, earlier: Sequence[Path]) -> tuple[Pool, Pool]:
    """The run's pool as what came since these earlier runs, and what one of them saw, whatever was merged since."""
    read = leaves(records_of(run.store / "pool"))
    known = {leaf for folder in earlier for group in read_json(folder / "inputs.json")["pool"] for leaf in read[group]}
    new = [group for group in run.pool.groups if not read[group] <= known]
    old = [group for group in run.pool.groups if read[group] <= known]
    return current_pool(run.store / "pool", new), current_pool(run.store / "pool", old)


def lines(history: dict[str, Any]) -> list[str]:
    """For the terminal, the report and a flow run's page."""
    before = f"{_share(history['earlier_kept'], history['earlier_rows'])} kept of {history['earlier_rows']:,} before"
    if not history["new_rows"]:
        return [f"history: nothing new ({before})"]
    share = _share(history["new_kept"], history["new_rows"])
    said = [f"history: {history['new_rows']:,} new samples, {share} kept ({before})"]
    if history["kl"]:
        told = ", ".join(f"{name} {value:.3f}" for name, value in history["kl"].items())
        said.append(f"history: the new from the earlier, KL in nats: {told}")
    return said


def _share(some: int, whole: int) -> str:
    return f"{some / whole:.1%}" if whole else "none"


def _inside(parts: list[Part], ids: Any) -> int:
    mine = [pq.read_table(part.path, columns=["sample_id"])["sample_id"].to_numpy() for part in parts]
    return int(sum(np.isin(some, ids).sum() for some in mine))


def _divergences(run: Run, new: list[Part], old: list[Part]) -> dict[str, float]:
    found = {}
    ngrams = next((n for step in run.steps if (n := step.selector.inputs().ngrams) is not None), None)
    if ngrams is not None:
        folder = run.column(ngrams_maker(ngrams))
        found["n-grams"] = divergence(*(_buckets(folder, parts, ngrams) for parts in (new, old)))
    own = {name for source in run.recipe.pool for name in source.keep} - set(POOL.names)
    for name in sorted(own):
        counts = [_values(parts, name) for parts in (new, old)]
        names = sorted({*counts[0], *counts[1]})
        if 1 < len(names) <= MOST_VALUES:
            found[name] = divergence(*(np.array([one.get(n, 0) for n in names], np.int64) for one in counts))
    return {name: value for name, value in found.items() if value is not None}


def _buckets(folder: Path, parts: list[Part], ngrams: Ngrams) -> npt.NDArray[np.int64]:
    counts = np.zeros(ngrams.buckets, np.int64)
    for part in parts:
        for batch in pq.ParquetFile(folder / part.name).iter_batches(columns=["ngrams"]):
            values = np.frombuffer(b"".join(batch["ngrams"].to_pylist()), ngrams.dtype)
            counts += np.bincount(values, minlength=ngrams.buckets)
    return counts


def _values(parts: list[Part], name: str) -> dict[str, int]:
    counts: dict[str, int] = {}
    for part in parts:
        column = pq.read_table(part.path, columns=[name])[name]
        if pa.types.is_nested(column.type) or pa.types.is_floating(column.type):
            return {}
        for pair in column.value_counts().to_pylist():
            value = "" if pair["values"] is None else str(pair["values"])
            counts[value] = counts.get(value, 0) + pair["counts"]
    return counts
