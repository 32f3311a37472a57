"""Lines that a rule draws across one number of each sample, and that a person may want elsewhere.

A selector names its own (`Selector.lines`), so that others can say where one lies, show what lies nearest to it, and
tell what another place would keep, without a run."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Line:
    """`setting` is its place in the step's settings: `("above",)`, `("limits", "gopher_word_count", 0)`."""

    setting: tuple[str | int, ...]
    value: float | None  # where it lies; None: nowhere
    is_least: bool  # it takes what is not below; else what is not above
    reason: str  # of what it drops
    field: str = ""  # the number, as recipes name it; empty: it is stored nowhere by itself
    expression: str = ""  # or SQL over the pool's own fields that tells it
    of_score: bool = False  # the number is the step's score
    strict: bool = False  # it drops what lies on it, too
    in_detail: bool = False  # the ledger's detail of what it drops ends with the number
    single: bool = False  # numbers are compared in float32

    def drops(self, numbers: npt.NDArray[np.float64], value: float | None) -> npt.NDArray[np.bool_]:
        """[rows] what it would drop, if it lay at `value`. Of what is no number nothing: that is not its reason."""
        if value is None:
            return np.zeros(len(numbers), bool)
        given = numbers.astype(np.float32) if self.single else numbers
        line = np.float32(value) if self.single else value
        if self.strict:
            return given <= line if self.is_least else given >= line
        return given < line if self.is_least else given > line
