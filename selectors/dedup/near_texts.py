"""Texts that nearly repeat each other: of each group of near-duplicates one is kept, by MinHash and locality.

Broder 1997; minhash.py says what is compared, and words.py of which words. Two texts meet where all hashes of a band
agree; of those that meet, a text is dropped where the Jaccard index of its shingles and a kept one's is `similarity` or
more, (1 / bands)^(1 / rows) if not given: 0.72. So nothing is dropped that is further from what is kept, and no chain
joins pages of one form whose contents differ. The index is counted where the signatures do not rule it out, of texts
with more than 4,096 shingles over the smallest hashes of these. `verify: false` is the published way: one is kept of
all that chains of meetings lead to. A text is compared with at most 64 kept ones of each band, the latest first. Texts
of fewer than `width` words are never dropped. Signatures are a column, made shard by shard; their bands are brought and
sorted as many at a time as fit 512 MB, at least one. 80 bytes a sample, and these 512 MB; 300 bytes a sample of the
largest group, and its text, where that is more. Not for texts that say the same in other words (`semantic_dedup`), nor
for one passage repeated within long texts. With `column`, images are compared: near_images.py."""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tamis.selectors.budget import Budget, Fraction
from tamis.selectors.contract import Batches, Inputs, RankingFilter, having
from tamis.selectors.dedup.groups import Brought, Members, decided, look_beside, lowest_is_best, numbered
from tamis.selectors.passes import Places, brought, rows_held, wanted
from tamis.selectors.ranked import Ids, Ranked
from tamis.selectors.texts.minhash import Form, Sketch, shingle_sets

WORDS, CHARACTERS = 5, 24  # of a shingle
BY_CHANCE = 1 / 256  # share of lowest bytes that agree where the hashes do not
MOST_COMPARED = 64  # kept texts of a band
MOST_SHINGLES = 4096  # of a text, that are compared
CAPTION = 1000  # bytes of an image's text, as it is reckoned
SLACK = 4  # standard deviations by which a signature may underrate a pair


@dataclass(frozen=True, kw_only=True)
class NearDedup(RankingFilter):
    """keep        which of a group: first (smallest key), longest, or a field, whose highest value is best
    similarity  Jaccard index from which texts are near-duplicates (default: where the bands' curve is steepest)
    verify      false: whatever chains of equal bands join, as published
    tokens      tamis, characters, or published: numbers as 0, words as spaces part them
    width       words of a shingle (5), or characters (24)
    bands  into how many bands the hashes are cut: more find pairs that are less alike
    rows  hashes of a band: more find fewer pairs by chance
    form        exact: the published hashes to the bit; fast: others with the same odds, 1.7 times as fast
    beside      target or evaluation: texts that nearly repeat one of these are dropped, too
    """

    fitted: ClassVar[type | None] = Ranked
    no_fields: ClassVar[tuple[str, ...]] = ("first", "longest")

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
        width = (CHARACTERS if self.tokens == "characters" else WORDS) if self.width is None else self.width
        return Sketch(tokens=self.tokens, width=width, bands=self.bands, rows=self.rows, form=self.form)

    @property
    def compares_with(self) -> str | None:
        return self.beside

    def takes(self, reason: str) -> str | None:
        if reason != "near_duplicate":
            return None
        return f"a Jaccard index below {self.least_alike:.2f} to every kept one" if self.verify else "no band in common"

    @property
    def least_alike(self) -> float:
        return self.sketch.line if self.similarity is None else self.similarity

    def inputs(self) -> Inputs:
        more = {"first": (), "longest": ("text",)}.get(self.keep, (self.keep,))
        return Inputs(fields=("key", "n_bytes", "width", *more), minhash=self.sketch, pool_only=more)

    def rank(self, pool: Batches, budget: Budget | Fraction | None) -> Ranked:
        """`pool` is read several times. Raises ValueError where `keep` names a field without numbers."""
        given = Members.of(pool, has_shingles, self._worse, self._bytes)
        compared = (Signed if self.verify else Estimated)(self.sketch, self.least_alike)
        return decided(self, given, pool, _roots(pool, given, self.sketch), compared, chains=not self.verify)

    def _bytes(self, batch: pa.RecordBatch) -> npt.NDArray[np.int64]:
        """[rows] what a text's shingles take at most, brought and put in order; of images `n_bytes` is the file's."""
        of_image = batch["width"].is_valid().to_numpy(zero_copy_only=False)
        size = batch["n_bytes"].fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
        shingles = np.where(of_image, CAPTION, size) // (1 if self.tokens == "characters" else 2)
        return 2 * 4 * np.minimum(shingles, MOST_SHINGLES)

    def _worse(self, batch: pa.RecordBatch) -> npt.NDArray[np.float64]:
        if self.keep == "first":
            return np.zeros(batch.num_rows)
        if self.keep == "longest":
            return -pc.utf8_length(batch["text"]).fill_null(0).to_numpy(zero_copy_only=False).astype(np.float64)
        return lowest_is_best(batch, self.keep)


