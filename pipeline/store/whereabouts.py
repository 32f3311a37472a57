"""`tamis where` and `tamis forget`: everything that a store holds of a key, and taking it out of all that comes."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tamis.pipeline.columns.detect.rounds import rounds
from tamis.pipeline.errors import StoreError
from tamis.pipeline.files.atomic import fingerprint, read_json, store_lock, write_parquet
from tamis.pipeline.files.sealed import sound
from tamis.pipeline.progress import joined, say, visible
from tamis.pipeline.read.identity import hex_id
from tamis.pipeline.read.pool import current_pool, records_of
from tamis.pipeline.schemas import LEDGER_REASONS
from tamis.pipeline.store.runs import existing_store, open_run
from tamis.pipeline.store.set_aside import forget_keys, forgotten_keys

SHOWN = 10  # keys of a list
UID = re.compile(r"[0-9a-fA-F]{32}")
LEDGERS = ("ledger/",)  # what `where` reads of every run
INDEXES = ("exports/webdataset.parquet",)  # and what `forget` does
REMOVALS = pa.schema(
    [
        pa.field("run", pa.string(), nullable=False),
        pa.field("file", pa.string(), nullable=False),  # of the run's folder
        pa.field("key", pa.string(), nullable=False),
        pa.field("sample_id", pa.uint64(), nullable=False),
        pa.field("uid", pa.string()),  # where keys are DataComp's
        pa.field("member", pa.string()),  # what its files in a tar are called, up to the first dot
    ]
)


def where(store: Path, key: str) -> str:
    """Its samples, what every run made of them, and what people said of them. Raises StoreError where there is none."""
    samples = list(_samples(existing_store(store), [key]))
    lines = []
    for row in _rejected(store, key):
        place = row["source"] + (f":{row['position']}" if row["position"] is not None else "")
        lines += [f"{visible(key)}  (rejected row)", f"  from      {visible(place)}", f"  rejected  {row['reason']}"]
    if not samples and not lines:
        raise StoreError(f"store {store}: no sample of the pool and no reject has the key {key!r}")
    for sample in samples:
        lines.append(f"{visible(key)}  ({hex_id(sample['sample_id'])})")
        lines.append(f"  from      {visible(sample['source'])}:{sample['position']}")
        lines += [f"  same as   {visible(other)}, by content" for other in _of_content(store, sample)]
        for folder in _complete(store):
            verdict = _verdict(folder, sample["sample_id"])
            lines += [f"  run       {folder.name}: {verdict}"] if verdict else []
        for path in rounds(store / "labels"):
            table = pq.read_table(sound(path), columns=["sample_id", "label"])
            said = table.filter(pc.equal(table["sample_id"], pa.scalar(sample["sample_id"], pa.uint64())))
            lines += [f"  labeled   {path.stem}: {visible(row['label'])}" for row in said.to_pylist()]
    if key in forgotten_keys(store).to_pylist():
        lines.append("  forgotten: no run from then on may choose it")
    return joined(lines)


def forget(store: Path, keys: list[str]) -> str:
    """Never choose these keys again, also where they come only later; tells who holds them now. Raises StoreError."""
    store = existing_store(store)
    with store_lock(store, say):
        new = forget_keys(store, keys, datetime.now(UTC).isoformat(timespec="seconds"))
    samples = list(_samples(store, keys))
    ids = pa.array([sample["sample_id"] for sample in samples], pa.uint64())
    lines = [f"forgotten: {len(set(keys)):,} keys, {len(new):,} of them new; {len(samples):,} samples of the pool"]
    gone = sorted(set(keys) - {sample["key"] for sample in samples})[:SHOWN]
    lines += [f"  {visible(key)}: not in the pool; it will not be chosen if it comes" for key in gone]
    for sample in samples:
        others = [visible(other) for other in _of_content(store, sample) if other not in keys]
        lines += [f"  {visible(sample['key'])}: {other} has the same content and is not forgotten" for other in others]
    delivered: list[dict[str, Any]] = []
    for folder in _complete(store):
        held = pq.read_table(folder / "selection.parquet", columns=["sample_id", "key"])
        mine = held.filter(pc.is_in(held["sample_id"], value_set=ids))
        if len(mine):
            shown = mine["key"].to_pylist()
            more = f" and {len(shown) - SHOWN:,} more" if len(shown) > SHOWN else ""
            named = ", ".join(visible(key) for key in shown[:SHOWN])
            lines.append(f"  run {folder.name} holds {len(shown):,} of them: {named}{more}")
            held_by = list(_exports_with(folder, mine))
            lines += [f"    in {name}" for name in sorted({row["file"] for row in held_by})]
            delivered += held_by
    if delivered:
        # Its own name for what it lists: another takedown of the same second stands beside it.
        path = store / "removals" / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{fingerprint(delivered)}.parquet"
        write_parquet(path, pa.Table.from_pylist(delivered, REMOVALS))
        lines.append(f"  to be taken out by whoever has these exports: {path}")
    return joined(lines)


def _exports_with(folder: Path, mine: pa.Table) -> Iterator[dict[str, Any]]:
    """A row for each export of a run and each of the samples: what is in it by the sample's own name there."""
    exports = folder / "exports"
    keys = dict(zip(mine["sample_id"].to_pylist(), mine["key"].to_pylist(), strict=True))
    index = exports / "webdataset.parquet"
    members: dict[str, tuple[str, str]] = {}
    if index.exists():
        table = pq.read_table(index, filters=pc.field("key").isin(pa.array(list(keys.values()), pa.string())))
        members = {row["key"]: (row["shard"], row["member"].partition(".")[0]) for row in table.to_pylist()}
    made = read_json(folder / "manifest.json")["files"]  # not all of them lie here, if the store is a copy
    for top in sorted({name.split("/")[1] for name in made if name.startswith("exports/")}):
        for sample_id, key in keys.items():
            shard, member = members.get(key, (None, None)) if top == "webdataset" else (None, None)
            file = f"exports/{shard or top}"
            yield _removal(folder, file, key, sample_id, member)
    for name in ("selection.parquet", "report.html"):
        for sample_id, key in keys.items():
            yield _removal(folder, name, key, sample_id)


