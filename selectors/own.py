"""A user's own selector as one of ours: a frozen dataclass with `fit`, which returns what has `score`; or with `rank`.

Nothing else is needed of it. What it has besides of the names in contract.py is used, and of their older forms:
`scores`, `verdicts`, `is_in_target`, `proportions`, `facts` of what was learned; `choice`, `budgeted`, `max_epochs`,
`prices`, `targets` of the settings. This is the only place that asks a selector what it has."""

import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from tamis.selectors.contract import (
    Batches,
    Fitted,
    Floats,
    Inputs,
    Ranker,
    Reasons,
    Scored,
    Scorer,
    Selector,
    stored_fields,
)

MEMBERS = ("groups", "tie_keys", "related_ids", "quotas", "explain", "unseen")
FLAGS = (
    "needs_target", "needs_evaluation", "needs_labels", "needs_where", "by_chance", "adds_up", "budgets", "unscored",
    "outside", "fitted", "tells_unseen", "tells_number",
)  # fmt: skip
SAID = ("choice", "rules", "tokens_field", "objects_field", "priced_by", "epochs", "noisy", "near_in")


def adopted(selector: Any) -> Selector:
    """The selector itself where it is one of contract.py's, else wrapped."""
    if isinstance(selector, Selector):
        return selector
    return OwnRanker(selector) if hasattr(selector, "rank") else Own(selector)


class Wrapped(Selector):
    """What both kinds share: a user's settings, and what they say."""

    given: Any

    def __post_init__(self) -> None:
        flags = {name: getattr(self.given, name) for name in FLAGS if hasattr(self.given, name)}
        if not getattr(self.given, "budgeted", True) or self.choice == "exact_dedup":
            flags["budgets"] = ()
        if self.choice == "exact_dedup":
            flags["unscored"] = True
        if "outside" in flags:
            flags["needs_where"] = True
        for name, value in flags.items():
            object.__setattr__(self, name, value)

    def _says(self, name: str, otherwise: Any) -> Any:
        return getattr(self.given, name, otherwise)

    @property
    def choice(self) -> str:
        return str(self._says("choice", "ranked" if self.ranks else "budget"))

    @property
    def rules(self) -> bool:
        return bool(self._says("rules", not self.budgets))

    @property
    def tokens_field(self) -> str | None:
        return self._says("tokens_field", None)

    @property
    def objects_field(self) -> str | None:
        return self._says("objects_field", None)

    @property
    def priced_by(self) -> str | None:
        return self._says("priced_by", self._says("by", None) if self._says("prices", False) else None)

    @property
    def epochs(self) -> int:
        return int(self._says("epochs", self._says("max_epochs", 1)))

    @property
    def noisy(self) -> bool:
        return bool(self._says("noisy", self._says("noise", 0)))

    @property
    def near_in(self) -> str | None:
        return self._says("near_in", None)

    def inputs(self) -> Inputs:
        return self.given.inputs() if hasattr(self.given, "inputs") else Inputs()

    def check(self, fields: Collection[str], targets: int) -> None:
        if hasattr(self.given, "check"):
            self.given.check(fields, targets)
        if isinstance(shares := self._says("targets", None), list) and len(shares) != targets:
            raise ValueError(f"targets: {len(shares)} proportions for {targets} target sources")

    def takes(self, reason: str) -> str | None:
        return self.given.takes(reason) if hasattr(self.given, "takes") else None

    def as_settings(self) -> dict[str, Any]:
        return dataclasses.asdict(self.given)

    def restored(self, values: dict[str, Any], prepared: bool = False) -> "OwnFitted":
        kind = self._says("fitted", type(self.given))
        names = [field.name for field in dataclasses.fields(kind)]
        return OwnFitted(kind(**{name: values.get(name, self.given) for name in names}))


@dataclass(frozen=True)
class Own(Wrapped, Scorer):
    """Settings of a user's scorer that has no base of ours."""

    given: Any

    def fit(self, pool: Batches, targets: Sequence[Batches]) -> Fitted:
        return learned_by(self.given.fit(pool, targets))


@dataclass(frozen=True)
class OwnRanker(Wrapped, Ranker):
    """Settings of a user's ranker that has no base of ours."""

    given: Any

    def rank(self, pool: Batches, budget: Any) -> Fitted:
        return learned_by(self.given.rank(pool, budget))


def learned_by(learned: Any) -> Fitted:
    """What was learned, as one of ours."""
    return learned if isinstance(learned, Fitted) else OwnFitted(learned)


class OwnFitted(Fitted):
    """What a user's class has learned; stored as its own fields."""

    def __init__(self, learned: Any) -> None:
        self.learned = learned
        for name in MEMBERS:
            if hasattr(learned, name):
                setattr(self, name, getattr(learned, name))

    def target_shares(self) -> Sequence[float]:
        if hasattr(self.learned, "target_shares"):
            return list(self.learned.target_shares())
        return list(getattr(self.learned, "proportions", (1.0,)))

    def stored(self) -> dict[str, Any]:
        return stored_fields(self.learned)

    def candidates_of(self, eligible: int) -> int:
        return int(getattr(self.learned, "candidates", eligible))

    def score(self, batch: pa.RecordBatch) -> Floats:
        return np.asarray(self.learned.score(batch), np.float64)

    def scored(self, batch: pa.RecordBatch) -> Scored:
        if hasattr(self.learned, "scored"):
            found: Scored = self.learned.scored(batch)
            return found
        whole = self.learned.scores(batch) if hasattr(self.learned, "scores") else self.learned.score(batch)[None, :]
        score = np.asarray(whole, np.float64)
        order = self.learned.order_keys(batch, score) if hasattr(self.learned, "order_keys") else None
        barred, detail = self._told(batch)
        return Scored(
            score,
            None if order is None else np.asarray(order, np.float64),
            barred,
            self.groups(batch),
            self.tie_keys(batch),
            detail,
            self.related_ids(batch),
        )

    def _told(self, batch: pa.RecordBatch) -> tuple[Reasons | None, Reasons | None]:
        """Reasons and details, in whatever form they come."""
        if hasattr(self.learned, "verdicts"):
            found = list(self.learned.verdicts(batch))
            return [one and one[0] for one in found], [one and one[1] for one in found]
        barred = list(self.learned.barred(batch)) if hasattr(self.learned, "barred") else None
        if hasattr(self.learned, "is_in_target"):
            return barred, ["in target" if one else None for one in self.learned.is_in_target(batch)]
        return barred, list(self.learned.details(batch)) if hasattr(self.learned, "details") else None

    def tell(self, choice: Any) -> dict[str, Any]:
        if hasattr(self.learned, "tell"):
            return dict(self.learned.tell(choice))
        return dict(getattr(self.learned, "facts", {}))
