"""Source files in, shards and rejects out: the pool of a store, and each target, are made here.

Files are read group by group. A group is whole or absent: its shards are written first, its record last, so a killed
run goes on at the group where it stopped and writes the same bytes. A changed file voids its group, and any group
whose rows were rejected because of it; their files are read again into new shards, and old shards stay for old runs."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tamis.pipeline.columns.filling import Filling, retried
from tamis.pipeline.columns.torch_models import TooLarge
from tamis.pipeline.errors import DamageFound, SourceError, StoreError
from tamis.pipeline.files.atomic import digest_file, fingerprint, read_json, write_json, write_parquet
from tamis.pipeline.files.urls import fetched, let_go
from tamis.pipeline.parallel import ordered_map
from tamis.pipeline.read import jsonl, tables
from tamis.pipeline.read.blocks import Block, Fields, Reject
from tamis.pipeline.read.chunking import chunked
from tamis.pipeline.read.image_blocks import image_blocks
from tamis.pipeline.read.kept_types import settle_types
from tamis.pipeline.read.shards import Seen, ShardWriter, as_samples, with_values
from tamis.pipeline.read.sources import READ_BY_KEY, SourceFile, find_files, grouped, key_of_path
from tamis.pipeline.recipe.recipe import Source
from tamis.pipeline.schemas import POOL, REJECTS

READER_VERSION = 2  # raise when the same files would give other rows


@dataclass(frozen=True)
class Part:
    """One shard as a pool's record lists it."""

    path: Path
    rows: int
    digest: str
    origin: int  # which of the recipe's sources it came from

    @property
    def name(self) -> str:
        return self.path.name


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


def ingest(
    folder: Path,
    sources: list[Source],
    strict: bool,
    say: Callable[[str], None],
    is_target: bool = False,
    columns: Sequence[Filling] = (),
) -> Pool:
    """Bring a pool up to date with its sources and return it. Raises SourceError, StoreError.

    `columns` read images: they are filled while these are decoded. A target's sources are each a namespace of their
    own, and rows without keys are all kept: repeats count there."""
    files = [(number, find_files(source)) for number, source in enumerate(sources)]
    types = _settled(folder, sources, files)
    records = records_of(folder)
    _need_all(folder, records)
    current, covered = _still_true(records, files, sources)
    writer = GroupWriter(folder, sources, types, records, current, strict, is_target, columns)
    for number, found in files:
        new = [file for file in found if (number, file.path) not in covered]
        for group in grouped(new, sources[number].format):
            say(f"reading {_names(group)} ({sum(file.size for file in group) / 1e6:.1f} MB)")
            if sources[number].reads_images:
                retried(list(columns), partial(writer.write_images, number, group), say)
            else:
                writer.write(number, group)
    pool = _view(folder, writer.current)
    _write_rejects(folder)
    if strict and pool.rejects:
        raise SourceError(f"strict: {sum(pool.rejects.values())} rows were rejected; see {folder / 'rejects.parquet'}.")
    return pool


def _need_all(folder: Path, records: list[dict[str, Any]]) -> None:
    """Groups are numbered without gaps: where one is missing its record is lost, and its numbers must not be given
    again. Raises DamageFound."""
    numbers = {record["group"] for record in records}
    if missing := set(range(max(numbers, default=-1))) - numbers:
        raise _lost(folder, min(missing))


def _lost(folder: Path, group: int) -> DamageFound:
    path = folder / ".groups" / f"{group:05d}.json"
    return DamageFound(
        f"{path}: missing, of what a run has seen. If that run did not end, its command mends it; else restore the "
        "file, or begin a new --store."
    )


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
        names = "; ".join(f"{source['format']} {', '.join(source['path'])}" for source in known["sources"])
        raise StoreError(
            f"store {folder.parent}: holds another pool ({names}, or the same read in another way). "
            "One store, one pool: choose another --store."
        )
    types, encoded = settle_types(sources, files, known["kept"] if known else None)
    if known and len(encoded) > len(known["kept"]):
        new = ", ".join(name for name, _ in encoded[len(known["kept"]) :])
        raise StoreError(f"store {folder.parent}: its pool has no field {new}. Choose another --store.")
    if not known or len(asked) > len(known["sources"]):
        write_json(path, {"reader": READER_VERSION, "sources": asked, "kept": encoded})
    return types


def _forget(folder: Path) -> None:
    """All that was read; columns beside it stay, whose folders are settled already."""
    shutil.rmtree(folder / ".groups", ignore_errors=True)
    for path in [*folder.glob("part-*.parquet"), folder / "rejects.parquet", folder / ".pool.json"]:
        path.unlink(missing_ok=True)


REJECTS_FILE = "{:05d}.parquet"  # of a group, beside its record


def records_of(folder: Path) -> list[dict[str, Any]]:
    """What was ever read, group by group."""
    paths = sorted((folder / ".groups").glob("*.json"), key=lambda path: (len(path.name), path.name))  # 99999, 100000
    return [read_json(path) for path in paths]


