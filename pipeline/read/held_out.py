"""A part of the target that nothing learns from, by content: what a selection is worth is told on it.

The rest is a target of its own, in a folder of its own: parts without the held rows, records of the same numbers, so
that whatever reads a target (fits, columns, models) sees no other. Of n contents round(share n) are held, at least one
and never all: whole families (families.py), by the lowest hashes. What is held lies in a folder of its own, too."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tamis.pipeline.files.atomic import digest_file, write_parquet, write_record
from tamis.pipeline.read.families import Contents, families
from tamis.pipeline.read.pool import Part, Pool, records_of, view_of
from tamis.pipeline.schemas import REJECTS
from tamis.selectors.chance import uniform
from tamis.selectors.rows import contents_of, hashes_of


def held_contents(target: Pool, share: float, sources: int) -> Contents:
    """Of the target's first `sources` (others are the evaluation's), rising."""
    known = families(target, sources)
    wanted = min(len(known.contents) - 1, max(1, round(share * len(known.contents))))
    groups, sizes = np.unique(known.of_content, return_counts=True)
    order = np.argsort(uniform(groups, 0, 0, "hold_out"), kind="stable")
    held, left = [], wanted
    for group in order.tolist():  # a family that is larger than what is wanted stays whole on the other side
        if sizes[group] <= left:
            held.append(group)
            left -= int(sizes[group])
    if not held and len(groups) > 1:
        held = [int(sizes.argmin())]
    return np.sort(known.contents[np.isin(known.of_content, groups[held])])


def contents_in(parts: Iterable[Part]) -> Contents:
    """Of all their rows, rising."""
    held = [np.zeros(0, np.uint64)]
    for part in parts:
        table = pq.read_table(part.path, columns=["content_hash"])
        held += [contents_of(hashes_of(batch)) for batch in table.to_batches()]
    return np.unique(np.concatenate(held))


def holds(batch: pa.RecordBatch, held: Contents) -> npt.NDArray[np.bool_]:
    """[rows] whether the content is held out."""
    return np.isin(contents_of(hashes_of(batch)), held)


def divided(target: Pool, folder: Path, share: float, sources: int, *, held_part: bool = False) -> Pool:
    """The target without what is held out, or that part alone, written to the folder unless it stands there."""
    held = held_contents(target, share, sources)
    standing = {record["group"] for record in records_of(folder)}
    for record in records_of(target.folder):
        if record["group"] not in target.groups or record["group"] in standing:
            continue
        parts = []
        for part in record["parts"]:
            table = pq.read_table(target.folder / part["name"])
            if record["origin"] < sources and table.num_rows:
                mine = holds(table.combine_chunks().to_batches()[0], held)
                table = table.filter(pa.array(mine if held_part else ~mine))
            elif held_part:
                continue
            if table.num_rows:
                final = folder / part["name"]
                write_parquet(final, table)
                parts.append({**part, "rows": table.num_rows, "digest": digest_file(final)})
        told = {name: value for name, value in record.items() if name != "replaces"}
        write_record(folder / ".groups" / f"{record['group']:05d}.json", {**told, "parts": parts, "rejects": {}})
    write_parquet(folder / "rejects.parquet", REJECTS.empty_table())  # those of the whole target stand there
    return view_of(folder, [record for record in records_of(folder) if record["group"] in target.groups])
