"""What to label next, round after round: a cold start without labels, then what the model is unsure of.

Without labels of two classes: k-means medoids. With them a head (heads.py) is fitted on the labeled vectors: while
there are fewer than eight labels a class, the most typical sample of each cluster without a label, where most is unsure
first; then the candidates with the smallest margin between the head's first two classes. `balance: pcb` (Bang et al.
2024, arXiv:2311.11178), a part of the default, takes of a tenth of the candidates always one that the head believes of
the class with the fewest labels. A k-means, or a fit and a pass over the vectors. Not where the embedding doesn't carry
the classes: there nothing beats chance."""

from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from tamis.selectors.active import acquisition
from tamis.selectors.active.class_balance import balanced, considered
from tamis.selectors.active.cold_start import ProbabilityCover, cold_order
from tamis.selectors.active.facility_location import FacilityLocation
from tamis.selectors.active.k_center import Farthest
from tamis.selectors.active.parts import Placed, greedily
from tamis.selectors.active.typical_clusters import NEIGHBOURS, Typical
from tamis.selectors.budget import Budget, Fraction
from tamis.selectors.chance import uniform
from tamis.selectors.contract import Batches, Inputs, Ranker
from tamis.selectors.learners.heads import Belief, Head, fit_head, out_of_folds, prompted
from tamis.selectors.picks.embedded import Embedded, gather
from tamis.selectors.picks.spend import Chooser, Ordered, picks_within, spend
from tamis.selectors.ranked import Ranked

COLD, WARM, LATE = (
    "k_means",
    "unsure_clusters",
    "margin",
)  # what `auto` is: docs/benchmarks/active.md
SETTLED = 8  # labels a class, from which on `auto` is LATE
Acquire = Literal[
    "auto", "random", "typical", "k_means", "k_center", "facility_location", "probability_cover", "entropy", "margin",
    "least_confidence", "unsure_clusters", "badge", "committee",
]  # fmt: skip
NEEDS_BELIEF = ("entropy", "margin", "least_confidence", "unsure_clusters", "badge", "committee")
ENOUGH = 2  # labels a class, from which on they are believed rather than prompts


