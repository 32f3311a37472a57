"""Texts that hold a piece of an evaluation set are dropped, and the ledger names the item and the words.

Any run of `ngram` words that an evaluation item has, too: 13 as for GPT-3 (Brown et al. 2020, appendix C), and as there
n-grams that more than 10 texts of the pool have don't count: they are turns of phrase and terms of a licence. The
rarest n-grams of each item always count, so that an item that lies in the pool a hundred times is still found. Words
are those of near_dedup (words.py): lowered, no punctuation, no accents, numbers as they are; three letters of a script
without spaces that stand for sounds are taken as one word. An item of fewer words is looked for whole, if it has at
least `least`; shorter ones are told of, and never match. 16 bytes for each of the evaluation's n-grams; two passes over
the pool, some 100 MB/s each. Not for paraphrases and translations: with `column`, vectors are compared
(decontaminate_vectors.py)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tamis.selectors.contract import Batches, ByVerdict, Choice, Filter, Floats, Inputs, Verdict
from tamis.selectors.texts.minhash import raw
from tamis.selectors.texts.scripts import SOUNDS_A_WORD, is_sound
from tamis.selectors.texts.words import ALL, joined, tables, words

SHOWN_CHARS = 120  # of the words that were met
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Decontaminate(Filter):
    """ngram   words that must follow one another in both
    least   words of an evaluation item that is shorter than that, to be looked for whole
    common  n-grams that more texts of the pool have don't count, but for the rarest of an item; null: all count
    """

    needs_evaluation: ClassVar[bool] = True
    unscored: ClassVar[bool] = True
    adds_up: ClassVar[bool] = True

    ngram: int = 13
    least: int = 8
    common: int | None = 10

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.ngram:
            raise ValueError(f"wanted 1 <= least <= ngram, found least {self.least}, ngram {self.ngram}")
        if self.common is not None and self.common < 1:
            raise ValueError(f"common is a number of texts, found {self.common}")

    def inputs(self) -> Inputs:
        return Inputs(fields=("text", "key"))

    def fit(self, pool: Batches, targets: Sequence[Batches]) -> "Evaluation":
        """`targets` are the evaluation's sources. Raises ValueError where all items are too short."""
        held = [list(source) for source in targets]
        return self.fit_counts(self.count(pool, held), held)

    def count(self, batches: Batches, targets: Sequence[Batches] = ()) -> Counts:
        """[n-grams of the evaluation] texts that have it."""
        from tamis.selectors.loops.shingles import count_met

        every = self._read(targets)
        found = np.zeros(len(every.hashes), np.int64)
        if self.common is None or not len(found):
            return found
        last = np.full(len(found), -1, np.int64)  # the text that was counted last
        first = 0
        for batch in batches:
            data, ends = raw(batch["text"])
            count_met(data, ends, *tables(ALL), *every.table, every.hashes, first, last, found)
            first += batch.num_rows
        return found[every.firsts]

    def fit_counts(
        self, counts: Counts, targets: Sequence[Batches], sample: Sequence[pa.RecordBatch] = ()
    ) -> "Evaluation":
        every = self._read(targets)
        if self.common is None or not len(counts):
            return every
        rarest = np.full(len(every.keys), np.iinfo(np.int64).max)
        np.minimum.at(rarest, every.items, counts)
        return every.without(counts > np.maximum(self.common, rarest[every.items]))

    def _read(self, targets: Sequence[Batches]) -> "Evaluation":
        """All n-grams of the evaluation. Raises ValueError where all items are too short."""
        from tamis.selectors.loops.shingles import grams

        keys: list[str] = []
        hashes, lengths, items = [], [], []
        short = 0
        for source in targets:
            for batch in source:
                for key, text in zip(batch["key"].to_pylist(), batch["text"].to_pylist(), strict=True):
                    told = words(text or "")
                    worth = sum(1 / SOUNDS_A_WORD if is_sound(word[0]) else 1 for word in told)
                    if worth < self.least:
                        short += 1
                        continue
                    length = min(round(self.ngram * len(told) / worth), len(told))
                    found = grams(np.frombuffer(" ".join(told).encode(), np.uint8), length)
                    hashes.append(found)
                    lengths.append(np.full(len(found), length, np.int32))
                    items.append(np.full(len(found), len(keys), np.int32))
                    keys.append(key)
        if not keys and short:
            raise ValueError(f"all {short:,} evaluation items have fewer than {self.least} words; lower `least`")
        if not keys:
            none = np.zeros(0)
            return Evaluation(self, none.astype(np.uint64), none.astype(np.int32), none.astype(np.int32), [], 0, 0)
        whole, size, item = (np.concatenate(some) for some in (hashes, lengths, items))
        order = np.lexsort([item, whole, size])
        return Evaluation(self, whole[order], size[order], item[order], keys, short, 0)


@dataclass(frozen=True)
class Evaluation(ByVerdict):
    """Arrays are [n-grams], by length, then hash, then item."""

    settings: Decontaminate
    hashes: npt.NDArray[np.uint64]
    lengths: npt.NDArray[np.int32]
    items: npt.NDArray[np.int32]  # places in `keys`
    keys: list[str]
    short: int  # items that are never looked for
    common: int  # n-grams that don't count

    @property
    def firsts(self) -> npt.NDArray[np.int64]:
        """The first place of each one's equals, which several items may have."""
        new = np.append(True, (np.diff(self.lengths) != 0) | (self.hashes[1:] != self.hashes[:-1]))
        return np.maximum.accumulate(np.where(new, np.arange(len(new)), 0))

    @property
    def table(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The lengths that there are, and where the n-grams of each begin and end."""
        sizes, firsts = np.unique(self.lengths, return_index=True)
        return sizes.astype(np.int64), np.append(firsts, len(self.hashes)).astype(np.int64)

    def without(self, some: npt.NDArray[np.bool_]) -> "Evaluation":
        rest = ~some
        return Evaluation(
            self.settings, self.hashes[rest], self.lengths[rest], self.items[rest], self.keys, self.short,
            int(some.sum()),
        )  # fmt: skip

    def tell(self, choice: Choice) -> dict[str, Any]:
        said = f"{len(self.keys):,} evaluation items, {len(self.hashes):,} n-grams"
        said += f"; {self.short:,} items too short to be looked for" if self.short else ""
        if self.common:
            said += f"; {self.common:,} n-grams that more than {self.settings.common} texts have don't count"
        told = {"items": len(self.keys), "ngrams": len(self.hashes), "too_short": self.short, "common": self.common}
        return {**told, "said": [said]}

    def score(self, batch: pa.RecordBatch) -> Floats:
        return np.zeros(batch.num_rows)

    def verdicts(self, batch: pa.RecordBatch) -> list[Verdict]:
        """The evaluation item, and the words that both have."""
        items, starts, lengths = self._met(batch)
        told: list[Verdict] = [None] * batch.num_rows
        for row in np.flatnonzero(items >= 0).tolist():
            met = joined(words(batch["text"][row].as_py())[starts[row] : starts[row] + lengths[row]])
            told[row] = ("in_evaluation", f"item {self.keys[items[row]]}: {met[:SHOWN_CHARS]}")
        return told

    def _met(self, batch: pa.RecordBatch) -> tuple[Any, Any, Any]:
        """[rows] the first item met, or -1; the place of its first word, and how many words were met."""
        from tamis.selectors.loops.shingles import meet

        data, ends = raw(batch["text"])
        out = np.full((3, batch.num_rows), -1, np.int64)
        meet(data, ends, *tables(ALL), *self.table, self.hashes, self.items, out)
        return out[0], out[1], out[2]


Decontaminate.fitted = Evaluation
