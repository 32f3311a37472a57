"""Importance resampling: prefer samples whose n-grams are more frequent in the target than in the pool.

Data Selection for Language Models via Importance Resampling (Xie et al. 2023, arXiv:2302.03169): a text's log weight is
the sum of log p_target(b) - log p_pool(b) over the hashed buckets b of its n-grams (section 3, eq. 1). `form:
published` is that method. The default form is ours: each n-gram counts once a text, its log ratio is log((observed +
1/4) / (expected + 1/4)) of its count in the target, and the score is their mean, shrunk to the pool's (shrinkage.py),
so that neither length nor shortness nor repetition decides. O(bytes) time, 16 bytes a bucket. Not for texts without
words in common with the target (another language), nor for finding quality: it matches a distribution, whatever that
is."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tamis.selectors.chance import gumbel
from tamis.selectors.contract import Batches, Choice, Fitted, Floats, Inputs, Rows, Scored, Scorer
from tamis.selectors.match.importance_facts import facts
from tamis.selectors.match.importance_unseen import unseen_scores
from tamis.selectors.match.log_ratio import log_ratio
from tamis.selectors.match.quality_mask import mask_reasons
from tamis.selectors.match.shrinkage import drawn, evidence, prior, sampled
from tamis.selectors.rows import hashes_of
from tamis.selectors.texts.ngrams import Ngrams, flat
from tamis.selectors.texts.tokens import Tokens

Counts = npt.NDArray[np.int64]

FORMS: dict[str, dict[str, Any]] = {
    "tamis": {
        "buckets": 1 << 18, "hash": "fnv1a", "occurrences": "distinct", "smoothing": 0.25, "weight": "shrunk",
        "choose": "top", "min_length": 0, "tokens": "tamis",
    },
    "published": {
        "buckets": 10_000, "hash": "sha256", "occurrences": "all", "smoothing": 0.0, "weight": "sum",
        "choose": "sample", "min_length": 100, "tokens": "published",
    },
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ImportanceResampling(Scorer):
    """Settings; those left out are the form's (see FORMS).

    features      what a text is made of: hashed n-grams
    form          tamis: each n-gram once a text, mean of log ratios; published: the paper's sum over hashed buckets
    tokens        tamis: letters of scripts without spaces are tokens of their own; published: what spaces part
    ngrams        highest order of the n-grams
    buckets       that n-grams are hashed into
    hash          of an n-gram: fnv1a, or the published sha256
    occurrences   of an n-gram in a text that count: each once, or all
    smoothing     pseudo-count added to observed and expected counts; 0: the published floor of 1e-8 instead
    weight        of a text's log ratios: their sum, mean, or mean shrunk to the pool's
    choose        top: the best; sample: in proportion to the weights, by Gumbel noise
    temperature   of the Gumbel noise on the scores; 0 is the same as `choose: top`
    min_length    tokens; shorter texts are never chosen
    quality_mask  keep to texts that look like prose (the published preprocessing)
    targets       pooled: one distribution; by_size, or a list of proportions: one for each target source in turn
    in_target     pool texts that are in the target, too: marked in the ledger, or never chosen
    """

    needs_target: ClassVar[bool] = True
    adds_up: ClassVar[bool] = True
    tells_unseen: ClassVar[bool] = True
    tells_number: ClassVar[bool] = True

    features: Literal["ngrams"] = "ngrams"
    form: Literal["tamis", "published"] = "tamis"
    tokens: Tokens | None = None
    ngrams: int = 2
    buckets: int | None = None
    hash: Literal["fnv1a", "sha256"] | None = None
    occurrences: Literal["distinct", "all"] | None = None
    smoothing: float | None = None
    weight: Literal["sum", "mean", "shrunk"] | None = None
    choose: Literal["top", "sample"] | None = None
    temperature: float | None = None
    min_length: int | None = None
    quality_mask: bool = False
    targets: Literal["pooled", "by_size"] | list[float] = "pooled"
    in_target: Literal["mark", "exclude"] = "mark"
    seed: int = 0
    step: int = 0

    def __post_init__(self) -> None:
        self.map  # noqa: B018  the n-gram settings check themselves
        if (self.smoothing or 0) < 0 or (self.min_length or 0) < 0 or (self.temperature or 0) < 0:
            raise ValueError("smoothing, min_length and temperature can't be negative")
        if self.chosen("choose") == "top" and self.temperature:
            raise ValueError("temperature is the noise of `choose: sample`; with `choose: top` leave it out")
        if self.chosen("choose") == "sample" and self.chosen("weight") != "sum" and self.temperature is None:
            raise ValueError(
                "`choose: sample` on means needs a `temperature` on their own scale (try 0.01): "
                "noise of 1 nat, right for sums, drowns means"
            )
        if isinstance(self.targets, list) and not (self.targets and min(self.targets) >= 0 and sum(self.targets) > 0):
            raise ValueError(f"targets: proportions must be positive numbers, found {self.targets}")

    def chosen(self, name: str) -> Any:
        """A setting, or the form's default for it."""
        value = getattr(self, name)
        return FORMS[self.form][name] if value is None else value

    @property
    def map(self) -> Ngrams:
        return Ngrams(
            order=self.ngrams,
            buckets=self.chosen("buckets"),
            hash=self.chosen("hash"),
            distinct=self.chosen("occurrences") == "distinct",
            tokens=self.chosen("tokens"),
        )

    @property
    def noise(self) -> float:
        """Temperature in effect: the published noise is 1 on sums."""
        if self.chosen("choose") == "top":
            return 0.0
        return 1.0 if self.temperature is None else self.temperature

    def inputs(self) -> Inputs:
        return Inputs(fields=("content_hash", *(["text"] if self.quality_mask else [])), ngrams=self.map)

    @property
    def noisy(self) -> bool:
        return self.noise > 0

    @property
    def in_turn(self) -> bool:
        return self.targets != "pooled"

    def check(self, fields: Collection[str], targets: int) -> None:
        if isinstance(self.targets, list) and len(self.targets) != targets:
            raise ValueError(f"targets: {len(self.targets)} proportions for {targets} target sources")

    def takes(self, reason: str) -> str | None:
        return f"{self.chosen('min_length')} tokens" if reason == "too_short" else None

    def fit(self, pool: Batches, targets: Sequence[Batches]) -> "FittedImportance":
        batches = list(pool)
        rows = sum(batch.num_rows for batch in batches)
        return self.fit_counts(self.count(batches), targets, [some for b in batches if (some := self.sampled(b, rows))])

    def sampled(self, batch: pa.RecordBatch, candidates: int) -> pa.RecordBatch | None:
        return sampled(batch, candidates, self.map.dtype) if self.chosen("weight") == "shrunk" else None

    def count(self, batches: Batches, table: Any = None) -> Counts:
        """[buckets] n-grams of some batches."""
        return self._seen(batches, with_hashes=False).buckets

    def _seen(self, batches: Batches, with_hashes: bool = True) -> "Seen":
        from tamis.selectors.loops.buckets import add_counts

        seen = Seen(np.zeros(self.map.buckets, np.int64))
        for batch in batches:
            add_counts(flat(batch, self.map)[0], seen.buckets)
            if with_hashes:
                seen.hashes.append(hashes_of(batch))
        return seen

    def fit_counts(
        self, counts: Counts, targets: Sequence[Batches], sample: Sequence[pa.RecordBatch] = ()
    ) -> "FittedImportance":
        return self._fitted(counts, [self._seen(target) for target in targets], sample)

    def _fitted(
        self, counts: Counts, targets: Sequence["Seen"], sample: Sequence[pa.RecordBatch]
    ) -> "FittedImportance":
        if self.targets == "pooled":
            targets = [Seen.merged(targets)]
        sizes = [float(target.buckets.sum()) for target in targets]
        proportions = sizes if isinstance(self.targets, str) else self.targets
        if len(proportions) != len(targets):
            raise ValueError(f"targets: {len(proportions)} proportions for {len(targets)} target sources")
        priors = [np.zeros(2)] * len(targets)
        if self.chosen("weight") == "shrunk":
            told = [target.buckets for target in targets]
            ratios = [log_ratio(one, counts, self.chosen("smoothing")) for one in told]
            weights = [evidence(one, counts) for one in told]
            some = drawn(sample)
            priors = [prior(r, w, counts, some, self.map) for r, w in zip(ratios, weights, strict=True)]
        return FittedImportance(
            settings=self,
            pool_counts=counts,
            target_counts=np.stack([target.buckets for target in targets]),
            proportions=np.array(proportions) / sum(proportions),
            priors=np.array(priors),
            target_hashes=np.unique(
                np.concatenate([h for target in targets for h in target.hashes] or [np.empty(0, "S16")])
            ),
        )


