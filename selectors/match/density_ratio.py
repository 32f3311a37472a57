"""Importance resampling on embeddings: prefer samples where the target is denser than the pool.

The log density ratio of Xie et al. 2023 (arXiv:2302.03169, eq. 1) with other features: `ratio: codes` counts k-means
codes instead of n-grams (codes.py), log((t + e) / 2e) of a centre's target count t and its count e if the target were
distributed as the pool, averaged over quantisers; `ratio: logistic` is a regularised discriminator of target against
pool on the same codes, each pool row scored by one that never saw it. Fits on at most 20,000 rows of each. Not for
embeddings that don't carry what the target has in common: see whether its neighbours look alike first."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tamis.selectors.chance import Ids, gumbel, uniform
from tamis.selectors.contract import (
    SEEN,
    Batches,
    Choice,
    ChosenShard,
    Fitted,
    Floats,
    Inputs,
    Rows,
    Scored,
    Scorer,
)
from tamis.selectors.learners.folds import FOLDS, fold_of
from tamis.selectors.learners.logistic import fit_logistic, principal
from tamis.selectors.rows import contents_of, hashes_of
from tamis.selectors.vectors.codes import SHARES, Centres, counts, fit_centres, nearest_two, soft
from tamis.selectors.vectors.columns import Vectors, as_array

FIT_ROWS = 20_000  # of pool and target each: 40 MB of 512 numbers; a centre's rate is then known to 10%
PRINCIPAL = 256  # directions of the codes that the discriminator sees
FEW_STEPS = 2  # of Newton's, from a fit with all of the target to one without a fifth: within 1e-5 nats of the end
NOT_EMPTY = 1e-6  # of a vector: a centre that the pool leaves empty has a logarithm
DIGITS = 9  # scores are rounded here: sums of floats differ beyond it with the size of a batch


@dataclass(frozen=True, kw_only=True)
class DensityRatio(Scorer):
    """features     a column of vectors
    ratio        the estimator: k-means codes, or a discriminator on them
    choose       top: the highest scores; sample: by Gumbel noise on them, as published
    temperature  of that noise
    in_target    pool samples that are in the target, too: marked in the ledger, or never chosen
    """

    needs_target: ClassVar[bool] = True
    tells_unseen: ClassVar[bool] = True

    features: str
    ratio: Literal["codes", "logistic"] = "codes"
    choose: Literal["top", "sample"] = "top"
    temperature: float = 1.0
    in_target: Literal["mark", "exclude"] = "mark"
    seed: int = 0
    step: int = 0

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise ValueError(f"temperature can't be negative, found {self.temperature}")

    @property
    def noise(self) -> float:
        return self.temperature if self.choose == "sample" else 0.0

    @property
    def noisy(self) -> bool:
        return self.noise > 0

    @property
    def near_in(self) -> str:
        return self.features

    def inputs(self) -> Inputs:
        return Inputs(fields=("content_hash", self.features))

    def fit(self, pool: Batches, targets: Sequence[Batches]) -> "FittedRatio":
        """Raises ValueError where pool or target have no vectors."""
        mine = self._sampled(pool)
        theirs = Sampled.joined([self._sampled(target, with_hashes=True) for target in targets])
        if not len(theirs.ids):
            raise ValueError(f"importance_resampling: no sample of the target has a vector in {self.features!r}")
        if not len(mine.ids):  # earlier steps kept none: nothing to score
            mine = theirs
        both = np.concatenate([mine.vectors, theirs.vectors])
        centres = fit_centres(both, np.concatenate([mine.ids, ~theirs.ids]), self.seed, self.step)
        pool_counts, target_counts = counts(mine.vectors, centres), counts(theirs.vectors, centres)
        learned: dict[str, Any] = {
            "settings": self,
            "centres": centres,
            "pool_counts": pool_counts,
            "target_counts": target_counts,
            "target_hashes": np.unique(theirs.hashes),
            "drawn_up_to": theirs.limit,
        }
        if self.ratio == "codes":
            nothing = np.zeros((0, 0))
            return FittedRatio(**learned, mean=nothing, directions=nothing, weights=nothing, apart=nothing)
        return FittedRatio(**learned, **self._discriminators(mine, theirs, centres))

    def _sampled(self, batches: Batches, with_hashes: bool = False) -> "Sampled":
        """At most FIT_ROWS rows with vectors, by a hash of their ids, in the ids' order."""
        held = Sampled.none()
        for batch in batches:
            vectors, there = as_array(batch[self.features])
            hashes = hashes_of(batch)
            ids, contents = batch["sample_id"].to_numpy()[there], contents_of(hashes)[there]
            every = hashes if with_hashes else hashes[:0]
            held = Sampled.joined([held, Sampled(ids, contents, vectors[there], every)])
            if len(held.ids) > 2 * FIT_ROWS:
                held = held.thinned(self.seed, self.step)
        return held.thinned(self.seed, self.step)

    def _discriminators(self, mine: "Sampled", theirs: "Sampled", centres: Centres) -> dict[str, Any]:
        ours, others = soft(mine.vectors, centres), soft(theirs.vectors, centres)
        mean, directions = principal(np.concatenate([ours, others]), PRINCIPAL)
        x, y = (ours - mean) @ directions, (others - mean) @ directions
        fold, of_target = (fold_of(some.contents, self.seed, self.step) for some in (mine, theirs))
        weights = [fit_logistic(x[fold != number], y) for number in range(FOLDS)]
        apart = [
            fit_logistic(x[fold != number], y[of_target != number], start, FEW_STEPS)
            if (of_target != number).any()
            else np.full_like(start, np.nan)
            for number, start in enumerate(weights)
        ]
        return {"mean": mean, "directions": directions, "weights": np.stack(weights), "apart": np.stack(apart)}


