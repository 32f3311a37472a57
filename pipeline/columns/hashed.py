"""Columns that steps ask for without the recipe naming them: hashed n-grams, MinHash signatures.

Made of the text alone and stored beside the declared columns, so that runs share them; their files' fields reach a
selector under their own names."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tamis.pipeline.columns.declared import Maker
from tamis.pipeline.parallel import cores
from tamis.selectors.contract import Inputs
from tamis.selectors.texts.minhash import BUCKETS, HASHES, Form, signatures
from tamis.selectors.texts.ngrams import Ngrams

NGRAMS_VERSION = 1  # raise when the same text would give other buckets
MINHASH_VERSION = 2  # raise when the same text would give other hashes
FEWEST_TEXTS = 64  # for a thread of its own


def hashed_makers(inputs: Inputs) -> list[Maker]:
    """All that a selector asks for."""
    makers = [] if inputs.ngrams is None else [ngrams_maker(inputs.ngrams)]
    return makers if inputs.minhash is None else [*makers, minhash_maker(inputs.minhash)]


def ngrams_maker(settings: Ngrams) -> Maker:
    """The hashed n-grams that importance resampling reads; see selectors/texts/ngrams.py."""

    def make(batch: pa.RecordBatch) -> list[pa.Array]:
        buckets, places, counts = settings.features(batch["text"].fill_null(""))  # an image without a caption
        size = buckets.dtype.itemsize
        offsets = pa.py_buffer((places * size).astype("int32"))
        values = pa.Array.from_buffers(pa.binary(), len(counts), [None, offsets, pa.py_buffer(buckets)])
        return [pa.array(counts), values]

    return Maker(
        name="ngrams",
        settings={"maker": "ngrams", "version": NGRAMS_VERSION, **asdict(settings)},
        reads=("text",),
        schema=pa.schema([("n_tokens", pa.int32()), ("ngrams", pa.binary())]),
        make=make,
    )


@lru_cache(maxsize=2)
def minhash_maker(form: Form) -> Maker:
    """The signatures that near_dedup compares; see selectors/texts/minhash.py. Null: fewer than five words."""

    def make(batch: pa.RecordBatch) -> list[pa.Array]:
        size = max(FEWEST_TEXTS, -(-batch.num_rows // cores()))
        slices = [batch["text"].slice(first, size) for first in range(0, batch.num_rows, size)]
        signed = list(_threads().map(lambda some: signatures(some, form), slices))
        none = pa.array(~np.concatenate([one.shingled for one in signed]))
        made = []
        for name, width in (("buckets", 8 * BUCKETS), ("low", HASHES)):
            values = pa.py_buffer(np.concatenate([getattr(one, name) for one in signed]))
            whole = pa.Array.from_buffers(pa.binary(width), batch.num_rows, [None, values])
            made.append(pc.if_else(none, pa.scalar(None, whole.type), whole))
        return made

    return Maker(
        name="minhash",
        settings={"maker": "minhash", "version": MINHASH_VERSION, "form": form},
        reads=("text",),
        schema=pa.schema([("minhash_buckets", pa.binary(8 * BUCKETS)), ("minhash_low", pa.binary(HASHES))]),
        make=make,
    )


@lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(cores(), thread_name_prefix="minhash")