@dataclass(frozen=True, kw_only=True)
class Active(Ranker):
    """column      of vectors
    acquire     how candidates are chosen (auto: k_means without labels, unsure_clusters while they are few, then
                margin)
    balance     pcb evens out the classes (auto: where acquire is auto)
    head        what predicts them
    prompts     the class output of an open_clip column, believed while labels are few
    radius      of probability_cover, a distance of unit vectors
    pool_share  of the candidates that pcb chooses from
    """

    fitted: ClassVar[type | None] = Ranked

    column: str
    acquire: Acquire = "auto"
    balance: Literal["auto", "none", "pcb"] = "auto"
    head: Literal["gda", "logistic"] = "gda"
    prompts: str | None = None
    radius: float = 0.5
    pool_share: float = 0.1
    seed: int = 0
    step: int = 0

    @property
    def extra(self) -> str:
        return "classify" if self.head == "logistic" else ""

    def __post_init__(self) -> None:
        if not 0 < self.pool_share <= 1 or not 0 < self.radius <= 2:
            raise ValueError("pool_share must be above 0 and at most 1, radius above 0 and at most 2")

    def inputs(self) -> Inputs:
        return Inputs(fields=(self.column, *self._prompts), optional=("labels", "content_hash"))

    @property
    def _prompts(self) -> tuple[str, ...]:
        return () if self.prompts is None else (f"{self.prompts}_best",)

    def rank(self, pool: Batches, budget: Budget | Fraction) -> Ranked:
        """Raises ValueError where the column holds no vectors, or `prompts` no classes."""
        given = gather(pool, self.column, budget, self._prompts, once=True)
        known = given.known
        labels = given.labels_at(known)
        head, belief = self._believed(given, labels)
        asked = self._in_turn(labels) if self.acquire == "auto" else self.acquire
        used = COLD if asked in NEEDS_BELIEF and belief is None else asked
        even = belief is not None and (self.balance == "pcb" or (self.balance, self.acquire) == ("auto", "auto"))
        facts: dict[str, Any] = {"acquire": used, "labels": int(given.labeled.sum()), "classes": sorted(set(labels))}
        said = (
            f"{used}{', classes evened out' if even else ''}; {facts['labels']:,} labels of {len(set(labels))} classes"
        )
        if head is not None:
            facts |= self._about(given, head)
            right, mean = facts["accuracy_out_of_folds"], facts["balanced_accuracy_out_of_folds"]
            if right is not None:
                said += f", of which a head out of folds tells {right:.1%} right ({mean:.1%} averaged over classes)"
        elif belief is not None:
            said += f"; believed are the prompts of {self.prompts}, {len(belief.classes)} classes"
        facts["said"] = [said]
        picks = picks_within(given, budget)
        most = considered(given, picks, self.pool_share) if even else picks
        chooser = self._chooser(used, given, head, belief, picks, most)
        if even and belief is not None:
            chooser = balanced(given, belief, chooser, most)
        return spend(self, given, chooser, budget, facts)

    def _in_turn(self, labels: list[str]) -> str:
        """What `auto` is with so many labels."""
        classes = len(set(labels))
        return COLD if classes < 2 else WARM if len(labels) < SETTLED * classes else LATE

    def _believed(self, given: Embedded, labels: list[str]) -> tuple[Head | None, Belief | None]:
        """By a head of the labels; before there are two for each class that prompts name, by the prompts."""
        told = prompted(given.more[self._prompts[0]]) if self._prompts and len(given) else None
        counts = Counter(labels)
        if len(counts) < 2 or (told is not None and min(counts[name] for name in told.classes) < ENOUGH):
            return None, told
        head = fit_head(given.vectors[given.known], labels, given.contents[given.known], self.head)
        return head, Belief(head.classes, head.probabilities(given.vectors))

    def _about(self, given: Embedded, head: Head) -> dict[str, Any]:
        """Labels by class, and how often the head is right about labeled samples that it did not see."""
        known = given.known
        labels = given.labels_at(known)
        y = np.array([head.classes.index(label) for label in labels])
        vectors = given.vectors[known].astype(np.float64)
        logits = out_of_folds(vectors, y, len(head.classes), given.contents[known], self.head)
        judged = np.isfinite(logits).any(1)  # where too few labels are left for a head, none judges
        right = (logits.argmax(1) == y)[judged]
        by_class = [
            right[y[judged] == kind].mean() if (y[judged] == kind).any() else 0.0 for kind in range(len(head.classes))
        ]
        rows = [[name, labels.count(name), f"{share:.1%}"] for name, share in zip(head.classes, by_class, strict=True)]
        return {
            "labels_by_class": {name: labels.count(name) for name in head.classes},
            "table": {"columns": ["class", "labels", "told right out of folds"], "rows": rows},
            "accuracy_out_of_folds": round(float(right.mean()), 4) if len(right) else None,
            "balanced_accuracy_out_of_folds": round(float(np.mean(by_class)), 4),
        }

    def _chooser(
        self, used: str, given: Embedded, head: Head | None, belief: Belief | None, picks: int, most: int
    ) -> Chooser:
        """Over all candidates, labeled ones too: they are taken from the start. `most` may be asked for by a balance,
        of which `picks` are taken."""
        chance = uniform(given.ids, self.seed, self.step, "active")
        if used == "random":
            return Ordered(np.argsort(chance, kind="stable"), np.full(len(given), np.nan), {})
        if used == "k_center":
            return Farthest(given.vectors, given.there, given.labeled & given.there)
        if used == "typical":
            return Typical(given, picks, NEIGHBOURS, self.seed)
        if used == "k_means":
            return cold_order(given.vectors, given.free, most, self.seed, chance)
        if used == "facility_location":
            return greedily(given, most, FacilityLocation, "gains {:.1f} of similarity", self.seed, chance)
        if used == "probability_cover":
            cover = partial(ProbabilityCover, radius=self.radius)
            return greedily(given, most, cover, "within {:.0f} uncovered samples", self.seed, chance)
        assert belief is not None
        if used == "unsure_clusters":
            return Typical(given, picks, NEIGHBOURS, self.seed, 1 + acquisition.margin(belief.shares))
        if used == "badge":
            badge = acquisition.Badge(belief.shares, given.vectors.astype(np.float32), self.seed)
            return Placed(badge, np.arange(len(given)), len(given), "gradient {:.4f} from those before")
        if used == "committee" and head is not None:
            scores = self._committee(given, head)
        else:
            scores = acquisition.UNCERTAINTY[used](belief.shares)
        order = np.lexsort([given.ids, -scores, ~given.free])  # what may be asked comes first
        texts = {}
        for place in order[: max(1, most)].tolist():
            two = np.argsort(-belief.shares[place], kind="stable")[:2].tolist()
            between = " or ".join(f"{belief.classes[kind]} ({belief.shares[place, kind]:.2f})" for kind in two)
            texts[place] = f"{used} {scores[place]:+.3f}: {between}"
        return Ordered(order, scores, texts)

    def _committee(self, given: Embedded, head: Head) -> npt.NDArray[np.float64]:
        """Vote entropy of heads of bootstrapped labels; a class that a bootstrap misses has no vote there."""
        places = np.flatnonzero(given.known)
        draw = np.random.default_rng(self.seed)
        votes = []
        for _ in range(acquisition.MEMBERS):
            some = draw.choice(places, len(places))
            labels = [given.labels[place] or "" for place in some.tolist()]
            if len(set(labels)) > 1:
                member = fit_head(given.vectors[some], labels, given.contents[some], self.head)
                renamed = np.array([head.classes.index(name) for name in member.classes])
                votes.append(renamed[member.probabilities(given.vectors).argmax(1)])
        ties = acquisition.entropy(head.probabilities(given.vectors))  # many votes are equal: then the unsurest first
        return acquisition.vote_entropy(np.stack(votes), len(head.classes)) + 1e-3 * ties if votes else ties
