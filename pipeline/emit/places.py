"""Maps of kept and dropped samples in two dimensions, by a column of vectors: UMAP (McInnes, Healy and Melville, 2018)
where umap-learn is installed, else the two principal directions.

Of at most MOST kept and as many dropped samples, those with the smallest hashes. On principal directions what lies near
on the map lies near along two directions of many; the share of the spread that they hold is told beside it."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tamis.pipeline.choose.batches import side_by_side
from tamis.pipeline.choose.drawn import Drawn
from tamis.pipeline.progress import say
from tamis.pipeline.read.pool import Part
from tamis.pipeline.store.query import column_folders
from tamis.pipeline.store.runs import Run
from tamis.selectors.contract import Inputs
from tamis.selectors.vectors.columns import as_array

FEWEST = 30  # samples that UMAP is asked for
MOST = 1200  # samples on each side: a page of 100 KB


@dataclass(frozen=True)
class Axes:
    """The two principal directions of some samples' vectors, scaled so that 98% of them lie between 0 and 1."""

    column: str
    share: float  # of the spread
    middle: npt.NDArray[np.float64]  # [dim]
    directions: npt.NDArray[np.float64]  # [2, dim]
    low: npt.NDArray[np.float64]  # [2]
    high: npt.NDArray[np.float64]  # [2]
    kept: npt.NDArray[np.float64]  # [samples, dim] that they were learned from
    dropped: npt.NDArray[np.float64]

    def of(self, vectors: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """[rows, 2]"""
        return ((vectors - self.middle) @ self.directions.T - self.low) / np.maximum(self.high - self.low, 1e-9)


def map_of(run: Run, kept: npt.NDArray[np.uint64]) -> dict[str, Any] | None:
    """Column, share of the spread (None for UMAP), how many lie `beyond` the frame, and [points, 2] of both sides, from
    0 to 1; None without a column of vectors. `kept` are the selection's ids, sorted."""
    axes = axes_of(run, kept)
    if axes is None:
        return None
    every, share = np.concatenate([axes.kept, axes.dropped]), None
    flat = _umap(every)
    if flat is None:
        flat, share = axes.of(every), axes.share
    beyond = int(((flat < 0) | (flat > 1)).any(1).sum())
    points = np.clip(flat, 0, 1).tolist()
    sides = {"kept": points[: len(axes.kept)], "dropped": points[len(axes.kept) :]}
    return {"column": axes.column, "share": share, "beyond": beyond, **sides}


def axes_of(run: Run, kept: npt.NDArray[np.uint64]) -> Axes | None:
    """None where the run has no column of vectors, or they hold fewer than two directions."""
    column = _column(run)
    if column is None:
        return None
    drawn = {True: Drawn(MOST, "map"), False: Drawn(MOST, "map")}
    for part in run.pool.parts:
        for batch in side_by_side(run, part, Inputs(fields=(column,)), of_target=False):
            vectors, there = as_array(batch[column])
            ids = batch["sample_id"].to_numpy()
            chosen = np.isin(ids, kept, assume_unique=True)
            for side, held in drawn.items():
                held.add(ids[there & (chosen == side)], vectors[there & (chosen == side)].astype(np.float16))
    found = {side: held.rows() for side, held in drawn.items()}
    sides = {side: rows[1].astype(np.float64) for side, rows in found.items() if rows}
    every = np.concatenate(list(sides.values())) if sides else np.zeros((0, 1))
    if len(every) < 3 or every.shape[1] < 2:
        return None
    middle = every.mean(0)
    _, sizes, directions = np.linalg.svd(every - middle, full_matrices=False)
    if sizes[1] <= 1e-9:
        return None
    low, high = np.percentile((every - middle) @ directions[:2].T, [1, 99], axis=0)
    share = float((sizes[:2] ** 2).sum() / (sizes**2).sum())
    return Axes(column, share, middle, directions[:2], low, high, sides[True], sides[False])


def placed(run: Run, part: Part, axes: Axes) -> npt.NDArray[np.float32]:
    """[rows of the shard, 2]; NaN where there is no vector."""
    found = []
    for batch in side_by_side(run, part, Inputs(fields=(axes.column,)), of_target=False):
        vectors, there = as_array(batch[axes.column])
        places = axes.of(vectors).astype(np.float32)
        places[~there] = np.nan
        found.append(places)
    return np.concatenate(found)


def _umap(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64] | None:
    """[rows, 2] from 0 to 1, the same ones every time; None where umap-learn is not there, or for very few."""
    if len(vectors) < FEWEST:
        return None
    try:
        from umap import UMAP
    except ImportError:
        return None
    say(f"map: UMAP of {len(vectors):,} samples")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a seed means one thread
        flat = UMAP(metric="cosine", random_state=0).fit_transform(vectors.astype(np.float32))
    low, high = flat.min(0), flat.max(0)
    return np.asarray((flat - low) / np.maximum(high - low, 1e-9), np.float64)


def _column(run: Run) -> str | None:
    """The run's column with the most numbers a vector, the first of equals."""
    sizes: dict[str, int] = {}
    for maker in run.declared:
        folder = column_folders(run).get(maker.name)
        if maker.output.vectors and folder is not None:
            kind = pq.read_schema(folder / run.pool.parts[0].name).field(1).type
            if pa.types.is_fixed_size_list(kind):
                sizes[maker.name] = kind.list_size
    return max(sizes, key=lambda name: sizes[name], default=None)
