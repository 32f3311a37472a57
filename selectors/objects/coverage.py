"""Images to annotate so that the objects of every class are covered, rare ones too: after OFDS.

Popp, Zhang, Metzen, Hein, Schott 2024, "Object-Focused Data Selection for Dense Prediction" (arXiv:2412.10032): propose
objects, cluster their features class by class, pick an object of each cluster that no chosen image covers, and
annotate its image whole. There is no public code; the order of classes, how the number of clusters follows the budget
and the rule for a pick are our reading, not the paper's text. One k-means a class, or a few where much is covered.
Not for pools without a detector that knows the classes: what it never proposes can't be chosen for."""

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from tamis.selectors.budget import Budget, Fraction
from tamis.selectors.chance import uniform
from tamis.selectors.contract import Batches, Inputs, Ranker
from tamis.selectors.objects.proposals import Images, Objects, Places, gather, row_hashes
from tamis.selectors.ranked import Ranked, ranked
from tamis.selectors.vectors.k_means import k_means

FEWEST = 64  # clusters that may be tried in any case
FINEST = 4  # clusters at most, times the picks that a class is to have: finer ones tell apart what is alike
GROWTH = 1.1  # more clusters than the share of uncovered ones asks for, so that the next try is likely the last


@dataclass(frozen=True, kw_only=True)
class ObjectCoverage(Ranker):
    """column      of objects
    pick        of a cluster the object nearest to its centre, or the one that the detector is surest of
    negatives   share of the budget for images without objects
    confidence  what an object must have, one number or by class
    classes     those to cover (default: all that are proposed)
    """

    fitted: ClassVar[type | None] = Ranked

    column: str
    pick: Literal["nearest", "confident"] = "nearest"
    negatives: float = 0.0
    confidence: float | dict[str, float] = 0.0
    classes: list[str] | None = None
    seed: int = 0
    step: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.negatives <= 1:
            raise ValueError(f"negatives must be a share from 0 to 1, found {self.negatives}")

    @property
    def objects_field(self) -> str:
        return f"{self.column}_count"

    def inputs(self) -> Inputs:
        return Inputs(fields=(self.column,), optional=("labels",))

    def rank(self, pool: Batches, budget: Budget | Fraction) -> Ranked:
        """Raises ValueError where the column holds no objects with features."""
        images, objects = gather(pool, self.column, budget, self.confidence, seed=self.seed)
        cover = Cover(self, images, objects, budget.units(int((~images.labeled).sum())))
        cover.take_negatives()
        cover.take_uncovered()
        while cover.take_objects():
            pass
        cover.fill()
        return ranked(
            self,
            images.ids,
            cover.picks,
            scores=cover.scores,
            reasons=cover.reasons(),
            texts=cover.texts,
            facts=cover.facts(),
            candidates=int((~images.labeled).sum()),
            related=cover.related(),
        )


@dataclass
class Kind:
    """One class as it stands: its different objects, the images that hold each, and its latest clusters."""

    name: str
    rows: Places  # its objects
    group: Places  # [rows] which of its different objects each is
    firsts: Places  # [groups] the first object of each
    cluster: Places = field(default_factory=lambda: np.zeros(0, np.int64))  # [groups]
    far: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))  # [groups] from the centre
    clusters: int = 0
    picks: int = 0

    def __post_init__(self) -> None:
        self._order = np.argsort(self.group, kind="stable")
        self._ends = np.concatenate([[0], np.cumsum(np.bincount(self.group, minlength=len(self.firsts)))])

    def of_group(self, group: int) -> Places:
        """Its objects, which are all alike."""
        return self.rows[self._order[self._ends[group] : self._ends[group + 1]]]


