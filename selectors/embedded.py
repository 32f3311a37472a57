"""Candidates with a vector each, as arrays by rising id: what rankers on embeddings look at."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tamis.selectors.budget import Budget, Costs, Fraction
from tamis.selectors.contract import Batches
from tamis.selectors.vectors import as_halves

Ids = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Embedded:
    """Arrays are [candidates]; `there` says which have a vector."""

    ids: Ids
    costs: Costs
    labels: list[str | None]  # None: not labeled
    there: npt.NDArray[np.bool_]
    vectors: npt.NDArray[np.float16]  # [candidates, dim]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def labeled(self) -> npt.NDArray[np.bool_]:
        return np.array([label is not None for label in self.labels], bool)

    def why_not(self) -> list[str]:
        """Of each candidate the reason if it is not picked."""
        why = np.where(self.there, "not_picked", "not_scorable").astype(object)
        why[self.labeled] = "already_labeled"
        return why.tolist()


def gather(pool: Batches, column: str, budget: Budget | Fraction) -> Embedded:
    """All candidates. Raises ValueError where the column holds no vectors."""
    ids, costs, there, vectors = [], [], [], []
    labels: list[str | None] = []
    for batch in pool:
        some, has = as_halves(batch[column])
        ids.append(batch["sample_id"].to_numpy())
        costs.append(budget.costs(batch))
        labels += batch["labels"].to_pylist() if "labels" in batch.schema.names else [None] * batch.num_rows
        there.append(has)
        vectors.append(some)
    if not ids:
        none = np.zeros(0, np.int64)
        return Embedded(none.astype(np.uint64), none, [], none.astype(bool), np.zeros((0, 1), np.float16))
    order = np.argsort(np.concatenate(ids), kind="stable")
    return Embedded(
        np.concatenate(ids)[order], np.concatenate(costs)[order], [labels[place] for place in order.tolist()],
        np.concatenate(there)[order], np.concatenate(vectors)[order],
    )  # fmt: skip
