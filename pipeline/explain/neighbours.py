"""Which samples of the target a sample is nearest to, by cosine: what an embedding can say when it is asked why."""

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tamis.pipeline.files.atomic import read_json
from tamis.pipeline.store.runs import Run
from tamis.selectors.vectors.columns import as_array


class Near(NamedTuple):
    """A sample of the target, and how near it is."""

    cosine: float
    key: str
    sample_id: int


def nearest_targets(run: Run, name: str, sample_id: int, count: int = 3) -> list[Near]:
    """The nearest target samples, best first; none where the sample has no vector. Runs no code of the user."""
    columns = {column["name"]: column for column in read_json(run.folder / "manifest.json")["columns"]}
    column = columns.get(name) or next((c for key, c in columns.items() if key.startswith(f"{name}.")), None)
    if column is None or run.target is None:
        return []
    value = column["name"].rpartition(".")[2]
    mine = _vector(run, column["folder"], value, sample_id)
    if mine is None:
        return []
    found: list[Near] = []
    for part in run.target.parts:
        path = run.stored(column["target_folder"]) / part.name
        if not path.exists():
            continue
        told = pq.read_table(part.path, columns=["key", "sample_id"])
        vectors, there = as_array(pq.read_table(path, columns=[value])[value])
        cosines = np.where(there, vectors @ mine, -np.inf)
        best = np.argsort(-cosines, kind="stable")[:count].tolist()
        some = [Near(float(cosines[i]), told["key"][i].as_py(), told["sample_id"][i].as_py()) for i in best]
        found = sorted([*found, *some], key=lambda near: (-near.cosine, near.key))[:count]
    return found


def _vector(run: Run, folder: str, value: str, sample_id: int) -> Any:
    for part in run.pool.parts:
        path = run.stored(folder) / part.name
        ids = pq.read_table(path, columns=["sample_id"])["sample_id"]
        row = pc.index(ids, pa.scalar(sample_id, pa.uint64())).as_py()
        if row >= 0:
            vectors, there = as_array(pq.read_table(path, columns=[value])[value].slice(row, 1))
            return vectors[0] if there[0] else None
    return None
