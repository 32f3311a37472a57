"""Samples that mean nearly the same: of each group of near vectors one is kept (SemDeDup, Abbas et al. 2023).

arXiv:2303.09540: cluster the vectors, then compare within clusters. In the order of `keep`, a sample is dropped when
its cosine to an earlier one reaches `similarity`: to an earlier one that is kept (`greedy`), to any (`earlier`, the
rule that was published), or through a chain of such (`components`). Dropped are greedy <= earlier <= components.
O(n^2 dim / clusters) in blocks of 1,024 rows, never n x n at once; vectors are held as halves. Not for telling exact
copies (`exact_dedup`), and not across clusters: fewer, larger clusters find more, and take longer."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from tamis.selectors.budget import Budget, Fraction
from tamis.selectors.chance import uniform
from tamis.selectors.contract import Batches, Inputs
from tamis.selectors.embedded import Embedded, gather
from tamis.selectors.k_means import k_means
from tamis.selectors.ranked import Ranked, ranked
from tamis.selectors.vectors import unit

BLOCK = 1024  # rows compared at once: with 20,000 earlier ones 80 MB
A_CLUSTER = 2000  # rows, where `clusters` is not given: comparing costs as much as assigning
ROUNDING = 1e-6  # of a cosine in float32: identical vectors reach a similarity of 1
ORDERS = ("first", "hardest", "easiest", "random")
Places = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class SemanticDedup:
    """column      vectors
    similarity  cosine from which two samples mean the same
    mode        greedy: no two kept ones are that near; earlier: as published; components: one of each chain
    clusters    compared are samples of one cluster (default: one for 2,000 samples)
    keep        which of a group: first (smallest key), hardest (farthest from the cluster's centre), easiest, random,
                or a field, whose highest value is best
    """

    choice: ClassVar[str] = "ranked"
    rules: ClassVar[bool] = True
    budgeted: ClassVar[bool] = False
    fitted: ClassVar[type] = Ranked

    column: str
    similarity: float
    mode: Literal["greedy", "earlier", "components"] = "greedy"
    clusters: int | None = None
    keep: str = "first"
    seed: int = 0
    step: int = 0

    def __post_init__(self) -> None:
        if not -1 <= self.similarity <= 1:
            raise ValueError(f"similarity is a cosine, found {self.similarity}")
        if self.clusters is not None and self.clusters < 1:
            raise ValueError(f"clusters must be 1 or more, found {self.clusters}")

    def inputs(self) -> Inputs:
        return Inputs(fields=(self.column, "key", *(() if self.keep in ORDERS else (self.keep,))))

    def rank(self, pool: Batches, budget: Budget | Fraction | None) -> Ranked:
        """Raises ValueError where the column holds no vectors, or `keep` no numbers. What has no vector is kept."""
        given = gather(pool, self.column, budget or Fraction(1.0), ("key", *self.inputs().fields[2:]))
        reasons = np.full(len(given), "near_duplicate", object)
        kept = ~given.there
        scores = np.full(len(given), np.nan)
        related = np.zeros(len(given), np.uint64)
        least: list[float] = []
        for members in self._clusters(given):
            chosen, near, by, chains = self._compare(given, members)
            kept[members] = chosen
            scores[members], related[members] = near, np.where(chosen, 0, given.ids[by])
            least += chains
        kept &= ~given.labeled  # those of earlier runs are not candidates
        picks = np.flatnonzero(kept)
        candidates = int((~given.labeled).sum())
        lost = int((~kept & ~given.labeled).sum())
        facts: dict[str, Any] = {"dropped": lost, "without_vector": int((~given.there).sum())}
        said = f"{lost:,} of {candidates:,} dropped at a cosine of {self.similarity:g}, {self.mode}"
        if least:
            facts["least_similar"] = round(min(least), 4)
            said += f"; the least similar of a group to the kept one: {min(least):.3f}"
        return ranked(
            self, given.ids, picks.tolist(),
            scores={place: float(scores[place]) for place in np.flatnonzero(np.isfinite(scores)).tolist()},
            reasons=reasons.tolist(), texts={}, facts={**facts, "said": [said]},
            candidates=candidates, related=related,
        )  # fmt: skip

    def _clusters(self, given: Embedded) -> "list[Places]":
        """Places of each cluster's samples, in the order in which they are kept."""
        there = np.flatnonzero(given.there)
        if not len(there):
            return []
        vectors = given.vectors[there]
        clusters = self.clusters or max(1, len(there) // A_CLUSTER)
        labels, _, far = k_means(vectors, clusters, self.seed)
        order = np.lexsort([given.ids[there], self._preference(given, there, far), ~given.labeled[there], labels])
        ends = np.cumsum(np.bincount(labels))
        return [there[some] for some in np.split(order, ends[:-1])]

    def _preference(self, given: Embedded, there: Places, far: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        """[there] what is kept first has the lowest."""
        if self.keep == "first":
            keys = given.more["key"].take(there).to_numpy(zero_copy_only=False)
            return np.unique(keys.astype(str), return_inverse=True)[1]
        if self.keep == "random":
            return uniform(given.ids[there], self.seed, self.step, "semantic_dedup")
        if self.keep in ORDERS:
            return -far if self.keep == "hardest" else far
        try:
            values = given.more[self.keep].take(there).to_numpy(zero_copy_only=False).astype(np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"keep: field {self.keep!r} holds no numbers") from error
        return np.where(np.isfinite(values), -values, np.inf)

    def _compare(
        self, given: Embedded, members: Places
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64], Places, list[float]]:
        """Of a cluster's members, in order: which are kept, each dropped one's cosine to its nearest kept one, that
        one's place, and the least of these cosines."""
        vectors = unit(given.vectors[members])
        earlier = given.labeled[members]
        limit = self.similarity - ROUNDING
        kept = {"greedy": _greedy, "earlier": _earlier, "components": _components}[self.mode](vectors, limit)
        kept |= earlier
        near, by = np.full(len(members), np.nan), members.copy()
        standing = np.flatnonzero(kept)
        dropped = np.flatnonzero(~kept)
        for first in range(0, len(dropped), BLOCK):
            some = dropped[first : first + BLOCK]
            cosines = vectors[some] @ vectors[standing].T
            best = cosines.argmax(1)
            near[some], by[some] = cosines[np.arange(len(some)), best], members[standing[best]]
        return kept, near, by, [float(np.nanmin(near))] if len(dropped) else []


def _greedy(vectors: npt.NDArray[np.float32], limit: float) -> npt.NDArray[np.bool_]:
    """[rows] whether none of the kept earlier ones is as near."""
    kept = np.ones(len(vectors), bool)
    for first in range(0, len(vectors), BLOCK):
        some = vectors[first : first + BLOCK]
        before = vectors[:first][kept[:first]]
        for start in range(0, len(before), 16 * BLOCK):
            near = (some @ before[start : start + 16 * BLOCK].T).max(1) >= limit
            kept[first : first + BLOCK] &= ~near
        within = some @ some.T >= limit
        for row in range(1, len(some)):
            if kept[first + row] and (within[row, :row] & kept[first : first + row]).any():
                kept[first + row] = False
    return kept


def _earlier(vectors: npt.NDArray[np.float32], limit: float) -> npt.NDArray[np.bool_]:
    """[rows] whether no earlier one is as near."""
    kept = np.ones(len(vectors), bool)
    for first in range(0, len(vectors), BLOCK):
        some = vectors[first : first + BLOCK]
        for start in range(0, first, 16 * BLOCK):
            end = min(first, start + 16 * BLOCK)
            kept[first : first + BLOCK] &= ~((some @ vectors[start:end].T).max(1) >= limit)
        within = np.tril(some @ some.T >= limit, -1)
        kept[first : first + BLOCK] &= ~within.any(1)
    return kept


def _components(vectors: npt.NDArray[np.float32], limit: float) -> npt.NDArray[np.bool_]:
    """[rows] whether it is the first of all that chains of near ones lead to."""
    root = np.arange(len(vectors))
    for first in range(0, len(vectors), BLOCK):
        some = vectors[first : first + BLOCK]
        for start in range(0, first + len(some), 16 * BLOCK):
            end = min(first + len(some), start + 16 * BLOCK)
            near = some @ vectors[start:end].T >= limit
            for row in range(len(some)):
                mine = first + row
                hits = np.flatnonzero(near[row, : max(0, min(end, mine) - start)]) + start
                if len(hits):
                    joined = np.unique(np.append(root[hits], root[mine]))
                    if len(joined) > 1:
                        root[np.isin(root, joined)] = joined[0]
    return root == np.arange(len(vectors))
