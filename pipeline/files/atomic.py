"""Whole or absent: files are written beside their place and renamed; one process at a time holds a store.

A killed run leaves at most names that begin with a dot, which no reader and no glob takes for a result."""

import errno
import fcntl
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tamis.pipeline.errors import DamageFound, StoreError
from tamis.pipeline.files.sealed import SEALS, remember, seal, seal_line, seal_of, worth_keeping

ROW_GROUP_ROWS = 16_384  # 16k texts of 1-3 KB: 16-48 MB a row group, the unit that a reader holds

DIGEST = "record_digest"  # the last key of a record

_WRITTEN = count()


@contextmanager
def atomic_path(final: Path, *, sealed: bool = True) -> Iterator[Path]:
    """Yield a hidden path beside `final`, renamed onto it when the block ends without an error, safe on the disk, and
    its digest noted, of the bytes that were just written.

    Its name is this process's own: a worker that outlives its run must not meet the next one's."""
    final.parent.mkdir(parents=True, exist_ok=True)
    beside = final.with_name(f".{final.name}.{os.getpid()}-{next(_WRITTEN)}.writing")
    try:
        yield beside
        size, digest = beside.stat().st_size, digest_file(beside) if sealed else ""
        _to_disk(beside)
        if sealed:
            seal(final, size, digest)
        os.replace(beside, final)
        _to_disk(final.parent)
        if sealed:
            remember(final)
    finally:
        beside.unlink(missing_ok=True)


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that has no such thing
            raise
    finally:
        os.close(handle)


def drop_old_seals(home: Path) -> None:
    """Of files that are gone; where there are many, for each night adds some. The store's lock is held."""
    if (kept := worth_keeping(home, digest_file)) is not None:
        with atomic_path(home / SEALS, sealed=False) as path:
            path.write_text("".join(seal_line(name, *one) for name, one in kept))


def write_parquet(final: Path, table: pa.Table, compression: str = "snappy") -> None:
    """Write a table whole or not at all; dictionary off, since texts, ids and scores hardly repeat."""
    level = 1 if compression == "zstd" else None  # as fast as snappy on text, and a quarter smaller
    write_batches(final, table.schema, [table], compression=compression, compression_level=level)


def write_batches(final: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch | pa.Table], **options: Any) -> int:
    """Write a stream of batches, a row group in memory at a time. Returns the rows."""
    rows = 0
    with batch_writer(final, schema, **options) as write:
        for batch in batches:
            write(batch)
            rows += batch.num_rows
    return rows


@contextmanager
def batch_writer(
    final: Path, schema: pa.Schema, **options: Any
) -> Iterator[Callable[[pa.RecordBatch | pa.Table], None]]:
    """Yield a function that takes batches; the file is there when the block ends without an error.

    Row groups don't depend on where the stream was cut, nor do their pages, which Arrow ends by the chunk: each row
    group is one. So the bytes don't."""
    options = {"compression": "snappy", "use_dictionary": False, **options}
    held: list[pa.Table] = []
    with atomic_path(final) as path, pq.ParquetWriter(path, schema, **options) as out:

        def write(batch: pa.RecordBatch | pa.Table) -> None:
            table = batch if isinstance(batch, pa.Table) else pa.table(batch)
            held.append(table.cast(schema))
            while sum(table.num_rows for table in held) >= ROW_GROUP_ROWS:
                group = pa.concat_tables(held)
                out.write_table(group.slice(0, ROW_GROUP_ROWS).combine_chunks())
                held[:] = [group.slice(ROW_GROUP_ROWS)]

        yield write
        out.write_table(pa.concat_tables([schema.empty_table(), *held]).combine_chunks())


def write_record(final: Path, value: dict[str, Any], *, sealed: bool = True) -> None:
    """Write a record: indented JSON that says that larger files are complete. Its last line is the digest of all before
    it. `sealed`: whether its bytes are noted besides, which those that grow are not."""
    above = json_bytes({**value, DIGEST: ""}).removesuffix(_last_line(""))
    with atomic_path(final, sealed=sealed) as path:
        path.write_bytes(above + _last_line(_digest_bytes(above)))