@dataclass
class Seen:
    """Bucket counts and content hashes of a target's samples, 16 bytes each."""

    buckets: Counts
    hashes: list[npt.NDArray[np.bytes_]] = field(default_factory=list)

    @staticmethod
    def merged(several: Sequence["Seen"]) -> "Seen":
        return Seen(np.sum([one.buckets for one in several], axis=0), [h for one in several for h in one.hashes])


@dataclass(frozen=True)
class FittedImportance(Fitted):
    settings: ImportanceResampling
    pool_counts: Counts  # [buckets]
    target_counts: Counts  # [targets, buckets]
    proportions: Floats  # [targets], sum 1
    priors: Floats  # [targets, 2] the pool's mean log ratio, and how many n-grams it is worth in each text's mean
    target_hashes: npt.NDArray[np.bytes_]  # sorted content hashes of all target samples

    @property
    def ngrams(self) -> Ngrams:
        return self.settings.map

    @cached_property
    def log_ratio(self) -> Floats:
        """[targets, buckets], nats."""
        smoothing = self.settings.chosen("smoothing")
        return np.stack([log_ratio(target, self.pool_counts, smoothing) for target in self.target_counts])

    @cached_property
    def shrunk_parts(self) -> Floats:
        """[targets, buckets, 2] what an n-gram adds to a shrunk mean, before and below the line; see shrinkage.py."""
        weights = [evidence(target, self.pool_counts) for target in self.target_counts]
        above = self.log_ratio - self.priors[:, :1]
        return np.stack([np.stack([w * r, w], axis=1) for w, r in zip(weights, above, strict=True)])

    def score(self, batch: pa.RecordBatch) -> Floats:
        """[rows] log importance weight in nats (sum or mean); with separate targets the best of them."""
        return self.scores(batch).max(axis=0)

    def scored(self, batch: pa.RecordBatch) -> Scored:
        """[targets, rows]: each target is served in turn."""
        scores = self.scores(batch)
        return Scored(scores, self.order_keys(batch, scores), self.barred(batch), detail=self.details(batch))

    def scores(self, batch: pa.RecordBatch) -> Floats:
        """[targets, rows]: one log weight for each target."""
        from tamis.selectors.loops.buckets import gather_pairs, gather_sums

        buckets, places = flat(batch, self.settings.map)
        if self.settings.chosen("weight") == "shrunk":
            told = [gather_pairs(buckets, places, parts) for parts in self.shrunk_parts]
            shrunk = [pair[:, 0] / (pair[:, 1] + k) for pair, (_, k) in zip(told, self.priors, strict=True)]
            return np.where(np.diff(places) > 0, np.stack(shrunk), np.nan)
        sums = np.stack([gather_sums(buckets, places, ratio) for ratio in self.log_ratio])
        if self.settings.chosen("weight") == "sum":
            return sums
        count = np.diff(places)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(count > 0, sums / count, np.nan)

    def unseen(self, batch: pa.RecordBatch, families: Rows | None, sources: Rows) -> Scored:
        """[targets, rows], by subtraction: see importance_unseen.py."""
        scores = unseen_scores(self, batch, families, sources)
        return Scored(scores, self.order_keys(batch, scores), self._unfit(batch).tolist())

    def order_keys(self, batch: pa.RecordBatch, scores: Floats) -> Floats:
        """[targets, rows] scores, plus Gumbel noise where the choice is sampled; each target draws its own."""
        if not self.settings.noise:
            return scores
        ids, seed, step = batch["sample_id"].to_numpy(), self.settings.seed, self.settings.step
        noise = [gumbel(ids, seed, step, f"gumbel/{target}") for target in range(len(scores))]
        return scores + self.settings.noise * np.stack(noise)

    def barred(self, batch: pa.RecordBatch) -> list[str | None]:
        reasons = self._unfit(batch)
        if self.settings.in_target == "exclude":
            reasons[self.is_in_target(batch)] = "in_target"
        return reasons.tolist()

    def _unfit(self, batch: pa.RecordBatch) -> npt.NDArray[Any]:
        """[rows] why a text may not be chosen, whatever the target holds."""
        reasons = np.full(batch.num_rows, None, object)
        if self.settings.quality_mask:
            reasons[:] = mask_reasons(batch["text"])
        reasons[batch["n_tokens"].to_numpy() < self.settings.chosen("min_length")] = "too_short"
        return reasons

    def details(self, batch: pa.RecordBatch) -> list[str | None]:
        return ["in target" if found else None for found in self.is_in_target(batch)]

    def target_shares(self) -> Sequence[float]:
        return list(self.proportions)

    def tell(self, choice: Choice) -> dict[str, Any]:
        """See importance_facts.py."""
        return facts(self, choice)

    def is_in_target(self, batch: pa.RecordBatch) -> npt.NDArray[np.bool_]:
        return np.isin(hashes_of(batch), self.target_hashes)

    def explain(self, text: str, target: int = 0) -> list[tuple[str, int, float]]:
        """(n-gram, times counted, nats) by size of its part; the parts sum to the score exactly.

        Where each bucket counts once, the first n-gram of the text in that bucket bears its part."""
        names, buckets = self.settings.map.named(text)
        shrunk = self.settings.chosen("weight") == "shrunk"
        parts: dict[str, list[float]] = {}
        met: set[int] = set()
        counted = float(self.priors[target, 1])
        for name, bucket in zip(names, buckets.tolist(), strict=True):
            if self.settings.map.distinct and bucket in met:
                continue
            met.add(bucket)
            counted += self.shrunk_parts[target, bucket, 1] if shrunk else 1
            part = parts.setdefault(name, [0, 0.0])
            part[0] += 1
            part[1] += self.shrunk_parts[target, bucket, 0] if shrunk else self.log_ratio[target, bucket]
        share = counted if self.settings.chosen("weight") != "sum" else 1
        rows = [(name, int(count), total / share) for name, (count, total) in parts.items()]
        return sorted(rows, key=lambda row: (-abs(row[2]), row[0]))


ImportanceResampling.fitted = FittedImportance
