"""Columns that steps ask for without the recipe naming them: hashed n-grams, MinHash signatures.

Made of the text alone and stored beside the declared columns, so that runs share them; their files' fields reach a
selector under their own names."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tamis.pipeline.columns.contract import ColumnKind, NoModel, Output, Told
from tamis.pipeline.columns.declared import Maker
from tamis.pipeline.machine import cores
from tamis.selectors.contract import Inputs
from tamis.selectors.texts.minhash import Sketch, signatures
from tamis.selectors.texts.ngrams import Ngrams

NGRAMS_VERSION = 1  # raise when the same text would give other buckets
MINHASH_VERSION = 3  # raise when the same text would give other hashes
FEWEST_TEXTS = 64  # for a thread of its own


def hashed_makers(inputs: Inputs) -> list[Maker]:
    """All that a selector asks for."""
    makers = [] if inputs.ngrams is None else [ngrams_maker(inputs.ngrams)]
    return makers if inputs.minhash is None else [*makers, minhash_maker(inputs.minhash)]


@lru_cache(maxsize=8)
def ngrams_maker(settings: Ngrams) -> Maker:
    """The hashed n-grams that importance resampling reads; see selectors/texts/ngrams.py."""
    return _maker("ngrams", HashedNgrams(settings))


@lru_cache(maxsize=8)
def minhash_maker(sketch: Sketch) -> Maker:
    """The signatures that near_dedup compares; see selectors/texts/minhash.py. Null: no shingle."""
    return _maker("minhash", MinHash(sketch))


def made(maker: Maker, batch: pa.RecordBatch) -> list[pa.Array]:
    """The column's values for a batch of texts that is in no store."""
    values: list[pa.Array] = maker.model(Path()).values(batch, Told())
    return values


def _maker(name: str, kind: ColumnKind) -> Maker:
    (output,) = kind.makes(images=False)
    made_of = kind.made_of(Path())
    return Maker(name, kind, output, made_of, made_of, Path())


@dataclass(frozen=True)
class HashedNgrams(ColumnKind):
    """Buckets of all n-grams of a text, one after another."""

    verb: ClassVar[str] = "ngrams"
    kind: ClassVar[str] = "hashed"
    heavy: ClassVar[bool] = False
    told_if_empty: ClassVar[bool] = False

    ngrams: Ngrams

    def makes(self, images: bool) -> list[Output]:
        return [Output(fields=(("n_tokens", pa.int32()), ("ngrams", pa.binary())), reads=("text",))]

    def made_of(self, folder: Path) -> dict[str, Any]:
        return {"maker": "ngrams", "version": NGRAMS_VERSION, **asdict(self.ngrams)}

    def load(self, place: Path) -> "NgramsModel":
        return NgramsModel(self.ngrams)


class NgramsModel(NoModel):
    def __init__(self, ngrams: Ngrams) -> None:
        self.ngrams = ngrams

    def values(self, batch: pa.RecordBatch, told: Told) -> list[pa.Array]:
        """Tokens, and buckets as bytes."""
        buckets, places, counts = self.ngrams.features(batch["text"].fill_null(""))  # an image without a caption
        size = buckets.dtype.itemsize
        offsets = pa.py_buffer((places * size).astype("int32"))
        values = pa.Array.from_buffers(pa.binary(), len(counts), [None, offsets, pa.py_buffer(buckets)])
        return [pa.array(counts), values]


@dataclass(frozen=True)
class MinHash(ColumnKind):
    """Signatures of texts, and the keys of their buckets."""

    verb: ClassVar[str] = "minhash"
    kind: ClassVar[str] = "signatures"
    heavy: ClassVar[bool] = False
    told_if_empty: ClassVar[bool] = False

    sketch: Sketch

    def makes(self, images: bool) -> list[Output]:
        widths = (("minhash_buckets", 8 * self.sketch.bands), ("minhash_low", self.sketch.hashes))
        return [Output(fields=tuple((name, pa.binary(width)) for name, width in widths), reads=("text",))]

    def made_of(self, folder: Path) -> dict[str, Any]:
        return {"maker": "minhash", "version": MINHASH_VERSION, **asdict(self.sketch)}

    def load(self, place: Path) -> "MinHashModel":
        return MinHashModel(self.sketch)


class MinHashModel(NoModel):
    def __init__(self, sketch: Sketch) -> None:
        self.sketch = sketch

    def values(self, batch: pa.RecordBatch, told: Told) -> list[pa.Array]:
        size = max(FEWEST_TEXTS, -(-batch.num_rows // cores()))
        slices = [batch["text"].slice(first, size) for first in range(0, max(1, batch.num_rows), size)]
        signed = list(_threads().map(lambda some: signatures(some, self.sketch), slices))
        none = pa.array(~np.concatenate([one.shingled for one in signed]))
        whole = [
            (8 * self.sketch.bands, np.concatenate([one.buckets for one in signed])),
            (self.sketch.hashes, np.concatenate([one.low for one in signed])),
        ]
        made = []
        for width, values in whole:
            array = pa.Array.from_buffers(pa.binary(width), batch.num_rows, [None, pa.py_buffer(values)])
            made.append(pc.if_else(none, pa.scalar(None, array.type), array))
        return made


@lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(cores(), thread_name_prefix="minhash")