def _still_true(
    records: list[dict[str, Any]], files: list[tuple[int, list[SourceFile]]], sources: list[Source]
) -> tuple[list[dict[str, Any]], set[tuple[int, str]]]:
    """The recorded groups whose files are all unchanged and whose rejects don't lean on a voided group.

    A new file that belongs to a known image, or to a known shard of img2dataset, changes that one's group."""
    now = {(number, file.path): file.record() for number, found in files for file in found}
    known = {(record["origin"], file["path"]) for record in records for file in record["files"]}
    joined = {
        (number, key_of_path(path, now[number, path]["root"]))
        for number, path in now.keys() - known
        if sources[number].format in READ_BY_KEY
    }
    voided: set[int] = set()
    for record in records:  # in order: a group leans only on earlier ones
        changed = record.get("gone", False) or any(  # `tamis gc` took its shards
            now.get((record["origin"], file["path"])) != file
            or (joined and (record["origin"], key_of_path(file["path"], file["root"])) in joined)
            for file in record["files"]
        )
        if changed or voided & set(record["leans_on"]):
            voided.add(record["group"])
    current = [record for record in records if record["group"] not in voided]
    old = superseded(current)
    current = [record for record in current if record["group"] not in old]
    return current, {(record["origin"], file["path"]) for record in current for file in record["files"]}


def rows_read(folder: Path) -> int:
    """Rows of source files that were ever read into a pool, usable or not."""
    records = [record for record in records_of(folder) if "replaces" not in record]
    return sum(sum(p["rows"] for p in one["parts"]) + sum(one["rejects"].values()) for one in records)


def superseded(records: list[dict[str, Any]]) -> set[int]:
    """Groups that others of these stand for since `tamis compact`."""
    return {group for record in records for group in record.get("replaces", [])}


def leaves(records: list[dict[str, Any]]) -> dict[int, set[int]]:
    """Of each group the groups that were read, itself or those that it stands for."""
    found: dict[int, set[int]] = {}
    for record in records:
        mine = record.get("replaces")
        found[record["group"]] = {leaf for group in mine for leaf in found[group]} if mine else {record["group"]}
    return found


class GroupWriter:
    """Writes groups one after another, each against everything that the current groups hold."""

    def __init__(
        self,
        folder: Path,
        sources: list[Source],
        types: dict[str, pa.DataType],
        records: list[dict[str, Any]],
        current: list[dict[str, Any]],
        strict: bool,
        is_target: bool,
        columns: Sequence[Filling] = (),
    ) -> None:
        self.is_target, self.columns = is_target, list(columns)
        self.folder, self.sources, self.types, self.strict = folder, sources, types, strict
        self.current = list(current)
        self._next_group = len(records)
        self._next_part = sum(len(record["parts"]) for record in records)
        self._seen: Seen | None = None

    def write(self, origin: int, files: list[SourceFile]) -> None:
        schema = pool_schema(self.types)
        shards = ShardWriter(self.folder, self._next_group, self._next_part, self._known(), schema)
        source = self.sources[origin]

        def read(call: Callable[[], Block]) -> tuple[Block, pa.Table]:
            block = call()
            return block, as_samples(block, self._namespace(origin), schema, self.is_target)

        for block, samples in ordered_map(read, _calls(source, files, self.types)):
            self._refuse(block)
            shards.rejects += block.rejects
            shards.add(samples)
        shards.close()
        self._record(origin, files, shards)
        for file in files:
            let_go(file.path, file.mtime_ns)

    def write_images(self, origin: int, files: list[SourceFile]) -> None:
        """The same for images. A group of theirs is work for minutes: each closed shard is noted in a journal, and a
        killed run goes on behind the last one."""
        schema = pool_schema(self.types)
        shards = ShardWriter(self.folder, self._next_group, self._next_part, self._known(), schema, self.columns)
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
                shards.rejects += block.rejects
                if samples.num_rows:
                    shards.add_images(with_values(samples, block, len(self.columns)))
            shards.close()
        except TooLarge:
            shards.abandon()
            self._seen = None  # it knows rows that will be read again
            raise
        self._record(origin, files, shards)
        journal.path.unlink(missing_ok=True)

    def _known(self) -> Seen:
        if self._seen is None:
            self._seen = Seen.of([(group["group"], self.folder / part["name"]) for group, part in _parts(self.current)])
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
        rejects = pa.Table.from_pylist([reject._asdict() for reject in shards.rejects], REJECTS_OF_GROUP)
        rejects = rejects.append_column("part_group", pa.array([self._next_group] * len(rejects), pa.int32()))
        write_parquet(self.folder / ".groups" / f"{name}.parquet", rejects.cast(REJECTS))
        record = {
            "group": self._next_group,
            "origin": origin,
            "files": [file.record() for file in files],
            "parts": [
                {"name": path.name, "rows": rows, "digest": shards.digests[path.name]} for path, rows in shards.written
            ],
            "rejects": dict(Counter(reject.reason for reject in shards.rejects)),
            "leans_on": sorted(shards.leans_on),
        }
        write_json(self.folder / ".groups" / f"{name}.json", record)
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
        held = read_json(self.path) if self.path.exists() else None
        if held is None or held["files"] != self.files:
            return
        paths = [(shards.folder / part["name"], part["digest"]) for part in held["parts"]]
        if not all(path.exists() and digest_file(path) == digest for path, digest in paths):
            return
        self.consumed = held["consumed"]
        shards.rejects = [Reject(*reject) for reject in held["rejects"]]
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
            "rejects": [list(reject) for reject in shards.rejects],
            "leans_on": sorted(shards.leans_on),
        }
        rows = {path.name: count for path, count in shards.written}

        def write(name: str, digest: str) -> None:
            digests = {**shards.digests, name: digest}
            parts = [{"name": part, "rows": count, "digest": digests[part]} for part, count in rows.items()]
            write_json(self.path, {**told, "parts": parts})

        return write


