"""Batches of texts, cut where they are large: what is made of texts takes many times their bytes."""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

PIECE_BYTES = 4 << 20  # tokens take 150 times a byte while they are made


def pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """The batch cut where its texts are more than PIECE_BYTES."""
    sizes = pc.fill_null(pc.binary_length(batch["text"]), 0).to_numpy(zero_copy_only=False)
    first = held = 0
    for row, size in enumerate(sizes.tolist()):
        if held and held + size > PIECE_BYTES:
            yield batch.slice(first, row - first)
            first, held = row, 0
        held += size
    yield batch.slice(first)
