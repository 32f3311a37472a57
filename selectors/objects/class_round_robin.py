"""Images class by class in turn: always one more for the class that the fewest chosen images hold.

What many teams do by hand, and the rival to beat for object coverage: it balances classes, and sees no difference
between two objects of one class. O(picks x images x classes). Not where instances repeat (video frames)."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tamis.selectors.budget import Budget, Fraction
from tamis.selectors.chance import uniform
from tamis.selectors.contract import Batches, Inputs, Ranker
from tamis.selectors.objects.proposals import gather
from tamis.selectors.ranked import Ranked, ranked


@dataclass(frozen=True, kw_only=True)
class ClassRoundRobin(Ranker):
    """column      of objects
    confidence  what an object must have, one number or by class. Within a class by chance.
    """

    fitted: ClassVar[type | None] = Ranked

    column: str
    confidence: float | dict[str, float] = 0.0
    seed: int = 0
    step: int = 0

    @property
    def objects_field(self) -> str:
        return f"{self.column}_count"

    def inputs(self) -> Inputs:
        return Inputs(fields=(self.column,), optional=("labels",))

    def rank(self, pool: Batches, budget: Budget | Fraction) -> Ranked:
        """Raises ValueError where the column holds no objects."""
        images, objects = gather(pool, self.column, budget, self.confidence, features=False, seed=self.seed)
        holds = np.zeros((len(images), len(objects.classes)), bool)
        holds[objects.image, objects.kind] = True
        chance = uniform(images.ids, self.seed, self.step, "class_round_robin")
        left, counts = budget.units(int((~images.labeled).sum())), holds[images.labeled].sum(0).astype(np.int64)
        open_, sizes = ~images.labeled, holds.sum(0)
        picks: list[int] = []
        texts = {}
        while (may := open_ & (images.costs <= left) & holds.any(1)).any():
            there = np.flatnonzero(holds[may].any(0))
            kind = int(there[np.lexsort([there, sizes[there], counts[there]])[0]])  # of equal ones the rarest
            place = int(np.where(may & holds[:, kind], chance, np.inf).argmin())
            texts[place] = f"{objects.classes[kind]}: {counts[kind]} chosen images held it"
            picks.append(place)
            open_[place], left = False, left - int(images.costs[place])
            counts += holds[place]
        why = np.where(images.counts == 0, "no_objects", "not_picked").astype(object)
        why[images.labeled] = "already_labeled"
        return ranked(
            self, images.ids, picks, scores={}, reasons=why.tolist(), texts=texts, facts={},
            candidates=int((~images.labeled).sum()),
        )  # fmt: skip
