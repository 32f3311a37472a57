"""The set whose n-gram model tells the target best: greedy lowering of the target's cross-entropy.

Cynical selection (Axelrod 2017, arXiv:1709.02279): under the smoothed counts of a selection, c(v) + a of n-gram v, the
target costs log(W) - sum of p(v) log(c(v) + a) nats an n-gram, p its own distribution, W all counts together. A text is
worth what it lowers this by, for what it takes of the budget. In tokens, bytes or minutes W is as good as given, and
the rest is monotone and submodular, so the greedy order is within a bound of the best and a prefix for every smaller
budget; in rows a text of w n-grams raises log(W) by w / W, W that of the whole budget. What is chosen already is worth
less of again, so one kind of the target does not take all. Among `candidates` times the budget, cut by the mean log
ratio that importance resampling starts from. Three passes over the n-grams; 4 bytes for each n-gram of a candidate that
the target has, 512 MB at most. Not for a target of a few texts: their own words are then all that counts."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from tamis.selectors.budget import Budget, Fraction
from tamis.selectors.contract import BESIDE, Batches, Floats, Inputs, Ranker, Rows
from tamis.selectors.match.log_ratio import log_ratio
from tamis.selectors.passes import HELD_BYTES
from tamis.selectors.picks.beside import of_pool
from tamis.selectors.ranked import Coded, Ranked, ranked
from tamis.selectors.texts.ngrams import Ngrams, flat

Counts = npt.NDArray[np.int64]
CUT_SMOOTHING = 0.25  # of the log ratio that candidates are cut by
REASONS = ["not_picked", "not_scorable", "not_a_candidate", "already_labeled"]
NOT_PICKED, NOT_SCORABLE, NO_CANDIDATE, KEPT_BEFORE = range(4)


@dataclass(frozen=True, kw_only=True)
class SetSelection(Ranker):
    """features    what a text is made of: hashed n-grams; for vectors see target_coverage
    ngrams      highest order of the n-grams
    buckets     that n-grams are hashed into
    smoothing   a: of each n-gram's count in the selection
    candidates  how many times the budget is looked at: the best by importance
    max_epochs  times that a text may be picked: its n-grams count again, and it costs again
    """

    needs_target: ClassVar[bool] = True
    fitted: ClassVar[type | None] = Ranked

    features: Literal["ngrams"] = "ngrams"
    ngrams: int = 1
    buckets: int = 1 << 18
    smoothing: float = 0.5
    candidates: float = 8.0
    max_epochs: int = 1

    def __post_init__(self) -> None:
        self.map  # noqa: B018  the n-gram settings check themselves
        if not self.smoothing > 0:
            raise ValueError(f"smoothing must be above 0, found {self.smoothing}")
        if not self.candidates >= 1:
            raise ValueError(f"candidates: wanted 1 or more times the budget, found {self.candidates}")
        if self.max_epochs < 1:
            raise ValueError(f"max_epochs must be 1 or more, found {self.max_epochs}")

    @property
    def map(self) -> Ngrams:
        return Ngrams(order=self.ngrams, buckets=self.buckets)

    @property
    def epochs(self) -> int:
        return self.max_epochs

    @property
    def compares_with(self) -> str:
        return "target"

    def inputs(self) -> Inputs:
        return Inputs(fields=(), optional=("labels",), ngrams=self.map)

    def rank(self, pool: Batches, budget: Budget | Fraction) -> Ranked:
        """`pool` is read three times. Raises ValueError where the target has no n-grams."""
        seen = _Seen.of(pool, self.map, budget)
        if not seen.target.any():
            raise ValueError("no sample of the target has a text")
        whole = budget.units(len(seen.ids) - int(seen.kept.sum()))
        chances = log_ratio(seen.target, seen.pool, CUT_SMOOTHING)
        held = self._held(pool, seen, self._cut(pool, seen, chances, whole))
        return self._picked(seen, held, whole)

    def _cut(self, pool: Batches, seen: "_Seen", ratio: Floats, budget: int) -> Rows:
        """Places in `ids` of the candidates, the best first."""
        from tamis.selectors.loops.buckets import gather_sums

        open_ = np.flatnonzero(~seen.kept & (seen.sizes > 0) & (seen.costs <= budget))
        most, bytes_ = self.candidates * budget, HELD_BYTES // 4
        scores = np.full(len(seen.ids), -np.inf)
        for batch in of_pool(pool):
            buckets, places = flat(batch, self.map)
            where = np.searchsorted(seen.ids, batch["sample_id"].to_numpy())
            scores[where] = gather_sums(buckets, places, ratio) / np.maximum(1, np.diff(places))
        best = open_[np.lexsort([open_, -scores[open_]])]
        fits = (np.cumsum(seen.costs[best]) <= most) & (np.cumsum(seen.sizes[best]) <= bytes_)
        return best[: max(int(fits.sum()), min(len(best), 1))]  # one at least, however long

    def _held(self, pool: Batches, seen: "_Seen", places: Rows) -> "_Held":
        """The candidates' n-grams, and counts of what earlier runs chose, of those n-grams that the target has."""
        from tamis.selectors.loops.sets import keep_wanted

        wanted = np.flatnonzero(seen.target)
        number = np.full(self.buckets, -1, np.int32)
        number[wanted] = np.arange(len(wanted), dtype=np.int32)
        slot = np.full(len(seen.ids), -1, np.int64)
        slot[places] = np.arange(len(places))
        counts = np.full(len(wanted), self.smoothing)
        rows: list[npt.NDArray[np.int32]] = [np.empty(0, np.int32)] * len(places)
        for batch in of_pool(pool):
            buckets, ends_ = flat(batch, self.map)
            kept, ends = np.empty(len(buckets), np.int32), np.empty(batch.num_rows, np.int64)
            kept = kept[: keep_wanted(buckets, ends_, number, kept, ends)]
            begins = np.append(0, ends[:-1]) if len(ends) else ends
            where = np.searchsorted(seen.ids, batch["sample_id"].to_numpy())
            for row in np.flatnonzero(seen.kept[where]).tolist():
                counts += np.bincount(kept[begins[row] : ends[row]], minlength=len(wanted))
            for row in np.flatnonzero(slot[where] >= 0).tolist():
                rows[slot[where[row]]] = kept[begins[row] : ends[row]].copy()
        offsets = np.append(0, np.cumsum([len(row) for row in rows])).astype(np.int64)
        weights = seen.target[wanted] / seen.target.sum()
        return _Held(places, np.concatenate([np.empty(0, np.int32), *rows]), offsets, counts, weights)

    def _picked(self, seen: "_Seen", held: "_Held", budget: int) -> Ranked:
        from tamis.selectors.loops.sets import greedily

        costs = np.maximum(1, seen.costs[held.places])
        sizes = seen.sizes[held.places]
        less = np.zeros(len(costs))
        if len(costs) and (costs == 1).all():  # rows
            less = sizes / max(1.0, float(sizes.mean()) * budget)
        began = float(held.weights @ np.log(held.counts))
        size = min(len(costs) * self.max_epochs, budget + 1)
        picks, gains = np.empty(size, np.int64), np.empty(size)
        asked = (costs, less, held.counts, held.weights, budget, self.max_epochs)
        count = greedily(held.buckets, held.offsets, *asked, picks, gains)
        firsts = np.sort(np.unique(picks[:count], return_index=True)[1])
        chosen, every = held.places[picks[firsts]], held.places[picks[:count]]
        times = np.bincount(every, minlength=len(seen.ids)).astype(np.float64)
        reasons = np.full(len(seen.ids), NO_CANDIDATE, np.int16)
        reasons[held.places] = NOT_PICKED
        reasons[seen.sizes == 0] = NOT_SCORABLE
        reasons[seen.kept] = KEPT_BEFORE
        scores = np.full(len(seen.ids), np.nan)
        scores[chosen] = gains[firsts] / costs[picks[firsts]]
        whole = int(seen.sizes[every].sum() + seen.sizes[seen.kept].sum()) + self.smoothing * self.buckets
        nats = float(np.log(whole) - began - gains[:count].sum())
        said = f"an n-gram of the target costs {nats:.3f} nats under the selection; {len(costs):,} candidates"
        facts: dict[str, Any] = {"target_nats": round(nats, 6), "looked_at": len(costs), "said": [said]}
        if self.max_epochs > 1 and (costs == 1).all() and count < budget:
            facts["said"].append(f"asked for {budget:,}: {count:,} with each of {len(costs):,} {self.max_epochs} times")
        return ranked(
            self, seen.ids, chosen, scores=scores, reasons=Coded(REASONS, reasons), texts={}, facts=facts,
            candidates=len(seen.ids) - int(seen.kept.sum()), counts=np.maximum(times, 1),
        )  # fmt: skip


