"""Exact deduplication: of samples with the same content, keep the one with the smallest key.

A text's content is the text, to the byte; a pair's are the image file and its captions, for one image under five
captions is five samples; `of: image` looks at the image alone. Contents are compared by their 128-bit xxh3: two
different texts share one with probability 10^-20 in a pool of a billion. One grouping over (hash, key); the database
spills to disk. Not for: near-duplicates, however near."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from xxhash import xxh3_128_digest

from tamis.selectors.contract import Batches, Filter, Fitted, Floats, Inputs


@dataclass(frozen=True, kw_only=True)
class ExactDedup(Filter, Fitted):
    """of    what is equal: whole samples, or images whatever their captions"""

    unscored: ClassVar[bool] = True

    of: Literal["sample", "image"] = "sample"

    @property
    def choice(self) -> str:
        return "exact_dedup"

    def inputs(self) -> Inputs:
        return Inputs(fields=("content_hash", "key"), optional=("captions",) if self.of == "sample" else ())

    def fit(self, pool: Batches, targets: Sequence[Batches]) -> "ExactDedup":
        return self

    def score(self, batch: pa.RecordBatch) -> Floats:
        return np.zeros(batch.num_rows)

    def groups(self, batch: pa.RecordBatch) -> pa.Array:
        contents = batch["content_hash"]
        if "captions" not in batch.schema.names or batch["captions"].null_count == batch.num_rows:
            return contents
        captions = batch["captions"]
        texts = pc.struct_field(captions.flatten(), "text").fill_null("")
        offsets = np.concatenate([[0], np.cumsum(pc.list_value_length(captions).fill_null(0).to_numpy())])
        said = pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), texts), "\0")
        pairs = zip(contents.to_pylist(), said.to_pylist(), strict=True)
        return pa.array([xxh3_128_digest(image + told.encode()) if told else image for image, told in pairs])

    def tie_keys(self, batch: pa.RecordBatch) -> pa.Array:
        """[rows] text: within a group the smallest goes first."""
        return batch["key"]
