"""Texts that nearly repeat each other: of each group of near-duplicates one is kept, by MinHash and locality.

Broder 1997; minhash.py says what is compared, and words.py of which words. Two texts meet where all hashes of a band
agree; of those that meet, a text is dropped where its signature and a kept one's estimate a Jaccard index of
`similarity` or more, (1 / bands)^(1 / rows) if not given: 0.72. So nothing is dropped that is further from what is kept,
and no chain joins pages of one form whose contents differ. `verify: false` is the published way: one is kept of all that
chains of meetings lead to. A text is compared with at most 64 kept ones of each band, the latest first. Texts of fewer
than `width` words are never dropped. Signatures are a column, made shard by shard; their bands are brought and sorted as
many at a time as fit 512 MB, at least one. 70 bytes a sample, and these 512 MB; 500 bytes a sample of the largest group
where that is more. Not for texts that say the same in other words (`semantic_dedup`), nor for one passage repeated
within long texts. With `column`, images are compared: near_images.py."""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tamis.selectors.budget import Budget, Fraction
from tamis.selectors.contract import Batches, Inputs, RankingFilter
from tamis.selectors.dedup.groups import Members, decided, look_beside, lowest_is_best
from tamis.selectors.passes import Places, brought, rows_held
from tamis.selectors.ranked import Ranked
from tamis.selectors.texts.minhash import Form, Sketch

WORDS, CHARACTERS = 5, 24  # of a shingle
BY_CHANCE = 1 / 256  # share of lowest bytes that agree where the hashes do not
MOST_COMPARED = 64  # kept texts of a band


@dataclass(frozen=True, kw_only=True)
class NearDedup(RankingFilter):
    """keep        which of a group: first (smallest key), longest, or a field, whose highest value is best
    similarity  estimated Jaccard index from which texts are near-duplicates (default: where the bands' curve is steepest)
    verify      false: whatever chains of equal bands join, as published
    tokens      tamis, characters, or published: numbers as 0, words as spaces part them
    width       words of a shingle (5), or characters (24)
    bands, rows  hashes are cut into so many bands of so many
    form        exact: the published hashes to the bit; fast: others with the same odds, 1.7 times as fast
    beside      target or evaluation: texts that nearly repeat one of these are dropped, too
    """

    fitted: ClassVar[type | None] = Ranked

    keep: str = "first"
    similarity: float | None = None
    verify: bool = True
    tokens: Literal["tamis", "characters", "published"] = "tamis"
    width: int | None = None
    bands: int = 14
    rows: int = 8
    form: Form = "exact"
    beside: Literal["target", "evaluation"] | None = None

    def __post_init__(self) -> None:
        self.sketch  # noqa: B018  the settings of signatures check themselves
        if self.similarity is not None and not 0 < self.similarity <= 1:
            raise ValueError(f"similarity is a Jaccard index above 0, found {self.similarity}")
        if self.similarity is not None and not self.verify:
            raise ValueError("similarity: without `verify` nothing is measured against it; leave one of the two out")
        look_beside(self, self.beside)

    @property
    def sketch(self) -> Sketch:
        width = self.width or (CHARACTERS if self.tokens == "characters" else WORDS)
        return Sketch(tokens=self.tokens, width=width, bands=self.bands, rows=self.rows, form=self.form)

    @property
    def compares_with(self) -> str | None:
        return self.beside

    def inputs(self) -> Inputs:
        more = {"first": (), "longest": ("text",)}.get(self.keep, (self.keep,))
        return Inputs(fields=("key", *more), minhash=self.sketch, pool_only=more)

    def rank(self, pool: Batches, budget: Budget | Fraction | None) -> Ranked:
        """`pool` is read several times. Raises ValueError where `keep` names a field without numbers."""
        given = Members.of(pool, has_shingles, self._worse)
        compared = Signed(self.sketch, self.sketch.line if self.similarity is None else self.similarity)
        return decided(self, given, pool, _roots(pool, given, self.sketch), compared, chains=not self.verify)

    def _worse(self, batch: pa.RecordBatch) -> npt.NDArray[np.float64]:
        if self.keep == "first":
            return np.zeros(batch.num_rows)
        if self.keep == "longest":
            return -pc.utf8_length(batch["text"]).fill_null(0).to_numpy(zero_copy_only=False).astype(np.float64)
        return lowest_is_best(batch, self.keep)