class Cover:
    """The choice on its way: what is spent, which images are chosen, which objects that covers."""

    def __init__(self, settings: ObjectCoverage, images: Images, objects: Objects, budget: int) -> None:
        self.settings, self.images, self.objects, self.left = settings, images, objects, budget
        self.chosen = images.labeled.copy()  # labeled images cover what they hold, and cost nothing more
        self.picks: list[int] = []
        self.scores: dict[int, float] = {}
        self.texts: dict[int, str] = {}
        self.filled = self.negatives = 0
        self.chance = uniform(images.ids, settings.seed, settings.step, "object_coverage")
        hashes = row_hashes(objects.feature)
        self.kinds = []
        for name in dict.fromkeys(settings.classes if settings.classes is not None else objects.classes):
            number = objects.classes.index(name) if name in objects.classes else -1
            rows = np.flatnonzero(objects.kind == number)
            _, firsts, group = np.unique(hashes[rows], return_index=True, return_inverse=True)
            order = np.argsort(firsts)  # groups by their first object, whatever its hash
            place = np.argsort(order)
            self.kinds.append(Kind(name, rows, place[group.reshape(-1)], rows[firsts[order]]))
        self.kinds.sort(key=lambda kind: (len(kind.rows), kind.name))

    def covered(self, kind: Kind) -> npt.NDArray[np.bool_]:
        """[groups] whether a chosen image holds such an object."""
        seen = self.chosen[self.objects.image[kind.rows]]
        return np.bincount(kind.group, weights=seen, minlength=len(kind.firsts)) > 0

    def take(self, image: int, text: str, score: float = math.nan) -> None:
        assert self.images.costs[image] <= self.left, "a pick beyond the budget"
        self.chosen[image] = True
        self.left -= int(self.images.costs[image])
        self.picks.append(image)
        self.scores[image], self.texts[image] = score, text

    def take_negatives(self) -> None:
        """Images without objects, by chance, for their share of the budget."""
        share = int(self.settings.negatives * self.left)
        empty = np.flatnonzero(self.images.known & (self.images.counts == 0) & ~self.chosen)
        for image in empty[np.argsort(self.chance[empty], kind="stable")].tolist():
            cost = int(self.images.costs[image])
            if cost > share or self.negatives >= self.settings.negatives * len(self.images):
                break
            share -= cost
            self.negatives += 1
            self.take(image, "negative: nothing was proposed in it")

    def take_uncovered(self) -> None:
        """One pick for each class that no chosen image holds yet, rarest first: where the budget is smaller than the
        number of classes, a share would be less than one pick, and a class that others cover already needs none."""
        for kind in self.kinds:
            if not self.covered(kind).any():
                self._take_kind(kind, 1)

    def take_objects(self) -> bool:
        """One round over the classes, rarest first: what one class leaves of the budget flows on to the next.

        False when nothing was picked."""
        before = len(self.picks)
        for place, kind in enumerate(self.kinds):
            self._take_kind(kind, max(1, self.left // (len(self.kinds) - place)))
        return len(self.picks) > before

    def _take_kind(self, kind: Kind, share: int) -> None:
        """Picks for one class, at most `share` of the budget; a first pick may cost more, if there is as much."""
        covered = self.covered(kind)
        if covered.all() or not self.left:
            return
        costs = self.images.costs[self.objects.image[kind.rows]]
        if not (affordable := costs[(costs <= self.left) & ~covered[kind.group]]).size:
            return
        wanted = max(1, math.ceil(share / max(1.0, float(affordable.mean()))))
        self._cluster(kind, covered, wanted)
        sizes = np.bincount(kind.cluster, minlength=kind.clusters)
        open_ = np.flatnonzero(np.bincount(kind.cluster, weights=covered, minlength=kind.clusters) == 0)
        spent = 0
        for cluster in sorted(open_.tolist(), key=lambda cluster: (-sizes[cluster], cluster)):
            groups = np.flatnonzero(kind.cluster == cluster)
            if not self.covered_groups(kind, groups):
                spent += self._pick(kind, cluster, groups, share - spent, first=spent == 0)
            if spent >= share:
                return

    def covered_groups(self, kind: Kind, groups: Places) -> bool:
        mine = np.isin(kind.group, groups)
        return bool(self.chosen[self.objects.image[kind.rows[mine]]].any())

    def _cluster(self, kind: Kind, covered: npt.NDArray[np.bool_], wanted: int) -> None:
        """As many clusters as leave `wanted` of them uncovered; where FINEST times as many don't, uncovered objects
        have clusters of their own."""
        features = self.objects.feature[kind.firsts]
        most, clusters = min(len(kind.firsts), max(FINEST * wanted, FEWEST)), max(1, wanted)
        while True:
            clusters = min(clusters, most)
            kind.cluster, centres, kind.far = k_means(features, clusters, self.settings.seed)
            kind.clusters = len(centres)
            uncovered = kind.clusters - len(np.unique(kind.cluster[covered]))
            if uncovered >= wanted:
                return
            enough = max(clusters + wanted - uncovered, int(GROWTH * wanted * clusters / max(1, uncovered)) + 1)
            if clusters >= most or enough > most < len(kind.firsts):
                break
            clusters = enough

        rest = np.flatnonzero(~covered)  # covered at that grain, but objects of their own: clustered by themselves
        labels, _, kind.far[rest] = k_means(features[rest], min(wanted, len(rest)), self.settings.seed)
        kind.cluster[rest] = kind.clusters + labels
        used, kind.cluster = np.unique(kind.cluster, return_inverse=True)
        kind.clusters = len(used)

    def _pick(self, kind: Kind, cluster: int, groups: Places, share: int, first: bool) -> int:
        """The best object of a cluster whose image can be paid; returns the cost, 0 where there is none."""
        objects = self.objects
        sure = objects.confidence[kind.firsts[groups]]
        near, unsure = kind.far[groups], -sure
        keys = (groups, unsure, near) if self.settings.pick == "nearest" else (groups, near, unsure)
        for group in groups[np.lexsort(keys)].tolist():
            for row in kind.of_group(group).tolist():
                image = int(objects.image[row])
                cost = int(self.images.costs[image])
                if cost <= self.left and (first or cost <= share):
                    away = math.sqrt(float(kind.far[group]))
                    x1, y1, x2, y2 = objects.box[row].tolist()
                    where = f"object {objects.number[row]} at [{x1:.0f}, {y1:.0f}, {x2:.0f}, {y2:.0f}]"
                    told = f"{kind.name} ({objects.confidence[row]:.2f}), {where}"
                    kind.picks += 1
                    self.take(
                        image, f"{told}, cluster {cluster + 1} of {kind.clusters}, distance {away:.3f}", score=-away
                    )
                    return max(1, cost)
        return 0

    def fill(self) -> None:
        """What nothing was left to cover for buys images by chance: first such with objects, then any."""
        left = np.flatnonzero(~self.chosen & (self.images.costs > 0))
        done = all(self.covered(kind).all() for kind in self.kinds)
        why = "every proposed object is covered" if done else "what is left to cover costs too much"
        for image in left[np.lexsort([self.chance[left], self.images.counts[left] == 0])].tolist():
            if self.images.costs[image] <= self.left:
                self.filled += 1
                self.take(image, f"filled: by chance, {why}")

    def reasons(self) -> list[str]:
        """Of each image that was not picked, why."""
        uncovered = np.zeros(len(self.images), bool)
        for kind in self.kinds:
            open_ = ~self._cluster_covered(kind)[kind.group]
            uncovered[self.objects.image[kind.rows[open_]]] = True
        why = np.where(uncovered, "not_reached", "covered").astype(object)
        holds = np.zeros(len(self.images), bool)
        for kind in self.kinds:
            holds[self.objects.image[kind.rows]] = True
        why[~holds] = "no_objects"
        why[~self.images.known] = "unknown"
        why[self.images.labeled] = "already_labeled"
        return why.tolist()

    def _cluster_covered(self, kind: Kind) -> npt.NDArray[np.bool_]:
        """[groups] whether a chosen image covers its cluster; itself, where the class was never clustered."""
        covered = self.covered(kind)
        if not kind.clusters:
            return covered
        return (np.bincount(kind.cluster, weights=covered, minlength=kind.clusters) > 0)[kind.cluster]

    def related(self) -> npt.NDArray[np.uint64]:
        """Of each image that others cover, a chosen one with an object in the cluster of its first object."""
        found = np.zeros(len(self.images), np.uint64)
        for kind in self.kinds:
            image = self.objects.image[kind.rows]
            cluster = kind.cluster[kind.group] if kind.clusters else kind.group
            by = np.zeros(int(cluster.max(initial=0)) + 1, np.uint64)
            seen = self.chosen[image]
            by[cluster[seen][::-1]] = self.images.ids[image[seen]][::-1]
            need = ~self.chosen[image] & (found[image] == 0)
            found[image[need][::-1]] = by[cluster[need]][::-1]
        return found

    def facts(self) -> dict[str, Any]:
        """Coverage by class for the report, rarest first, and what it cost."""
        told = []
        for kind in self.kinds:
            image = self.objects.image[kind.rows]
            clusters = self._cluster_covered(kind)
            told.append(
                {
                    "class": kind.name,
                    "proposed": self.objects.proposed.get(kind.name, 0),
                    "images": len(np.unique(image)),
                    "clusters": kind.clusters,
                    "clusters_covered": len(np.unique(kind.cluster[clusters])) if kind.clusters else 0,
                    "picks": kind.picks,
                    "objects_chosen": int(self.chosen[image].sum()),
                    "images_chosen": len(np.unique(image[self.chosen[image]])),
                }
            )
        empty = self.images.known & (self.images.counts == 0)
        return {
            "coverage": told, "without_objects": int(empty.sum()), "unknown": int((~self.images.known).sum()),
            "filled": self.filled, "negatives": self.negatives, "labeled": int(self.images.labeled.sum()),
        }  # fmt: skip
