"""Proposed objects of chosen samples, read back from their column: for exports and the report."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tamis.pipeline.columns.declared import Maker
from tamis.pipeline.store.runs import Run

SHOWN = ("box", "class", "confidence")


def objects_column(run: Run) -> Maker | None:
    """The column of objects that the last step with one looks at, else the recipe's first."""
    known = {f"{maker.name}_count": maker for maker in run.declared if maker.output.way == "objects"}
    for step in reversed(run.steps):
        if (counted := step.selector.objects_field) in known:
            return known[counted]
    return next(iter(known.values()), None)


def objects_of(run: Run, maker: Maker, ids: Iterable[int]) -> dict[int, list[dict[str, Any]]]:
    """Box, class and confidence of each object of these samples; their features are not read."""
    wanted = np.fromiter(ids, np.uint64)
    fields = [f"{maker.value}.list.element.{name}" for name in SHOWN]
    found: dict[int, list[dict[str, Any]]] = {}
    for part in run.pool.parts:
        file = pq.ParquetFile(run.column(maker) / part.name)
        for batch in file.iter_batches(columns=["sample_id", *fields], batch_size=4096):
            some = batch.filter(pa.array(np.isin(batch["sample_id"].to_numpy(), wanted)))
            pairs = zip(some["sample_id"].to_pylist(), some[maker.value].to_pylist(), strict=True)
            found |= {sample_id: objects or [] for sample_id, objects in pairs}
    return found


def classes_of(run: Run, maker: Maker) -> list[str]:
    """The detector's classes in its order, where the recipe or its file names them; else all that were proposed, by
    name."""
    named = list(maker.kind.classes_of(maker.folder) or maker.kind.class_numbers(maker.folder))
    seen: set[str] = set()
    for part in run.pool.parts:
        file = pq.ParquetFile(run.column(maker) / part.name)
        for batch in file.iter_batches(columns=[f"{maker.value}.list.element.class"]):
            seen |= set(pa.compute.unique(batch[maker.value].flatten().field("class")).to_pylist())
    return named if seen <= set(named) else sorted(seen)
