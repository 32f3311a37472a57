"""A part of a model's column for a shard that stands already: from the pool's uris, texts or keys."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tamis.pipeline.columns.embed.towers import CLASS_FIELDS
from tamis.pipeline.columns.filling import Filling, ImagePass, retried
from tamis.pipeline.decode.decoders import BLOCK_IMAGES, Encoded
from tamis.pipeline.decode.locate import PLACE, encoded
from tamis.pipeline.progress import Counter
from tamis.pipeline.read.ingest import Part

TEXT_ROWS = 256  # texts handed to a model at once: sorted by length they fill its batches evenly


def fill_part(column: Filling, part: Part, images: Path, say: Callable[[str], None]) -> None:
    """Write the part whole; where memory runs out, again with half the batch. Classes are told from the vectors in
    the folder `images`."""
    kind = column.tower.kind
    if kind == "images":
        retried([column], lambda: column.write_batches(part.name, part.digest, _of_images(column, part, say)), say)
    elif kind == "classes":
        _write_classes(column, images, part)
    else:
        batches = _batches(part, column.tower.reads, TEXT_ROWS)
        column.write_batches(part.name, part.digest, column.of_texts(part.name, _counted(column, part, batches)))
        if kind == "keys" and column.without_vector(part.name) == part.rows:
            say(f"{column.name} {part.name}: not one of {part.rows:,} samples has a vector; do the keys look alike?")


def _batches(part: Part, fields: tuple[str, ...], rows: int) -> Iterator[pa.RecordBatch]:
    file = pq.ParquetFile(part.path)
    yield from file.iter_batches(batch_size=rows, columns=["sample_id", *fields], use_threads=False)


def _counted(column: Filling, part: Part, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    counter = Counter(f"embed {column.name} {part.name}", part.rows, "texts")
    for batch in batches:
        yield batch
        counter.add(batch.num_rows)
    counter.end()


def _of_images(column: Filling, part: Part, say: Callable[[str], None]) -> Iterator[pa.Table]:
    """Decode the shard's images again; one that is gone, or is not what was read, has no vector, and is told of."""
    counter = Counter(f"embed {column.name} {part.name}", part.rows, "images")
    changed = 0
    with ImagePass([column]) as work:
        for batch, facts, (values,) in work.blocks(placed(part)):
            hashes = batch["content_hash"].to_pylist()
            lost = np.array([len(f) == 2 or bytes.fromhex(f[3]) != h for f, h in zip(facts, hashes, strict=True)], bool)
            if lost.any():
                changed += int((lost & batch["width"].is_valid().to_numpy(zero_copy_only=False)).sum())
            told = pc.if_else(pa.array(lost), pa.scalar(None, values.type), values)
            counter.add(batch.num_rows, note="" if column.is_plain else f"the model waited {work.share_waited:.0%}")
            yield pa.table([batch["sample_id"], told], ["sample_id", column.value])
    counter.end()
    if changed:
        column.count("images_gone", part.name, changed)
        say(f"{part.name}: {changed:,} images are gone or changed since they were read; they have no vector")


def placed(part: Part, more: tuple[str, ...] = ()) -> Iterator[tuple[pa.RecordBatch, list[Encoded]]]:
    """Batches of a shard's images, and where their bytes lie."""
    for batch in _batches(part, ("width", *more, *PLACE), BLOCK_IMAGES):
        rows: list[dict[str, Any]] = batch.select(list(PLACE)).to_pylist()
        yield batch, encoded(rows)


def _write_classes(column: Filling, images: Path, part: Part) -> None:
    """Best class of each image, from the vectors of the output beside this one."""
    from tamis.pipeline.files.atomic import write_batches

    schema = pa.schema(
        [("sample_id", pa.uint64()), (column.value, pa.string()), *CLASS_FIELDS],
        column.metadata(part.digest),
    )
    vectors = pq.ParquetFile(images / part.name).iter_batches(batch_size=TEXT_ROWS)
    made = (pa.record_batch([batch["sample_id"], *column.classes(batch["image"])], schema.names) for batch in vectors)
    write_batches(column.folder / part.name, schema, made)