class Sets(NamedTuple):
    """Sets of shingles, one after another, and [texts + 1] where they begin and end."""

    flat: npt.NDArray[np.uint32]
    ends: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Signed:
    """Low bytes of signatures: how many agree estimates the Jaccard index; and after them the keys of the bands."""

    shown: ClassVar[str] = "Jaccard {:.2f}"

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

    def more(self, pool: Batches, ids: Ids, places: Places) -> Sets:
        """The texts' sets of shingles, each set's smallest where it has too many."""
        from tamis.selectors.loops.near import put_sets

        some, counts, where = [], [], []
        for batch, rows, mine in wanted(having(pool, "text"), ids, places):
            flat, count = shingle_sets(batch["text"].take(pa.array(rows)), self.sketch, MOST_SHINGLES)
            some.append(flat)
            counts.append(count)
            where.append(mine)
        sizes = np.zeros(len(places), np.int64)
        sizes[np.concatenate(where)] = np.concatenate(counts)
        ends = np.append(0, np.cumsum(sizes))
        flat = np.empty(ends[-1], np.uint32)
        for sets, mine in zip(some, where, strict=True):
            put_sets(sets, mine, ends, flat)
        return Sets(flat, ends)

    def leaders(self, brought: Brought) -> tuple[Places, npt.NDArray[np.float64]]:
        from tamis.selectors.loops.near import hash_sets, keep_unlike

        same = np.zeros(len(brought.told), np.uint64)  # equal sets meet, whatever else has their bands
        hash_sets(brought.more.flat, brought.more.ends, same)
        low, slots = self._parts(brought.told, same)
        leader, alike = np.arange(len(low)), np.ones(len(low))
        slack = SLACK * self._deviation
        keep_unlike(
            brought.order, slots, low, brought.more.flat, brought.more.ends, MOST_SHINGLES, brought.stays,
            self.similarity, BY_CHANCE, slack, MOST_COMPARED, leader, alike,
        )  # fmt: skip
        return leader, alike

    def together(self, told: npt.NDArray[np.uint8]) -> Places:
        """[texts] the first of all that chains of texts lead to whose estimates are not surely too low."""
        from tamis.selectors.loops.near import join_alike
        from tamis.selectors.loops.pairs import settle

        root = np.arange(len(told))
        if len(told):
            low, slots = self._parts(told)
            join_alike(slots, low, self.similarity - 2 * self._deviation, BY_CHANCE, MOST_COMPARED, root)
            settle(root)
        return root

    @property
    def _deviation(self) -> float:
        """Of the estimate of a pair that is just near enough."""
        return float((self.similarity * (1 - self.similarity) / self.sketch.hashes) ** 0.5)

    def _parts(
        self, told: npt.NDArray[np.uint8], more: npt.NDArray[np.uint64] | None = None
    ) -> tuple[npt.NDArray[np.uint8], Places]:
        """Low bytes, and [texts, bands] a number for each key of a band; with `more` [texts] another that may be
        equal."""
        hashes = self.sketch.hashes
        keys = np.ascontiguousarray(told[:, hashes:]).view(np.uint64)
        keys = keys if more is None else np.column_stack([more, keys])
        return np.ascontiguousarray(told[:, :hashes]), numbered(keys.T)


class Estimated(Signed):
    """The same where nothing is counted."""

    shown: ClassVar[str] = "estimated Jaccard {:.2f}"


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
