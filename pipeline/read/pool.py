"""What was read: shards, rejects and the record of each group of files, as a pool that a run sees.

A group's record is written last, so it is whole or absent; groups are numbered without gaps and never change. Old
runs list the groups that they saw, and keep seeing those."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tamis.pipeline.errors import DamageFound
from tamis.pipeline.files.atomic import fingerprint, read_json
from tamis.pipeline.files.sealed import check

SHARD = re.compile(r"part-\d{5,}\.parquet")


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
        names = (f"{group:05d}.{kind}" for group in self.groups for kind in ("json", "parquet"))
        return [self.folder / ".groups" / name for name in names]


def lost_record(folder: Path, group: int) -> DamageFound:
    path = folder / ".groups" / f"{group:05d}.json"
    return DamageFound(
        f"{path}: missing, of what a run has seen. If that run did not end, its command mends it; else restore the "
        "file, or begin a new --store."
    )


REJECTS_FILE = "{:05d}.parquet"  # of a group, beside its record


def records_of(folder: Path) -> list[dict[str, Any]]:
    """What was ever read, group by group. Raises DamageFound."""
    paths = sorted((folder / ".groups").glob("*.json"), key=lambda path: (len(path.name), path.name))  # 99999, 100000
    return [checked(path, read_json(path)) for path in paths]


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


def superseded(records: list[dict[str, Any]]) -> set[int]:
    """Groups that others of these stand for since `tamis compact`."""
    return {group for record in records for group in record.get("replaces", [])}


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
    return Pool(folder, parts, [group["group"] for group in groups], dict(rejects), rows)


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
