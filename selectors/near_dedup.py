"""Texts that nearly repeat each other: of each group of near-duplicates one is kept, by MinHash and locality.

Broder 1997; minhash.py says what is compared. Two texts meet where a bucket's 8 hashes agree, half of them at a
Jaccard index of 0.72 of their 5-word shingles; groups are what chains of such meetings join, whatever the order.
Texts of fewer than five words are never dropped. One pass over the texts, then 14 sorts; 230 bytes a sample. Not for
texts that say the same in other words (`semantic_dedup`), nor for one passage repeated within long texts."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tamis.selectors.budget import Budget, Fraction
from tamis.selectors.contract import Batches, Inputs
from tamis.selectors.minhash import BUCKETS, HASHES, bucket_keys, signatures
from tamis.selectors.ranked import Ids, Ranked, ranked

LOW_BITS = 256  # of each hash one byte is kept: by chance two agree once in so many


@dataclass(frozen=True, kw_only=True)
class NearDedup:
    """keep   which of a group: first (smallest key), longest, or a field, whose highest value is best"""

    choice: ClassVar[str] = "ranked"
    rules: ClassVar[bool] = True
    budgeted: ClassVar[bool] = False
    fitted: ClassVar[type] = Ranked

    keep: str = "first"

    def inputs(self) -> Inputs:
        return Inputs(fields=("text", "key", *(() if self.keep in ("first", "longest") else (self.keep,))))

    def rank(self, pool: Batches, budget: Budget | Fraction | None) -> Ranked:
        """Raises ValueError where `keep` names a field without numbers."""
        given = _Texts.of(pool, self.keep)
        groups = given.groups()
        order = np.lexsort([given.keys, given.worse, ~given.earlier, groups])  # of each group the kept one comes first
        begins = np.flatnonzero(np.append(True, groups[order][1:] != groups[order][:-1])) if len(order) else order
        first = np.empty(len(groups), np.int64)
        first[groups[order][begins]] = order[begins]
        by = first[groups] if len(groups) else groups
        kept = by == np.arange(len(by))
        dropped = np.flatnonzero(~kept & ~given.earlier)
        alike = (given.low[dropped] == given.low[by[dropped]]).mean(1) if len(dropped) else np.zeros(0)
        jaccard = np.clip((alike - 1 / LOW_BITS) / (1 - 1 / LOW_BITS), 0, 1)
        related = np.zeros(len(by), np.uint64)
        related[dropped] = given.ids[by[dropped]]
        pairs = zip(dropped.tolist(), jaccard.tolist(), strict=True)
        texts = {place: f"estimated Jaccard {value:.2f}" for place, value in pairs}
        candidates = int((~given.earlier).sum())
        said = f"{len(dropped):,} of {candidates:,} nearly repeat another"
        facts: dict[str, Any] = {"dropped": len(dropped), "said": [said]}
        if len(dropped):
            facts["least_alike"] = round(float(jaccard.min()), 3)
            said += f"; the least alike of a group to the kept one: estimated Jaccard {jaccard.min():.2f}"
            facts["said"] = [said]
        return ranked(
            self, given.ids, np.flatnonzero(kept & ~given.earlier).tolist(), scores={},
            reasons=["near_duplicate"] * len(by), texts=texts, facts=facts, candidates=candidates, related=related,
        )  # fmt: skip


@dataclass(frozen=True)
class _Texts:
    """Arrays are [texts], by rising id."""

    ids: Ids
    keys: npt.NDArray[np.int64]  # order of the keys
    worse: npt.NDArray[np.float64]  # the lowest is kept
    earlier: npt.NDArray[np.bool_]  # chosen by an earlier run
    shingled: npt.NDArray[np.bool_]
    buckets: npt.NDArray[np.uint64]  # [texts, 14]
    low: npt.NDArray[np.uint8]  # [texts, 112]

    @classmethod
    def of(cls, pool: Batches, keep: str) -> "_Texts":
        parts: list[tuple[Any, ...]] = []
        keys: list[str] = []
        for batch in pool:
            texts = batch["text"].fill_null("").to_pylist()
            signed, shingled = signatures(texts)
            has = "labels" in batch.schema.names
            earlier = batch["labels"].is_valid().to_numpy(zero_copy_only=False) if has else np.zeros(len(texts), bool)
            low = (signed & np.uint64(LOW_BITS - 1)).astype(np.uint8)
            ids = batch["sample_id"].to_numpy()
            parts.append((ids, _worse(batch, texts, keep), earlier, shingled, bucket_keys(signed), low))
            keys += batch["key"].to_pylist()
        if not parts:
            none = np.zeros(0)
            return cls(
                none.astype(np.uint64), none.astype(np.int64), none, none.astype(bool), none.astype(bool),
                np.zeros((0, BUCKETS), np.uint64), np.zeros((0, HASHES), np.uint8),
            )  # fmt: skip
        ids, worse, earlier, shingled, buckets, low = (np.concatenate(some) for some in zip(*parts, strict=True))
        order = np.argsort(ids, kind="stable")
        ranks = np.unique(np.array(keys, str), return_inverse=True)[1][order]
        return cls(ids[order], ranks, worse[order], earlier[order], shingled[order], buckets[order], low[order])

    def groups(self) -> npt.NDArray[np.int64]:
        """The first of all texts that a chain of meetings leads to."""
        from tamis.selectors.minhash_loops import join, settle

        root = np.arange(len(self.ids))
        some = np.flatnonzero(self.shingled)
        for bucket in range(self.buckets.shape[1]):
            mine = self.buckets[some, bucket]
            order = np.argsort(mine, kind="stable")
            same = np.flatnonzero(mine[order][1:] == mine[order][:-1])
            join(root, some[order[same]], some[order[same + 1]])
        settle(root)
        return root


def _worse(batch: pa.RecordBatch, texts: list[str], keep: str) -> npt.NDArray[np.float64]:
    if keep == "first":
        return np.zeros(len(texts))
    if keep == "longest":
        return -np.array([len(text) for text in texts], np.float64)
    try:
        values = batch[keep].cast(pa.float64()).to_numpy(zero_copy_only=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(f"keep: field {keep!r} holds no numbers") from error
    return np.where(np.isfinite(values), -values, np.inf)
