"""A column above or below a value or a quantile: the plainest filter, for a classifier's probability or any number.

Without a budget everything inside is kept; with one, the best of it. Not for scores whose scale moves between
versions of a model: a fraction, or a quantile, holds there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tamis.selectors.contract import Batches, Fitted, Floats, Inputs, Scorer
from tamis.selectors.lines import Line
from tamis.selectors.quantiles import numbers_of, shares_below, sorted_values


@dataclass(frozen=True, kw_only=True)
class Threshold(Scorer):
    """column          numbers
    above  keep what is greater than this value
    below  keep what is smaller than this value
    above_quantile  keep what is above this share of the candidates
    below_quantile  keep what is below it
    by              a field: quantiles within each of its groups
    keep            with a budget: which end is best
    """

    column: str
    above: float | None = None
    below: float | None = None
    above_quantile: float | None = None
    below_quantile: float | None = None
    by: str | None = None
    keep: Literal["high", "low"] = "high"
    seed: int = 0  # of ties within a quantile

    def __post_init__(self) -> None:
        for share in (self.above_quantile, self.below_quantile):
            if share is not None and not 0 <= share <= 1:
                raise ValueError(f"a quantile is a share from 0 to 1, found {share}")

    @property
    def rules(self) -> bool:
        """Whether it decides without a budget."""
        limits = (self.above, self.below, self.above_quantile, self.below_quantile)
        return any(limit is not None for limit in limits)

    def takes(self, reason: str) -> str | None:
        if reason != "out_of_band":
            return None
        asked = [
            f"{word} {limit:g}" for word, limit in (("above", self.above), ("below", self.below)) if limit is not None
        ]
        shares = (("above", self.above_quantile), ("below", self.below_quantile))
        group = f" of its {self.by}" if self.by else " of the candidates"
        asked += [f"{word} that of {share:.4%}{group}" for word, share in shares if share is not None]
        return f"{self.column} {' and '.join(asked)}"

    def lines(self) -> list[Line]:
        """Not where quantiles say it: those move with the candidates."""
        if self.above_quantile is not None or self.below_quantile is not None:
            return []
        return [
            Line((name,), value, name == "above", "out_of_band", field=self.column, strict=True)
            for name, value in (("above", self.above), ("below", self.below))
        ]

    def inputs(self) -> Inputs:
        return Inputs(fields=(self.column, *((self.by,) if self.by else ())))

    def fit(self, pool: Batches, targets: Sequence[Batches]) -> "FittedThreshold":
        """Raises ValueError where the column holds no numbers."""
        needed = self.above_quantile is not None or self.below_quantile is not None
        names, values, ends = sorted_values(pool if needed else (), self.column, self.by)
        return FittedThreshold(settings=self, names=names, values=values, ends=ends)


@dataclass(frozen=True)
class FittedThreshold(Fitted):
    settings: Threshold
    names: list[str]
    values: Floats  # of the candidates, sorted within each group
    ends: npt.NDArray[np.int64]  # [groups]

    def score(self, batch: pa.RecordBatch) -> Floats:
        """[rows] the value, or minus it where the low end is best."""
        values = numbers_of(batch, self.settings.column)
        return values if self.settings.keep == "high" else -values

    def barred(self, batch: pa.RecordBatch) -> list[str | None]:
        asked, values = self.settings, numbers_of(batch, self.settings.column)
        outside = np.zeros(len(values), bool)
        if asked.above is not None:
            outside |= values <= asked.above
        if asked.below is not None:
            outside |= values >= asked.below
        if asked.above_quantile is not None or asked.below_quantile is not None:
            shares = shares_below(batch, asked.column, asked.by, self.names, self.values, self.ends, seed=asked.seed)
            if asked.above_quantile is not None:
                outside |= shares <= asked.above_quantile
            if asked.below_quantile is not None:
                outside |= shares >= asked.below_quantile
        return ["out_of_band" if one else None for one in outside.tolist()]


Threshold.fitted = FittedThreshold
