"""What a ranker decided: of each candidate its rank or the reason why it has none, found again by id."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tamis.selectors.contract import Choice, Fitted, Floats

Ids = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Ranked(Fitted):
    """Arrays are [candidates], by rising id."""

    settings: Any
    ids: Ids
    ranks: npt.NDArray[np.int64]  # 1 is the first pick; 0: not picked
    values: Floats  # scores; NaN where there is none
    reasons: list[str]
    reason: npt.NDArray[np.int16]  # why it was not picked, a place in `reasons`; -1: it was
    related: Ids  # the sample that decided; 0: none
    candidates: int  # how many could have been picked
    texts: dict[str, str]  # what the ledger tells besides, by id in hex
    facts: dict[str, Any]  # what the report tells of the step
    shown: str  # a format that tells `values` where `texts` have nothing
    counts: Floats  # how often a pick counts, or what it stands for; empty: each once

    def score(self, batch: pa.RecordBatch) -> Floats:
        return self._of(batch, self.values, np.nan)

    def order_keys(self, batch: pa.RecordBatch, _scores: Floats) -> Floats:
        ranks = self._of(batch, self.ranks, 0)
        return np.where(ranks > 0, -ranks, np.nan)[None, :].astype(np.float64)

    def barred(self, batch: pa.RecordBatch) -> list[str | None]:
        places = self._of(batch, self.reason, -1).tolist()
        return [None if place < 0 else self.reasons[place] for place in places]

    def related_ids(self, batch: pa.RecordBatch) -> Ids:
        return self._of(batch, self.related, 0)

    def details(self, batch: pa.RecordBatch) -> list[str | None]:
        if not self.shown:
            return [self.texts.get(f"{sample_id:016x}") for sample_id in batch["sample_id"].to_pylist()]
        values = np.abs(self.score(batch)).tolist()
        told = [self.shown.format(value) if value == value else None for value in values]  # noqa: PLR0124  not NaN
        if not self.texts:
            return told
        return [
            self.texts.get(f"{sample_id:016x}", one)
            for sample_id, one in zip(batch["sample_id"].to_pylist(), told, strict=True)
        ]

    def sample_weights(self, batch: pa.RecordBatch) -> Floats | None:
        return self._of(batch, self.counts, 1.0) if len(self.counts) else None

    def candidates_of(self, eligible: int) -> int:
        return self.candidates

    def tell(self, choice: Choice) -> dict[str, Any]:
        return self.facts

    def _of(self, batch: pa.RecordBatch, values: npt.NDArray[Any], missing: Any) -> Any:
        ids = batch["sample_id"].to_numpy()
        if not len(self.ids):
            return np.full(len(ids), missing)
        places = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return np.where(self.ids[places] == ids, values[places], missing)


class Coded(NamedTuple):
    """Reasons of many candidates, as places in few names."""

    names: list[str]
    codes: npt.NDArray[np.integer[Any]]


def ranked(
    settings: Any,
    ids: Ids,
    picks: Sequence[int] | npt.NDArray[np.int64],
    *,
    scores: Mapping[int, float] | Floats,
    reasons: "Sequence[str] | Coded",
    texts: Mapping[int, str],
    facts: dict[str, Any],
    candidates: int,
    related: Ids | None = None,
    counts: Floats | None = None,
) -> Ranked:
    """From places in `ids` (rising): the picks in their order, and `reasons` of all others. Scores may be an array
    [candidates], NaN where there is none; so may `counts`, how often each pick counts."""
    ranks = np.zeros(len(ids), np.int64)
    ranks[np.asarray(picks, np.int64)] = np.arange(1, len(picks) + 1)
    if isinstance(reasons, Coded):
        known, reason = reasons.names, reasons.codes.astype(np.int16)
    else:
        known = sorted(set(reasons))
        reason = np.array([known.index(name) for name in reasons], np.int16)
    reason[ranks > 0] = -1
    if isinstance(scores, np.ndarray):
        told = scores
    else:
        told = np.full(len(ids), np.nan)
        told[list(scores)] = list(scores.values())
    return Ranked(
        settings=settings, ids=ids, ranks=ranks, values=told, reasons=known, reason=reason,
        related=np.zeros(len(ids), np.uint64) if related is None else related, candidates=candidates,
        texts={f"{int(ids[place]):016x}": text for place, text in texts.items()}, facts=facts, shown="",
        counts=np.zeros(0) if counts is None else counts,
    )  # fmt: skip


def filtered(
    settings: Any,
    ids: Ids,
    kept: npt.NDArray[np.bool_],
    reason: str,
    *,
    values: Floats,
    related: Ids,
    facts: dict[str, Any],
    candidates: int,
    shown: str = "",
) -> Ranked:
    """From what a rule keeps, in the order of `ids` (rising); all others are dropped for one reason."""
    return Ranked(
        settings=settings, ids=ids, ranks=np.where(kept, np.cumsum(kept), 0), values=values, reasons=[reason],
        reason=np.where(kept, -1, 0).astype(np.int16), related=related, candidates=candidates, texts={}, facts=facts,
        shown=shown, counts=np.zeros(0),
    )  # fmt: skip
