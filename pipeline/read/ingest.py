"""Source files in, shards and rejects out: the pool of a store, and each target, are made here.

Files are read group by group. A group is whole or absent: its shards are written first, its record last, so a killed
run goes on at the group where it stopped and writes the same bytes. A changed file voids its group, and any group
whose rows were rejected because of it; their files are read again into new shards, and old shards stay for old runs.
A void group that others were read without counts never again: a file that comes back as it was is read anew."""

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tamis.pipeline.decode.passes import Kept, TooLarge, retried
from tamis.pipeline.errors import SourceError, StoreError
from tamis.pipeline.files.atomic import digest_file, fingerprint, read_json, write_batches, write_record
from tamis.pipeline.files.patterns import literally
from tamis.pipeline.files.sealed import made_anew
from tamis.pipeline.files.urls import let_go
from tamis.pipeline.parallel import ordered_map
from tamis.pipeline.progress import Counter as Progress
from tamis.pipeline.progress import say, visible
from tamis.pipeline.read.blocks import Block, Reject
from tamis.pipeline.read.formats import block_calls
from tamis.pipeline.read.images.blocks import image_blocks
from tamis.pipeline.read.kept_types import settle_types
from tamis.pipeline.read.pool import (
    REJECTS_FILE,
    Pool,
    checked,
    given_up,
    index_records,
    lost_record,
    parts_of,
    records_of,
    reject_batches,
    superseded,
    view_of,
)
from tamis.pipeline.read.rejects import Rejects, collected
from tamis.pipeline.read.required import require_fields
from tamis.pipeline.read.shards import Seen, ShardWriter, as_samples, with_values
from tamis.pipeline.read.sources import READ_BY_KEY, SourceFile, find_files, grouped, key_of_path
from tamis.pipeline.recipe.source import Source
from tamis.pipeline.schemas import POOL, REJECTS

TOLD = 5  # kinds of files that are not read
READER_VERSION = 4  # raise when the same files would give other rows


def ingest(
    folder: Path,
    sources: list[Source],
    strict: bool,
    say: Callable[[str], None],
    is_target: bool = False,
    columns: Sequence[Kept] = (),
) -> Pool:
    """Bring a pool up to date with its sources and return it. Raises SourceError, StoreError.

    `columns` read images: they are filled while these are decoded. A target's sources are each a namespace of their
    own, and rows without keys are all kept: repeats count there."""
    beside: Counter[str] = Counter()
    files = [(number, find_files(source, beside)) for number, source in enumerate(sources)]
    if beside:
        told = ", ".join(f"{count:,} {visible(suffix)}" for suffix, count in beside.most_common(TOLD))
        more = f" and {len(beside) - TOLD:,} more kinds" if len(beside) > TOLD else ""
        say(f"not read beside the {'target' if is_target else 'pool'}'s own files: {told}{more}")
    for number, found in files:
        require_fields(sources[number], found, remote=True)
    types = _settled(folder, sources, files)
    records = records_of(folder)
    _need_all(folder, records)
    current, voided = _still_true([_as_it_lies(folder, record) for record in records], files, sources)
    covered = {(record["origin"], file["path"]) for record in current for file in record["files"]}
    gives_up = sorted(voided - given_up(records))
    writer = GroupWriter(folder, sources, types, records, current, gives_up, strict, is_target, columns)
    for number, found in files:
        new = [file for file in found if (number, file.path) not in covered]
        for group in grouped(new, sources[number].format):
            say(f"reading {_names(group)} ({sum(file.size for file in group) / 1e6:.1f} MB)")
            if sources[number].reads_images:
                retried(list(columns), partial(writer.write_images, number, group), say)
            else:
                writer.write(number, group)
    pool = view_of(folder, writer.current)
    _write_rejects(folder)
    index_records(folder)
    if strict and pool.rejects:
        raise SourceError(f"strict: {sum(pool.rejects.values())} rows were rejected; see {folder / 'rejects.parquet'}.")
    return pool


def _as_it_lies(folder: Path, record: dict[str, Any]) -> dict[str, Any]:
    """The record; of a group whose shards are not there whole it says so, and its files are read anew."""
    for part in () if record.get("gone") else record["parts"]:
        path = folder / part["name"]
        there = path.stat().st_size if path.exists() else None
        if there is None or there != part.get("bytes", there) or not there:
            say(f"{path}: {'missing' if there is None else 'damaged'}; its files are read anew")
            return {**record, "gone": True}
    return record


def _need_all(folder: Path, records: list[dict[str, Any]]) -> None:
    """Groups are numbered without gaps: where one is missing its record is lost, and its numbers must not be given
    again. Raises DamageFound."""
    numbers = {record["group"] for record in records}
    if missing := set(range(max(numbers, default=-1))) - numbers:
        raise lost_record(folder, min(missing))


def _names(group: list[SourceFile]) -> str:
    first = Path(group[0].path).name
    return first if len(group) == 1 else f"{first} and {len(group) - 1} more"


