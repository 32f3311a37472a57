"""A wanted mixture: so many samples of each group, drawn evenly, repeated where a group is too small and may be.

Shares become whole numbers by largest remainders (Hamilton), so they sum to the budget exactly. Where a group holds
fewer than its quota, its samples repeat up to `max_epochs` times, as weights; what is still missing is reported and
not given to other groups, for that would spoil the mixture. O(1) a sample. Not for choosing the best of a group:
put a scoring step before it, or one step for each group with `where`."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from tamis.selectors.budget import Budget
from tamis.selectors.chance import uniform
from tamis.selectors.contract import Batches, Fitted, Floats, Inputs, Scorer


@dataclass(frozen=True, kw_only=True)
class Quota(Scorer, Fitted):
    """by          a field of the pool
    shares      group -> share (any positive numbers; they are scaled to sum 1)
    max_epochs  times that a sample of a group that is too small may stand in the selection
    """

    by_chance: ClassVar[bool] = True
    budgets: ClassVar[tuple[str, ...]] = ("budget",)

    by: str
    shares: dict[str, float]
    max_epochs: int = 1
    seed: int = 0
    step: int = 0

    def __post_init__(self) -> None:
        sound = all(math.isfinite(share) and share >= 0 for share in self.shares.values())
        if not self.shares or not sound or sum(self.shares.values()) <= 0:
            raise ValueError(f"shares must be positive numbers by group, found {self.shares}")
        if self.max_epochs < 1:
            raise ValueError(f"max_epochs must be 1 or more, found {self.max_epochs}")

    @property
    def choice(self) -> str:
        return "quota"

    @property
    def epochs(self) -> int:
        return self.max_epochs

    def takes(self, reason: str) -> str | None:
        return f"a place in its group, which was full; shares: {self.shares}" if reason == "over_quota" else None

    def inputs(self) -> Inputs:
        return Inputs(fields=(self.by,))

    def fit(self, pool: Batches, targets: Sequence[Batches]) -> "Quota":
        return self

    def score(self, batch: pa.RecordBatch) -> Floats:
        return uniform(batch["sample_id"].to_numpy(), self.seed, self.step, "quota")

    def groups(self, batch: pa.RecordBatch) -> pa.Array:
        return pc.cast(batch[self.by], pa.string())

    def quotas(self, budget: Budget) -> dict[str, int]:
        """Rows wanted of each group, weights counted; they sum to the budget."""
        return largest_remainders(self.shares, budget.amount)


def largest_remainders(shares: Mapping[str, float], total: int) -> dict[str, int]:
    """Whole numbers in proportion to the shares that sum to `total`; ties go to the smaller name."""
    scale = sum(shares.values())
    exact = {name: total * share / scale for name, share in shares.items()}
    whole = {name: int(value) for name, value in exact.items()}
    left = total - sum(whole.values())
    for name in sorted(exact, key=lambda name: (whole[name] - exact[name], name))[:left]:
        whole[name] += 1
    return whole
