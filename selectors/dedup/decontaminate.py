"""Texts that hold a piece of an evaluation set are dropped, and the ledger names the item and the words.

Any run of `ngram` words that an evaluation item has, too: 13 as for GPT-3 (Brown et al. 2020, appendix C), and as there
n-grams that more than 10 texts of the pool have don't count, which are turns of phrase and terms of a licence; ours is
that a text with half of an item's n-grams is dropped whatever they are, so that an item which lies in the pool a
hundred times is still found. Words are those of near_dedup (words.py): lowered, no punctuation, no accents, numbers as
they are. Where letters of a script without spaces stand for sounds, up to three of them are taken as a word. An item of
fewer words is looked for whole, if it has at least `least`; shorter ones are told of, and never match. 24 bytes for
each of the evaluation's n-grams; two passes over the pool, 25 to 30 MB/s a core. Not for paraphrases and translations:
with `column`, vectors are compared (decontaminate_vectors.py)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tamis.selectors.contract import Batches, ByVerdict, Choice, Filter, Floats, Inputs, Verdict
from tamis.selectors.loops.constants import GROWS
from tamis.selectors.texts.minhash import raw
from tamis.selectors.texts.scripts import SOUNDS, SOUNDS_A_WORD, is_sound
from tamis.selectors.texts.tokens import CODE_POINTS
from tamis.selectors.texts.words import ALL, joined, tables, words

SHOWN_CHARS = 120  # of the words that were met
FACTORS = (1, 1.5, 2, 3)  # of `ngram`, by how many letters a word has: few lengths to look for
Counts = npt.NDArray[np.int64]
ENTRY = np.dtype([("length", np.int32), ("hash", np.uint64), ("item", np.int32), ("gate", np.uint64)])


@dataclass(frozen=True, kw_only=True)
class Decontaminate(Filter):
    """ngram   words that must follow one another in both
    least   words of an evaluation item that is shorter than that, to be looked for whole
    common  n-grams that more texts of the pool have don't count alone; null: all count
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

    def takes(self, reason: str) -> str | None:
        return f"fewer than {self.ngram} words in a row that an item has" if reason == "in_evaluation" else None

    def inputs(self) -> Inputs:
        return Inputs(fields=("text", "key"))

    def fit(self, pool: Batches, targets: Sequence[Batches]) -> "Evaluation":
        """`targets` are the evaluation's sources. Raises ValueError where all items are too short."""
        held = [list(source) for source in targets]
        return self.fit_counts(self.count(pool, self.table(held)), held)

    def table(self, targets: Sequence[Batches]) -> "Evaluation":
        """All n-grams of the evaluation. Raises ValueError where all items are too short."""
        from tamis.selectors.loops.evaluation import grams, words_and_sounds
        from tamis.selectors.loops.shingles import normalised

        keys: list[str] = []
        told: list[tuple[npt.NDArray[np.uint8], int]] = []  # words and length of the n-grams, of each item
        short = 0
        for source in targets:
            for batch in source:
                data, ends = raw(batch["text"])
                for key, first, last in zip(
                    batch["key"].to_pylist(), ends[:-1].tolist(), ends[1:].tolist(), strict=True
                ):
                    room = np.empty(GROWS * (last - first) + 1, np.uint8)
                    text = room[: normalised(data, first, last, *tables(ALL), room)]
                    count, of_sound = words_and_sounds(text, sounds())
                    worth = count - of_sound + of_sound / SOUNDS_A_WORD
                    if worth < self.least:
                        short += 1
                        continue
                    factor = min(FACTORS, key=lambda one: abs(one - count / worth))
                    told.append((text.copy(), min(round(self.ngram * factor), count)))
                    keys.append(key)
        if not keys and short:
            raise ValueError(f"all {short:,} evaluation items have fewer than {self.least} words; lower `least`")
        least = min((length for _, length in told), default=1)
        entries = [np.zeros(0, ENTRY)]
        for item, (text, length) in enumerate(told):
            found = np.empty(len(hashes := grams(text, length)), ENTRY)
            found["length"], found["hash"], found["item"] = length, hashes, item
            found["gate"] = grams(text, least)[: len(found)]
            entries.append(found)
        whole = np.unique(np.concatenate(entries))  # by length, hash, item
        totals = np.bincount(whole["item"], minlength=len(keys)).astype(np.int64)
        no = np.zeros(len(whole), bool)
        return Evaluation(
            self, whole["hash"].copy(), whole["length"].copy(), whole["item"].copy(), whole["gate"].copy(), no, totals,
            keys, short,
        )  # fmt: skip

    def count(self, batches: Batches, table: Any = None) -> Counts:
        """[n-grams of the evaluation] texts that have it."""
        from tamis.selectors.loops.evaluation import count_met

        found = np.zeros(len(table.hashes), np.int64)
        if self.common is None or not len(found):
            return found
        last = np.full(len(found), -1, np.int64)  # the text that was counted last
        first = 0
        for batch in batches:
            data, ends = raw(batch["text"])
            count_met(data, ends, *tables(ALL), *table.looked_up, table.hashes, first, last, found)
            first += batch.num_rows
        return np.asarray(found[table.firsts])

    def fit_counts(
        self, counts: Counts, targets: Sequence[Batches], sample: Sequence[pa.RecordBatch] = ()
    ) -> "Evaluation":
        table = self.table(targets)
        return table if self.common is None else replace(table, common=counts > self.common)