def _settled(folder: Path, sources: list[Source], files: list[tuple[int, list[SourceFile]]]) -> dict[str, pa.DataType]:
    """Types of the kept fields: the pool's recorded ones, or those that the sources' first rows show."""
    path = folder / ".pool.json"
    asked = [source.model_dump(exclude_defaults=True) for source in sources]
    known = read_json(path) if path.exists() else None
    others = known and (known["reader"] != READER_VERSION or known["sources"] != asked[: len(known["sources"])])
    begun = list((folder / ".groups").glob("*.partial")) and not others
    if known and not begun and not any(record["parts"] for record in records_of(folder)):
        _forget(folder)  # nothing was ever read so: a mended recipe starts over
        known = others = None
    if known and others:
        names = "; ".join(f"{one['format']} {', '.join(map(literally, one['path']))}" for one in known["sources"])
        raise StoreError(
            f"store {folder.parent}: holds another pool ({names}, or the same read in another way). "
            "One store, one pool: choose another --store."
        )
    types, encoded = settle_types(sources, files, known["kept"] if known else None)
    if known and len(encoded) > len(known["kept"]):
        new = ", ".join(name for name, _ in encoded[len(known["kept"]) :])
        raise StoreError(f"store {folder.parent}: its pool has no field {new}. Choose another --store.")
    if not known or len(asked) > len(known["sources"]):
        write_record(path, {"reader": READER_VERSION, "sources": asked, "kept": encoded}, sealed=False)
    return types


def _forget(folder: Path) -> None:
    """All that was read; columns beside it stay, whose folders are settled already."""
    shutil.rmtree(folder / ".groups", ignore_errors=True)
    for path in [*folder.glob("part-*.parquet"), folder / "rejects.parquet", folder / ".pool.json"]:
        path.unlink(missing_ok=True)


def _still_true(
    records: list[dict[str, Any]], files: list[tuple[int, list[SourceFile]]], sources: list[Source]
) -> tuple[list[dict[str, Any]], set[int]]:
    """The recorded groups whose files are all unchanged and whose rejects don't lean on a voided group; and the voided.

    A new file that belongs to a known image, or to a known shard of img2dataset, changes that one's group."""
    now = {(number, file.path): file.record() for number, found in files for file in found}
    known = {(record["origin"], file["path"]) for record in records for file in record["files"]}
    joined = {
        (number, key_of_path(path, now[number, path]["root"]))
        for number, path in now.keys() - known
        if sources[number].format in READ_BY_KEY
    }
    voided = given_up(records)
    for record in records:  # in order: a group leans only on earlier ones
        changed = record.get("gone", False) or any(  # `tamis gc` took its shards
            now.get((record["origin"], file["path"])) != file
            or (joined and (record["origin"], key_of_path(file["path"], file["root"])) in joined)
            for file in record["files"]
        )
        if changed or voided & set(record["leans_on"]):
            voided.add(record["group"])
    current = [record for record in records if record["group"] not in voided]
    old = superseded(current, records)
    return [record for record in current if record["group"] not in old], voided


