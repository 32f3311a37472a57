"""The user's own condition over the pool's fields and columns: what does not meet it is dropped.

Every step takes `where` as its scope; here it is the rule. The condition is asked of one shard at a time, by the
database; null counts as not met. Not for choosing a number of samples: a `threshold` or `random` with `where` does."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa

from tamis.selectors.contract import Batches, Filter, Fitted, Floats, Inputs


@dataclass(frozen=True, kw_only=True)
class SqlFilter(Filter, Fitted):
    """where: one SQL expression."""

    unscored: ClassVar[bool] = True
    needs_where: ClassVar[bool] = True
    outside: ClassVar[str] = "condition_not_met"  # reason of what the step's `where` leaves out, which is dropped

    def inputs(self) -> Inputs:
        return Inputs(fields=())

    def fit(self, pool: Batches, targets: Sequence[Batches]) -> "SqlFilter":
        return self

    def score(self, batch: pa.RecordBatch) -> Floats:
        return np.zeros(batch.num_rows)
