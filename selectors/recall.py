"""How much of the target's kind stands above a line, and how many of it a pool holds: for any score, without labels.

Spikes are samples of the target that a fit has not seen, scored as if they lay in the pool. The share of them above a
line is the recall of their kind there; N samples of the pool above a line with recall r are N / r of the kind, or fewer
where others stand there, too: an upper bound at every line. That is the mixture proportion of learning from positive
and unlabeled data (the best line instead of one bin: Garg et al. 2021, arXiv:2111.00980, section 4); our line is the
lowest, of those that 80% to 20% of the spikes reach, above which the pool's samples are spread as the spikes are (Mann
and Whitney 1947): where others come in, they crowd at its lower end. Intervals are of 90%: a share's by Wilson, a
number's on the log scale, from the spikes' share and the pool's own. O(spikes)."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Z = 1.645  # of 90%
FEWEST = 20  # spikes that a number is told from
HIGHEST, LOWEST = 0.8, 0.2  # shares of the spikes between which the line is sought
CROWDED = 1.28  # standard deviations: one pure line in ten is taken for a mixed one
WIDER = 1.2  # intervals of numbers: texts come in bunches, the line is chosen by what is seen: docs/benchmarks/found.md
BY_CHANCE = 3  # samples above the line that chance or the target's siblings bring there
MOST_SPIKES = 1000  # are scored: a share is then known to 2.6%


@dataclass(frozen=True)
class Told:
    """A figure with its 90% interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Recall:
    """Where spikes stand in the order of a pool's eligible samples."""

    ranks: npt.NDArray[np.int64]  # [spikes] samples of the pool above each, rising; those that may not be chosen last
    scored: int  # spikes that may be chosen
    eligible: int  # samples of the pool that may be

    @classmethod
    def of(cls, above: npt.NDArray[np.int64], may: npt.NDArray[np.bool_], eligible: int) -> "Recall":
        """From [spikes] samples above each, and whether it may be chosen."""
        nowhere = np.full(int((~may).sum()), eligible + 1)
        return cls(np.concatenate([np.sort(above[may]), nowhere]).astype(np.int64), int(may.sum()), eligible)

    @property
    def spikes(self) -> int:
        return len(self.ranks)

    def at(self, chosen: int) -> Told:
        """The share of the kind among the best `chosen` of the pool."""
        return share(min(self.scored, int(np.searchsorted(self.ranks, chosen, side="left"))), self.spikes)

    def number(self) -> Told | None:
        """Samples of the kind among the eligible; None of fewer than FEWEST spikes, or where too few may be chosen."""
        line = self.line
        if line is None:
            return None
        above, recall = int(self.ranks[line - 1]), line / (self.spikes + 1)
        value = min(float(self.eligible), above / recall)
        if above <= BY_CHANCE:
            return Told(value, 0.0, most_unseen(above, line, self.spikes))
        spread = math.sqrt((1 - recall) / recall * (1 / (self.spikes + 2)) + (1 - recall) / above)
        times = math.exp(Z * WIDER * spread)
        return Told(value, max(float(above), value / times), min(float(self.eligible), value * times))

    @property
    def none(self) -> bool:
        """Whether no more of the pool stands above the line than chance brings there, nor twice that above half of the
        spikes."""
        return self.line is not None and bool(self.ranks[self.line - 1] <= BY_CHANCE) and self._few_above_half

    @property
    def line(self) -> int | None:
        """How many of the spikes stand above the line by which the number is told."""
        least = max(5, math.ceil(LOWEST * self.spikes))
        if self.spikes < FEWEST or self.scored < least:
            return None
        highest = max(least, min(self.scored, int(HIGHEST * self.spikes)))
        line = next((some for some in range(highest, least, -1) if self.crowded(some) < CROWDED), least)
        while line < highest and self.ranks[line - 1] <= BY_CHANCE and not self._few_above_half:
            line += 1  # too few to tell a number by, and too many further down for none
        return line

    @property
    def _few_above_half(self) -> bool:
        return bool(self.ranks[min(self.scored, -(-self.spikes // 2)) - 1] <= 2 * BY_CHANCE)

    def crowded(self, some: int) -> float:
        """How far lower than the spikes the pool's samples lie above the spike of that place: standard deviations of
        the rank sum of both, were they spread alike."""
        above = int(self.ranks[some - 1])
        if not above or some < 2:
            return 0.0
        pairs = above * (some - 1)
        lower = (above - self.ranks[: some - 1]).sum() / pairs
        return float((lower - 0.5) / math.sqrt((1 / above + 1 / (some - 1) + 1 / pairs) / 12))

    def reach(self, part: float) -> int | None:
        """How many must be chosen to find that share of the kind; None where that can't be."""
        some = math.ceil(part * self.spikes)
        return int(self.ranks[some - 1]) + 1 if 0 < some <= self.scored else None

    def curve(self, points: int = 48) -> list[tuple[int, Told]]:
        """Recall by how many are chosen, on a logarithmic scale to all that may be."""
        most = max(1, self.eligible)
        budgets = np.unique(np.geomspace(1, most, points).round().astype(np.int64)).tolist()
        return [(budget, self.at(budget)) for budget in budgets]


def share(some: int, of: int, z: float = Z) -> Told:
    """A share with Wilson's interval, of so many standard deviations."""
    if not of:
        return Told(0.0, 0.0, 1.0)
    part, scale = some / of, 1 + z * z / of
    middle = part + z * z / (2 * of)
    spread = z * math.sqrt(part * (1 - part) / of + z * z / (4 * of * of))
    return Told(part, max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale))


def most_unseen(above: int, line: int, spikes: int) -> float:
    """The largest number of the kind of which so few stand above the line in 5% of cases: the line's recall is spread
    as Beta(line, spikes - line + 1), so what stands above it as a beta-binomial."""
    a, b = line, spikes - line + 1
    number = above
    while number < 1000 and _at_most(above, number + 1, a, b) >= 0.05:
        number += 1
    return float(number)


def _at_most(above: int, number: int, a: int, b: int) -> float:
    """P(at most so many) of a beta-binomial."""

    def log_beta(x: float, y: float) -> float:
        return math.lgamma(x) + math.lgamma(y) - math.lgamma(x + y)

    logs = [
        math.lgamma(number + 1) - math.lgamma(k + 1) - math.lgamma(number - k + 1)
        + log_beta(k + a, number - k + b) - log_beta(a, b)
        for k in range(min(above, number) + 1)
    ]  # fmt: skip
    return sum(math.exp(value) for value in logs)