class GroupWriter:
    """Writes groups one after another, each against everything that the current groups hold."""

    def __init__(
        self,
        folder: Path,
        sources: list[Source],
        types: dict[str, pa.DataType],
        records: list[dict[str, Any]],
        current: list[dict[str, Any]],
        gives_up: list[int],
        strict: bool,
        is_target: bool,
        columns: Sequence[Kept] = (),
    ) -> None:
        self.is_target, self.columns = is_target, list(columns)
        self._gives_up = gives_up  # groups that what is read now is not held against: the first record names them
        self.folder, self.sources, self.types, self.strict = folder, sources, types, strict
        self.current = list(current)
        self._next_group = len(records)
        self._next_part = sum(len(record["parts"]) for record in records)
        self._seen: Seen | None = None

    def write(self, origin: int, files: list[SourceFile]) -> None:
        schema = pool_schema(self.types)
        source = self.sources[origin]

        def read(call: Callable[[], Block]) -> tuple[Block, pa.Table]:
            block = call()
            return block, as_samples(block, self._namespace(origin), schema, self.is_target)

        with self._collected(spill=True) as rejects:
            shards = ShardWriter(self.folder, self._next_group, self._next_part, self._known(), schema, rejects)
            counter = Progress("read", 0, "rows")
            for block, samples in ordered_map(read, block_calls(source, files, self.types)):
                self._refuse(block)
                rejects.extend(block.rejects)
                shards.add(samples)
                counter.add(samples.num_rows)
            shards.close()
        self._record(origin, files, shards)
        for file in files:
            let_go(file.path, file.mtime_ns)

    def write_images(self, origin: int, files: list[SourceFile]) -> None:
        """The same for images. A group of theirs is work for minutes: each closed shard is noted in a journal, and a
        killed run goes on behind the last one."""
        schema = pool_schema(self.types)
        with self._collected(spill=False) as rejects:  # the journal has them all
            journal, shards = self._images(origin, files, schema, rejects)
        self._record(origin, files, shards)
        journal.path.unlink(missing_ok=True)

    def _images(
        self, origin: int, files: list[SourceFile], schema: pa.Schema, rejects: Rejects
    ) -> tuple["Journal", ShardWriter]:
        place = self.folder, self._next_group, self._next_part
        shards = ShardWriter(*place, self._known(), schema, rejects, self.columns)
        journal = Journal(
            self.folder / ".groups" / f"{self._next_group:05d}.partial", [file.record() for file in files]
        )
        journal.restore(shards)
        shards.journal = journal.note
        blocks = image_blocks(self.sources[origin], files, self.types, self.columns, journal.consumed)
        try:
            for block, journal.consumed in blocks:
                self._refuse(block)
                samples = as_samples(block, self._namespace(origin), schema, self.is_target)
                rejects.extend(block.rejects)
                if samples.num_rows:
                    shards.add_images(with_values(samples, block, len(self.columns)))
            shards.close()
        except TooLarge:
            shards.abandon()
            self._seen = None  # it knows rows that will be read again
            raise
        return journal, shards

    def _collected(self, *, spill: bool) -> AbstractContextManager[Rejects]:
        final = self.folder / ".groups" / REJECTS_FILE.format(self._next_group)
        return collected(final, self._next_group, spill=spill)

    def _known(self) -> Seen:
        if self._seen is None:
            self._seen = Seen.of(
                [(group["group"], self.folder / part["name"]) for group, part in parts_of(self.current)]
            )
        return self._seen

    def _namespace(self, origin: int) -> str:
        """A target's and an evaluation's sources never meet, whatever they are called."""
        return (
            f"target {origin} {self.sources[origin].namespace}".strip()
            if self.is_target
            else self.sources[origin].namespace
        )

    def _refuse(self, block: Block) -> None:
        """Under `strict`, at the first reject. Raises SourceError."""
        if self.strict and block.rejects:
            worst = block.rejects[0]
            place = worst.source if worst.position is None else f"{worst.source} line {worst.position}"
            raise SourceError(f"strict: {place}: {worst.reason} ({worst.detail}). Mend it, or drop `strict`.")

    def _record(self, origin: int, files: list[SourceFile], shards: ShardWriter) -> None:
        name = f"{self._next_group:05d}"
        record = {
            "group": self._next_group,
            "origin": origin,
            "files": [file.record() for file in files],
            "parts": [
                {"name": path.name, "rows": rows, "digest": shards.digests[path.name], "bytes": path.stat().st_size}
                for path, rows in shards.written
            ],
            "rejects": dict(shards.rejects.counts),
            "leans_on": sorted(shards.leans_on),
            **({"gives_up": self._gives_up} if self._gives_up else {}),
        }
        write_record(self.folder / ".groups" / f"{name}.json", record)
        self._gives_up = []
        self.current.append(record)
        self._next_group += 1
        self._next_part += len(shards.written)


class Journal:
    """Which shards of a group stand, and how many of its rows they and the rejects so far account for."""

    def __init__(self, path: Path, files: list[dict[str, Any]]) -> None:
        self.path, self.files = path, files
        self.consumed = 0

    def restore(self, shards: ShardWriter) -> None:
        """Take up what an earlier process left, if it read the same files and all its shards are here: another machine
        may have put up less."""
        held = checked(self.path, read_json(self.path)) if self.path.exists() else None
        if held is None or held["files"] != self.files:
            return
        paths = [(shards.folder / part["name"], part["digest"]) for part in held["parts"]]
        if not all(path.exists() and digest_file(path) == digest for path, digest in paths):
            return
        self.consumed = held["consumed"]
        shards.rejects.extend(Reject(*reject) for reject in held["rejects"])
        shards.leans_on = set(held["leans_on"])
        for part in held["parts"]:
            path = shards.folder / part["name"]
            shards.written.append((path, part["rows"]))
            shards.digests[part["name"]] = part["digest"]
            ids = pq.read_table(path, columns=["sample_id"])["sample_id"].to_numpy()
            shards.seen.add(shards.group, path, ids)

    def note(self, shards: ShardWriter) -> Callable[[str, str], None]:
        """What to write when the shard that was just closed stands, as of now."""
        told = {
            "files": self.files,
            "consumed": self.consumed,
            "rejects": [list(reject) for reject in shards.rejects.held],
            "leans_on": sorted(shards.leans_on),
        }
        rows = {path.name: count for path, count in shards.written}

        def write(name: str, digest: str) -> None:
            digests = {**shards.digests, name: digest}
            parts = [{"name": part, "rows": count, "digest": digests[part]} for part, count in rows.items()]
            write_record(self.path, {**told, "parts": parts}, sealed=False)

        return write


def pool_schema(types: dict[str, pa.DataType]) -> pa.Schema:
    """The pool's own fields, then the kept ones in the order of the recipe."""
    return pa.schema([*POOL, *[pa.field(name, kind) for name, kind in types.items()]])


def _write_rejects(folder: Path) -> None:
    """All groups' rejects in one file, also those of voided groups, which older runs still speak of."""
    final = folder / "rejects.parquet"
    of = fingerprint([[record["group"], record["rejects"]] for record in records_of(folder)]).encode()
    if made_anew(final) or (pq.read_schema(final).metadata or {}).get(b"groups") != of:
        write_batches(final, REJECTS.with_metadata({b"groups": of}), reject_batches(folder))
