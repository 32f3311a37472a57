"""What to label next, round after round: a cold start without labels, then what the model is unsure of.

Without labels of two classes: k-means medoids. With them a head (heads.py) is fitted on the labeled vectors, and the
candidates with the smallest margin between its first two classes are asked. `balance: pcb` (Bang et al. 2024,
arXiv:2311.11178) takes, of a tenth of the candidates, always one that the head believes of the class with the fewest
labels. One pass over the vectors and a fit; cold starts cost a k-means. Not where the embedding doesn't carry the
classes: there nothing beats chance."""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from tamis.selectors import acquisition
from tamis.selectors.budget import Budget, Fraction
from tamis.selectors.chance import uniform
from tamis.selectors.class_balance import balanced
from tamis.selectors.cold_start import ProbabilityCover, medoids
from tamis.selectors.contract import Batches, Inputs
from tamis.selectors.embedded import Embedded, gather
from tamis.selectors.facility_location import FacilityLocation
from tamis.selectors.heads import Head, fit_head, out_of_folds
from tamis.selectors.k_center import Farthest
from tamis.selectors.parts import Placed, greedily
from tamis.selectors.ranked import Ranked
from tamis.selectors.spend import Chooser, Ordered, picks_within, spend
from tamis.selectors.typical_clusters import NEIGHBOURS, Typical

COLD, WARM = "k_means", "margin"  # the defaults: see docs/active.md for what was measured
Acquire = Literal[
    "auto", "random", "typical", "k_means", "k_center", "facility_location", "probability_cover", "entropy", "margin",
    "least_confidence", "badge", "committee",
]  # fmt: skip
NEEDS_LABELS = ("entropy", "margin", "least_confidence", "badge", "committee")