@cache
def sounds() -> npt.NDArray[np.uint8]:
    """[code points] 1 where a letter stands alone and for a sound."""
    table = np.zeros(CODE_POINTS, np.uint8)
    for first, last in SOUNDS:
        table[first : last + 1] = [is_sound(chr(code)) for code in range(first, last + 1)]
    return table


@dataclass(frozen=True)
class Evaluation(ByVerdict):
    """Arrays are [n-grams], by length, then hash, then item."""

    settings: Decontaminate
    hashes: npt.NDArray[np.uint64]
    lengths: npt.NDArray[np.int32]
    items: npt.NDArray[np.int32]  # places in `keys`
    gates: npt.NDArray[np.uint64]  # hashes of the first words, as many as the least length has
    common: npt.NDArray[np.bool_]  # that too many texts have
    totals: npt.NDArray[np.int64]  # [items] n-grams of each
    keys: list[str]
    short: int  # items that are never looked for

    @property
    def firsts(self) -> npt.NDArray[np.int64]:
        """The first place of each one's equals, which several items may have."""
        new = np.append(True, (np.diff(self.lengths) != 0) | (self.hashes[1:] != self.hashes[:-1]))
        return np.maximum.accumulate(np.where(new, np.arange(len(new)), 0))

    @cached_property
    def looked_up(self) -> tuple[Any, Any, Any]:
        """Where n-grams may begin, by the low bits of `gates`; the lengths that there are; and where the n-grams of
        each begin and end."""
        gate = np.zeros(1 << max(10, 3 + len(self.hashes).bit_length()), np.uint8)
        gate[(self.gates & np.uint64(len(gate) - 1)).astype(np.int64)] = 1
        sizes, firsts = np.unique(self.lengths, return_index=True)
        return gate, sizes.astype(np.int64), np.append(firsts, len(self.hashes)).astype(np.int64)

    def tell(self, choice: Choice) -> dict[str, Any]:
        said = f"{len(self.keys):,} evaluation items, {len(self.hashes):,} n-grams"
        said += f"; {self.short:,} items too short to be looked for" if self.short else ""
        common = int(self.common.sum())
        if common:
            said += f"; {common:,} of these more than {self.settings.common} texts have: they don't count alone"
        told = {"items": len(self.keys), "ngrams": len(self.hashes), "too_short": self.short, "common": common}
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
        from tamis.selectors.loops.evaluation import meet

        data, ends = raw(batch["text"])
        out = np.full((3, batch.num_rows), -1, np.int64)
        if len(self.hashes):
            meet(
                data, ends, *tables(ALL), *self.looked_up, self.hashes, self.items, self.common, self.totals, out
            )  # fmt: skip
        return out[0], out[1], out[2]


Decontaminate.fitted = Evaluation
