"""`emit: [{splits: {...}}]`: train, validation and test of the selection, so that nothing of one is known from another.

Samples that belong together stay together: those with the same value of `by` (video, patient, document), pieces of one
document, equal contents, near-duplicate texts (near_dedup's, and chains of these), and images whose perceptual hashes
are near, where the recipe has such a column. Groups, in an order by hash, go to the split that is furthest below its
share, so shares hold to within a group. One Parquet a split, and splits.parquet with the group of each sample."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tamis.pipeline.choose.selection import placed
from tamis.pipeline.emit.restored import restored, restored_schema
from tamis.pipeline.errors import RunFailed
from tamis.pipeline.files.atomic import write_parquet
from tamis.pipeline.progress import say
from tamis.pipeline.recipe.outputs import Splits
from tamis.pipeline.store.runs import Run
from tamis.selectors.chance import uniform
from tamis.selectors.dedup.near_images import codes_of
from tamis.selectors.dedup.together import join_equal, join_images, join_texts, signed
from tamis.selectors.rows import hashes_of
from tamis.selectors.vectors.columns import as_array

Roots = npt.NDArray[np.int64]


def write_splits(run: Run, settings: Splits, folder: Path) -> None:
    """Write the splits' files into `folder`. Raises RunFailed where the selection has no field `by`."""
    batches = list(_needed(run, settings))
    ids = np.concatenate([batch["sample_id"].to_numpy() for batch in batches])
    roots = _groups(run, settings, batches, ids)
    which = assigned(ids, roots, list(settings.shares.values()), run.recipe.seed)
    names = np.array(list(settings.shares), object)
    keys = pa.chunked_array([batch["key"] for batch in batches])
    told = {"sample_id": ids, "key": keys, "split": pa.array(names[which], pa.string()), "group": ids[roots]}
    write_parquet(folder / "splits.parquet", pa.table(told))
    selection = pq.ParquetFile(run.folder / "selection.parquet")
    schema = restored_schema(run.folder / "selection.parquet")
    there = [name for number, name in enumerate(names) if (which == number).any() or not len(which)]
    with_writers = {name: pq.ParquetWriter(folder / f"{name}.parquet", schema) for name in there}
    if empty := [name for name in names if name not in there]:
        say(f"splits: nothing is left for {', '.join(empty)}, which get no file: `datasets` can't load an empty split")
    first = 0
    for batch in selection.iter_batches(batch_size=8192):
        mine = which[first : first + batch.num_rows]
        first += batch.num_rows
        for number, name in enumerate(names):
            if name not in with_writers:
                continue
            with_writers[name].write_batch(restored(batch.filter(pa.array(mine == number)), schema))
    for writer in with_writers.values():
        writer.close()


def assigned(ids: npt.NDArray[np.uint64], roots: Roots, shares: list[float], seed: int) -> npt.NDArray[np.int64]:
    """[samples] number of the split; groups by the hash of their smallest id, each to the split that lacks most."""
    groups, inverse, sizes = np.unique(roots, return_inverse=True, return_counts=True)
    smallest = np.full(len(groups), np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(smallest, inverse, ids)
    order = np.lexsort([smallest, uniform(smallest, seed, 0, "splits")])
    lacking = np.array(shares) / sum(shares) * len(ids)
    of_group = np.zeros(len(groups), np.int64)
    for group in order.tolist():
        split = int(np.argmax(lacking))
        of_group[group] = split
        lacking[split] -= sizes[group]
    return of_group[inverse] if len(groups) else np.zeros(0, np.int64)


def _needed(run: Run, settings: Splits) -> Iterator[pa.RecordBatch]:
    """The selection's fields that tell what belongs together; of texts their signatures, not themselves."""
    for batch in placed(run):
        if settings.by is not None and settings.by not in batch.schema.names:
            raise RunFailed(f"splits: the pool has no field {settings.by!r}; add it to `keep`")
        fields = ["sample_id", "key", "content_hash"]
        fields += [
            name for name in ("parent", settings.by) if name and name in batch.schema.names and name not in fields
        ]
        arrays = {name: batch[name] for name in fields} | {"content_hash": batch["content_hash"].cast(pa.binary(16))}
        if not run.recipe.reads_images:
            whole, shingled = signed(batch["text"])
            held = pa.Array.from_buffers(pa.binary(whole.shape[1]), len(whole), [None, pa.py_buffer(whole)])
            arrays |= {"signed": held, "shingled": pa.array(shingled)}
        yield pa.record_batch(arrays)


def _groups(run: Run, settings: Splits, batches: list[pa.RecordBatch], ids: npt.NDArray[np.uint64]) -> Roots:
    """[samples] the first sample of each one's group."""
    from tamis.selectors.loops.pairs import settle

    root = np.arange(len(ids))
    join_equal(root, np.concatenate([hashes_of(batch) for batch in batches]))
    for field in ("parent", settings.by):
        if field is not None and field in batches[0].schema.names:
            codes, there = _values(pa.chunked_array([batch[field] for batch in batches]))
            join_equal(root, codes, there)
    if not run.recipe.reads_images:
        shingled = np.concatenate([batch["shingled"].to_numpy(zero_copy_only=False) for batch in batches])
        mine = pa.chunked_array([batch["signed"] for batch in batches]).filter(pa.array(shingled)).combine_chunks()
        told = np.frombuffer(mine.buffers()[1] or b"", np.uint8).reshape(len(mine), mine.type.byte_width)
        join_texts(root, told, shingled)
    for maker in run.declared:
        if maker.kind.bits:
            has, hashes = _hashes(run, maker, ids)
            join_images(root, has, hashes)
    settle(root)
    return root


def _values(held: pa.ChunkedArray) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
    """[samples] a number for each different value, and which have one: not null, blank or not a number."""
    if pa.types.is_nested(held.type):
        told = [None if value is None else json.dumps(value, default=str, sort_keys=True) for value in held.to_pylist()]
        held = pa.chunked_array([pa.array(told, pa.string())])
    there = held.is_valid().to_numpy()
    if pa.types.is_floating(held.type):
        there = there & ~pc.is_nan(held).fill_null(True).to_numpy()
    if pa.types.is_string(held.type):
        there = there & pc.not_equal(held, "").fill_null(False).to_numpy()
    codes = held.combine_chunks().dictionary_encode().indices.fill_null(-1)
    return codes.to_numpy(zero_copy_only=False), there


def _hashes(run: Run, maker: Any, ids: npt.NDArray[np.uint64]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.uint64]]:
    """[samples] which have a perceptual hash, and the hashes."""
    there, codes = np.zeros(len(ids), bool), np.zeros(len(ids), np.uint64)
    order = np.argsort(ids)
    for part in run.pool.parts:
        for batch in pq.ParquetFile(run.column(maker) / part.name).iter_batches():
            some = batch["sample_id"].to_numpy()
            place = np.minimum(np.searchsorted(ids[order], some), len(ids) - 1) if len(ids) else np.zeros(0, int)
            mine = np.flatnonzero(ids[order][place] == some) if len(ids) else place
            vectors, has = as_array(batch[maker.value])
            there[order[place[mine]]] = has[mine]
            codes[order[place[mine]]] = codes_of(vectors, maker.name)[mine]
    return there, codes