def _last_line(digest: str) -> bytes:
    return f'"{DIGEST}": "{digest}"\n}}\n'.encode()


def _digest_bytes(held: bytes) -> str:
    import xxhash

    return xxhash.xxh3_128_hexdigest(held)


def write_json(final: Path, value: Any, *, sealed: bool = True) -> None:
    """Write indented JSON that others read, or that is this process's own."""
    with atomic_path(final, sealed=sealed) as path:
        path.write_bytes(json_bytes(value))


def json_bytes(value: Any) -> bytes:
    """As `write_json` writes it."""
    text = json.dumps(value, indent=1, ensure_ascii=False)
    # a file's name may hold bytes that are no text
    return ((text if _is_text(text) else json.dumps(value, indent=1)) + "\n").encode()


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_json(path: Path) -> Any:
    """What was written as a record, without its digest, or as JSON. Raises DamageFound where the file is not what was
    written."""
    return parsed_record(path.read_bytes(), path)


def parsed_record(held: bytes, path: Path) -> Any:
    """The same of its bytes, wherever they lay. Raises DamageFound."""
    try:
        value = json.loads(held.decode("utf-8"))
    except ValueError as error:
        raise _damaged(path, str(error)) from error
    if isinstance(value, dict) and DIGEST in value:
        last = _last_line(value.pop(DIGEST))
        if not held.endswith(last) or last != _last_line(_digest_bytes(held.removesuffix(last))):
            raise _damaged(path, "not the bytes that were written")
    return value


def _damaged(path: Path, how: str) -> DamageFound:
    anew = "begin a new --store"
    if path.name == "column.json":
        anew = f"delete {path.parent} and run again: it is made anew"
    elif "runs" in path.parts:
        anew = "delete the run's folder and run again"
    return DamageFound(f"{path}: damaged ({how}). Restore it, or {anew}.")


def digest_file(path: Path) -> str:
    """xxh3-128 of a file's bytes, about 10 GB/s: finds damage, is no defence against an attacker."""
    import xxhash

    state = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            state.update(block)
    return state.hexdigest()


def digest_of(path: Path) -> str:
    """Of a file as it was written; as it is where that is not known."""
    known = seal_of(path)
    return known.digest if known else digest_file(path)


def digest_of_input(path: Path) -> str:
    """The same of a file that others wrote, read once a process while its size and time stand."""
    about = path.stat()
    return _digest_once(path, about.st_size, about.st_mtime_ns)


def digest_of_folder(folder: Path) -> dict[str, str]:
    """The same of every file below it that is not hidden."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    below = {path.relative_to(folder).as_posix(): path for path in files}
    return {
        name: digest_of_input(path) for name, path in below.items() if not name.startswith(".") and "/." not in name
    }


@lru_cache(maxsize=256)
def _digest_once(path: Path, _size: int, _mtime_ns: int) -> str:
    return digest_file(path)


def fingerprint(value: Any) -> str:
    """16 hex digits that stand for a JSON value: equal settings, equal fingerprint."""
    import xxhash

    return xxhash.xxh3_64_hexdigest(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


def sweep(store: Path) -> None:
    """Take away what killed processes left unfinished; call it under the store's lock."""
    for path in store.rglob(".*.writing"):
        process = path.name.split(".")[-2].partition("-")[0]
        if process.isdigit() and not Path(f"/proc/{process}").exists():
            path.unlink(missing_ok=True)


@contextmanager
def store_lock(store: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the store's flock; wait for another run and say so. The kernel frees it even after SIGKILL."""
    try:
        store.mkdir(parents=True, exist_ok=True)
        handle = (store / ".lock").open("a")
    except OSError as error:
        raise StoreError(f"store {store}: can't be written ({error.strerror}). Choose another --store.") from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another run works in {store}; waiting for it to end (Ctrl-C to give up)")
            sys.stderr.flush()
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
