"""Confident samples label themselves, unsure ones are asked: active self-paced learning, round after round.

Lin, Wang, Meng, Zuo, Zhang 2017 (ASPL, TPAMI). One classifier a class against all others (one_vs_all.py); class j
claims a sample whose loss 1 - d_j(x) is below its pace l_j. One claim: a pseudo-label of weight 1 - loss / l_j (the
linear regularizer), which the classifiers then learn from, too, for some turns. No claim: it may be asked, least
confident first. Two claims: neither, this round. What people said has weight 1 and is never changed; where exactly one
other class claims such a sample, it is shown as a contradiction. Pseudo-labels are made anew each time. A pace is not
portable, so it is the largest, up to 0.9, at which claims on labeled samples out of folds are right as often as
`precision` says, and less for a class whose claims are right less often. A fit for each class, fold and turn. Not
without a few labels of each class: what was never seen is taken for something else."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from tamis.selectors.active.cold_start import cold_order
from tamis.selectors.budget import Budget, Fraction
from tamis.selectors.chance import Ids, uniform
from tamis.selectors.contract import Batches, Inputs, Ranker
from tamis.selectors.labeled import Labeled, labeled
from tamis.selectors.learners.folds import FOLDS, alike, fold_of
from tamis.selectors.learners.one_vs_all import distances, fit_one_vs_all
from tamis.selectors.picks.embedded import Embedded, gather
from tamis.selectors.picks.spend import Ordered, picks_within, spend

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
FASTEST = 0.9  # of paces: a claim has a distance of 0.1 at least
MOST_TAUGHT = 20_000  # pseudo-labels that classifiers learn from, those of the largest weight
LISTED = 20  # contradictions in the step's facts


@dataclass(frozen=True, kw_only=True)
class SelfPaced(Ranker):
    """column     of vectors
    precision  wanted of claims on samples not seen
    pace       one for all classes instead (0: nothing labels itself)
    turns      how often classifiers learn from the pseudo-labels of the turn before
    """

    fitted: ClassVar[type | None] = Labeled

    column: str
    precision: float = 0.95
    pace: float | None = None
    turns: int = 2
    seed: int = 0
    step: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.precision <= 1 or self.turns < 0 or not 0 <= (self.pace or 0) <= FASTEST:
            raise ValueError(f"precision must be above 0 and at most 1, turns 0 or more, pace from 0 to {FASTEST}")

    def inputs(self) -> Inputs:
        return Inputs(fields=(self.column,), optional=("labels", "content_hash"))

    def rank(self, pool: Batches, budget: Budget | Fraction) -> Labeled:
        """Raises ValueError where the column holds no vectors."""
        given = gather(pool, self.column, budget, once=True)
        names = given.labels_at(given.known)
        classes, picks = sorted(set(names)), picks_within(given, budget)
        facts: dict[str, Any]
        label = np.full(len(given), -1)
        label[given.known] = np.searchsorted(classes, names) if names else []
        if len(classes) < 2:
            chance = uniform(given.ids, self.seed, self.step, "self_paced")
            facts = {"labels": len(names), "said": ["k_means, for lack of labels of two classes"]}
            asked = spend(self, given, cold_order(given.vectors, given.free, picks, self.seed, chance), budget, facts)
            return labeled(asked, classes, label, np.ones(len(given)), np.zeros(len(given), bool))
        found = self._claims(given, label, len(classes))
        facts = {}
        asked = spend(self, given, found.order(given, classes, picks), budget, facts, reasons=found.why(given))
        free = given.there & ~given.labeled & (asked.ranks == 0)
        copies = facts.get("said", [])
        facts |= found.facts(given, label, classes, free)
        facts["said"] = [*facts["said"], *copies]
        believed = found.single & free
        label, weight = np.where(believed, found.claimed, label), np.where(believed, found.weight, 1.0)
        return labeled(asked, classes, label, weight, believed)

    def _claims(self, given: Embedded, label: Ints, classes: int) -> "Claims":
        """After the last turn."""
        known, free = np.flatnonzero(given.known), given.there & ~given.labeled
        vectors = given.vectors.astype(np.float32)
        x, y = vectors[known].astype(np.float64), label[known]
        if self.pace is None:
            pace = paces(x, y, classes, given.contents[known], self.precision)
        else:
            pace = np.full(classes, self.pace)
        fitted = fit_one_vs_all(x, y, classes, np.ones(len(x)))
        for _ in range(self.turns):
            claims = Claims(distances(vectors, fitted), pace)
            some = np.flatnonzero(claims.single & free)
            some = np.sort(some[np.lexsort([given.ids[some], -claims.weight[some]])][:MOST_TAUGHT])
            if not len(some):
                break
            taught, what = np.concatenate([x, vectors[some]]), np.concatenate([y, claims.claimed[some]])
            fitted = fit_one_vs_all(taught, what, classes, np.concatenate([np.ones(len(x)), claims.weight[some]]))
        return Claims(distances(vectors, fitted), pace)


@dataclass(frozen=True)
class Claims:
    """Which classes claim which samples: [rows, classes] distances, [classes] paces."""

    distances: Floats
    pace: Floats

    @cached_property
    def _claims(self) -> npt.NDArray[np.bool_]:
        return _loss(self.distances) < self.pace

    @cached_property
    def count(self) -> Ints:
        """[rows] classes that claim it."""
        return np.asarray(self._claims.sum(1))

    @property
    def single(self) -> npt.NDArray[np.bool_]:
        return self.count == 1

    @cached_property
    def claimed(self) -> Ints:
        """[rows] the class that claims it, where there is one."""
        return np.asarray(self._claims.argmax(1))

    @cached_property
    def weight(self) -> Floats:
        """[rows] 1 - loss / pace of that class, from 0 to 1."""
        loss = _loss(self.distances[np.arange(len(self.distances)), self.claimed])
        return np.where(self.single, 1 - loss / np.maximum(self.pace[self.claimed], 1e-12), 0.0)

    def order(self, given: Embedded, classes: list[str], picks: int) -> Ordered:
        """Unclaimed first, then what several classes claim, then single claims; the least confident of each first."""
        best, first = self.distances.max(1), self.distances.argmax(1)
        group = np.where(self.count == 0, 0, np.where(self.count > 1, 1, 2))
        order = np.lexsort([given.ids, best, group])
        texts = {
            place: f"{('no class claims it', 'several classes claim it', 'claimed')[group[place]]}: nearest "
            f"{classes[first[place]]} at {best[place]:+.2f}, pace {self.pace[first[place]]:.2f}"
            for place in order[: 4 * max(1, picks)].tolist()
        }
        return Ordered(order, -best, texts)

    def why(self, given: Embedded) -> list[str]:
        """Of each candidate the reason if it is not asked."""
        why, free = np.array(given.why_not(), object), given.there & ~given.labeled
        why[free & self.single] = "believed"
        why[free & (self.count > 1)] = "two_classes"
        return why.tolist()

    def facts(self, given: Embedded, label: Ints, classes: list[str], free: npt.NDArray[np.bool_]) -> dict[str, Any]:
        """Of the `free` ones, that have no label and are not asked."""
        single = self.single
        against = np.flatnonzero(given.known & single & (self.claimed != label))[:LISTED].tolist()
        believed = np.bincount(self.claimed[free & single], minlength=len(classes)).tolist()
        labels = np.bincount(label[given.known], minlength=len(classes)).tolist()
        pace = [round(float(one), 3) for one in self.pace]
        sure, several, none = (int((free & which).sum()) for which in (single, self.count > 1, self.count == 0))
        said = f"{sure:,} samples label themselves, {several:,} are claimed by several classes, {none:,} by none"
        if against:
            said += (
                f"; other classes claim {len(against)}{'+' if len(against) == LISTED else ''} samples people labeled"
            )
        return {
            "labels": int(given.known.sum()), "believed": sure, "claimed_by_several": several, "unclaimed": none,
            "said": [said],
            "table": {
                "columns": ["class", "labels", "label themselves", "pace"],
                "rows": [list(row) for row in zip(classes, labels, believed, pace, strict=True)],
            },
            "contradicted_labels": {
                f"{int(given.ids[place]):016x}": f"labeled {classes[label[place]]}, claimed by {classes[claim]}"
                for place, claim in zip(against, self.claimed[against].tolist(), strict=True)
            },
        }  # fmt: skip


def _loss(distances: Floats) -> Floats:
    return np.maximum(0, 1 - distances)


def paces(x: Floats, y: Ints, classes: int, contents: Ids, precision: float) -> Floats:
    """[classes] the largest pace at which all classes' claims on rows out of folds are right often enough, times the
    share of the own claims that are; 0 where none is.

    One wrong claim is added to those counted, so that a few right ones don't prove much."""
    fold = fold_of(alike(x, contents))
    unseen = np.full((len(x), classes), -np.inf)
    for number in range(FOLDS):
        out = fold == number
        if out.any() and len(np.unique(y[~out])) > 1:
            unseen[out] = distances(x[out], fit_one_vs_all(x[~out], y[~out], classes, np.ones(int((~out).sum()))))
    loss, right = _loss(unseen), np.arange(classes) == y[:, None]
    order = np.argsort(loss, axis=None, kind="stable")
    at = loss.ravel()[order]
    often = np.cumsum(right.ravel()[order]) / (np.arange(len(order)) + 2)
    good = np.flatnonzero((often >= precision) & (at < FASTEST))
    if not len(good):
        return np.zeros(classes)
    pace = min(FASTEST, float(at[min(good[-1] + 1, len(at) - 1)]))  # as far as the next claim, one too many
    claims = loss < pace
    return pace * (claims & right).sum(0) / np.maximum(1, claims.sum(0))
