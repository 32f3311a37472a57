"""What selections are worth, by training: the same small model on each, at equal amounts, judged on what none has seen.

A language model where there are texts (texts.py), a head on a column of vectors where there are classes
(heads.py). Random is also trained on 2, 4, 8 times as much (by one seed), to say how much of it reaches a
selection's loss."""

import itertools
import math
from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np

from tamis.pipeline.progress import Counter

DOUBLINGS = 3  # of random's amount


class Trials(Protocol):
    """Something that can be trained on a selection by name, or on samples drawn from the whole pool ("")."""

    unit: str  # what amounts count: tokens, labels
    judges: bool  # whether `judged` tells of a second judge, too

    def amount(self, of: str) -> int:
        """How much there is."""

    def loss(self, of: str, amount: int, seed: int) -> float:
        """Less is better."""

    def judged(self, of: str, amount: int, seed: int) -> float:
        """The same by the second judge, of what was trained for `loss`."""


def trained(trials: Trials, names: Iterable[str], seeds: int, baseline: str = "random") -> dict[str, Any]:
    """Of each selection its losses by seed, at what the smallest has; of random also the curve over more, and so of
    each how many times as much of it reaches its loss, and the oracle share."""
    names = list(names)
    budget = min(trials.amount(name) for name in names)
    most = trials.amount("")
    steps = [budget * 2**k for k in range(1, DOUBLINGS + 1) if budget * 2**k <= most] if baseline in names else []
    counter = Counter("train", len(names) * seeds + len(steps), "models")
    losses: dict[str, list[float]] = {}
    for name in names:
        losses[name] = [_counted(counter, trials.loss(name, budget, seed)) for seed in range(seeds)]
    others = {name: [trials.judged(name, budget, seed) for seed in range(seeds)] for name in names if trials.judges}
    mean = {name: float(np.mean(found)) for name, found in losses.items()}
    curve = [(budget, mean[baseline])] if baseline in mean else []
    curve += [(amount, _counted(counter, trials.loss("", amount, 0))) for amount in steps]
    counter.end()
    return {
        "unit": trials.unit, "amount": budget, "seeds": seeds, "curve": curve,
        "by": {
            name: {
                "losses": found, "loss": mean[name], "interval": interval(found),
                "random_needs": needs(mean[name], curve), "oracle_share": oracle_share(mean, name, baseline),
                **_by_judge(others.get(name)),
            }
            for name, found in losses.items()
        },
    }  # fmt: skip


def _by_judge(losses: list[float] | None) -> dict[str, Any]:
    return {} if losses is None else {"judge": float(np.mean(losses)), "judge_interval": interval(losses)}


def _counted(counter: Counter, loss: float) -> float:
    counter.add(1)
    return loss


def interval(values: list[float]) -> float | None:
    """Half the width of the 95% interval of a mean, by Student's t; None for one value."""
    if len(values) < 2:
        return None
    t = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}
    return float(t.get(len(values) - 1, 1.96) * np.std(values, ddof=1) / math.sqrt(len(values)))


def needs(loss: float, curve: list[tuple[int, float]]) -> tuple[str, float] | None:
    """How many times the budget random needs for this loss, log-linear between the curve's points: ("=", times), or
    ("<" or ">", the times at the curve's end) beyond it."""
    if not curve:
        return None
    budget = curve[0][0]
    if loss >= curve[0][1]:
        return ("<", 1.0) if loss > curve[0][1] else ("=", 1.0)
    for (few, high), (many, low) in itertools.pairwise(curve):
        if high >= loss >= low:
            share = (high - loss) / (high - low) if high > low else 0.0
            return "=", float(np.exp(np.log(few) + share * np.log(many / few)) / budget)
    return ">", curve[-1][0] / budget


def oracle_share(mean: dict[str, float], name: str, baseline: str) -> float | None:
    """(random - method) / (random - oracle); None where the oracle is no better than random."""
    if baseline not in mean or "oracle" not in mean or mean[baseline] <= mean["oracle"]:
        return None
    return (mean[baseline] - mean[name]) / (mean[baseline] - mean["oracle"])
