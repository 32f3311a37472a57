"""How much may be chosen: rows, tokens, bytes, objects, minutes, cost, a fraction of the rows, or as many as there are
of the target's kind. Never exceeded; clamped to what there is."""

import math
from dataclasses import dataclass
from fractions import Fraction as Exact
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

SCALES = {
    "rows": 1,
    "tokens": 1,
    "bytes": 1,
    "objects": 1,
    "minutes": 60_000,
    "cost": 10_000,
}  # a unit in whole numbers
LARGEST = 2.0**53  # above it whole numbers of float64 have gaps, and sums of int64 may overflow
WANTED = (
    "auto, a number of rows or {tokens: N, by: FIELD}, {bytes: N}, {objects: N, by: FIELD}, {cost: N, by: FIELD}, "
    "{minutes: N, by: FIELD}, {minutes: N, each: A} or {minutes: N, image: A, object: B, by: FIELD}, "
    "with `max_epochs: auto` where what is of the target's kind may repeat"
)
Costs = npt.NDArray[np.int64]
Epochs = int | Literal["auto"]


@dataclass(frozen=True)
class Budget:
    """`amount` in whole SCALES' parts of `unit`; `by` names the field or column that holds a sample's tokens, objects,
    cost or minutes, or with `prices` a kind that has one. A sample takes `image` minutes and `object` minutes for each
    of its objects. Where the target's kind is smaller than the budget, what is of it counts up to `epochs` times."""

    amount: int
    unit: str = "rows"
    by: str | None = None
    image: float = 0.0
    object: float = 0.0
    prices: tuple[tuple[str, float], ...] = ()  # cost or minutes of a sample by the kind in `by`
    epochs: Epochs = 1

    def __str__(self) -> str:
        told = f"{shown(self.amount, self.unit)} {self.unit}"
        return told if self.epochs == 1 else f"{told}, max_epochs {self.epochs}"

    @property
    def field(self) -> str | None:
        """What batches must hold to tell a sample's cost."""
        return {"rows": None, "bytes": "n_bytes", "tokens": self.by or "n_tokens"}.get(self.unit, self.by)

    def units(self, _candidates: int, _of_kind: int = 0) -> int:
        return self.amount

    def costs(self, batch: pa.RecordBatch) -> Costs:
        """[rows] in the same parts as the amount, rounded up. Raises ValueError where the field holds no costs."""
        if self.field is None:
            each = math.ceil(self.image * SCALES[self.unit] - 1e-6) if self.unit == "minutes" else 1
            return np.full(batch.num_rows, each, np.int64)
        values = self._priced(batch[self.field]) if self.prices else self._held(batch[self.field])
        if not np.isfinite(values).all() or (values < 0).any():
            raise ValueError(f"the budget's field {self.field!r} has rows without a cost of 0 or more")
        values = self.image + self.object * values if self.unit == "minutes" and not self.prices else values
        parts = np.ceil(values * SCALES[self.unit] - 1e-6)
        if (parts >= LARGEST).any():
            raise ValueError(f"the budget's field {self.field!r} has a cost of {values.max():g}, which is too large")
        return parts.astype(np.int64)

    def _held(self, values: pa.Array) -> npt.NDArray[np.float64]:
        try:
            return np.asarray(values.cast(pa.float64()).to_numpy(zero_copy_only=False))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise ValueError(f"the budget's field {self.field!r} holds no numbers ({error})") from error

    def _priced(self, kinds: pa.Array) -> npt.NDArray[np.float64]:
        known = dict(self.prices)
        names = [name or "" for name in kinds.cast(pa.string()).to_pylist()]  # samples without a kind have that of ""
        if missing := sorted(set(names) - set(known)):
            some = ", ".join(map(repr, missing[:5]))
            raise ValueError(f"the budget's prices lack {some} ({len(missing)} of the kinds of {self.field!r})")
        return np.array([known[name] for name in names], np.float64)


@dataclass(frozen=True)
class Fraction:
    """A share of the candidates that may be chosen; becomes a budget of rows, rounded down."""

    share: float
    unit: str = "rows"
    field: str | None = None
    epochs: Epochs = 1

    def __str__(self) -> str:
        return f"{self.share:.4g} of the candidates"

    def units(self, candidates: int, _of_kind: int = 0) -> int:
        return int(Exact(str(self.share)) * candidates)  # 0.29 of 100 is 29, not 28

    def costs(self, batch: pa.RecordBatch) -> Costs:
        return np.ones(batch.num_rows, np.int64)


