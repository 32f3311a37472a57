"""Empirical distribution of a column, whole or within each group: what share of the candidates lies below a value."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tamis.selectors.chance import uniform
from tamis.selectors.contract import Batches, Floats
from tamis.selectors.rows import as_floats

MOST = 1 << 20  # values held a group: beyond twice as many a sample of so many, whose shares are right to 0.001
ALL = ""  # the one group where none are asked for


def numbers_of(batch: pa.RecordBatch, name: str) -> Floats:
    """[rows] float64 of a column of numbers or booleans; NaN where it is null. Raises ValueError for other types."""
    column = batch[name]
    try:
        whole = pc.cast(column, pa.uint8()) if pa.types.is_boolean(column.type) else as_floats(column)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(f"{name!r} holds no numbers ({error})") from error
    return np.asarray(pc.cast(whole, pa.float64()).to_numpy(zero_copy_only=False), np.float64)


def groups_of(batch: pa.RecordBatch, by: str | None) -> npt.NDArray[np.object_]:
    """[rows] the group's name as text; null is a group, too."""
    if by is None:
        return np.full(batch.num_rows, ALL, object)
    return np.array(pc.fill_null(pc.cast(batch[by], pa.string()), "null").to_pylist(), object)


def sorted_values(batches: Batches, column: str, by: str | None) -> tuple[list[str], Floats, npt.NDArray[np.int64]]:
    """Groups in order, the finite values of each sorted one after another, and where each ends."""
    held: dict[str, _Held] = {}
    for batch in batches:
        values, groups = numbers_of(batch, column), groups_of(batch, by)
        chances = uniform(batch["sample_id"].to_numpy(), 0, 0, "quantiles")
        for group, mine in _rows_by_group(groups, np.isfinite(values)):
            held.setdefault(group, _Held()).add(values[mine], chances[mine])
    names = sorted(held)
    each = [held[name].sorted() for name in names]
    ends = np.cumsum([len(values) for values in each]).astype(np.int64)
    return names, np.concatenate([np.empty(0), *each]), ends


def sorted_columns(batches: Batches, columns: Sequence[str]) -> tuple[Floats, npt.NDArray[np.int64], Floats, Floats]:
    """The finite values of each column sorted, one column after another, and where each ends; means and standard
    deviations [columns]. In one pass."""
    held = [_Held() for _ in columns]
    sums = np.zeros((3, len(columns)))  # count, mean, sum of squared distances to it
    for batch in batches:
        chances = uniform(batch["sample_id"].to_numpy(), 0, 0, "quantiles")
        for number, column in enumerate(columns):
            values = numbers_of(batch, column)
            mine = np.isfinite(values)
            held[number].add(values[mine], chances[mine])
            if mine.any():
                count, mean, squares = sums[:, number].tolist()
                sums[:, number] = _merged(count, mean, squares, values[mine])
    each = [one.sorted() if one.values else np.empty(0) for one in held]
    ends = np.cumsum([len(values) for values in each]).astype(np.int64)
    return np.concatenate(each), ends, sums[1], np.sqrt(sums[2] / np.maximum(sums[0], 1))


def _merged(count: float, mean: float, squares: float, values: Floats) -> tuple[float, float, float]:
    """Count, mean and sum of squared distances with these values, too (Chan, Golub, LeVeque 1979)."""
    more, theirs = len(values), float(values.mean())
    apart, whole = theirs - mean, count + more
    squares += float(((values - theirs) ** 2).sum()) + apart**2 * count * more / whole
    return whole, mean + apart * more / whole, squares


class _Held:
    """Values of one group: all of them, or beyond twice MOST a simple random sample by a hash of their ids."""

    def __init__(self) -> None:
        self.values: list[Floats] = []
        self.chances: list[Floats] = []
        self.rows, self.limit = 0, 1.0

    def add(self, values: Floats, chances: Floats) -> None:
        mine = chances <= self.limit
        self.values.append(values[mine])
        self.chances.append(chances[mine])
        self.rows += int(mine.sum())
        if self.rows > 2 * MOST:
            chances = np.concatenate(self.chances)
            first = np.argpartition(chances, MOST)[:MOST]
            self.values, self.chances = [np.concatenate(self.values)[first]], [chances[first]]
            self.rows, self.limit = MOST, float(self.chances[0].max())

    def sorted(self) -> Floats:
        return np.sort(np.concatenate(self.values))


def _rows_by_group(
    groups: npt.NDArray[np.object_], wanted: npt.NDArray[np.bool_]
) -> Iterator[tuple[str, npt.NDArray[np.int64]]]:
    """Each group's name and its wanted rows."""
    rows = np.flatnonzero(wanted)
    names, numbers = np.unique(groups[rows], return_inverse=True)
    order = np.argsort(numbers, kind="stable")
    ends = np.searchsorted(numbers[order], np.arange(len(names) + 1))
    for number, name in enumerate(names.tolist()):
        yield name, rows[order[ends[number] : ends[number + 1]]]


def share_below(values: Floats, held: Floats) -> Floats:
    """[rows] share of the sorted `held` below each, equal ones by half; NaN where there is no value, or none to rank
    it by."""
    low, high = np.searchsorted(held, values, "left"), np.searchsorted(held, values, "right")
    there = np.isfinite(values) & (len(held) > 0)
    return np.where(there, (low + high) / (2 * max(1, len(held))), np.nan)


def shares_below(
    batch: pa.RecordBatch,
    column: str,
    by: str | None,
    names: list[str],
    held: Floats,
    ends: npt.NDArray[np.int64],
    halves: bool = False,
    seed: int = 0,
) -> Floats:
    """[rows] share of the row's group below its value; NaN where that can't be said.

    Equal values share their part of the scale by a hash of their ids, so a fifth is a fifth of them, too; with `halves`
    all stand in its middle."""
    values, groups = numbers_of(batch, column), groups_of(batch, by)
    chances = uniform(batch["sample_id"].to_numpy(), seed, 0, "ties")
    place = {name: number for number, name in enumerate(names)}
    shares = np.full(len(values), np.nan)
    for name, mine in _rows_by_group(groups, np.isfinite(values)):
        if name in place:
            some = held[ends[place[name] - 1] if place[name] else 0 : ends[place[name]]]
            low, high = np.searchsorted(some, values[mine], "left"), np.searchsorted(some, values[mine], "right")
            if halves:
                chances[mine] = 0.5
            shares[mine] = (low + chances[mine] * (high - low)) / len(some)
    return shares
