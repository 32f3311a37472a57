"""Candidates with a vector each, as arrays by rising id: what rankers on embeddings look at."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tamis.selectors.budget import Budget, Costs, Fraction
from tamis.selectors.contract import Batches
from tamis.selectors.learners.folds import alike
from tamis.selectors.rows import contents_of, hashes_of
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
    contents: Ids  # equal where samples are, to the last bit of text, image or vector
    copy_of: Ids  # the sample that speaks for this one, labeled or with the smallest id; 0: it does itself
    more: dict[str, pa.ChunkedArray] = field(default_factory=dict)  # other fields that were asked for

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def labeled(self) -> npt.NDArray[np.bool_]:
        return np.array([label is not None for label in self.labels], bool)

    @property
    def free(self) -> npt.NDArray[np.bool_]:
        """Which may be asked: have a vector and no label, and nothing speaks for them."""
        return self.there & ~self.labeled & (self.copy_of == 0)

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
        why[self.copy_of != 0] = "duplicate"
        why[self.labeled] = "already_labeled"
        return why.tolist()


def gather(
    pool: Batches, column: str, budget: Budget | Fraction, more: tuple[str, ...] = (), optional: tuple[str, ...] = (),
    *, once: bool = False,
) -> Embedded:  # fmt: skip
    """All candidates, with `more` fields, and `optional` ones where they are there; `once`: of those with the same
    content one speaks for all. Raises ValueError where the column holds no vectors."""
    ids, costs, there, vectors, contents = [], [], [], [], []
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
        if "content_hash" in batch.schema.names:
            contents.append(contents_of(hashes_of(batch)))
        for name, held in others.items():
            if name in more or name in batch.schema.names:
                held.append(batch[name])
    if not ids:
        none = np.zeros(0, np.int64)
        no_ids, no_vectors = none.astype(np.uint64), np.zeros((0, 1), np.float16)
        return Embedded(no_ids, none, [], none.astype(bool), no_vectors, no_ids, no_ids)
    order = np.argsort(np.concatenate(ids), kind="stable")
    known, has, whole = (np.concatenate(some)[order] for some in (ids, there, vectors))
    given = [labels[place] for place in order.tolist()]
    same = alike(whole, np.concatenate(contents)[order] if contents else None)
    open_ = np.array([label is None for label in given], bool)
    return Embedded(
        known, np.concatenate(costs)[order], given, has, whole, same,
        _speakers(known, same, open_, has) if once else np.zeros_like(known),
        {name: pa.chunked_array(held).take(pa.array(order)) for name, held in others.items() if held},
    )  # fmt: skip


def _speakers(ids: Ids, contents: Ids, open_: npt.NDArray[np.bool_], there: npt.NDArray[np.bool_]) -> Ids:
    """[candidates] of those with a vector and no label, who speaks for them: 0 where it is they themselves."""
    order = np.lexsort([ids, open_, contents])
    order = order[there[order]]
    first = np.append(True, contents[order][1:] != contents[order][:-1])
    speaks = order[np.maximum.accumulate(np.where(first, np.arange(len(order)), 0))] if len(order) else order
    found = np.zeros_like(ids)
    found[order] = np.where(speaks == order, 0, ids[speaks])
    found[~open_] = 0
    return found
