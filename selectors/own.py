"""A user's own selector as one of ours: a frozen dataclass with `fit`, which returns what has `score`.

Nothing else is needed of it; what it has of the members of `Scorer` and `Fitted` (contract.py) is used. This is the
only place that asks a selector what it has."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from tamis.selectors.contract import Batches, Fitted, Floats, Inputs, Reasons, Scored, Scorer, Selector, stored_fields

MEMBERS = ("order_keys", "barred", "groups", "tie_keys", "details", "related_ids", "quotas", "explain")
FLAGS = ("needs_target", "needs_evaluation", "unscored", "outside")


def adopted(selector: Any) -> Selector:
    """The selector itself where it is one of contract.py's, else wrapped."""
    return selector if isinstance(selector, Selector) else Own(selector)


@dataclass(frozen=True)
class Own(Scorer):
    """Settings of a user's class that has no base of ours."""

    given: Any

    def __post_init__(self) -> None:
        for name in FLAGS:
            if hasattr(self.given, name):
                object.__setattr__(self, name, getattr(self.given, name))

    @property
    def choice(self) -> str:
        return str(getattr(self.given, "choice", "budget"))

    @property
    def rules(self) -> bool:
        return bool(getattr(self.given, "rules", False))

    @property
    def tokens_field(self) -> str | None:
        return getattr(self.given, "tokens_field", None)

    @property
    def objects_field(self) -> str | None:
        return getattr(self.given, "objects_field", None)

    def inputs(self) -> Inputs:
        found: Inputs = self.given.inputs() if hasattr(self.given, "inputs") else Inputs()
        return found

    def takes(self, reason: str) -> str | None:
        told: str | None = self.given.takes(reason) if hasattr(self.given, "takes") else None
        return told

    def as_settings(self) -> dict[str, Any]:
        return dataclasses.asdict(self.given)

    def fit(self, pool: Batches, targets: Sequence[Batches]) -> "OwnFitted":
        return OwnFitted(self.given.fit(pool, targets))

    def restored(self, values: dict[str, Any], prepared: bool = False) -> "OwnFitted":
        kind = getattr(self.given, "fitted", type(self.given))
        names = [field.name for field in dataclasses.fields(kind)]
        return OwnFitted(kind(**{name: values.get(name, self.given) for name in names}))


class OwnFitted(Fitted):
    """What a user's class has learned; stored as its own fields."""

    def __init__(self, learned: Any) -> None:
        self.learned = learned
        for name in MEMBERS:
            if hasattr(learned, name):
                setattr(self, name, getattr(learned, name))

    def target_shares(self) -> Sequence[float]:
        return list(getattr(self.learned, "proportions", (1.0,)))

    def stored(self) -> dict[str, Any]:
        return stored_fields(self.learned)

    def score(self, batch: pa.RecordBatch) -> Floats:
        return np.asarray(self.learned.score(batch), np.float64)

    def scored(self, batch: pa.RecordBatch) -> Scored:
        if hasattr(self.learned, "scored"):
            found: Scored = self.learned.scored(batch)
            return found
        if not hasattr(self.learned, "scores"):
            return super().scored(batch)
        score = np.asarray(self.learned.scores(batch), np.float64)
        barred: Reasons | None = self.barred(batch)
        return Scored(score, self.order_keys(batch, score), barred, detail=self.details(batch))

    def tell(self, choice: Any) -> dict[str, Any]:
        if hasattr(self.learned, "tell"):
            return dict(self.learned.tell(choice))
        return dict(getattr(self.learned, "facts", {}))