REJECTS_OF_GROUP = pa.schema([field for field in REJECTS if field.name != "part_group"])


def pool_schema(types: dict[str, pa.DataType]) -> pa.Schema:
    """The pool's own fields, then the kept ones in the order of the recipe."""
    return pa.schema([*POOL, *[pa.field(name, kind) for name, kind in types.items()]])


def _calls(source: Source, files: list[SourceFile], types: dict[str, pa.DataType]) -> Iterator[Callable[[], Block]]:
    """One call for each block of the files, in order; calls may run in any thread."""
    for file in files:
        path = fetched(file.path, file.mtime_ns)
        for call in _calls_of(source, path, Path(file.root), types):
            named = call if str(path) == file.path else partial(_as_from, call, file.path)
            yield partial(chunked, named, source.chunk.words) if source.chunk else named


def _as_from(call: Callable[[], Block], url: str) -> Block:
    """A block of a fetched file speaks of where that came from."""
    block = call()
    rejects = [reject._replace(source=url) for reject in block.rejects]
    return replace(block, source=url, uri=url if block.uri else None, rejects=rejects)


def _calls_of(source: Source, path: Path, root: Path, types: dict[str, pa.DataType]) -> Iterator[Callable[[], Block]]:
    natural = {origin: types[name] for name, origin in source.keep.items()}
    natural[source.text] = pa.string()
    if source.format == "jsonl":
        key = {source.key: key_type(path, source.key)} if source.key else {}
        yield from jsonl.blocks(path, Fields.of(source, {**key, **natural}))
    elif source.format == "texts":
        fields = Fields(key="path", text="text", keep={}, types={"path": pa.string(), "text": pa.string()})
        yield partial(tables.text_file_block, path, root, fields)
    else:
        if source.key:
            natural.setdefault(source.key, pa.string())
        fields = Fields.of(source, natural)
        if source.format == "csv":
            blocks = tables.csv_blocks(path, fields)
        elif source.format == "hf":
            blocks = tables.table_blocks(path, fields, tables.arrow_batches)
        else:
            blocks = tables.table_blocks(path, fields, tables.parquet_batches)
        for block in blocks:
            yield partial(_same, block)


def _same(block: Block) -> Block:
    return block


def key_type(path: Path, name: str) -> pa.DataType:
    """Integer keys are parsed as integers and stored as text; anything else is text."""
    values = [value for value in jsonl.sniff(path, [name])[name] if value is not None]
    whole = bool(values) and all(isinstance(value, int) and not isinstance(value, bool) for value in values)
    return pa.int64() if whole else pa.string()


def _parts(groups: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for group in groups:
        for part in group["parts"]:
            yield group, part


def _view(folder: Path, groups: list[dict[str, Any]]) -> Pool:
    groups = sorted(groups, key=lambda record: min(record.get("replaces", [record["group"]])))
    parts = [
        Part(folder / part["name"], part["rows"], part["digest"], group["origin"]) for group, part in _parts(groups)
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
        raise _lost(folder, min(missing))
    return _view(folder, found)


def rejects_of(folder: Path, groups: list[int] | None = None) -> pa.Table:
    """All rejects of some groups, or of all that were ever read, in their order."""
    wanted = None if groups is None else set(groups)
    records = [r for r in records_of(folder) if r["rejects"] and (wanted is None or r["group"] in wanted)]
    tables = [pq.ParquetFile(folder / ".groups" / REJECTS_FILE.format(record["group"])).read() for record in records]
    return pa.concat_tables([REJECTS.empty_table(), *tables])


def _write_rejects(folder: Path) -> None:
    """All groups' rejects in one file, also those of voided groups, which older runs still speak of."""
    table = rejects_of(folder)
    final = folder / "rejects.parquet"
    if not final.exists() or not pq.read_table(final).equals(table):
        write_parquet(final, table)
