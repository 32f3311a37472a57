"""Reduction of loss between two models: prefer what the target's model finds easier than the pool's.

CoLoR-Filter (Brandfonbrener et al. 2024, arXiv:2406.10670): score = mean NLL under the prior, a model of the pool,
minus mean NLL under the conditional, the prior trained on with the target. The published unit is a sequence of 512
tokens; here it is the sample, by its mean over tokens. Their form of RHO (arXiv:2206.07137) is this step with a learner
as `prior` and a reference as `conditional`; the conditional loss alone is `perplexity: {column: ..., keep: low}`. Two
forward passes a sample, none when the losses stand. Not for targets of a few hundred words, which a model learns by
heart, and not before deduplication: templates gather at the top."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tamis.selectors.contract import Batches, Fitted, Floats, Inputs, Scorer
from tamis.selectors.quantiles import numbers_of
from tamis.selectors.rows import in_training_slice, of_batch, trained_here


@dataclass(frozen=True, kw_only=True)
class LossReduction(Scorer):
    """prior             column of losses under the model of the pool
    conditional       column of losses under that model after the target
    exclude_training  drop what the prior or the conditional was trained on
    """

    prior: str
    conditional: str
    exclude_training: bool = False

    @property
    def tokens_field(self) -> str:
        return f"{self.prior}_tokens"

    def check(self, fields: Collection[str], targets: int) -> None:
        if self.exclude_training and not trained_here(self.inputs().optional, fields):
            raise ValueError("exclude_training: none of its columns is of a model trained here")

    def inputs(self) -> Inputs:
        both = (self.prior, self.conditional)
        more = [f"{column}_{what}" for column in both for what in ("tokens", "in_training_slice")]
        return Inputs(fields=both, optional=tuple(dict.fromkeys(more)))

    def fit(self, pool: Batches, targets: Sequence[Batches]) -> "FittedLossReduction":
        return FittedLossReduction(settings=self)


@dataclass(frozen=True)
class FittedLossReduction(Fitted):
    settings: LossReduction

    def score(self, batch: pa.RecordBatch) -> Floats:
        """[rows] nats a token, NaN where a loss is missing or no number. Raises ValueError where the two losses are
        of other tokens: then their difference says nothing."""
        prior, conditional = self.settings.prior, self.settings.conditional
        first, second = of_batch(batch, f"{prior}_tokens"), of_batch(batch, f"{conditional}_tokens")
        if first is not None and second is not None and first != second:
            mine, theirs = next(pair for pair in zip(first, second, strict=True) if pair[0] != pair[1])
            raise ValueError(
                f"{prior} and {conditional} cut texts into other tokens ({mine} and {theirs} of one sample): both "
                "models need one tokenizer and one length"
            )
        return np.subtract(numbers_of(batch, prior), numbers_of(batch, conditional))

    def barred(self, batch: pa.RecordBatch) -> list[str | None]:
        seen = in_training_slice(batch, self.settings.prior, self.settings.conditional)
        return ["in_training_slice" if one else None for one in (seen & self.settings.exclude_training).tolist()]

    def details(self, batch: pa.RecordBatch) -> list[str | None]:
        """Both losses, and whether a model was trained on the sample."""
        losses = [numbers_of(batch, name).tolist() for name in (self.settings.prior, self.settings.conditional)]
        seen = in_training_slice(batch, self.settings.prior, self.settings.conditional).tolist()
        return [
            f"loss {prior:.4f} -> {conditional:.4f}" + ("; in a training slice" if one else "")
            for prior, conditional, one in zip(*losses, seen, strict=True)
        ]


LossReduction.fitted = FittedLossReduction
