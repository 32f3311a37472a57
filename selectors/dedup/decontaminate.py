"""Texts that hold a piece of an evaluation set are dropped, and the ledger names the item and the words.

Any run of `ngram` words that an evaluation item has, too: 13 as for GPT-3 (Brown et al. 2020, appendix C). Words are
those of near_dedup: lowered, numbers as 0, no punctuation, no accents. An item of fewer words is looked for whole, if
it has at least `least`; shorter ones are told of, and never match. 16 bytes for each of the evaluation's n-grams; one
pass over the pool, some 100 MB/s. Not for paraphrases and translations: with `column`, vectors are compared
(decontaminate_vectors.py)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tamis.selectors.contract import Batches, ByVerdict, Choice, Filter, Floats, Inputs, Verdict
from tamis.selectors.texts.minhash import ALL, raw, tables, words

SHOWN_CHARS = 120  # of the words that were met


@dataclass(frozen=True, kw_only=True)
class Decontaminate(Filter):
    """ngram  words that must follow one another in both
    least  words of an evaluation item that is shorter than that, to be looked for whole
    """

    needs_evaluation: ClassVar[bool] = True
    unscored: ClassVar[bool] = True

    ngram: int = 13
    least: int = 8

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.ngram:
            raise ValueError(f"wanted 1 <= least <= ngram, found least {self.least}, ngram {self.ngram}")

    def inputs(self) -> Inputs:
        return Inputs(fields=("text", "key"))

    def fit(self, pool: Batches, targets: Sequence[Batches]) -> "Evaluation":
        """`targets` are the evaluation's sources. Raises ValueError where all items are too short."""
        from tamis.selectors.loops.shingles import grams

        keys: list[str] = []
        hashes, lengths, items = [], [], []
        short = 0
        for source in targets:
            for batch in source:
                for key, text in zip(batch["key"].to_pylist(), batch["text"].to_pylist(), strict=True):
                    told = words(text or "")
                    if len(told) < self.least:
                        short += 1
                        continue
                    length = min(self.ngram, len(told))
                    found = grams(np.frombuffer(" ".join(told).encode(), np.uint8), length)
                    hashes.append(found)
                    lengths.append(np.full(len(found), length, np.int32))
                    items.append(np.full(len(found), len(keys), np.int32))
                    keys.append(key)
        if not keys and short:
            raise ValueError(f"all {short:,} evaluation items have fewer than {self.least} words; lower `least`")
        if not keys:
            none = np.zeros(0)
            return Evaluation(self, none.astype(np.uint64), none.astype(np.int32), none.astype(np.int32), [], 0)
        whole, size, item = (np.concatenate(some) for some in (hashes, lengths, items))
        order = np.lexsort([item, whole, size])
        return Evaluation(self, whole[order], size[order], item[order], keys, short)


@dataclass(frozen=True)
class Evaluation(ByVerdict):
    """Arrays are [n-grams], by length, then hash, then item."""

    settings: Decontaminate
    hashes: npt.NDArray[np.uint64]
    lengths: npt.NDArray[np.int32]
    items: npt.NDArray[np.int32]  # places in `keys`
    keys: list[str]
    short: int  # items that are never looked for

    def tell(self, choice: Choice) -> dict[str, Any]:
        said = f"{len(self.keys):,} evaluation items, {len(self.hashes):,} n-grams"
        said += f"; {self.short:,} items too short to be looked for" if self.short else ""
        return {"items": len(self.keys), "ngrams": len(self.hashes), "too_short": self.short, "said": [said]}

    def score(self, batch: pa.RecordBatch) -> Floats:
        return np.zeros(batch.num_rows)

    def verdicts(self, batch: pa.RecordBatch) -> list[Verdict]:
        """The evaluation item, and the words that both have."""
        items, starts, lengths = self._met(batch)
        told: list[Verdict] = [None] * batch.num_rows
        for row in np.flatnonzero(items >= 0).tolist():
            met = " ".join(words(batch["text"][row].as_py())[starts[row] : starts[row] + lengths[row]])
            told[row] = ("in_evaluation", f"item {self.keys[items[row]]}: {met[:SHOWN_CHARS]}")
        return told

    def _met(self, batch: pa.RecordBatch) -> tuple[Any, Any, Any]:
        """[rows] the first item met, or -1; the place of its first word, and how many words were met."""
        from tamis.selectors.loops.shingles import meet

        data, ends = raw(batch["text"])
        out = np.full((3, batch.num_rows), -1, np.int64)
        sizes, firsts = np.unique(self.lengths, return_index=True)
        edges = np.append(firsts, len(self.hashes)).astype(np.int64)
        meet(data, ends, *tables(ALL), sizes.astype(np.int64), edges, self.hashes, self.items, out)
        return out[0], out[1], out[2]


Decontaminate.fitted = Evaluation
