"""Groups of near-duplicates: which of each is kept, and what is told of the others. For texts and images alike.

Groups are found first, from little of each sample; then keys and what is compared are brought for those in groups of
two and more, some groups at once. In the order of `keep` a sample is dropped where it is near to one that is kept, so
that no dropped one is further from the kept one that is named than was asked for; with `chains` one of each group is
kept. 55 bytes a candidate, and at most 512 MB besides."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tamis.selectors import passes
from tamis.selectors.contract import BESIDE, Batches
from tamis.selectors.passes import Places, wanted
from tamis.selectors.ranked import Ids, Ranked, filtered
from tamis.selectors.rows import as_floats, has_label

KEY_BYTES = 256  # of a sample in a group: its key, twice, and its place in orders


class Compared(Protocol):
    """What is compared of samples, and how."""

    shown: ClassVar[str]  # a format for the ledger

    @property
    def without(self) -> str: ...  # what those are that can't be compared
    @property
    def row_bytes(self) -> int: ...

    def read(self, batch: pa.RecordBatch) -> npt.NDArray[Any]:
        """[rows, ...]"""

    def alike(self, some: npt.NDArray[Any], others: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """[pairs] higher is nearer."""

    def more(self, pool: Batches, ids: Ids, places: Places) -> Any:
        """What else of some members the comparison needs."""

    def leaders(self, brought: "Brought") -> tuple[Places, npt.NDArray[np.float64]]:
        """[samples] the kept one that each is dropped for, itself where it is kept; and how alike they are."""


@dataclass(frozen=True)
class Brought:
    """Some members, in whole groups: arrays are [samples]."""

    told: npt.NDArray[Any]  # what is compared
    more: Any  # what else was asked for
    order: Places  # group after group, of each the preferred first
    ends: Places  # [groups] where they end in `order`
    stays: npt.NDArray[np.bool_]  # kept whatever they are like


@dataclass(frozen=True)
class Members:
    """Candidates, and what earlier runs kept of the pool; arrays are [members], by rising id."""

    ids: Ids
    worse: npt.NDArray[np.float64]  # the lowest is kept
    earlier: npt.NDArray[np.bool_]  # chosen by an earlier run, or beside the pool
    comparable: npt.NDArray[np.bool_]
    beside: npt.NDArray[np.bool_]  # of the set that the pool is compared with
    more_bytes: npt.NDArray[np.int64]  # that its comparison takes besides

    @classmethod
    def of(
        cls,
        pool: Batches,
        comparable: Callable[[pa.RecordBatch], npt.NDArray[np.bool_]],
        worse: Callable[[pa.RecordBatch], npt.NDArray[np.float64]],
        more_bytes: Callable[[pa.RecordBatch], npt.NDArray[np.int64]] | None = None,
    ) -> "Members":
        rows = []
        for batch in pool:
            beside = np.full(batch.num_rows, BESIDE in batch.schema.names)
            less = np.zeros(batch.num_rows) if beside.any() else worse(batch)
            large = np.zeros(batch.num_rows, np.int64) if more_bytes is None else more_bytes(batch)
            ids = batch["sample_id"].to_numpy()
            rows.append((ids, less, has_label(batch) | beside, comparable(batch), beside, large))
        if not rows:
            none, no = np.zeros(0), np.zeros(0, bool)
            return cls(none.astype(np.uint64), none, no, no, no, none.astype(np.int64))
        columns = [np.concatenate(values) for values in zip(*rows, strict=True)]
        order = np.argsort(columns[0], kind="stable")
        return cls(*(values[order] for values in columns))


def decided(
    settings: Any, given: Members, pool: Batches, roots: Places, compared: Compared, chains: bool = False
) -> Ranked:
    """`roots` [members] name their groups."""
    kept = np.ones(len(roots), bool)
    values, related = np.full(len(roots), np.nan), np.zeros(len(roots), np.uint64)
    texts: dict[str, str] = {}
    for places in _some_groups(roots, compared.row_bytes + KEY_BYTES + given.more_bytes):
        keys, told = _brought(pool, given, places, compared)
        ranks = np.empty(len(places), np.int64)  # a key that two namespaces have: the lower id first
        ranks[pc.sort_indices(keys.cast(pa.binary())).to_numpy()] = np.arange(len(places))
        order, ends = _in_order(given, places, ranks, roots[places])
        stays = given.earlier[places]
        if chains:
            best = _first_of_each(order, ends)
            alike = compared.alike(told, told[best])
        else:
            more = compared.more(pool, given.ids, places)
            best, alike = compared.leaders(Brought(told, more, order, ends, stays))
        mine = np.flatnonzero((best != np.arange(len(places))) & ~stays)
        dropped, by = places[mine], places[best[mine]]
        kept[dropped] = False
        values[dropped] = alike[mine]
        related[dropped] = np.where(given.beside[by], np.uint64(0), given.ids[by])
        for place, one, leader in zip(dropped.tolist(), mine.tolist(), by.tolist(), strict=True):
            if given.beside[leader]:
                near = compared.shown.format(abs(values[place]))
                texts[f"{int(given.ids[place]):016x}"] = f"{near} to {keys[int(best[one])]} of the {settings.beside}"
    candidates, count = int((~given.earlier).sum()), int((~kept).sum())
    said = f"{count:,} of {candidates:,} nearly repeat another"
    facts: dict[str, Any] = {"dropped": count}
    if count:
        least = float(np.nanmin(values))
        facts["least_alike"] = round(abs(least), 3)
        said += f"; the least alike of a group to the kept one: {compared.shown.format(abs(least))}"
    lines = [said]
    if alone := int((~given.comparable & ~given.earlier).sum()):
        facts["not_compared"] = alone
        lines.append(f"{alone:,} were not compared: {compared.without}")
    ranked = filtered(
        settings, given.ids, kept & ~given.earlier, "near_duplicate", values=values, related=related,
        facts={**facts, "said": lines}, candidates=candidates, shown=compared.shown,
    )  # fmt: skip
    return replace(ranked, texts=texts)


def _some_groups(roots: Places, row_bytes: Places) -> Iterator[Places]:
    """Rising places of members in groups of two and more, whole groups, as many as may be held."""
    sizes = np.bincount(roots, minlength=len(roots)) if len(roots) else roots
    grouped = np.flatnonzero(sizes[roots] > 1)
    grouped = grouped[np.argsort(roots[grouped], kind="stable")]
    begins = np.flatnonzero(np.append(True, roots[grouped][1:] != roots[grouped][:-1])) if len(grouped) else grouped
    ends = np.append(begins[1:], len(grouped))
    size = np.append(0, np.cumsum(row_bytes[grouped]))  # before each
    first = 0
    while first < len(grouped):
        fits = int(np.searchsorted(size[ends], size[first] + passes.HELD_BYTES, side="right")) - 1
        last = int(ends[max(fits, int(np.searchsorted(ends, first, side="right")))])
        yield np.sort(grouped[first:last])
        first = last


def _brought(pool: Batches, given: Members, places: Places, compared: Compared) -> tuple[pa.Array, npt.NDArray[Any]]:
    """[places] their keys, and what is compared."""
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
    return by_id.combine_chunks(), told


def _in_order(given: Members, places: Places, keys: Places, roots: Places) -> tuple[Places, Places]:
    """Group after group, of each the preferred first; and where groups end."""
    order = np.lexsort([keys, given.worse[places], ~given.earlier[places], roots])
    return order, np.append(np.flatnonzero(np.diff(roots[order])) + 1, len(order))


def _first_of_each(order: Places, ends: Places) -> Places:
    best = np.empty(len(order), np.int64)
    begins = np.append(0, ends[:-1])
    best[order] = np.repeat(order[begins], ends - begins)
    return best


def numbered(columns: Iterable[npt.NDArray[np.uint64]]) -> Places:
    """[samples, columns] a number for each value of each column, no two alike: what compiled loops look up."""
    slots: list[Places] = []
    first = 0
    for column in columns:
        values, places = np.unique(column, return_inverse=True)
        slots.append(places + first)
        first += len(values)
    return np.ascontiguousarray(np.stack(slots, axis=1))


def lowest_is_best(batch: pa.RecordBatch, field: str) -> npt.NDArray[np.float64]:
    """[rows] minus a field's numbers, so that its highest value is kept. Raises ValueError."""
    try:
        values = as_floats(batch[field]).to_numpy(zero_copy_only=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(f"keep: field {field!r} holds no numbers") from error
    return np.where(np.isfinite(values), -values, np.inf)


def look_beside(settings: Any, beside: str | None) -> None:
    """What the recipe must then have."""
    for name in ("target", "evaluation"):
        object.__setattr__(settings, f"needs_{name}", beside == name)