@dataclass(frozen=True)
class Sampled:
    ids: Ids
    contents: Ids
    vectors: Vectors
    hashes: npt.NDArray[np.bytes_]  # content hashes of all rows, also of those that were not drawn
    limit: float = 1.0  # of the chance numbers of those that were drawn

    @staticmethod
    def none() -> "Sampled":
        none = np.empty(0, np.uint64)
        return Sampled(none, none, np.empty((0, 0), np.float32), np.empty(0, "S16"))

    @staticmethod
    def joined(several: Sequence["Sampled"]) -> "Sampled":
        filled = [one for one in several if len(one.ids)] or list(several[:1]) or [Sampled.none()]
        return Sampled(
            np.concatenate([one.ids for one in filled]),
            np.concatenate([one.contents for one in filled]),
            np.concatenate([one.vectors for one in filled]),
            np.concatenate([one.hashes for one in several]) if several else np.empty(0, "S16"),
            min((one.limit for one in several), default=1.0),
        )

    def thinned(self, seed: int, step: int) -> "Sampled":
        chance = uniform(self.ids, seed, step, "fit")
        drawn = np.argsort(chance, kind="stable")[:FIT_ROWS]
        limit = float(chance[drawn[-1]]) if len(drawn) < len(self.ids) else self.limit
        drawn = drawn[np.argsort(self.ids[drawn], kind="stable")]
        return Sampled(self.ids[drawn], self.contents[drawn], self.vectors[drawn], self.hashes, limit)


