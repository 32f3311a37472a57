"""`tamis compact`: small shards of many small additions become few, with their columns; nothing is read or made anew.

Consecutive groups of the pool that are small become one group of one shard, which stands for them from the next run on.
Earlier runs keep answering from the old ones, which `tamis gc` takes away when no run needs them. If one of the files
behind it changes, the old groups count again, as long as they are there."""

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tamis.pipeline.errors import StoreError
from tamis.pipeline.files.atomic import digest_of, read_json, store_lock, write_batches, write_parquet, write_record
from tamis.pipeline.files.sealed import check, checking, is_whole
from tamis.pipeline.files.store_format import check_format
from tamis.pipeline.progress import say
from tamis.pipeline.read.pool import REJECTS_FILE, given_up, leaves, records_of, superseded
from tamis.pipeline.read.shards import SHARD_BYTES, SHARD_IMAGES, SHARD_ROWS
from tamis.pipeline.read.walk import is_store
from tamis.pipeline.schemas import REJECTS

SMALL = 2  # a group is small that is less than one of so many parts of a shard
BATCH_ROWS = 1024
TOGETHER = 4  # merged shards of about the same size that become one, with a `tier`


def compact(store: Path, tier: int | None = None) -> str:
    """Merge what can be merged, and tell. With a `tier` no fewer than so many new groups, or four of about the same
    size that were merged before: a schedule then writes a sample anew once for each power of four, and not with every
    merge. Raises StoreError."""
    store = store.absolute()
    if not is_store(store):
        raise StoreError(f"{store}: no store; it is the folder that `tamis run --store` was given")
    check_format(store)
    merged = into = 0
    with store_lock(store, say), checking():
        records = records_of(store / "pool")
        while chains := _chains(store / "pool", records, tier):  # what was merged may be one of as many of its size
            for number, chain in enumerate(chains):
                _merge(store, chain, len(records) + number, sum(len(r["parts"]) for r in records) + number)
            merged += sum(len(record["parts"]) for chain in chains for record in chain)
            into += len(chains)
            records = records_of(store / "pool")
    if not merged:
        return f"{store}: no small shards beside each other"
    return f"{store}: {merged:,} small shards became {into:,}; runs from now on read these"


def _chains(pool: Path, records: list[dict[str, Any]], tier: int | None) -> list[list[dict[str, Any]]]:
    """Runs of small groups of one source, each together no larger than a shard."""
    old, read = superseded(records, records) | given_up(records), leaves(records)

    def other(chain: list[dict[str, Any]], record: dict[str, Any]) -> bool:
        if not chain:
            return False
        sizes = [len(read[one["group"]]) for one in (chain[-1], record)]
        return chain[-1]["origin"] != record["origin"] or len({_level(size, tier) for size in sizes}) > 1

    chains: list[list[dict[str, Any]]] = [[]]
    rows = size = 0
    for record in records:
        if record["group"] in old or record.get("gone"):
            continue
        most = SHARD_IMAGES if _of_images(pool, record) else SHARD_ROWS
        mine = sum(part["rows"] for part in record["parts"])
        bytes_ = 0 if most == SHARD_IMAGES else _text_bytes(pool, record)
        small = mine and mine * SMALL < most and bytes_ * SMALL < SHARD_BYTES
        if not small or rows + mine > most or size + bytes_ > SHARD_BYTES or other(chains[-1], record):
            chains.append([])
            rows = size = 0
        if small:
            chains[-1].append(record)
            rows, size = rows + mine, size + bytes_
    return [chain for chain in chains if chain and len(chain) >= _least(len(read[chain[0]["group"]]), tier)]


def _level(groups: int, tier: int | None) -> int:
    """Of a record that stands for so many groups: 0 below a tier, then one more for each power of four of it."""
    if tier is None or groups < tier:
        return 0
    return 1 + ((groups // tier).bit_length() - 1) // 2


def _least(groups: int, tier: int | None) -> int:
    """Records of such groups that are worth merging."""
    if tier is None:
        return 2
    return tier if _level(groups, tier) == 0 else TOGETHER


def _of_images(pool: Path, record: dict[str, Any]) -> bool:
    return any(
        pq.read_table(pool / p["name"], columns=["width"])["width"].null_count < p["rows"] for p in record["parts"]
    )


def _text_bytes(pool: Path, record: dict[str, Any]) -> int:
    return sum(
        int(pq.read_table(pool / p["name"], columns=["n_bytes"])["n_bytes"].to_numpy().sum()) for p in record["parts"]
    )


def _merge(store: Path, chain: list[dict[str, Any]], group: int, part: int) -> None:
    """Write the shard, its columns, its rejects, and last the record that makes it count."""
    pool, name = store / "pool", f"part-{part:05d}.parquet"
    members = [one["name"] for record in chain for one in record["parts"]]
    digests = {one["name"]: one["digest"] for record in chain for one in record["parts"]}
    for member, told in digests.items():
        check(pool / member, told)
    table = pa.concat_tables([pq.ParquetFile(pool / member).read() for member in members])
    write_parquet(pool / name, table, "zstd")
    digest = digest_of(pool / name)
    for record in sorted((store / "columns").rglob("column.json")):
        _merge_column(record.parent, members, digests, name, digest)
    if rejects := [
        pq.ParquetFile(pool / ".groups" / REJECTS_FILE.format(one["group"])).read() for one in chain if one["rejects"]
    ]:
        told = pa.concat_tables(rejects)
        place = told.schema.get_field_index("part_group")
        told = told.set_column(place, REJECTS.field("part_group"), pa.array([group] * len(told), pa.int32()))
        write_parquet(pool / ".groups" / REJECTS_FILE.format(group), told.cast(REJECTS))
    mine = {one["group"] for one in chain}
    merged = {
        "group": group,
        "origin": chain[0]["origin"],
        "files": [file for one in chain for file in one["files"]],
        "parts": [{"name": name, "rows": len(table), "digest": digest, "bytes": (pool / name).stat().st_size}],
        "rejects": dict(sum((Counter(one["rejects"]) for one in chain), Counter())),
        "leans_on": sorted({other for one in chain for other in one["leans_on"]} - mine),
        "replaces": sorted(mine),
    }
    write_record(pool / ".groups" / f"{group:05d}.json", merged)


def _merge_column(folder: Path, members: list[str], digests: dict[str, str], name: str, digest: str) -> None:
    """The column's part for the new shard, where all its old ones are there and of their shards."""
    files = [folder / member for member in members]
    if not all(map(is_whole, files)):
        return
    schemas = [pq.read_schema(path) for path in files]
    told = [(schema.metadata or {}).get(b"pool_part", b"").decode() for schema in schemas]
    if told != [digests[member] for member in members] or any(not s.equals(schemas[0]) for s in schemas):
        return
    schema = schemas[0].with_metadata({**(schemas[0].metadata or {}), b"pool_part": digest.encode()})
    batches = (batch for path in files for batch in pq.ParquetFile(path).iter_batches(batch_size=BATCH_ROWS))
    write_batches(folder / name, schema, batches, compression="none", write_statistics=False)
    record = read_json(folder / "column.json")
    for what, counts in record.items():
        if isinstance(counts, dict) and (mine := [counts[member] for member in members if member in counts]):
            record[what] = {**counts, name: sum(mine)}
    write_record(folder / "column.json", record, sealed=False)
