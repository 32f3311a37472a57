"""Empirical distribution of a column, whole or within each group: what share of the candidates lies below a value."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tamis.selectors.contract import Batches, Floats

MOST = 1 << 20  # values held a group: beyond it every second one goes, which moves a share by 1e-6
ALL = ""  # the one group where none are asked for


def numbers_of(batch: pa.RecordBatch, name: str) -> Floats:
    """[rows] float64 of a column of numbers or booleans; NaN where it is null. Raises ValueError for other types."""
    column = batch[name]
    try:
        whole = pc.cast(column, pa.uint8() if pa.types.is_boolean(column.type) else pa.float64())
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
    held: dict[str, list[Floats]] = {}
    for batch in batches:
        values, groups = numbers_of(batch, column), groups_of(batch, by)
        for group in np.unique(groups[np.isfinite(values)]).tolist():
            mine = held.setdefault(group, [])
            mine.append(values[(groups == group) & np.isfinite(values)])
            if sum(map(len, mine)) > 2 * MOST:
                held[group] = [_thinned(mine)]
    names = sorted(held)
    each = [_thinned(held[name]) for name in names]
    ends = np.cumsum([len(values) for values in each]).astype(np.int64)
    return names, np.concatenate([np.empty(0), *each]), ends


def _thinned(several: Iterable[Floats]) -> Floats:
    values = np.sort(np.concatenate(list(several)))
    while len(values) > MOST:
        values = values[::2]
    return values


def shares_below(
    values: Floats, groups: npt.NDArray[np.object_], names: list[str], held: Floats, ends: npt.NDArray[np.int64]
) -> Floats:
    """[rows] share of the row's group below its value, ties counted half; NaN where that can't be said."""
    shares = np.full(len(values), np.nan)
    for number, name in enumerate(names):
        mine = (groups == name) & np.isfinite(values)
        some = held[ends[number - 1] if number else 0 : ends[number]]
        low, high = np.searchsorted(some, values[mine], "left"), np.searchsorted(some, values[mine], "right")
        shares[mine] = (low + high) / (2 * len(some))
    return shares
