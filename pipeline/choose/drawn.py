"""Rows drawn from a stream: those whose ids have the smallest hashes, so that memory holds no more of them."""

from typing import Any

import numpy as np
import numpy.typing as npt

from tamis.selectors.chance import uniform

Ids = npt.NDArray[np.uint64]


class Drawn:
    """At most `most` rows of all that are added: ids, and whatever arrays come along, row by row."""

    def __init__(self, most: int, purpose: str) -> None:
        self.most, self.purpose = most, purpose
        self._held: list[tuple[Any, ...]] = []
        self._rows = 0

    def add(self, ids: Ids, *arrays: Any) -> None:
        self._held.append((ids, *arrays))
        self._rows += len(ids)
        if self._rows > 2 * self.most:
            self._held = [self._fewest()]
            self._rows = len(self._held[0][0])

    def rows(self) -> tuple[Any, ...] | None:
        """Ids and arrays, in the order of the hashes; None where nothing was ever added."""
        return self._fewest() if self._held else None

    def _fewest(self) -> tuple[Any, ...]:
        whole = tuple(np.concatenate([held[place] for held in self._held]) for place in range(len(self._held[0])))
        first = np.argsort(uniform(whole[0], 0, 0, self.purpose), kind="stable")[: self.most]
        return tuple(array[first] for array in whole)
