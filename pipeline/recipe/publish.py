"""When a run's selection becomes the one that consumers read: bounds for it alone, and against the last published."""

import re
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from tamis.pipeline.recipe.model import Model

SWITCH = "current"  # the one that is meant where none is named
PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
Share = Annotated[float, Field(ge=0, le=1)]
Finite = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fields = str | Annotated[list[str], Field(min_length=1)]


class Shares(Model):
    """How the share of each group in the selection may differ from its share in the last published one.

    by  what groups: source, a kept field, a column of classify: fasttext, or a list of them
    within  by so much at most, up or down: 0.1 is ten points
    keep_at_least  so much of its last share at least is left of each group
    rows  groups with no more samples in the last one don't count for keep_at_least
    """

    by: Fields
    within: Share | None = None
    keep_at_least: Share | None = None
    rows: Annotated[int, Field(ge=0)] = 100

    @property
    def fields(self) -> list[str]:
        return [self.by] if isinstance(self.by, str) else self.by

    @model_validator(mode="after")
    def _asks_something(self) -> "Shares":
        if self.within is None and self.keep_at_least is None:
            raise ValueError("share: wanted `within: 0.1` or `keep_at_least: 0.5`, or both")
        return self


class Publish(Model):
    """Guards of STORE/current.json: it names this run where they hold; else the run is held, and the last one stays.

    to  name of the switch, for a store with several: STORE/current-NAME.json
    rows  fewest and most samples of the selection: [1000, 50000], or the fewest alone
    change  share by which that number may differ from the last published one's: 0.5 is half more or half less
    new_rows  fewest samples that came to the pool since the last published run
    rejects  share of the rows that came since which may be rejects
    share  of groups against the last published one: {by, within, keep_at_least, rows}, or a list of them
    target_nats  nats that an n-gram of the target may cost more under the selection than under the last published one
    kl  nats by which the selection's n-grams may diverge from the last published one's
    overlap  share of the last published one that is in this one again, at least
    """

    to: str = SWITCH
    rows: Annotated[int, Field(ge=0)] | list[Annotated[int, Field(ge=0)] | None] | None = None
    change: Finite | None = None
    new_rows: Annotated[int, Field(ge=0)] | None = None
    rejects: Share | None = None
    share: Shares | list[Shares] | None = None
    target_nats: Finite | None = None
    kl: Finite | None = None
    overlap: Share | None = None

    @field_validator("to")
    @classmethod
    def _plain(cls, to: str) -> str:
        if not PLAIN.fullmatch(to):
            raise ValueError(f"{to!r} can't name a switch: use up to 64 letters, digits, '-' and '_'")
        return to

    @field_validator("rows")
    @classmethod
    def _bounds(cls, rows: Any) -> Any:
        if isinstance(rows, list) and (len(rows) != 2 or (None not in rows and rows[0] > rows[1])):
            raise ValueError(f"rows: wanted the fewest and the most, such as [1000, 50000], found {rows}")
        return rows

    @property
    def bounds(self) -> tuple[int | None, int | None]:
        """Fewest and most samples."""
        return (self.rows[0], self.rows[1]) if isinstance(self.rows, list) else (self.rows, None)

    @property
    def shares(self) -> list[Shares]:
        return self.share if isinstance(self.share, list) else [] if self.share is None else [self.share]

    @property
    def of_ngrams(self) -> bool:
        """Whether a guard counts n-grams."""
        return self.target_nats is not None or self.kl is not None