def _removal(folder: Path, file: str, key: str, sample_id: int, member: str | None = None) -> dict[str, Any]:
    uid = key if UID.fullmatch(key) else None
    return {"run": folder.name, "file": file, "key": key, "sample_id": sample_id, "uid": uid, "member": member}


def _samples(store: Path, keys: list[str]) -> Iterator[dict[str, Any]]:
    wanted = pc.field("key").isin(pa.array(keys, pa.string()))
    fields = ["sample_id", "key", "source", "position", "content_hash"]
    once: dict[int, dict[str, Any]] = {}  # `tamis compact` leaves a sample in two shards
    for path in _shards(store):
        once |= {row["sample_id"]: row for row in pq.read_table(path, columns=fields, filters=wanted).to_pylist()}
    yield from once.values()


def _rejected(store: Path, key: str) -> list[dict[str, Any]]:
    """Rows of that key that could not be read."""
    rejects = store / "pool" / "rejects.parquet"
    if not rejects.exists():
        return []
    found = pq.read_table(rejects, columns=["source", "position", "reason"], filters=pc.field("key") == key)
    return found.to_pylist()


def _of_content(store: Path, sample: dict[str, Any]) -> list[str]:
    """Keys of other samples with the same content."""
    same = pc.field("content_hash") == pa.scalar(sample["content_hash"], pa.binary(16))
    found = [pq.read_table(path, columns=["sample_id", "key"], filters=same).to_pylist() for path in _shards(store)]
    keys = [row["key"] for rows in found for row in rows if row["sample_id"] != sample["sample_id"]]
    return list(dict.fromkeys(keys))


def _shards(store: Path) -> list[Path]:
    """All shards that any run saw, whether it ended or not; of one that did not, those that are here."""
    known = {record["group"] for record in records_of(store / "pool")}
    groups: set[int] = set()
    for path in (store / "runs").glob("*/inputs.json"):
        seen = set(read_json(path)["pool"])
        groups |= seen if (path.parent / "manifest.json").exists() else seen & known
    return [part.path for part in current_pool(store / "pool", sorted(groups)).parts]


def _complete(store: Path) -> list[Path]:
    return sorted(path.parent for path in (store / "runs").glob("*/manifest.json"))


def _verdict(folder: Path, sample_id: int) -> str | None:
    """What became of the sample at the last step that saw it; None where the run did not."""
    run = open_run(folder)
    mine = pc.field("sample_id") == pa.scalar(sample_id, pa.uint64())
    if run.thinned:
        held = pq.read_table(folder / "selection.parquet", columns=["sample_id"], filters=mine)
        return "SELECTED" if held.num_rows else "not in its selection; the run was thinned, and no ledger is left"
    for step in reversed(range(len(run.recipe.steps))):
        for part in run.pool.parts:
            for row in pq.read_table(run.ledger(step) / part.name, filters=mine).to_pylist():
                told = f"{row['selector']}: {row['reason']} ({LEDGER_REASONS.get(row['reason'], '')})"
                return ("SELECTED" if row["kept"] else "not selected") + f", step {step}, {told}"
    held = pq.read_table(folder / "selection.parquet", columns=["sample_id"], filters=mine)
    return "SELECTED" if held.num_rows else None
