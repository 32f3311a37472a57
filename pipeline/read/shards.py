"""Rows become samples here: each gets its ids, meets every earlier sample, and lands in a shard or in the rejects.

A shard is closed at 50,000 rows or 16 MB of text, one of images at 10,000, so memory is bounded by the shard; with a
shard of images the columns are written that were made while it was decoded. What was seen before is a sorted
array of ids and one of part numbers: 12 bytes a sample (1.2 GB for 100 million)."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tamis.pipeline.decode.passes import Kept
from tamis.pipeline.files.atomic import digest_of, write_parquet
from tamis.pipeline.read.blocks import Block, Reject
from tamis.pipeline.read.identity import content_hashes, hex_id, sample_ids, string_offsets
from tamis.pipeline.read.rejects import Rejects

SHARD_ROWS = 50_000
SHARD_IMAGES = 10_000
SHARD_BYTES = 16 << 20  # of text; with its twin in the writer and the blocks ahead about 150 MB at work
IDENTITY = ["sample_id", "key", "content_hash", "source", "position", "captions"]


class Seen:
    """Which ids are stored, and in which part: sorted runs, merged when they are of like size, so that adding all
    shards of a pool sorts each id about log2(shards) times."""

    def __init__(self) -> None:
        self._runs: list[tuple[npt.NDArray[np.uint64], npt.NDArray[np.int32]]] = []
        self.parts: list[tuple[int, Path]] = []  # (group, file) by part number

    @classmethod
    def of(cls, parts: list[tuple[int, Path]]) -> "Seen":
        seen = cls()
        for group, path in parts:
            seen.add(group, path, pq.read_table(path, columns=["sample_id"])["sample_id"].to_numpy())
        return seen

    def add(self, group: int, path: Path, ids: npt.NDArray[np.uint64]) -> None:
        self._push(ids, np.full(len(ids), len(self.parts), np.int32))
        self.parts.append((group, path))

    def _push(self, ids: npt.NDArray[np.uint64], part: npt.NDArray[np.int32]) -> None:
        order = np.argsort(ids, kind="stable")
        self._runs.append((ids[order], part[order]))
        while len(self._runs) > 1 and len(self._runs[-2][0]) < 2 * len(self._runs[-1][0]):
            (a, x), (b, y) = self._runs.pop(), self._runs.pop()
            self._push(np.concatenate([b, a]), np.concatenate([y, x]))

    def find(self, ids: npt.NDArray[np.uint64]) -> npt.NDArray[np.int32]:
        """Part number of each id, -1 where it is new."""
        found = np.full(len(ids), -1, np.int32)
        for known, part in self._runs:
            place = np.minimum(np.searchsorted(known, ids), len(known) - 1)
            found = np.where(known[place] == ids, part[place], found)
        return found


class ShardWriter:
    """Collects the blocks of one group and writes its shards."""

    def __init__(
        self,
        folder: Path,
        group: int,
        first_part: int,
        seen: Seen,
        schema: pa.Schema,
        rejects: Rejects,
        columns: Sequence[Kept] = (),
    ) -> None:
        self.rejects = rejects
        self.folder, self.group, self.seen, self.schema, self.columns = folder, group, seen, schema, columns
        self.first_part = first_part
        self.journal: Callable[[ShardWriter], Callable[[str, str], None]] | None = (
            None  # told of each shard that is closed
        )
        self.leans_on: set[int] = set()
        self.written: list[tuple[Path, int]] = []
        self._held: list[pa.Table] = []
        self._held_rows = self._held_bytes = 0
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="shard")  # writes one shard while the next is read
        self._writing: Future[tuple[str, str]] | None = None
        self.digests: dict[str, str] = {}

    def add(self, samples: pa.Table) -> None:
        """Take samples in the pool's schema, in the order of the sources."""
        for table in _slices(samples):
            self._held.append(table)
            self._held_rows += table.num_rows
            self._held_bytes += int(table["n_bytes"].to_numpy().sum())
            if self._held_rows >= SHARD_ROWS or self._held_bytes >= SHARD_BYTES:
                self._flush()

    def add_images(self, samples: pa.Table) -> None:
        """The same for a block of images, in the pool's schema and with the columns' values."""
        self._held.append(samples)
        self._held_rows += samples.num_rows
        if self._held_rows >= SHARD_IMAGES:
            self._flush()

    def close(self) -> None:
        if self._held:
            self._flush()
        self._wait()
        self._writer.shutdown()

    def abandon(self) -> None:
        """Let the shard that is being written come to its end, and no more."""
        self._writer.shutdown()

    def _wait(self) -> None:
        if self._writing is not None:
            name, digest = self._writing.result()
            self.digests[name] = digest

    def _flush(self) -> None:
        table = self._without_repeats(pa.concat_tables(self._held))
        self._held, self._held_rows, self._held_bytes = [], 0, 0
        if not table.num_rows:
            return
        path = self.folder / f"part-{self.first_part + len(self.written):05d}.parquet"
        self._wait()
        self.written.append((path, table.num_rows))
        told = self.journal(self) if self.journal else None
        self._writing = self._writer.submit(_write, path, table, self.schema, self.columns, told)
        self.seen.add(self.group, path, table["sample_id"].to_numpy())

    def _without_repeats(self, table: pa.Table) -> pa.Table:
        """Drop rows whose id is taken, by an earlier shard or an earlier row here, and say why for each."""
        ids = table["sample_id"].to_numpy()
        earlier_row = first_of_equals(ids)
        part = self.seen.find(ids)
        repeats = np.flatnonzero((part >= 0) | (earlier_row != np.arange(len(ids))))
        if not len(repeats):
            return table
        stored = self._stored(ids, part)
        rows = table.select(IDENTITY)
        for row in repeats.tolist():
            if part[row] >= 0:
                other = stored[int(ids[row])]
                self.leans_on |= {self.seen.parts[part[row]][0]} - {self.group}
            else:
                other = rows.slice(int(earlier_row[row]), 1).to_pylist()[0]
            self.rejects.append(_repeat(rows.slice(row, 1).to_pylist()[0], other))
        keep = np.ones(len(ids), bool)
        keep[repeats] = False
        return table.filter(pa.array(keep))

    def _stored(self, ids: npt.NDArray[np.uint64], part: npt.NDArray[np.int32]) -> dict[int, dict[str, Any]]:
        """Key, content and place of the stored samples that these rows met, one file at a time."""
        found: dict[int, dict[str, Any]] = {}
        for number in np.unique(part[part >= 0]).tolist():
            wanted = pa.array(np.unique(ids[part == number]))
            self._wait()
            table = pq.read_table(self.seen.parts[number][1], columns=IDENTITY)
            for row in table.filter(pc.is_in(table["sample_id"], wanted)).to_pylist():
                found[row["sample_id"]] = row
        return found