@dataclass(frozen=True, kw_only=True)
class Active:
    """column: the vectors; acquire: how candidates are chosen (auto: k_means without labels, then margin); balance:
    pcb evens out the classes; head: what predicts them; radius: of probability_cover, a distance of unit vectors;
    pool_share: of the candidates that pcb chooses from."""

    choice: ClassVar[str] = "ranked"
    fitted: ClassVar[type] = Ranked

    column: str
    acquire: Acquire = "auto"
    balance: Literal["none", "pcb"] = "none"
    head: Literal["gda", "logistic"] = "gda"
    radius: float = 0.5
    pool_share: float = 0.1
    seed: int = 0
    step: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.pool_share <= 1 or not 0 < self.radius <= 2:
            raise ValueError("pool_share must be above 0 and at most 1, radius above 0 and at most 2")

    def inputs(self) -> Inputs:
        return Inputs(fields=(self.column,), optional=("labels",))

    def rank(self, pool: Batches, budget: Budget | Fraction) -> Ranked:
        """Raises ValueError where the column holds no vectors."""
        given = gather(pool, self.column, budget)
        known = np.array([bool(label) for label in given.labels], bool) & given.there
        classes = sorted({given.labels[place] or "" for place in np.flatnonzero(known).tolist()})
        warm = len(classes) > 1
        asked = (WARM if warm else COLD) if self.acquire == "auto" else self.acquire
        used = COLD if asked in NEEDS_LABELS and not warm else asked
        head = self._head(given, known) if warm else None
        facts: dict[str, Any] = {"acquire": used, "labels": int(given.labeled.sum()), "classes": classes}
        picks = picks_within(given, budget)
        chooser = self._chooser(used, given, known, head, picks)
        if head is not None:
            facts |= self._about(given, known, head)
        if self.balance == "pcb" and head is not None:
            chooser = balanced(self, given, known, head, chooser, picks)
        return spend(self, given, chooser, budget, facts)

    def _head(self, given: Embedded, known: npt.NDArray[np.bool_]) -> Head:
        labels = [given.labels[place] or "" for place in np.flatnonzero(known).tolist()]
        return fit_head(given.vectors[known], labels, given.ids[known], self.head)

    def _about(self, given: Embedded, known: npt.NDArray[np.bool_], head: Head) -> dict[str, Any]:
        """Labels by class, and how often the head is right about labeled samples that it did not see."""
        labels = [given.labels[place] or "" for place in np.flatnonzero(known).tolist()]
        y = np.array([head.classes.index(label) for label in labels])
        logits = out_of_folds(
            given.vectors[known].astype(np.float64), y, len(head.classes), given.ids[known], self.head
        )
        right = logits.argmax(1) == y
        return {
            "labels_by_class": {name: labels.count(name) for name in head.classes},
            "accuracy_out_of_folds": round(float(right.mean()), 4),
            "balanced_accuracy_out_of_folds": round(
                float(np.mean([right[y == kind].mean() for kind in range(len(head.classes))])), 4
            ),
        }

    def _chooser(
        self, used: str, given: Embedded, known: npt.NDArray[np.bool_], head: Head | None, picks: int
    ) -> Chooser:
        """Over all candidates, labeled ones too: they are taken from the start."""
        chance = uniform(given.ids, self.seed, self.step, "active")
        if used == "random":
            return Ordered(np.argsort(chance, kind="stable"), np.full(len(given), np.nan), {})
        if used == "k_center":
            return Farthest(given.vectors, given.there, given.labeled & given.there)
        if used == "typical":
            return Typical(given, picks, NEIGHBOURS, self.seed)
        if used == "k_means":
            return _medoids(given, picks, self.seed, chance)
        if used == "facility_location":
            return greedily(given, picks, FacilityLocation, "gains {:.1f} of similarity", self.seed, chance)
        if used == "probability_cover":
            cover = partial(ProbabilityCover, radius=self.radius)
            return greedily(given, picks, cover, "within {:.0f} uncovered samples", self.seed, chance)
        vectors = given.vectors.astype(np.float32)
        assert head is not None
        shares = head.probabilities(vectors)
        if used == "badge":
            everywhere = np.arange(len(given))
            return Placed(
                acquisition.Badge(shares, vectors, self.seed),
                everywhere,
                len(given),
                "gradient {:.4f} from those before",
            )
        scores = (
            self._committee(given, known, vectors, head)
            if used == "committee"
            else acquisition.UNCERTAINTY[used](shares)
        )
        two = np.argsort(-shares, axis=1, kind="stable")[:, :2]
        order = np.lexsort([given.ids, -scores])
        texts = {
            place: f"{used} {scores[place]:+.3f}: "
            + " or ".join(f"{head.classes[kind]} ({shares[place, kind]:.2f})" for kind in two[place].tolist())
            for place in order[: max(1, 4 * picks)].tolist()
        }
        return Ordered(order, scores, texts)

    def _committee(
        self, given: Embedded, known: npt.NDArray[np.bool_], vectors: npt.NDArray[np.float32], head: Head
    ) -> npt.NDArray[np.float64]:
        """Vote entropy of heads of bootstrapped labels; a class that a bootstrap misses has no vote there."""
        places = np.flatnonzero(known)
        draw = np.random.default_rng(self.seed)
        votes = []
        for _ in range(acquisition.MEMBERS):
            some = draw.choice(places, len(places))
            labels = [given.labels[place] or "" for place in some.tolist()]
            if len(set(labels)) > 1:
                member = fit_head(given.vectors[some], labels, given.ids[some], self.head)
                renamed = np.array([head.classes.index(name) for name in member.classes])
                votes.append(renamed[member.probabilities(vectors).argmax(1)])
        if not votes:
            return acquisition.entropy(head.probabilities(vectors))
        ties = acquisition.entropy(head.probabilities(vectors))  # many votes are equal: then the unsurest first
        return acquisition.vote_entropy(np.stack(votes), len(head.classes)) + 1e-3 * ties


def _medoids(given: Embedded, picks: int, seed: int, chance: npt.NDArray[np.float64]) -> Ordered:
    """Medoids of the unlabeled; others by chance behind them, where costs leave something of the budget."""
    rows = np.flatnonzero(given.there & ~given.labeled)
    found = medoids(given.vectors[rows].astype(np.float32), max(1, picks), seed)
    first = [int(rows[place]) for place, _ in found]
    rest = np.setdiff1d(np.arange(len(given)), first)
    order = np.concatenate([np.array(first, np.int64), rest[np.argsort(chance[rest], kind="stable")]])
    texts = {int(rows[place]): text for place, text in found}
    return Ordered(order, np.full(len(given), np.nan), texts)
