"""How much may be chosen: rows, tokens, bytes, or a fraction of the rows. Never exceeded; clamped to what there is."""

from dataclasses import dataclass
from typing import Any

UNITS = ("rows", "tokens", "bytes")


@dataclass(frozen=True)
class Budget:
    """`amount` in `unit`; `by` names the field or column that holds a sample's tokens."""

    amount: int
    unit: str = "rows"
    by: str | None = None

    def __str__(self) -> str:
        return f"{self.amount:,} {self.unit}"


@dataclass(frozen=True)
class Fraction:
    """A share of the candidates that may be chosen; becomes a budget of rows, rounded down."""

    share: float

    def __str__(self) -> str:
        return f"{self.share:.4g} of the candidates"


def parse_budget(settings: dict[str, Any]) -> Budget | Fraction | None:
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
    if not isinstance(budget, dict):
        return Budget(_amount(budget))
    by = budget.get("by")
    units = [unit for unit in budget if unit != "by"]
    if len(units) != 1 or units[0] not in UNITS or not (by is None or isinstance(by, str)):
        raise ValueError(
            f"budget must be a number of rows or {{tokens: N, by: FIELD}} or {{bytes: N}}, found {budget!r}"
        )
    return Budget(_amount(budget[units[0]]), units[0], by)


def _amount(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"budget must be a whole number, found {value!r}")  # noqa: TRY004  one kind for bad settings
    if value < 0:
        raise ValueError(f"budget must be 0 or more, found {value}")
    return value
