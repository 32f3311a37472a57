"""A part of the target that nothing learns from, by content: what a selection is worth is told on it.

The rest is a target of its own, in a folder of its own: parts without the held rows, records of the same numbers, so
that whatever reads a target (fits, columns, models) sees no other. Of n contents the round(share n) with the lowest
hashes are held, at least one, and never all."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tamis.pipeline.files.atomic import digest_file, write_json, write_parquet
from tamis.pipeline.read.pool import REJECTS_FILE, Pool, records_of, view_of
from tamis.pipeline.schemas import REJECTS
from tamis.selectors.chance import uniform
from tamis.selectors.rows import contents_of, hashes_of

Contents = npt.NDArray[np.uint64]


def held_contents(target: Pool, share: float, sources: int) -> Contents:
    """Of the target's first `sources` (others are the evaluation's), rising."""
    contents = np.unique(np.concatenate([np.zeros(0, np.uint64), *_contents(target, sources)]))
    count = min(len(contents) - 1, max(1, round(share * len(contents))))
    order = np.argsort(uniform(contents, 0, 0, "hold_out"), kind="stable")
    return np.sort(contents[order[: max(0, count)]])


def holds(batch: pa.RecordBatch, held: Contents) -> npt.NDArray[np.bool_]:
    """[rows] whether the content is held out."""
    return np.isin(contents_of(hashes_of(batch)), held)


def divided(target: Pool, folder: Path, share: float, sources: int) -> Pool:
    """The target without what is held out, written to the folder unless it stands there."""
    held = held_contents(target, share, sources)
    standing = {record["group"] for record in records_of(folder)}
    for record in records_of(target.folder):
        if record["group"] not in target.groups or record["group"] in standing:
            continue
        parts = []
        for part in record["parts"]:
            table = pq.read_table(target.folder / part["name"])
            if record["origin"] < sources and table.num_rows:
                table = table.filter(pa.array(~holds(table.combine_chunks().to_batches()[0], held)))
            if table.num_rows:
                final = folder / part["name"]
                write_parquet(final, table)
                parts.append({**part, "rows": table.num_rows, "digest": digest_file(final)})
        write_parquet(folder / ".groups" / REJECTS_FILE.format(record["group"]), REJECTS.empty_table())
        told = {name: value for name, value in record.items() if name != "replaces"}
        write_json(folder / ".groups" / f"{record['group']:05d}.json", {**told, "parts": parts, "rejects": {}})
    return view_of(folder, [record for record in records_of(folder) if record["group"] in target.groups])


def _contents(target: Pool, sources: int) -> Iterator[Contents]:
    for part in target.parts:
        if part.origin < sources:
            for batch in pq.ParquetFile(part.path).iter_batches(columns=["content_hash"]):
                yield contents_of(hashes_of(batch))
