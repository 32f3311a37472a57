"""Parts of columns of images for a shard that stands already: from the pool's uris, all of them in one decode."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tamis.pipeline.columns.filling import Filling
from tamis.pipeline.decode.decoders import BLOCK_IMAGES, Encoded
from tamis.pipeline.decode.locate import PLACE, encoded
from tamis.pipeline.decode.passes import ImagePass, retried
from tamis.pipeline.progress import Counter
from tamis.pipeline.read.pool import Part


def fill_images(columns: list[Filling], part: Part, say: Callable[[str], None]) -> None:
    """Write the parts whole; where memory runs out, again with half the batch."""
    retried(columns, lambda: _fill(columns, part, say), say)


def _fill(columns: list[Filling], part: Part, say: Callable[[str], None]) -> None:
    """Decode the shard's images again; one that is gone, or is not what was read, has no value, and is told of."""
    counter = Counter(f"columns {', '.join(column.name for column in columns)}", part.rows, "images")
    changed, without = 0, [0] * len(columns)
    with ImagePass(columns) as work, ExitStack() as stack:
        writers = [stack.enter_context(column.writer(part.name, part.digest)) for column in columns]
        for batch, facts, values in work.blocks(placed(part)):
            hashes = batch["content_hash"].to_pylist()
            lost = np.array([len(f) == 2 or bytes.fromhex(f[3]) != h for f, h in zip(facts, hashes, strict=True)], bool)
            changed += int((lost & batch["width"].is_valid().to_numpy(zero_copy_only=False)).sum())
            for number, (column, write, made) in enumerate(zip(columns, writers, values, strict=True)):
                told = pc.if_else(pa.array(lost), pa.scalar(None, made.type), made)
                without[number] += told.null_count
                names = column.maker.schema(column.type).names
                write(pa.table([batch["sample_id"], *column.fields(told)], ["sample_id", *names]))
            counter.add(batch.num_rows, note=work.note)
        for column, rows in zip(columns, without, strict=True):  # before the parts are there: a kill must not leave
            column.count(column.without, part.name, rows)  # them without
            if changed:
                column.count("images_gone", part.name, changed)
    counter.end()
    if changed:
        say(f"{part.name}: {changed:,} images are gone or changed since they were read; they have no vector")


def placed(part: Part, more: tuple[str, ...] = ()) -> Iterator[tuple[pa.RecordBatch, list[Encoded]]]:
    """Batches of a shard's images, and where their bytes lie."""
    fields = ["sample_id", "width", *more, *PLACE]
    for batch in pq.ParquetFile(part.path).iter_batches(batch_size=BLOCK_IMAGES, columns=fields, use_threads=False):
        rows: list[dict[str, Any]] = batch.select(list(PLACE)).to_pylist()
        yield batch, encoded(rows)