@dataclass(frozen=True)
class FittedRatio(Fitted):
    settings: DensityRatio
    centres: Centres  # [quantisers, centres, dim]
    pool_counts: Floats  # [quantisers, centres]
    target_counts: Floats  # [quantisers, centres]
    target_hashes: npt.NDArray[np.bytes_]  # sorted content hashes of all target samples
    drawn_up_to: float  # target samples of a larger chance number were not counted
    mean: npt.NDArray[Any] = field(repr=False)  # [codes] of the discriminator's features
    directions: npt.NDArray[Any] = field(repr=False)  # [codes, principal]
    weights: npt.NDArray[Any] = field(repr=False)  # [folds, principal + 1], the constant last
    apart: npt.NDArray[Any] = field(
        repr=False
    )  # [folds, principal + 1] of the fits that lack a fold of the target, too

    @property
    def log_ratio(self) -> Floats:
        """[quantisers, centres] nats; -log 2 where the target has nothing, so that no centre forbids."""
        pool = self.pool_counts + NOT_EMPTY
        sizes = (some.sum(1, keepdims=True) for some in (self.target_counts, pool))
        return _log_ratio(self.target_counts, pool, *sizes)

    def score(self, batch: pa.RecordBatch) -> Floats:
        """[rows] log density ratio in nats, NaN where a row has no vector."""
        vectors, there = as_array(batch[self.settings.features])
        if self.settings.ratio == "codes":
            scores = self._by_codes(vectors)
        else:
            scores = self._by_discriminator(vectors, contents_of(hashes_of(batch)), self.weights)
        return np.where(there, np.round(scores, DIGITS), np.nan)

    def unseen(self, batch: pa.RecordBatch, families: Rows | None, sources: Rows) -> Scored:
        """By codes without the family's counts, the sample's own put to the pool's; by a discriminator that
        lacks the sample's fold of the target. Where a family is spread over folds none lacks it: "seen"."""
        vectors, there = as_array(batch[self.settings.features])
        contents = contents_of(hashes_of(batch))
        seen = np.zeros(len(vectors), bool)
        if self.settings.ratio == "codes":
            chance = uniform(batch["sample_id"].to_numpy(), self.settings.seed, self.settings.step, "fit")
            scores = self._unseen_by_codes(vectors, there & (chance <= self.drawn_up_to), families)
        elif families is None:
            scores = self._by_discriminator(vectors, contents, self.weights)
        else:
            scores = self._by_discriminator(vectors, contents, self.apart)
            fold = fold_of(contents, self.settings.seed, self.settings.step)
            seen = ((families[:, None] == families) & (fold[:, None] != fold)).any(1) | np.isnan(scores)
        scores = np.where(there, np.round(scores, DIGITS), np.nan)
        return Scored(scores, self.order_keys(batch, scores), [SEEN if one else None for one in seen.tolist()])

    def _unseen_by_codes(self, vectors: Vectors, counted: npt.NDArray[np.bool_], families: Rows | None) -> Floats:
        """`counted` [rows]: which are among the target's counts."""
        together = np.zeros((len(vectors),) * 2, bool) if families is None else families[:, None] == families
        together &= counted
        shares, size = np.array(SHARES), np.sum(SHARES)
        parts = []
        for some, pool, target in zip(self.centres, self.pool_counts + NOT_EMPTY, self.target_counts, strict=True):
            pairs = nearest_two(vectors, some)
            weight = np.zeros((len(vectors), len(some)))
            np.put_along_axis(weight, pairs, shares[None, :], axis=1)
            own = np.take_along_axis(together.astype(np.float64) @ weight, pairs, axis=1)
            left = target.sum() - together.sum(1, keepdims=True) * size
            ratio = _log_ratio(target[pairs] - own, pool[pairs] + shares, left, pool.sum() + size)
            parts.append(ratio @ shares)
        return np.mean(parts, axis=0)

    def _by_codes(self, vectors: Vectors) -> Floats:
        parts = [
            ratio[nearest_two(vectors, some)] @ SHARES for some, ratio in zip(self.centres, self.log_ratio, strict=True)
        ]
        return np.mean(parts, axis=0)

    def _by_discriminator(self, vectors: Vectors, contents: Ids, weights: npt.NDArray[Any]) -> Floats:
        x = (soft(vectors, self.centres) - self.mean) @ self.directions
        fold = fold_of(contents, self.settings.seed, self.settings.step)
        return np.asarray((x * weights[fold, :-1]).sum(1) + weights[fold, -1])

    def order_keys(self, batch: pa.RecordBatch, scores: Floats) -> Floats:
        """[1, rows] scores, plus Gumbel noise where the choice is sampled."""
        if not self.settings.noise:
            return scores
        noise = gumbel(batch["sample_id"].to_numpy(), self.settings.seed, self.settings.step, "gumbel/0")
        return scores + self.settings.noise * noise

    def barred(self, batch: pa.RecordBatch) -> list[str | None]:
        barred = self.is_in_target(batch) & (self.settings.in_target == "exclude")
        return [("in_target" if one else None) for one in barred.tolist()]

    def details(self, batch: pa.RecordBatch) -> list[str | None]:
        return ["in target" if found else None for found in self.is_in_target(batch)]

    def tell(self, choice: Choice) -> dict[str, Any]:
        """Divergence of pool, selection and a random subset from the target, over the codes of their vectors."""

        def one(shard: ChosenShard) -> dict[str, Floats]:
            found = {name: np.zeros_like(self.pool_counts) for name in ("pool", "selection", "random")}
            for batch, masks in shard.batches():
                vectors, there = as_array(batch[self.settings.features])
                for name, mask in masks.items():
                    if (mask & there).any():
                        found[name] += counts(vectors[mask & there], self.centres)
            return found

        total = {name: np.zeros_like(self.pool_counts) for name in ("pool", "selection", "random")}
        for found in choice.map(one):
            for name, values in found.items():
                total[name] += values
        kl = {name: divergence(self.target_counts, values, total["pool"]) for name, values in total.items()}
        facts: dict[str, Any] = {f"kl_target_{name}": value for name, value in kl.items()}
        for name, other in (("kl_reduction", "selection"), ("kl_reduction_random", "random")):
            whole, left = kl["pool"], kl[other]
            facts[name] = whole - left if whole is not None and left is not None else None
        return facts

    def is_in_target(self, batch: pa.RecordBatch) -> npt.NDArray[np.bool_]:
        return np.isin(hashes_of(batch), self.target_hashes)


DensityRatio.fitted = FittedRatio


def _log_ratio(target: Floats, pool: Floats, targets: Any, pools: Any) -> Floats:
    """nats, from counts of centres and the sizes of both."""
    expected = pool * (targets / pools)
    found: Floats = np.log((target + expected) / (2 * expected))
    return found


KL_FLOOR = 1e-10


def divergence(target: Floats, other: Floats, pool: Floats) -> float | None:
    """KL(target || other) in nats over the centres, the mean of the quantisers; None where one of them is empty.

    A selection of 200 leaves most of 256 centres empty, so `other` is counted with half a sample a centre more, spread
    as the pool is."""
    if not target.sum() or not other.sum() or not pool.sum():
        return None
    spread = pool / pool.sum(1, keepdims=True) * (pool.shape[1] / 2)
    p, q = (values / values.sum(1, keepdims=True) for values in (target, other + spread))
    return float((p * (np.log(p + KL_FLOOR) - np.log(q + KL_FLOOR))).sum(1).mean())