@dataclass(frozen=True)
class _Held:
    """Candidates [rows], the best by importance first."""

    places: Rows  # in all ids
    buckets: npt.NDArray[np.int32]  # numbers of the target's n-grams, row after row, sorted within each
    offsets: Rows  # [rows + 1]
    counts: Floats  # [target's n-grams] smoothed, of what is chosen
    weights: Floats  # [target's n-grams] their shares of the target


@dataclass(frozen=True)
class _Seen:
    """Arrays are [candidates and what earlier runs chose], by rising id."""

    ids: npt.NDArray[np.uint64]
    costs: Counts
    sizes: Counts  # n-grams
    kept: npt.NDArray[np.bool_]  # by an earlier run
    pool: Counts  # [buckets]
    target: Counts  # [buckets]

    @classmethod
    def of(cls, batches: Batches, ngrams: Ngrams, budget: Budget | Fraction) -> "_Seen":
        from tamis.selectors.loops.buckets import add_counts

        pool, target = np.zeros(ngrams.buckets, np.int64), np.zeros(ngrams.buckets, np.int64)
        none = np.empty(0, np.int64)
        rows = [(none.astype(np.uint64), none, none, none.astype(bool))]
        for batch in batches:
            buckets, places = flat(batch, ngrams)
            beside = BESIDE in batch.schema.names
            add_counts(buckets, target if beside else pool)
            if beside:
                continue
            ids = batch["sample_id"].to_numpy()
            kept = np.zeros(len(ids), bool)
            if "labels" in batch.schema.names:
                kept = batch["labels"].is_valid().to_numpy(zero_copy_only=False)
            rows.append((ids, budget.costs(batch), np.diff(places), kept))
        ids, costs, sizes, kept = (np.concatenate(some) for some in zip(*rows, strict=True))
        order = np.argsort(ids, kind="stable")
        return cls(ids[order], costs[order], sizes[order], kept[order], pool, target)
