"""What was read: shards, rejects and the record of each group of files, as a pool that a run sees.

A group's record is written last, so it is whole or absent; groups are numbered without gaps and never change. Old
runs list the groups that they saw, and keep seeing those."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tamis.pipeline.errors import DamageFound
from tamis.pipeline.files.atomic import fingerprint, read_json, write_record
from tamis.pipeline.files.sealed import check

SHARD = re.compile(r"part-\d{5,}\.parquet")
REJECTS_FILE = "{:05d}.parquet"  # of a group that has any, beside its record


@dataclass(frozen=True)
class Part:
    """One shard as a pool's record lists it."""

    place: Path
    rows: int
    digest: str
    origin: int  # which of the recipe's sources it came from

    @property
    def path(self) -> Path:
        """Its file, which a run looks at before it uses it. Raises DamageFound."""
        return check(self.place, self.digest)

    @property
    def name(self) -> str:
        return self.place.name


@dataclass(frozen=True)
class Pool:
    """The shards that a run sees, in order, and where the rows went that are not in them."""

    folder: Path
    parts: list[Part]
    groups: list[int]
    rejected: list[int]  # those of the groups that have a file of rejects
    rejects: dict[str, int]  # reason -> rows
    source_rows: int

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.parts)

    @property
    def fingerprint(self) -> str:
        return fingerprint([part.digest for part in self.parts])

    @property
    def records(self) -> list[Path]:
        """Files that say what was read into it, and what was rejected."""
        names = [*(f"{group:05d}.json" for group in self.groups), *map(REJECTS_FILE.format, self.rejected)]
        return [self.folder / ".groups" / name for name in names]


def lost_record(folder: Path, group: int) -> DamageFound:
    path = folder / ".groups" / f"{group:05d}.json"
    return DamageFound(
        f"{path}: missing, of what a run has seen. If that run did not end, its command mends it; else restore the "
        "file, or begin a new --store."
    )


INDEX = ".index.json"  # copies of the records, so that years of them are one file to read
WORTH_INDEX = 16  # records that the index does not have


def records_of(folder: Path) -> list[dict[str, Any]]:
    """What was ever read, group by group. Raises DamageFound."""
    known = _indexed(folder)
    return [checked(path, _record(path, known)) for path in record_paths(folder)]


def record_paths(folder: Path) -> list[Path]:
    """Of the groups, in their order."""
    return sorted((folder / ".groups").glob("[0-9]*.json"), key=lambda path: (len(path.name), path.name))  # 100000


def _record(path: Path, known: dict[str, Any]) -> dict[str, Any]:
    state = path.stat()
    copy = known.get(path.name)
    if copy is not None and copy["size"] == state.st_size and copy["mtime_ns"] == state.st_mtime_ns:
        told: dict[str, Any] = json.loads(copy["line"])
        return told
    found: dict[str, Any] = read_json(path)
    return found


def _indexed(folder: Path) -> dict[str, Any]:
    """Copies by the record's name; what is damaged is no copy."""
    path = folder / ".groups" / INDEX
    try:
        state = path.stat()
        return _read_index(path, state.st_mtime_ns)
    except (OSError, DamageFound, TypeError, KeyError):
        return {}


@lru_cache(maxsize=4)
def _read_index(path: Path, _changed_ns: int) -> dict[str, Any]:
    found: dict[str, Any] = read_json(path)["records"]
    return {name: copy for name, copy in found.items() if "line" in copy}


def index_records(folder: Path) -> None:
    """Copy the records into one file, where enough are not in it yet. The store's lock is held."""
    known = _indexed(folder)
    copies = {}
    for path in record_paths(folder):
        state = path.stat()
        record = json.dumps(_record(path, known), separators=(",", ":"))  # in one line: indented it is twice as long
        copies[path.name] = {"size": state.st_size, "mtime_ns": state.st_mtime_ns, "line": record}
    new = sum(known.get(name) != copy for name, copy in copies.items())
    if new >= WORTH_INDEX:
        write_record(folder / ".groups" / INDEX, {"records": copies}, sealed=False)


def checked(path: Path, record: dict[str, Any]) -> dict[str, Any]:
    """A record whose shards are files of the pool. Raises DamageFound where it names others."""
    for part in record["parts"]:
        if not SHARD.fullmatch(part["name"]):
            raise DamageFound(f"{path}: names {part['name']!r}, which is no shard. Restore it, or begin a new --store.")
    return record


def rows_read(folder: Path) -> int:
    """Rows of source files that were ever read into a pool, usable or not."""
    records = [record for record in records_of(folder) if "replaces" not in record]
    return sum(sum(p["rows"] for p in one["parts"]) + sum(one["rejects"].values()) for one in records)


def superseded(records: list[dict[str, Any]], every: list[dict[str, Any]]) -> set[int]:
    """Groups that some of these stand for since `tamis compact`, also by one of `every` record that is gone since: what
    that was made of is in the one that stands for it."""
    replaces = {record["group"]: record.get("replaces", []) for record in every}
    found: set[int] = set()
    left = [group for record in records for group in record.get("replaces", [])]
    while left:
        group = left.pop()
        if group not in found:
            found.add(group)
            left += replaces.get(group, [])
    return found


def given_up(records: list[dict[str, Any]]) -> set[int]:
    """Groups that did not count when a later one was read, which was not held against them: they never count again,
    though their files may be as they were then."""
    return {group for record in records for group in record.get("gives_up", [])}


def leaves(records: list[dict[str, Any]]) -> dict[int, set[int]]:
    """Of each group the groups that were read, itself or those that it stands for."""
    found: dict[int, set[int]] = {}
    for record in records:
        mine = record.get("replaces")
        found[record["group"]] = {leaf for group in mine for leaf in found[group]} if mine else {record["group"]}
    return found


def parts_of(groups: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for group in groups:
        for part in group["parts"]:
            yield group, part


def view_of(folder: Path, groups: list[dict[str, Any]]) -> Pool:
    groups = sorted(groups, key=lambda record: min(record.get("replaces", [record["group"]])))
    parts = [
        Part(folder / part["name"], part["rows"], part["digest"], group["origin"]) for group, part in parts_of(groups)
    ]
    rejects: Counter[str] = Counter()
    for group in groups:
        rejects.update(group["rejects"])
    rows = sum(part.rows for part in parts) + sum(rejects.values())
    rejected = [group["group"] for group in groups if group["rejects"]]
    return Pool(folder, parts, [group["group"] for group in groups], rejected, dict(rejects), rows)


def current_pool(folder: Path, groups: list[int]) -> Pool:
    """A pool as an earlier run saw it, from the groups that its manifest lists. Raises DamageFound where the record of
    one is missing: fewer rows would go by unseen."""
    wanted = set(groups)
    found = [record for record in records_of(folder) if record["group"] in wanted]
    if missing := wanted - {record["group"] for record in found}:
        raise lost_record(folder, min(missing))
    return view_of(folder, found)


def reject_batches(folder: Path, groups: list[int] | None = None) -> Iterator[pa.RecordBatch]:
    """All rejects of some groups, or of all that were ever read, in their order."""
    wanted = None if groups is None else set(groups)
    for record in records_of(folder):
        if record["rejects"] and (wanted is None or record["group"] in wanted):
            yield from pq.ParquetFile(folder / ".groups" / REJECTS_FILE.format(record["group"])).iter_batches()