def _write(
    path: Path,
    table: pa.Table,
    schema: pa.Schema,
    columns: Sequence[Kept],
    told: Callable[[str, str], None] | None,
) -> tuple[str, str]:
    """A shard, then the parts of its columns, which name its digest."""
    write_parquet(path, table.select(schema.names), "zstd")
    digest = digest_of(path)
    for number, column in enumerate(columns):
        column.write_part(path.name, digest, table["sample_id"], table[vectors_field(number)])
    if told:
        told(path.name, digest)
    return path.name, digest


def first_of_equals(ids: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """[rows] the first row that has the same id."""
    order = np.argsort(ids, kind="stable")
    begins = np.flatnonzero(np.concatenate([[True], ids[order][1:] != ids[order][:-1]]))
    first = np.empty(len(ids), np.int64)
    first[order] = np.repeat(order[begins], np.diff(np.append(begins, len(ids))))
    return first


def _repeat(row: dict[str, Any], other: dict[str, Any]) -> Reject:
    place = f"{other['source']}:{other['position']}"
    if row["key"] != other["key"]:
        reason, detail = "id_collision", f"id {hex_id(row['sample_id'])} belongs to key {other['key']!r}, {place}"
    elif row["content_hash"] == other["content_hash"] and _words(row) not in ([], _words(other)):
        reason, detail = (
            "key_conflict",
            f"{place} has this image with other captions; `key: FIELD` makes both samples",
        )
    elif row["content_hash"] == other["content_hash"]:
        reason, detail = "exact_duplicate", f"same key and content as {place}"
    else:
        reason, detail = "key_conflict", f"key {row['key']!r} has other content in {place}"
    return Reject(row["source"], row["position"], row["key"], reason, detail, other["sample_id"])


def _words(row: dict[str, Any]) -> list[str]:
    """Of its captions, whatever fields they come from."""
    return [caption["text"] for caption in row["captions"] or []]


def _slices(samples: pa.Table) -> Iterator[pa.Table]:
    """A block may be larger than a shard; slices of at most a quarter of one keep shards near their size."""
    below = np.cumsum(samples["n_bytes"].to_numpy()) // (SHARD_BYTES // 4)
    rows = np.arange(samples.num_rows) // min(SHARD_ROWS, 4096)
    cuts = np.flatnonzero((np.diff(below) > 0) | (np.diff(rows) > 0)) + 1
    for first, end in pairwise([0, *cuts.tolist(), samples.num_rows]):
        if end > first:
            yield samples.slice(first, end - first)


def as_samples(block: Block, namespace: str, schema: pa.Schema, by_place: bool) -> pa.Table:
    """Rows of a block with their ids, in the pool's schema.

    Without keys of their own, rows are named by content; those of a target by place, for there repeats count."""
    table = block.table
    if not table.num_rows:
        return schema.empty_table()
    rows = table.num_rows
    texts = table["text"].combine_chunks()
    of_images = "content_hash" in table.column_names
    hashes = table["content_hash"].combine_chunks() if of_images else content_hashes(texts)
    sources = table["source"].to_pylist() if "source" in table.column_names else [block.source] * rows
    if by_place:
        named = [f"{s}:{position}" for s, position in zip(sources, table["position"].to_pylist(), strict=True)]
    else:
        named = [content.hex() for content in hashes.to_pylist()]
    own = table["key"].to_pylist() if "key" in table.column_names else [None] * rows
    keys = [name if key is None else key for key, name in zip(own, named, strict=True)]
    arrays: dict[str, Any] = {
        "sample_id": pa.array(sample_ids(namespace, keys)),
        "key": pa.array(keys, pa.string()),
        "content_hash": hashes,
        "source": pa.array(sources, pa.string()),
        "text": texts,
    }
    if not of_images:
        uris = table["uri"] if "uri" in table.column_names else [block.uri] * rows
        arrays["uri"] = pa.chunked_array([pa.array(uris, pa.string())]) if isinstance(uris, list) else uris
        arrays["n_bytes"] = pa.array(np.diff(string_offsets(texts)).astype(np.int64))
    for field in schema:
        if field.name not in arrays:
            held = field.name in table.column_names
            arrays[field.name] = table[field.name].cast(field.type) if held else pa.nulls(rows, field.type)
    return pa.table({name: arrays[name] for name in schema.names}).cast(schema)


def with_values(samples: pa.Table, block: Block, columns: int) -> pa.Table:
    """Samples of images with the values that their block brought for each column being filled."""
    for number in range(columns):
        name = vectors_field(number)
        samples = samples.append_column(name, block.table[name])
    return samples


def vectors_field(number: int) -> str:
    return f"column {number}"
