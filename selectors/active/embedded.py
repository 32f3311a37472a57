"""Candidates with a vector each, as arrays by rising id: what rankers on embeddings look at."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tamis.selectors.budget import Budget, Costs, Fraction
from tamis.selectors.contract import Batches
from tamis.selectors.vectors.columns import as_halves

Ids = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Embedded:
    """Arrays are [candidates]; `there` says which have a vector."""

    ids: Ids
    costs: Costs
    labels: list[str | None]  # None: not labeled
    there: npt.NDArray[np.bool_]
    vectors: npt.NDArray[np.float16]  # [candidates, dim]
    more: dict[str, pa.ChunkedArray] = field(default_factory=dict)  # other fields that were asked for

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def labeled(self) -> npt.NDArray[np.bool_]:
        return np.array([label is not None for label in self.labels], bool)

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """Which have a vector and a label that says one class."""
        return np.array([bool(label) for label in self.labels], bool) & self.there

    def labels_at(self, places: npt.NDArray[np.bool_]) -> list[str]:
        """Labels of the known ones among these."""
        return [self.labels[place] or "" for place in np.flatnonzero(places).tolist()]

    def why_not(self) -> list[str]:
        """Of each candidate the reason if it is not picked."""
        why = np.where(self.there, "not_picked", "not_scorable").astype(object)
        why[self.labeled] = "already_labeled"
        return why.tolist()


def gather(
    pool: Batches, column: str, budget: Budget | Fraction, more: tuple[str, ...] = (), optional: tuple[str, ...] = ()
) -> Embedded:
    """All candidates, with `more` fields, and `optional` ones where they are there. Raises ValueError where the column
    holds no vectors."""
    ids, costs, there, vectors = [], [], [], []
    labels: list[str | None] = []
    others: dict[str, list[pa.Array]] = {name: [] for name in (*more, *optional)}
    for batch in pool:
        try:
            some, has = as_halves(batch[column])
        except ValueError as error:
            raise ValueError(f"column {column!r}: {error}; `embed:` in `columns` makes one") from error
        ids.append(batch["sample_id"].to_numpy())
        costs.append(budget.costs(batch))
        labels += batch["labels"].to_pylist() if "labels" in batch.schema.names else [None] * batch.num_rows
        there.append(has)
        vectors.append(some)
        for name, held in others.items():
            if name in more or name in batch.schema.names:
                held.append(batch[name])
    if not ids:
        none = np.zeros(0, np.int64)
        return Embedded(none.astype(np.uint64), none, [], none.astype(bool), np.zeros((0, 1), np.float16))
    order = np.argsort(np.concatenate(ids), kind="stable")
    return Embedded(
        np.concatenate(ids)[order], np.concatenate(costs)[order], [labels[place] for place in order.tolist()],
        np.concatenate(there)[order], np.concatenate(vectors)[order],
        {name: pa.chunked_array(held).take(pa.array(order)) for name, held in others.items() if held},
    )  # fmt: skip
