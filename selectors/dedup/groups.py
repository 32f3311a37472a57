"""Groups of near-duplicates: which of each is kept, and what is told of the others. For texts and images alike.

Groups are found first, from little of each sample; then keys and what is compared are brought for those in groups of
two and more, some groups at once. 45 bytes a candidate, and at most 512 MB besides."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tamis.selectors.contract import Batches
from tamis.selectors.passes import Places, rows_held, wanted
from tamis.selectors.ranked import Ids, Ranked, filtered
from tamis.selectors.rows import as_floats, has_label

KEY_BYTES = 256  # of a sample in a group: its key, twice, and its place in orders


class Compared(Protocol):
    """What is compared of samples, and how."""

    row_bytes: ClassVar[int]
    shown: ClassVar[str]  # a format for the ledger

    def read(self, batch: pa.RecordBatch) -> npt.NDArray[Any]:
        """[rows, ...]"""

    def alike(self, some: npt.NDArray[Any], others: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """[pairs] higher is nearer."""


@dataclass(frozen=True)
class Members:
    """Candidates, and what earlier runs kept of the pool; arrays are [members], by rising id."""

    ids: Ids
    worse: npt.NDArray[np.float64]  # the lowest is kept
    earlier: npt.NDArray[np.bool_]  # chosen by an earlier run
    comparable: npt.NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        pool: Batches,
        comparable: Callable[[pa.RecordBatch], npt.NDArray[np.bool_]],
        worse: Callable[[pa.RecordBatch], npt.NDArray[np.float64]],
    ) -> "Members":
        rows = [(batch["sample_id"].to_numpy(), worse(batch), has_label(batch), comparable(batch)) for batch in pool]
        if not rows:
            none = np.zeros(0)
            return cls(none.astype(np.uint64), none, none.astype(bool), none.astype(bool))
        ids, worst, before, there = (np.concatenate(values) for values in zip(*rows, strict=True))
        order = np.argsort(ids, kind="stable")
        return cls(ids[order], worst[order], before[order], there[order])


def decided(settings: Any, given: Members, pool: Batches, roots: Places, compared: Compared) -> Ranked:
    """`roots` [members] name their groups: of each one is kept, and the others tell how near they are to it."""
    kept = np.ones(len(roots), bool)
    values, related = np.full(len(roots), np.nan), np.zeros(len(roots), np.uint64)
    for places in _some_groups(roots, compared.row_bytes + KEY_BYTES):
        keys, told = _brought(pool, given, places, compared)
        best = _kept_ones(given, places, keys, roots[places])
        mine = np.flatnonzero((best != np.arange(len(places))) & ~given.earlier[places])
        dropped = places[mine]
        kept[dropped] = False
        values[dropped] = compared.alike(told[mine], told[best[mine]])
        related[dropped] = given.ids[places[best[mine]]]
    candidates, count = int((~given.earlier).sum()), int((~kept).sum())
    said = f"{count:,} of {candidates:,} nearly repeat another"
    facts: dict[str, Any] = {"dropped": count}
    if count:
        least = float(np.nanmin(values))
        facts["least_alike"] = round(abs(least), 3)
        said += f"; the least alike of a group to the kept one: {compared.shown.format(abs(least))}"
    return filtered(
        settings, given.ids, kept & ~given.earlier, "near_duplicate", values=values, related=related,
        facts={**facts, "said": [said]}, candidates=candidates, shown=compared.shown,
    )  # fmt: skip


def _some_groups(roots: Places, row_bytes: int) -> Iterator[Places]:
    """Rising places of members in groups of two and more, whole groups, as many as may be held."""
    sizes = np.bincount(roots, minlength=len(roots)) if len(roots) else roots
    grouped = np.flatnonzero(sizes[roots] > 1)
    grouped = grouped[np.argsort(roots[grouped], kind="stable")]
    begins = np.flatnonzero(np.append(True, roots[grouped][1:] != roots[grouped][:-1])) if len(grouped) else grouped
    ends = np.append(begins[1:], len(grouped))
    first = 0
    while first < len(grouped):
        fits = int(np.searchsorted(ends, first + rows_held(row_bytes), side="right")) - 1
        last = int(ends[max(fits, int(np.searchsorted(ends, first, side="right")))])
        yield np.sort(grouped[first:last])
        first = last


def _brought(pool: Batches, given: Members, places: Places, compared: Compared) -> tuple[Places, npt.NDArray[Any]]:
    """[places] the order of their keys, and what is compared."""
    told: npt.NDArray[Any] | None = None
    keys, where = [], []
    for batch, rows, mine in wanted(pool, given.ids, places):
        some = compared.read(batch)
        told = np.zeros((len(places), *some.shape[1:]), some.dtype) if told is None else told
        told[mine] = some[rows]
        keys.append(batch["key"].take(pa.array(rows)))
        where.append(mine)
    assert told is not None, "every member came with a batch"
    by_id = pa.chunked_array(keys).take(pa.array(np.argsort(np.concatenate(where))))
    ranks = np.empty(len(places), np.int64)  # a key that two namespaces have: the lower id first
    ranks[pc.sort_indices(by_id.cast(pa.binary())).to_numpy()] = np.arange(len(places))
    return ranks, told


def _kept_ones(given: Members, places: Places, keys: Places, roots: Places) -> Places:
    """[places] where in `places` the one of its group stands that is kept."""
    order = np.lexsort([keys, given.worse[places], ~given.earlier[places], roots])  # of each group the kept one first
    begins = np.append(True, roots[order][1:] != roots[order][:-1])
    best = np.empty(len(places), np.int64)
    best[order] = order[begins][np.cumsum(begins) - 1]
    return best


def lowest_is_best(batch: pa.RecordBatch, field: str) -> npt.NDArray[np.float64]:
    """[rows] minus a field's numbers, so that its highest value is kept. Raises ValueError."""
    try:
        values = as_floats(batch[field]).to_numpy(zero_copy_only=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(f"keep: field {field!r} holds no numbers") from error
    return np.where(np.isfinite(values), -values, np.inf)