@dataclass(frozen=True)
class Signed:
    """Low bytes of signatures: how many agree estimates the Jaccard index; and after them the keys of the bands."""

    shown: ClassVar[str] = "estimated Jaccard {:.2f}"

    sketch: Sketch
    similarity: float

    @property
    def without(self) -> str:
        return f"they have fewer than {self.sketch.width} {self.sketch.unit}s"

    @property
    def row_bytes(self) -> int:
        return 2 * self.sketch.hashes + 5 * 8 * self.sketch.bands

    def read(self, batch: pa.RecordBatch) -> npt.NDArray[np.uint8]:
        low = _fixed(batch["minhash_low"], np.uint8, self.sketch.hashes)
        return np.hstack([low, _fixed(batch["minhash_buckets"], np.uint8, 8 * self.sketch.bands)])

    def alike(self, some: npt.NDArray[np.uint8], others: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        agree = (some[:, : self.sketch.hashes] == others[:, : self.sketch.hashes]).mean(1)
        return np.clip((agree - BY_CHANCE) / (1 - BY_CHANCE), 0, 1)

    def leaders(
        self, told: npt.NDArray[np.uint8], order: Places, ends: Places, stays: npt.NDArray[np.bool_]
    ) -> Places:
        return self._unlike(told, order, stays, chains=False)

    def together(self, told: npt.NDArray[np.uint8]) -> Places:
        """[texts] the first of all that chains of verified pairs lead to."""
        from tamis.selectors.loops.pairs import settle

        roots = self._unlike(told, np.arange(len(told)), np.zeros(len(told), bool), chains=True)
        settle(roots)
        return roots

    def _unlike(
        self, told: npt.NDArray[np.uint8], order: Places, stays: npt.NDArray[np.bool_], chains: bool
    ) -> Places:
        from tamis.selectors.loops.near import keep_unlike

        leader, agree = np.arange(len(order)), np.zeros(len(order), np.int64)
        if len(order):
            hashes = self.sketch.hashes
            low = np.ascontiguousarray(told[:, :hashes])
            keys = np.ascontiguousarray(told[:, hashes:]).view(np.uint64)
            slots = np.empty(keys.shape, np.int64)
            first = 0
            for band in range(self.sketch.bands):
                values, slots[:, band] = np.unique(keys[:, band], return_inverse=True)
                slots[:, band] += first
                first += len(values)
            needed = int(np.ceil(hashes * (self.similarity * (1 - BY_CHANCE) + BY_CHANCE) - 1e-9))
            keep_unlike(order, slots, low, stays, needed, MOST_COMPARED, chains, leader, agree)
        return leader


def has_shingles(batch: pa.RecordBatch) -> npt.NDArray[np.bool_]:
    there: npt.NDArray[np.bool_] = batch["minhash_buckets"].is_valid().to_numpy(zero_copy_only=False)
    return there


def _fixed(column: pa.FixedSizeBinaryArray, kind: type, width: int) -> npt.NDArray[Any]:
    values: npt.NDArray[Any] = np.frombuffer(column.buffers()[1], kind).reshape(-1, width)
    return values[column.offset : column.offset + len(column)]


def _roots(pool: Batches, given: Members, sketch: Sketch) -> Places:
    """[members] the first of all that chains of texts with an equal band lead to."""
    from tamis.selectors.loops.pairs import settle

    root = np.arange(len(given.ids))
    some = np.flatnonzero(given.comparable)
    width = int(np.clip(rows_held(8 * max(1, len(some))), 1, sketch.bands))
    for first in range(0, sketch.bands, width):
        for keys in brought(pool, given.ids, some, partial(_keys, sketch, slice(first, first + width))):
            _meet(root, some, keys)
    settle(root)
    return root


def _keys(sketch: Sketch, some: slice, batch: pa.RecordBatch) -> list[npt.NDArray[np.uint64]]:
    return [_fixed(batch["minhash_buckets"], np.uint64, sketch.bands)[:, some]]


def _meet(root: Places, some: Places, keys: npt.NDArray[np.uint64]) -> None:
    """Join those of `some` that have a band in common; `keys` are theirs."""
    from tamis.selectors.loops.pairs import join

    for values in keys.T:
        order = np.argsort(values, kind="stable")
        rising = values[order]
        same = np.flatnonzero(rising[1:] == rising[:-1])
        join(root, some[order[same]], some[order[same + 1]])
