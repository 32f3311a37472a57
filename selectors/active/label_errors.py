"""Labels that are likely wrong, worst first: what to ask again, and how far each label is to be trusted.

Two views of each labeled sample, by what was labeled besides it: a head's probabilities out of folds, judged by
confident learning (confident_learning.py), and its nearest labeled neighbours, of which fewer than half bear its label
while more bear another. Flagged by both come first, then by the lead of the other class. `labels` in the emit list
writes all labels with a weight: p of the own label over the mean p of that label's samples, at most 1. A fit a fold,
and a product of the labeled with each other. Not with fewer than about five labels a class, and no proof: people
decide."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from tamis.selectors.budget import Budget, Fraction
from tamis.selectors.contract import Batches, Inputs, Ranker
from tamis.selectors.labeled import Labeled, labeled
from tamis.selectors.learners.confident_learning import by_class, by_noise_rate, off_diagonal, thresholds
from tamis.selectors.learners.folds import alike
from tamis.selectors.learners.heads import unseen_shares
from tamis.selectors.picks.embedded import Embedded, gather
from tamis.selectors.picks.spend import Ordered, spend

BLOCK = 1024  # rows of similarities at once
FLAGS = {
    "noise_rate": by_noise_rate,
    "class": by_class,
    "both": lambda given, shares: by_noise_rate(given, shares) & by_class(given, shares),
    "off_diagonal": off_diagonal,
}


@dataclass(frozen=True, kw_only=True)
class LabelErrors(Ranker):
    """column      of vectors
    flag        a rule of confident learning
    neighbours  how many are asked
    head        what predicts
    """

    needs_labels: ClassVar[bool] = True
    fitted: ClassVar[type | None] = Labeled

    column: str
    flag: Literal["noise_rate", "class", "both", "off_diagonal"] = "noise_rate"
    neighbours: int = 10
    head: Literal["gda", "logistic"] = "gda"

    @property
    def extra(self) -> str:
        return "classify" if self.head == "logistic" else ""

    def __post_init__(self) -> None:
        if self.neighbours < 1:
            raise ValueError(f"neighbours must be 1 or more, found {self.neighbours}")

    def inputs(self) -> Inputs:
        return Inputs(fields=(self.column,), optional=("labels", "labels_confirmed"))

    def rank(self, pool: Batches, budget: Budget | Fraction) -> Labeled:
        """Raises ValueError where the column holds no vectors."""
        given = gather(pool, self.column, budget, optional=("labels_confirmed",))
        settled = given.more.get("labels_confirmed")
        known = np.flatnonzero(given.known)
        names = given.labels_at(given.known)
        classes = sorted(set(names))
        facts: dict[str, Any] = {"labels": len(names), "classes": len(classes)}
        label, weight = np.full(len(given), -1), np.ones(len(given))
        label[known] = np.searchsorted(classes, names) if names else []
        wrong, lead, texts = np.zeros(len(given), bool), np.full(len(given), np.nan), {}
        again = np.zeros(len(given), bool)  # in doubt, but people were asked again, and said the same
        if len(classes) > 1:
            judged = self._judged(given, known, label[known], classes)
            wrong[known], lead[known], weight[known] = judged.wrong, judged.lead, judged.trust
            facts |= judged.facts
            if settled is not None:
                again = settled.to_numpy().astype(bool) & wrong
                wrong &= ~again
                weight[settled.to_numpy().astype(bool)] = 1.0
                if again.any():
                    told = f"{int(again.sum()):,} of these were confirmed: two rounds gave the same label"
                    facts = {**facts, "confirmed": int(again.sum()), "said": [*facts["said"], told]}
            texts = {int(place): judged.told(row) for row, place in enumerate(known) if wrong[place]}
        order = np.lexsort([given.ids, -np.nan_to_num(lead, nan=-np.inf)])
        picks = spend(
            self, given, Ordered(order, lead, texts), budget, facts, open_=wrong, reasons=_why(given, wrong, again)
        )
        return labeled(picks, classes, label, weight, np.zeros(len(given), bool))

    def _judged(
        self, given: Embedded, known: npt.NDArray[np.int64], label: npt.NDArray[np.int64], classes: list[str]
    ) -> "Judged":
        vectors = given.vectors[known].astype(np.float32)
        shares = unseen_shares(vectors.astype(np.float64), label, len(classes), given.contents[known], self.head)
        same = alike(vectors, given.contents[known])
        _, told_alike = np.unique(np.stack([same, label.astype(np.uint64)]), axis=1, return_inverse=True)
        votes = neighbour_votes(vectors, label, len(classes), self.neighbours, told_alike.reshape(-1))
        return Judged(label, shares, votes, FLAGS[self.flag](label, shares), classes)


@dataclass(frozen=True)
class Judged:
    """Of labeled rows: [rows, classes] probabilities and shares of neighbours, and which confident learning flags."""

    label: npt.NDArray[np.int64]
    shares: npt.NDArray[np.float64]
    votes: npt.NDArray[np.float64]
    flagged: npt.NDArray[np.bool_]
    classes: list[str]

    @property
    def outvoted(self) -> npt.NDArray[np.bool_]:
        """Fewer than half of the neighbours bear the label, and more bear another one."""
        own = self._own(self.votes)
        return (own < 0.5) & (self.votes.max(1) > own)

    @property
    def alone(self) -> npt.NDArray[np.bool_]:
        """The only label of its class: nothing that did not see it could foretell it."""
        return np.bincount(self.label, minlength=len(self.classes))[self.label] < 2

    @property
    def wrong(self) -> npt.NDArray[np.bool_]:
        return (self.flagged | self.outvoted) & ~self.alone

    @property
    def lead(self) -> npt.NDArray[np.float64]:
        """By how much another class leads, mean of both views; 1 more where both agree that the label is wrong."""
        return (self._lead(self.shares) + self._lead(self.votes)) / 2 + (self.flagged & self.outvoted)

    @property
    def trust(self) -> npt.NDArray[np.float64]:
        own = self._own(self.shares) / np.maximum(thresholds(self.label, self.shares), 1e-9)[self.label]
        return np.where(self.alone, 1.0, np.minimum(1, own))

    @property
    def facts(self) -> dict[str, Any]:
        doubted, head, neighbours = (int(which.sum()) for which in (self.wrong, self.flagged, self.outvoted))
        both = int((self.flagged & self.outvoted).sum())
        said = f"{doubted:,} of {len(self.label):,} labels are in doubt: {head:,} by head, {neighbours:,} by neighbours"
        rows = [
            [name, int((self.label == kind).sum()), int(self.wrong[self.label == kind].sum())]
            for kind, name in enumerate(self.classes)
        ]
        return {
            "flagged": head, "outvoted": neighbours, "both": both, "said": [f"{said}, {both:,} by both"],
            "table": {"columns": ["class", "labels", "in doubt"], "rows": rows},
        }  # fmt: skip

    def told(self, row: int) -> str:
        """Why a label is doubted, in words."""
        mine = int(self.label[row])
        other = int(np.where(np.arange(len(self.classes)) == mine, -1, self.shares[row]).argmax())
        p, near = self.shares[row], self.votes[row]
        says = [name for name, so in (("head", self.flagged[row]), ("neighbours", self.outvoted[row])) if so]
        given = f"labeled {self.classes[mine]} (p {p[mine]:.2f}, {near[mine]:.0%} of neighbours)"
        return f"{given}, rather {self.classes[other]} (p {p[other]:.2f}, {near[other]:.0%}), by {' and '.join(says)}"

    def _own(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return values[np.arange(len(self.label)), self.label]

    def _lead(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        others = values.copy()
        others[np.arange(len(self.label)), self.label] = -np.inf
        return others.max(1) - self._own(values)


def neighbour_votes(
    vectors: npt.NDArray[np.float32], label: npt.NDArray[np.int64], classes: int, neighbours: int,
    same: npt.NDArray[np.integer[Any]],
) -> npt.NDArray[np.float64]:  # fmt: skip
    """[rows, classes] share of each class among the nearest rows that are not the `same` [rows], by cosine; of equally
    near ones the first.

    No more neighbours are asked than there are others of the own class; a label that is alone has its own vote."""
    own = np.stack([np.unique(same, return_inverse=True)[1].reshape(-1), label])
    _, kind, copies = np.unique(own, axis=1, return_inverse=True, return_counts=True)
    sizes = np.bincount(label, minlength=classes)[label] - copies[kind.reshape(-1)]
    asked = np.minimum(neighbours, sizes)
    count = int(asked.max(initial=0))
    votes = np.zeros((len(vectors), classes))
    for first in range(0, len(vectors) if count else 0, BLOCK):
        close = vectors[first : first + BLOCK] @ vectors.T
        close[same[first : first + BLOCK, None] == same] = -np.inf
        near = np.sort(np.argpartition(-close, count - 1, axis=1)[:, :count], axis=1)
        near = np.take_along_axis(near, np.argsort(-np.take_along_axis(close, near, 1), axis=1, kind="stable"), 1)
        mine = np.arange(count) < asked[first : first + BLOCK, None]
        which = np.nonzero(mine)
        np.add.at(votes, (first + which[0], label[near[mine]]), 1 / asked[first + which[0]])
    lonely = np.flatnonzero(asked == 0)
    votes[lonely, label[lonely]] = 1
    return votes


def _why(given: Embedded, wrong: npt.NDArray[np.bool_], again: npt.NDArray[np.bool_]) -> list[str]:
    """Of each candidate the reason if it is not asked again."""
    why = np.where(given.known, "label_stands", "not_labeled").astype(object)
    why[given.labeled & ~given.there] = "not_scorable"
    why[wrong] = "not_picked"
    why[again] = "confirmed"
    return why.tolist()
