"""Groups of near-duplicates: which of each is kept, and what is told of the others. For texts and images alike."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tamis.selectors.contract import Batches
from tamis.selectors.ranked import Ids, Ranked, ranked
from tamis.selectors.rows import as_floats, has_label

Places = npt.NDArray[np.int64]
ORDERS = ("first", "longest", "largest")


@dataclass(frozen=True)
class Members:
    """Candidates, and what earlier runs kept of the pool; arrays are [members], by rising id."""

    ids: Ids
    keys: Places  # order of the keys
    worse: npt.NDArray[np.float64]  # the lowest is kept
    earlier: npt.NDArray[np.bool_]  # chosen by an earlier run
    comparable: npt.NDArray[np.bool_]
    compared: list[npt.NDArray[Any]]  # what is compared, [members, ...] each

    @classmethod
    def of(
        cls,
        pool: Batches,
        compared: Callable[[pa.RecordBatch], tuple[npt.NDArray[np.bool_], list[npt.NDArray[Any]]]],
        worse: Callable[[pa.RecordBatch], npt.NDArray[np.float64]],
    ) -> "Members":
        held: list[list[npt.NDArray[Any]]] = []
        keys: list[pa.Array] = []
        for batch in pool:
            there, some = compared(batch)
            row = [batch["sample_id"].to_numpy(), worse(batch), has_label(batch), there, *some]
            held = held or [[] for _ in row]
            for field, values in zip(held, row, strict=True):
                field.append(values)
            keys.append(batch["key"])
        if not held:
            none = np.zeros(0)
            return cls(none.astype(np.uint64), none.astype(np.int64), none, none.astype(bool), none.astype(bool), [])
        order = np.argsort(np.concatenate(held[0]), kind="stable")
        ids, worst, before, there, *rest = (_taken(field, order) for field in held)
        ranks = np.empty(len(ids), np.int64)
        by_id = pa.chunked_array(keys).take(pa.array(order))  # a key that two namespaces have: the lower id first
        ranks[pc.sort_indices(by_id.cast(pa.binary())).to_numpy()] = np.arange(len(ids))
        return cls(ids, ranks, worst, before, there, rest)

    def kept_ones(self, roots: Places) -> Places:
        """[members] the one that is kept of each one's group; `roots` names the groups."""
        if not len(roots):
            return roots
        order = np.lexsort([self.keys, self.worse, ~self.earlier, roots])  # of each group the kept one comes first
        begins = np.flatnonzero(np.append(True, roots[order][1:] != roots[order][:-1]))
        first = np.empty(len(roots), np.int64)
        first[roots[order][begins]] = order[begins]
        kept: Places = first[roots]
        return kept


def _taken(parts: list[npt.NDArray[Any]], order: Places) -> npt.NDArray[Any]:
    """One array in this order; the parts are let go, so that no field is there three times."""
    whole = np.concatenate(parts)
    parts.clear()
    return whole[order]


def decided(
    settings: Any, given: Members, by: Places, alike: Callable[[Places, Places], npt.NDArray[np.float64]], what: str
) -> Ranked:
    """`by` is the kept one of each member's group; `alike` tells of pairs how near they are, as `what`."""
    kept = by == np.arange(len(by))
    dropped = np.flatnonzero(~kept & ~given.earlier)
    values = alike(dropped, by[dropped]) if len(dropped) else np.zeros(0)
    related = np.zeros(len(by), np.uint64)
    related[dropped] = given.ids[by[dropped]]
    texts = {place: what.format(value) for place, value in zip(dropped.tolist(), values.tolist(), strict=True)}
    candidates = int((~given.earlier).sum())
    said = f"{len(dropped):,} of {candidates:,} nearly repeat another"
    facts: dict[str, Any] = {"dropped": len(dropped)}
    if len(dropped):
        least = values.max() if "distance" in what else values.min()
        facts["least_alike"] = round(float(least), 3)
        said += f"; the least alike of a group to the kept one: {what.format(least)}"
    return ranked(
        settings, given.ids, np.flatnonzero(kept & ~given.earlier).tolist(), scores={},
        reasons=["near_duplicate"] * len(by), texts=texts, facts={**facts, "said": [said]}, candidates=candidates,
        related=related,
    )  # fmt: skip


def lowest_is_best(batch: pa.RecordBatch, field: str) -> npt.NDArray[np.float64]:
    """[rows] minus a field's numbers, so that its highest value is kept. Raises ValueError."""
    try:
        values = as_floats(batch[field]).to_numpy(zero_copy_only=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(f"keep: field {field!r} holds no numbers") from error
    return np.where(np.isfinite(values), -values, np.inf)
