"""Samples that mean nearly the same: of each group of near vectors one is kept (SemDeDup, Abbas et al. 2023).

arXiv:2303.09540: cluster the vectors, then compare within clusters. In the order of `keep`, a sample is dropped when
its cosine to an earlier one reaches `similarity`: to an earlier one that is kept (`greedy`), to any (`earlier`, the
rule that was published), or through a chain of such (`components`). Dropped are greedy <= earlier <= components. With
`keep_share` the similarity is found that keeps this share. similarity_table.py has cost and memory; its table is kept,
and another threshold or rule compares only samples that it drops. Not for telling exact copies (`exact_dedup`), and
not across clusters: fewer, larger clusters find more, and take longer."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from tamis.selectors.budget import Budget, Fraction
from tamis.selectors.chance import uniform
from tamis.selectors.contract import Batches, Inputs, RankingFilter
from tamis.selectors.dedup.near_vectors import components, greedy
from tamis.selectors.dedup.similarity_table import ORDERS, SimilarityTable, similarity_table
from tamis.selectors.ranked import Ranked, filtered
from tamis.selectors.vectors.nearest import best_match

ROUNDING = 1e-6  # of a cosine in float32: identical vectors reach a similarity of 1
TRIED_ROWS = 20_000, 50_000  # at least and at most, on which a similarity for `keep_share` is tried, by whole clusters
HALVINGS = 20  # of the range of similarities: to 2e-6
TIED = 4e-6  # similarities that the search can't tell apart


class Decided(NamedTuple):
    """Arrays are [candidates]."""

    kept: npt.NDArray[np.bool_]
    scores: npt.NDArray[np.float64]
    related: npt.NDArray[np.uint64]
    least: list[float]  # of each cluster the lowest score


@dataclass(frozen=True, kw_only=True)
class SemanticDedup(RankingFilter):
    """column      vectors
    similarity  cosine from which two samples mean the same
    keep_share  instead: the share of samples with a vector that is to be kept
    mode        greedy: no two kept ones are that near; earlier: as published; components: one of each chain
    clusters    compared are samples of one cluster (default: one for 2,000 samples)
    keep        which of a group: first (smallest key), hardest (farthest from the cluster's centre), easiest, random,
                or a field, whose highest value is best
    """

    shown_with: ClassVar[dict[str, str]] = {"keep_share": "0.8"}
    fitted: ClassVar[type | None] = Ranked
    no_fields: ClassVar[tuple[str, ...]] = ORDERS
    prepared: ClassVar[type | None] = SimilarityTable

    column: str
    similarity: float | None = None
    keep_share: float | None = None
    mode: Literal["greedy", "earlier", "components"] = "greedy"
    clusters: int | None = None
    keep: str = "first"
    seed: int = 0
    step: int = 0

    def __post_init__(self) -> None:
        if (self.similarity is None) == (self.keep_share is None):
            raise ValueError("give `similarity` (a cosine) or `keep_share` (the share of samples to be kept)")
        if self.similarity is not None and not -1 <= self.similarity <= 1:
            raise ValueError(f"similarity is a cosine, found {self.similarity}")
        if self.keep_share is not None and not 0 < self.keep_share <= 1:
            raise ValueError(f"keep_share is a share above 0, found {self.keep_share}")
        if self.clusters is not None and self.clusters < 1:
            raise ValueError(f"clusters must be 1 or more, found {self.clusters}")

    def takes(self, reason: str) -> str | None:
        line = f"{self.similarity:g}" if self.similarity is not None else f"the one at which {self.keep_share:.4g} stay"
        return f"a cosine below {line} to every kept one" if reason == "near_duplicate" else None

    def inputs(self) -> Inputs:
        return Inputs(fields=(self.column, "key", *(() if self.keep in ORDERS else (self.keep,))))

    def prepares(self) -> "SemanticDedup":
        """The settings that the table depends on; others are as if not given."""
        return replace(self, similarity=1.0, keep_share=None, mode="greedy")

    def prepare(self, pool: Batches) -> SimilarityTable:
        return similarity_table(pool, self.column, self.clusters, self.keep, self.seed, self.step)

    def rank(self, pool: Batches, budget: Budget | Fraction | None) -> Ranked:
        return self.rank_prepared(pool, budget, self.prepare(pool))

    def rank_prepared(self, pool: Batches, budget: Budget | Fraction | None, prepared: SimilarityTable) -> Ranked:
        """`pool` is read several times. What has no vector is kept. Raises ValueError where the column holds no
        vectors, or `keep` no numbers."""
        given = prepared
        limit = self.similarity if self.similarity is not None else self._found(pool, given)
        told = self._decided(pool, given, limit, np.zeros(len(given.order), bool))
        if self.keep_share is not None and (besides := self._besides(given, told, limit)).any():
            told = self._decided(pool, given, limit, besides)
        return self._told(given, limit, told.kept & ~given.labeled, told.scores, told.related, told.least)

    def _decided(
        self, pool: Batches, given: SimilarityTable, limit: float, besides: npt.NDArray[np.bool_]
    ) -> "Decided":
        """What is kept at this similarity, of each other its nearest kept one; `besides` [those there] are dropped,
        too."""
        kept = ~given.there
        scores = np.full(len(given.ids), np.nan)
        related = np.zeros(len(given.ids), np.uint64)
        least: list[float] = []
        near = given.nearest >= limit - ROUNDING
        kept[given.order] = ~near
        some = np.add.reduceat(near | besides, np.append(0, given.ends[:-1])) > 0 if len(given.ends) else None
        for where, vectors in given.clusters(pool, self.column, some):
            members = given.order[where]
            chosen = self._kept(vectors, near[where] & ~given.labeled[members], limit) & ~besides[where]
            chosen |= given.labeled[members]
            dropped, standing = np.flatnonzero(~chosen), np.flatnonzero(chosen)
            by, cosines = best_match(vectors[dropped], vectors[standing])
            kept[members] = chosen
            scores[members[dropped]] = np.round(cosines, 6)
            related[members[dropped]] = given.ids[members[standing[by]]]
            least += [float(cosines.min())] if len(dropped) else []
        return Decided(kept, scores, related, least)

    def _besides(self, given: SimilarityTable, told: "Decided", limit: float) -> npt.NDArray[np.bool_]:
        """[those there] whom to drop besides, where more stay than were asked for because many are as near as each
        other (copies): of these as many as it takes, by a hash of their ids."""
        kept = told.kept[given.order] & ~given.labeled[given.order]
        extra = int(kept.sum()) - round((self.keep_share or 1.0) * len(given.order))
        tied = np.flatnonzero(kept & (given.nearest >= min(limit, 1) - TIED))
        chance = uniform(given.ids[given.order[tied]], self.seed, self.step, "keep_share ties")
        found = np.zeros(len(given.order), bool)
        found[tied[np.argsort(chance, kind="stable")[: max(0, extra)]]] = True
        return found

    def _kept(self, vectors: npt.NDArray[np.float32], near: npt.NDArray[np.bool_], limit: float) -> Any:
        if self.mode == "earlier":
            return ~near
        return (greedy if self.mode == "greedy" else components)(vectors, near, limit - ROUNDING)

    def _found(self, pool: Batches, given: SimilarityTable) -> float:
        """The similarity that keeps the share: of the published rule from the table alone; of the others by halving,
        tried on whole clusters by chance."""
        wanted = self.keep_share or 1.0
        if wanted == 1 or not len(given.order):
            return 1 + 2 * ROUNDING  # what no two vectors reach
        if self.mode == "earlier":  # all that are as near as the last one that must stay, stay with it
            rising = np.sort(given.nearest)
            last = rising[int(np.ceil(wanted * len(rising))) - 1]
            return float(max(last + 3 * ROUNDING, -1))
        sizes = np.diff(given.ends, prepend=0)
        by_chance = np.argsort(uniform(np.arange(len(sizes), dtype=np.uint64), self.seed, self.step, "keep_share"))
        rows = min(max(TRIED_ROWS[0], len(given.order) // 10), TRIED_ROWS[1])
        enough = int(np.searchsorted(np.cumsum(sizes[by_chance]), rows)) + 1
        tried = np.zeros(len(sizes), bool)
        tried[by_chance[:enough]] = True
        held = [(given.nearest[where], vectors) for where, vectors in given.clusters(pool, self.column, tried)]
        rows = sum(len(near) for near, _ in held)
        low, high = -1.0, 1.0 + 2 * ROUNDING
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            kept = sum(int(self._kept(vectors, near >= middle - ROUNDING, middle).sum()) for near, vectors in held)
            low, high = (middle, high) if kept < wanted * rows else (low, middle)
        return float(np.ceil(high * 1e6) / 1e6)  # above 1 no two vectors reach it

    def _told(
        self,
        given: SimilarityTable,
        limit: float,
        kept: npt.NDArray[np.bool_],
        scores: npt.NDArray[np.float64],
        related: npt.NDArray[np.uint64],
        least: list[float],
    ) -> Ranked:
        candidates = int((~given.labeled).sum())
        lost = candidates - int(kept.sum())
        facts: dict[str, Any] = {
            "dropped": lost,
            "without_vector": int((~given.there).sum()),
            "similarity": round(limit, 6),
            "kept_share": round(int(kept.sum()) / max(1, candidates), 4),
            "clusters": len(given.ends),
            "largest_cluster": int(np.diff(given.ends, prepend=0).max(initial=0)),
        }
        said = f"{lost:,} of {candidates:,} dropped at a cosine of {limit:.4g}, {self.mode}"
        said += f"; {facts['kept_share']:.1%} are kept"
        if least:
            facts["least_similar"] = round(min(least), 4)
            said += f"; the least similar of a group to its nearest kept one: {min(least):.3f}"
        if further := int((scores < limit - ROUNDING).sum()):
            facts["further"] = further
            said += f"; {further:,} lie further from any kept one than that, at the end of a chain: greedy keeps these"
        return filtered(
            self, given.ids, kept, "near_duplicate", values=scores, related=related, facts={**facts, "said": [said]},
            candidates=candidates, shown="cosine {:.4f}",
        )  # fmt: skip
