"""Class balance over any acquisition: PCB (Bang, Ahn, Lee 2024, "Active Prompt Learning in Vision Language Models",
arXiv:2311.11178), with its dead-class trap mended.

Of the base method's best candidates (a tenth of all) take, again and again, the first that the head believes of the
class with the fewest labels, counting believed labels of this round. A class without a candidate left is out of the
round, and the next smallest is served; as published it would stay the smallest, and all further picks be random."""

import numpy as np
import numpy.typing as npt

from tamis.selectors.learners.heads import Belief
from tamis.selectors.picks.embedded import Embedded
from tamis.selectors.picks.spend import Chooser

MOST = 50  # candidates that are balanced over for each pick


class Balanced:
    """A chooser over candidates in the base method's order."""

    def __init__(
        self, order: list[tuple[int, float, str]], believed: npt.NDArray[np.int64], counts: npt.NDArray[np.int64],
        names: list[str],
    ) -> None:  # fmt: skip
        self.believed, self.names = believed, names
        self.counts = counts.astype(np.float64)
        self.queues: list[list[tuple[int, float, str]]] = [[] for _ in names]
        for entry in reversed(order):  # the best last, to be taken from the end
            self.queues[believed[entry[0]]].append(entry)

    def next(self, may: npt.NDArray[np.bool_]) -> tuple[int, float, str]:
        for queue in self.queues:
            while queue and not may[queue[-1][0]]:  # budgets only shrink: what can't be paid now never can
                queue.pop()
        open_ = np.array([bool(queue) for queue in self.queues])
        if not open_.any():  # the budget asks for more than the base's best: whatever may be, by place
            place = int(np.flatnonzero(may)[0])
            return place, float("nan"), "beyond what the classes were balanced over"
        kind = int(np.where(open_, self.counts, np.inf).argmin())
        place, score, text = self.queues[kind][-1]
        told = f"believed {self.names[kind]}, which has {self.counts[kind]:.0f} labels"
        return place, score, f"{told}; {text}" if text else told

    def take(self, place: int) -> None:
        self.counts[self.believed[place]] += 1


def considered(given: Embedded, picks: int, pool_share: float) -> int:
    """How many of the base's best are balanced over: `pool_share` of all, no fewer than the picks, and no more than
    MOST for each of them."""
    most = min(max(picks, int(pool_share * len(given))), MOST * max(1, picks))
    return min(most, int(given.free.sum()))


def balanced(given: Embedded, belief: Belief, base: Chooser, most: int) -> Balanced:
    """So many of the base's best candidates, balanced."""
    may = given.free
    order = []
    for _ in range(most):
        entry = base.next(may)
        base.take(entry[0])
        may[entry[0]] = False
        order.append(entry)
    labels = given.labels_at(given.known)
    counts = np.array([labels.count(name) for name in belief.classes])
    return Balanced(order, belief.best, counts, belief.classes)
