"""Perplexity filtering: keep what a language model finds easy, middling or hard.

On a column of mean negative log-likelihoods (nats a token; perplexity is exp of it, the same order). `low`, `middle`
and `high` as in Ankner et al. 2024 (arXiv:2405.20541): which is best depends on the data, so it must be said; POINTS
(arXiv:2409.04828) keeps the lowest 20%. `buckets` cuts the candidates by quantile, `cutoffs` by value, into head,
middle and tail as CCNet does (arXiv:1911.00359). With `by`, all of it within each group. Not against duplicates,
boilerplate and lists, which are easy to predict: deduplicate first."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tamis.selectors.contract import Batches, Fitted, Floats, Inputs, Scorer
from tamis.selectors.quantiles import groups_of, numbers_of, shares_below, sorted_values
from tamis.selectors.rows import in_training_slice, trained_here

BUCKETS = ("head", "middle", "tail")
KEPT_BUCKET = {"low": 0, "middle": 1, "high": 2}


@dataclass(frozen=True, kw_only=True)
class Perplexity(Scorer):
    """column            mean negative log-likelihoods
    keep              which end, or the middle, is best
    by                a field: quantiles, and who is best, within each of its groups
    band              [from, to] shares of the candidates by rising loss; what lies outside is dropped
    buckets           two shares, as [0.3, 0.6]: keep low is the head, middle the middle, high the tail
    cutoffs           the same as two values of the column, or such a pair for each group
    exclude_training  drop what the column's model was trained on
    """

    column: str
    keep: Literal["low", "middle", "high"]
    by: str | None = None
    band: list[float] | None = None
    buckets: list[float] | None = None
    cutoffs: list[float] | dict[str, list[float]] | None = None
    exclude_training: bool = False
    seed: int = 0  # of ties within a quantile

    def __post_init__(self) -> None:
        if sum(given is not None for given in (self.band, self.buckets, self.cutoffs)) > 1:
            raise ValueError("give one of band, buckets and cutoffs")
        for name, pair in (("band", self.band), ("buckets", self.buckets)):
            if pair is not None and (len(pair) != 2 or not 0 <= pair[0] <= pair[1] <= 1):
                raise ValueError(f"{name}: wanted two shares from 0 to 1, the smaller first, found {pair}")
        if isinstance(self.cutoffs, dict) and self.by is None:
            raise ValueError("cutoffs for each group need `by`: the field that names it")
        for pair in self.cutoffs.values() if isinstance(self.cutoffs, dict) else [self.cutoffs]:
            if pair is not None and (len(pair) != 2 or not pair[0] <= pair[1]):
                raise ValueError(f"cutoffs: wanted two values, the smaller first, found {pair}")

    @property
    def rules(self) -> bool:
        """Whether it decides without a budget."""
        return self.band is not None or self.buckets is not None or self.cutoffs is not None

    @property
    def tokens_field(self) -> str:
        return f"{self.column}_tokens"

    def takes(self, reason: str) -> str | None:
        if reason != "out_of_band":
            return None
        group = f" of its {self.by}" if self.by else " of the candidates"
        if self.band is not None:
            return f"a {self.column} between those of {self.band[0]:.4g} and {self.band[1]:.4g}{group}"
        return f"the {BUCKETS[KEPT_BUCKET[self.keep]]} of {self.column}{group}: {self.buckets or self.cutoffs}"

    def check(self, fields: Collection[str], targets: int) -> None:
        if self.exclude_training and not trained_here(self.inputs().optional, fields):
            raise ValueError("exclude_training: none of its columns is of a model trained here")

    def inputs(self) -> Inputs:
        return Inputs(
            fields=(self.column, *((self.by,) if self.by else ())),
            optional=(f"{self.column}_in_training_slice",),
        )

    def fit(self, pool: Batches, targets: Sequence[Batches]) -> "FittedPerplexity":
        """Raises ValueError where the column holds no numbers."""
        needed = self.keep == "middle" or self.band or self.buckets or self.by
        names, values, ends = sorted_values(pool if needed else (), self.column, self.by)
        return FittedPerplexity(settings=self, names=names, values=values, ends=ends)


@dataclass(frozen=True)
class FittedPerplexity(Fitted):
    settings: Perplexity
    names: list[str]
    values: Floats  # losses of the candidates, sorted within each group
    ends: npt.NDArray[np.int64]  # [groups]

    def score(self, batch: pa.RecordBatch) -> Floats:
        """[rows] minus the loss, the loss, or minus the distance of its share to one half."""
        losses = numbers_of(batch, self.settings.column)
        if self.settings.keep == "middle":
            return -np.abs(self._shares(batch, halves=True) - 0.5)
        return losses if self.settings.keep == "high" else -losses

    def order_keys(self, batch: pa.RecordBatch, scores: Floats) -> Floats:
        """[1, rows] the scores; within groups, the place in the group."""
        if self.settings.by is None or self.settings.keep == "middle":
            return scores
        shares = self._shares(batch)
        return (shares if self.settings.keep == "high" else -shares)[None, :]

    def barred(self, batch: pa.RecordBatch) -> list[str | None]:
        outside = np.zeros(batch.num_rows, bool)
        if self.settings.band is not None:
            shares = self._shares(batch)
            outside = (shares < self.settings.band[0]) | (shares > self.settings.band[1])
        elif (buckets := self._buckets(batch)) is not None:
            outside = (buckets >= 0) & (buckets != KEPT_BUCKET[self.settings.keep])
        told = in_training_slice(batch, self.settings.column) & self.settings.exclude_training
        return [
            "in_training_slice" if seen else "out_of_band" if out else None
            for seen, out in zip(told.tolist(), outside.tolist(), strict=True)
        ]

    def details(self, batch: pa.RecordBatch) -> list[str | None]:
        """The bucket of each, where there are buckets."""
        buckets = self._buckets(batch)
        if buckets is None:
            return [None] * batch.num_rows
        return [BUCKETS[bucket] if bucket >= 0 else None for bucket in buckets.tolist()]

    def _shares(self, batch: pa.RecordBatch, halves: bool = False) -> Floats:
        asked = self.settings
        return shares_below(batch, asked.column, asked.by, self.names, self.values, self.ends, halves, asked.seed)

    def _buckets(self, batch: pa.RecordBatch) -> npt.NDArray[np.int64] | None:
        """[rows] 0 head, 1 middle, 2 tail; -1: no number, or a group without cutoffs."""
        if self.settings.buckets is not None:
            values, first, second = self._shares(batch), *map(float, self.settings.buckets)
            return np.where(np.isfinite(values), (values >= first) * 1 + (values >= second), -1)
        if self.settings.cutoffs is None:
            return None
        values, pairs = numbers_of(batch, self.settings.column), self.settings.cutoffs
        buckets = np.full(len(values), -1)
        groups = groups_of(batch, self.settings.by)
        for group in np.unique(groups).tolist():
            pair = pairs.get(group) if isinstance(pairs, dict) else pairs
            if pair is not None:
                mine = (groups == group) & np.isfinite(values)
                buckets[mine] = (values[mine] >= pair[0]) * 1 + (values[mine] >= pair[1])
        return buckets


Perplexity.fitted = FittedPerplexity
