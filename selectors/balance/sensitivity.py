"""A coreset that keeps sums: drawn as often as a sample can matter to any linear fit, weighted by one over that.

With vectors as the rows a of A, sampling in proportion to their leverage a'(A'A)^-1 a and weighting by 1 / q keeps
every ||Ax||^2 (Drineas, Mahoney, Muthukrishnan 2006; `power: 2`); in proportion to Lewis weights it keeps every
||Ax||_1 (Cohen and Peng 2015, arXiv:1412.0588; `power: 1`). q = min(1, score / alpha), alpha so that they sum to the
budget; a systematic sample along a hash of the ids, so that its size is exact. Leverages sum to the rank of A. Two
passes over the vectors and dim^2 a sample, 30 more for `power: 1`; 24 bytes a sample. Not where scores are flat, as
those of unit vectors often are: chance alone is then nearly as good, and the report says so."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tamis.selectors.budget import Budget, Fraction
from tamis.selectors.chance import uniform
from tamis.selectors.contract import Batches, Floats, Inputs, Ranker
from tamis.selectors.quantiles import numbers_of
from tamis.selectors.ranked import Coded, Ranked, ranked
from tamis.selectors.vectors.columns import held

DIGITS = 9  # of a score: beyond them lies what the order of sums changes
SMALLEST = 1e-10  # of an eigenvalue, as a share of the largest: what is below is none
TURNS = 30  # of Lewis weights: the error halves with each
FLAT = 5.0  # of the 95th score in a hundred over the 5th: below, uniform is nearly as good
REASONS = ["not_picked", "not_scorable", "already_labeled"]
NOT_PICKED, NOT_SCORABLE, KEPT_BEFORE = range(3)


@dataclass(frozen=True, kw_only=True)
class Sensitivity(Ranker):
    """column  of vectors, as they are
    beside  fields of numbers that are further coordinates
    power   2 keeps sums of squares, 1 sums of absolute values
    """

    fitted: ClassVar[type | None] = Ranked
    weighs: ClassVar[bool] = True
    by_chance: ClassVar[bool] = True

    column: str
    beside: list[str] = field(default_factory=list)
    power: Literal[1, 2] = 2
    seed: int = 0
    step: int = 0

    def inputs(self) -> Inputs:
        return Inputs(fields=(self.column, *self.beside), optional=("labels",))

    def rank(self, pool: Batches, budget: Budget | Fraction) -> Ranked:
        """`pool` is read several times. Raises ValueError where a field holds no numbers, or the budget is not in
        rows."""
        if budget.unit != "rows":
            raise ValueError(f"sensitivity: draws a number of rows, not {budget.unit}")
        ids, there, kept = self._seen(pool)
        free, candidates = there & ~kept, int((~kept).sum())
        scores = np.where(there, self._scores(pool, ids, free), np.nan)
        wanted = min(budget.units(candidates), int((scores > 0).sum()))
        chances = _chances(np.nan_to_num(scores), wanted)
        picks = self._drawn(ids, chances, wanted)
        reasons = np.full(len(ids), NOT_PICKED, np.int16)
        reasons[~there] = NOT_SCORABLE
        reasons[kept] = KEPT_BEFORE
        weights = np.ones(len(ids))
        weights[picks] = np.round(1 / chances[picks], DIGITS)
        return ranked(
            self, ids, picks, scores=scores, reasons=Coded(REASONS, reasons), texts={}, counts=weights,
            facts=_facts(scores[free], weights[picks]), candidates=candidates,
        )  # fmt: skip

    def _seen(self, pool: Batches) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """By rising id: ids, which have all coordinates, and which earlier runs chose."""
        none = np.zeros(0, bool)
        rows = [(np.zeros(0, np.uint64), none, none)]
        for batch in pool:
            there = self._coordinates(batch)[1]
            kept = np.zeros(batch.num_rows, bool)
            if "labels" in batch.schema.names:
                kept = batch["labels"].is_valid().to_numpy(zero_copy_only=False)
            rows.append((batch["sample_id"].to_numpy(), there, kept))
        ids, there, kept = (np.concatenate(some) for some in zip(*rows, strict=True))
        order = np.argsort(ids, kind="stable")
        return ids[order], there[order], kept[order]

    def _coordinates(self, batch: pa.RecordBatch) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """[rows, dim], zero where something is missing, and [rows] where nothing is. Raises ValueError."""
        try:
            vectors, there = held(batch[self.column])
        except ValueError as error:
            raise ValueError(f"column {self.column!r}: {error}; `embed:` in `columns` makes one") from error
        whole = np.column_stack([vectors.astype(np.float64), *(numbers_of(batch, name) for name in self.beside)])
        there = there & np.isfinite(whole).all(1)
        whole[~there] = 0
        return whole, there

    def _scores(self, pool: Batches, ids: npt.NDArray[np.uint64], free: npt.NDArray[np.bool_]) -> Floats:
        """[ids] leverages, or Lewis weights; 0 of what may not be drawn."""
        scores = free.astype(np.float64)
        for _ in range(1 if self.power == 2 else TURNS):
            gram: Floats | None = None
            for places, rows in self._free(pool, ids, free):
                scaled = rows if self.power == 2 else rows / np.maximum(scores[places], 1e-300)[:, None]
                gram = scaled.T @ rows if gram is None else gram + scaled.T @ rows
            if gram is None:
                return scores
            half = _inverse_root(gram)
            for places, rows in self._free(pool, ids, free):
                told = ((rows @ half) ** 2).sum(1)
                scores[places] = told if self.power == 2 else np.sqrt(told)
        whole = np.floor(np.log10(np.where(scores > 0, scores, 1)))
        return np.round(scores / 10**whole, DIGITS) * 10**whole

    def _free(
        self, pool: Batches, ids: npt.NDArray[np.uint64], free: npt.NDArray[np.bool_]
    ) -> Iterator[tuple[npt.NDArray[np.int64], Floats]]:
        for batch in pool:
            places = np.searchsorted(ids, batch["sample_id"].to_numpy())
            mine = free[places]
            if mine.any():
                yield places[mine], self._coordinates(batch)[0][mine]

    def _drawn(self, ids: npt.NDArray[np.uint64], chances: Floats, wanted: int) -> npt.NDArray[np.int64]:
        """Places, the likeliest first: a systematic sample along a hash of the ids."""
        order = np.lexsort([ids, uniform(ids, self.seed, self.step, "sensitivity")])
        ends = np.cumsum(chances[order])
        begin = float(uniform(np.zeros(1, np.uint64), self.seed, self.step, "sensitivity begin")[0])
        marks = (np.arange(wanted) + begin) * (ends[-1] / wanted) if wanted else np.zeros(0)
        places = order[np.minimum(np.searchsorted(ends, marks, side="right"), max(0, len(order) - 1))]
        return places[np.lexsort([ids[places], -chances[places]])]


def _inverse_root(gram: Floats) -> Floats:
    """[dim, rank] R with R R' the inverse of a Gram matrix, where it has one; coordinates may be of any scale."""
    scale = np.sqrt(np.diag(gram))
    scale[scale == 0] = 1
    values, vectors = np.linalg.eigh(gram / scale[:, None] / scale)
    there = values > SMALLEST * max(float(values[-1]), 0.0)
    return vectors[:, there] / np.sqrt(values[there]) / scale[:, None]


def _chances(scores: Floats, wanted: int) -> Floats:
    """min(1, score / alpha), with the sum that is wanted."""
    if not wanted:
        return np.zeros(len(scores))
    chances, sure = np.zeros(len(scores)), np.zeros(len(scores), bool)
    while True:  # each turn some more are sure; those left share the rest
        rest = scores[~sure]
        chances[~sure] = rest * ((wanted - sure.sum()) / rest.sum()) if rest.sum() else 0
        more = ~sure & (chances >= 1)
        if not more.any():
            return chances
        chances[more] = 1
        sure |= more


def _facts(scores: Floats, weights: Floats) -> dict[str, Any]:
    there = scores[scores > 0]
    if not len(there):
        return {"said": ["no sample has coordinates other than zeros"]}
    low, high = np.quantile(there, [0.05, 0.95])
    said = [f"scores sum to {there.sum():.2f}; the largest weight is {weights.max(initial=1):.1f}"]
    if high < FLAT * low:
        told = f"scores are flat (the 95th in a hundred is {high / low:.1f} times the 5th)"
        said.append(f"{told}: chance is nearly as good")
    return {"sum": round(float(there.sum()), 6), "spread": round(float(high / low), 6), "said": said}
