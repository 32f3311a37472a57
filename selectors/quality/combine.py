"""Several scores as one: the mean of their ranks, the best of them, or the mean of z-scores.

A rank is the share of the candidates below, ties in the middle: scores of any scale can be combined. `rank` asks for
what is good by all of them, `max` for what is best by any (as Nemotron-CC takes the best bin of three classifiers, Su
et al. 2024, arXiv:2412.02595), `z` keeps how far apart they are. Weights are given, or found by `tamis tune`, after
Meta-rater (Zhuang et al. 2025, arXiv:2504.14194). One pass; a binary search a score. Not for scores that say the
same: the mean of two that agree counts that twice."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tamis.selectors.contract import Batches, Fitted, Floats, Inputs, Scorer
from tamis.selectors.quantiles import numbers_of, share_below, sorted_columns

ALL_ALIKE = 1e-12  # of a spread, as a share of the mean: below, it is what the order of sums leaves
DIGITS = 9  # of a score: beyond them lies what the order of sums changes


@dataclass(frozen=True, kw_only=True)
class Combine(Scorer):
    """scores   columns or fields of numbers; one with a minus before it is best where it is low: -nll
    by       rank: mean of the ranks; max: the best of them; z: mean of the z-scores
    weights  how much each counts, in the order of `scores` (default: all alike; not with max)
    """

    shown_with: ClassVar[dict[str, str]] = {"scores": "[good, -nll]"}

    scores: list[str]
    by: Literal["rank", "max", "z"] = "rank"
    weights: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        if len(self.scores) < 2 or len(set(self._columns)) < len(self.scores):
            raise ValueError(f"scores: wanted two different ones or more, found {', '.join(self.scores) or 'none'}")
        if self.weights and self.by == "max":
            raise ValueError("weights: the best of all ranks has none; by rank or z")
        wrong = len(self.weights) != len(self.scores) or not all(0 <= one < np.inf for one in self.weights)
        if self.weights and (wrong or not sum(self.weights)):
            raise ValueError(f"weights: wanted {len(self.scores)} numbers of 0 and more, one for each score")

    @property
    def _columns(self) -> list[str]:
        return [name.removeprefix("-") for name in self.scores]

    def inputs(self) -> Inputs:
        return Inputs(fields=tuple(self._columns))

    def fit(self, pool: Batches, targets: Sequence[Batches]) -> "FittedCombine":
        """Raises ValueError where a score holds no numbers."""
        values, ends, means, spreads = sorted_columns(pool, self._columns)
        return FittedCombine(settings=self, values=values, ends=ends, means=means, spreads=spreads)


@dataclass(frozen=True)
class FittedCombine(Fitted):
    settings: Combine
    values: Floats  # each score's, sorted, one after another
    ends: npt.NDArray[np.int64]  # [scores]
    means: Floats  # [scores]
    spreads: Floats  # [scores] standard deviations

    def score(self, batch: pa.RecordBatch) -> Floats:
        """[rows]; NaN where one of the scores is missing."""
        told = self._each(batch)
        if self.settings.by == "max":
            return np.round(told.max(0), DIGITS)
        weights = np.array(self.settings.weights or [1.0] * len(told))
        return np.round((told * weights[:, None]).sum(0) / weights.sum(), DIGITS)

    def details(self, batch: pa.RecordBatch) -> list[str | None]:
        names = self.settings.scores
        return [
            ", ".join(f"{name} {one:.3g}" for name, one in zip(names, row, strict=True)) for row in self._each(batch).T
        ]

    def _each(self, batch: pa.RecordBatch) -> Floats:
        """[scores, rows] ranks from 0 to 1, or z-scores; higher is better."""
        found = []
        for number, name in enumerate(self.settings.scores):
            values, low = numbers_of(batch, name.removeprefix("-")), name.startswith("-")
            values = np.where(np.isfinite(values), values, np.nan)
            if self.settings.by == "z":
                mean, spread = self.means[number], self.spreads[number]
                flat = spread <= ALL_ALIKE * abs(mean)
                told = np.where(np.isnan(values), np.nan, 0.0) if flat else (values - mean) / spread
                found.append(-told if low else told)
            else:
                some = self.values[self.ends[number - 1] if number else 0 : self.ends[number]]
                told = share_below(values, some)
                found.append(1 - told if low else told)
        return np.stack(found)


Combine.fitted = FittedCombine