@dataclass(frozen=True)
class AsFound:
    """As many rows as there are of the target's kind; `budget: auto`."""

    unit: str = "rows"
    field: str | None = None
    epochs: Epochs = 1

    def __str__(self) -> str:
        return "as many as are of the target's kind"

    def units(self, candidates: int, of_kind: int = 0) -> int:
        return min(candidates, of_kind)

    def costs(self, batch: pa.RecordBatch) -> Costs:
        return np.ones(batch.num_rows, np.int64)


AnyBudget = Budget | Fraction | AsFound


def shown(amount: int, unit: str) -> str:
    """An amount as a person gave it: 90 minutes, not 5,400 seconds."""
    whole, rest = divmod(amount, SCALES[unit])
    return f"{whole:,}" if not rest else f"{amount / SCALES[unit]:,.2f}"


def parse_budget(settings: dict[str, Any]) -> AnyBudget | None:
    """Take `budget` or `fraction` out of a step's settings. Raises ValueError."""
    budget, fraction = settings.pop("budget", None), settings.pop("fraction", None)
    if budget is not None and fraction is not None:
        raise ValueError("give `budget` or `fraction`, not both")
    if fraction is not None:
        if isinstance(fraction, bool) or not isinstance(fraction, (int, float)) or not 0 <= fraction <= 1:
            raise ValueError(f"fraction must be a number from 0 to 1, found {fraction!r}")
        return Fraction(float(fraction))
    if budget is None:
        return None
    if budget == "auto":
        return AsFound()
    if not isinstance(budget, dict):
        return Budget(_amount(budget))
    epochs = _epochs(budget.get("max_epochs", 1))
    apart = ("by", "prices", "max_epochs")
    by, rest = budget.get("by"), {name: value for name, value in budget.items() if name not in apart}
    timed = {name: rest.pop(name) for name in ("image", "object", "each") if "minutes" in rest and name in rest}
    if len(rest) != 1 or next(iter(rest)) not in SCALES or not (by is None or isinstance(by, str)):
        raise ValueError(f"budget must be {WANTED}, found {budget!r}")
    unit, value = next(iter(rest.items()))
    prices = _prices(budget, unit, by)
    if unit == "cost" and by is None:
        raise ValueError("budget in cost: add `by: FIELD`, a kept field or column that holds a sample's cost")
    if SCALES[unit] == 1:
        return Budget(_amount(value), unit, by, epochs=epochs)
    times = _times(timed, by) if unit == "minutes" and not prices else {}
    return Budget(int(Exact(str(_positive(value))) * SCALES[unit]), unit, by, **times, prices=prices, epochs=epochs)


def _times(timed: dict[str, Any], by: str | None) -> dict[str, float]:
    """Minutes of a sample and of each of its objects, or of whatever `by` counts."""
    if set(timed) == {"each"} and by is None and _positive(timed["each"]):
        return {"image": timed["each"], "object": 0.0}
    if not timed and by is not None:
        return {"image": 0.0, "object": 1.0}
    if set(timed) != {"image", "object"} or sum(map(_positive, timed.values())) == 0:
        raise ValueError(
            "budget in minutes: say how long one takes, {minutes: N, by: FIELD}, {minutes: N, each: A} or "
            "{minutes: N, image: A, object: B}"
        )
    return timed


def _prices(budget: dict[str, Any], unit: str, by: str | None) -> tuple[tuple[str, float], ...]:
    prices = budget.get("prices", {})
    if not isinstance(prices, dict) or (prices and (by is None or unit not in ("cost", "minutes"))):
        raise ValueError("prices: wanted a map of kind to price, with `by: FIELD` and a budget in cost or minutes")
    return tuple(sorted((str(name), float(_positive(price))) for name, price in prices.items()))


def _positive(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise ValueError(f"wanted a number of 0 or more, found {value!r}")
    return value


def _epochs(value: Any) -> Epochs:
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    if value != "auto" and not whole:
        raise ValueError(f"max_epochs: wanted auto, or a number of 1 or more, found {value!r}")
    return value


def _amount(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"budget must be a whole number or auto, found {value!r}")  # noqa: TRY004  one kind for bad settings
    if value < 0:
        raise ValueError(f"budget must be 0 or more, found {value}")
    return value
