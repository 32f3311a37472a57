"""One process that reads generated inputs, and the one that asks it to: what it does, or that it died, is the finding.

An input ends in samples and rejects that add up, or in an error of tamis's own of one line, soon and in little memory.
What ends otherwise is a fault, and its files stay where the finding says."""

import bz2
import gzip
import json
import lzma
import os
import random
import select
import shutil
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from generated_inputs import MADE, PACKERS, generated

from tamis.pipeline.columns.measure.joined import Join
from tamis.pipeline.errors import TamisError
from tamis.pipeline.labels.files import read_answers
from tamis.pipeline.machine import peak
from tamis.pipeline.progress import hushed
from tamis.pipeline.read.ingest import ingest
from tamis.pipeline.recipe.recipe import parse_recipe

SECONDS = 90  # for one request, on a machine that is busy with other things
PEAK_BYTES = 1_500_000_000
OF_IMAGES = ("webdataset", "img2dataset", "images", "table_of_images")
TOGETHER = 25  # inputs of images in one pool: its decoding workers are started once
FEW = 5  # of texts and tables, four of five


class Finding(NamedTuple):
    """What came of some inputs of a format that were read as one pool."""

    format: str
    first: int
    inputs: int
    samples: int = 0
    rejects: dict[str, int] = {}  # by reason  # noqa: RUF012
    refused: str | None = None  # in one line, by tamis
    fault: str | None = None
    peak: int = 0


def main() -> None:
    """Serve requests [format, first, count, folder], a line each."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        format_, first, count, folder = json.loads(line)
        answers.write(json.dumps(_finding(format_, first, count, Path(folder))) + "\n")
        answers.flush()


def _finding(format_: str, first: int, count: int, folder: Path) -> Finding:
    found = Finding(format_, first, count)
    try:
        with hushed():
            found = found._replace(**_read(format_, first, count, folder))
    except TamisError as error:
        told = str(error)
        found = found._replace(refused=told, fault=f"an error of several lines: {told!r}" if "\n" in told else None)
    except Exception:  # noqa: BLE001  it is what is looked for
        found = found._replace(fault=traceback.format_exc())
    return found._replace(peak=peak() or 0)


def _read(format_: str, first: int, count: int, folder: Path) -> dict[str, Any]:
    shutil.rmtree(folder, ignore_errors=True)
    for number in range(first, first + count):
        for name, held in generated(format_, number).items():
            path = folder / "pool" / placed(format_, name, number)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(held)
    kind = format_.partition("_")[0]
    if kind == "labels":
        return _answers(next((folder / "pool").iterdir()))
    if kind == "join":
        return _joined(next((folder / "pool").iterdir()))
    return _ingested(format_, first, folder)


def placed(format_: str, name: str, number: int) -> str:
    """Where a file of an input lies below the pool's folder."""
    if format_ in ("images", "hf"):
        return f"{number}/{name}"
    return f"{number}{name}"


def source_of(format_: str, first: int) -> dict[str, Any]:
    fields = {"key": "id"} if first % 3 else {}
    kept = ["year", *(["odd"] if first % 4 > 1 else []), *(["tags"] if first % 8 > 3 else [])]
    texts = {**fields, "keep": [name for name in kept if format_ not in ("csv", "tsv") or name != "tags"]}
    return {
        "jsonl": {"format": "jsonl", "path": "pool", **texts},
        "csv": {"format": "csv", "path": "pool", **texts},
        "tsv": {"format": "csv", "path": "pool", **texts},
        "texts": {"format": "texts", "path": "pool"},
        "parquet": {"format": "parquet", "path": "pool", **texts},
        "hf": {"format": "hf", "path": "pool/*", **texts},
        "webdataset": {"format": "webdataset", "path": "pool", "keep": ["year", "cls"], "caption": ["txt", "caption"]},
        "img2dataset": {"format": "img2dataset", "path": "pool", "keep": ["year"], "caption": ["caption"]},
        "images": {"format": "images", "path": "pool", "keep": ["label", "year"]},
        "table_of_images": {"format": "parquet", "path": "pool", "image": "image", "caption": "caption", **fields, "keep": ["year"]},
    }[format_.partition(".")[0]]  # fmt: skip


def _ingested(format_: str, first: int, folder: Path) -> dict[str, Any]:
    if format_ not in (*OF_IMAGES, "texts") and first % 4 > 1:  # a sound file beside it shows the types
        for name, held in MADE[format_](None, random.Random(0)).items():
            path = folder / "pool" / placed(format_, name, 0).replace("0", "sound", 1)
            path.parent.mkdir(exist_ok=True)
            packed = format_.partition(".")[2]
            (path.with_name(f"{path.name}.{packed}") if packed else path).write_bytes(
                PACKERS[packed](held) if packed else held
            )
    recipe = parse_recipe({"name": "t", "pool": [source_of(format_, first)]}, folder)
    pool = ingest(folder / "store" / "pool", recipe.pool, strict=False, say=lambda _: None)
    samples = [row for part in pool.parts for row in pq.read_table(part.path).to_pylist()]
    rejects = pq.read_table(pool.folder / "rejects.parquet").to_pylist()
    assert len(samples) == pool.rows, "stored rows are not those of the record"
    assert Counter(row["reason"] for row in rejects) == pool.rejects, "stored rejects are not those of the record"
    assert pool.source_rows == len(samples) + len(rejects), "the sums differ"
    assert len({row["sample_id"] for row in samples}) == len(samples), "two samples with one id"
    if format_ not in OF_IMAGES:
        assert all(row["text"].strip() for row in samples), "a sample without a text"
    for path in sorted((folder / "pool").rglob("*")):
        if path.is_file():
            mine = [row["position"] for row in samples if row["source"] == str(path)] if samples else []
            lost = [row["position"] for row in rejects if row["source"] == str(path)]
            _add_up(format_, path, mine, lost, [row["reason"] for row in rejects if row["source"] == str(path)])
    return {"samples": len(samples), "rejects": pool.rejects}


def _add_up(format_: str, path: Path, samples: list[int], rejects: list[int | None], reasons: list[str]) -> None:
    """Each place of a file is a sample or a reject, once."""
    numbers = [place for place in rejects if place is not None]
    whole = len(rejects) > len(numbers) or "truncated" in reasons
    assert len(set(samples)) == len(samples), f"{path.name}: a place is two samples"
    assert not set(samples) & set(numbers), f"{path.name}: a place is both sample and reject"
    kind = format_.partition(".")[0]
    places = sorted([*samples, *numbers])
    if kind == "images":
        assert path.suffix in (".txt", ".json") or len(samples) + len(rejects) == 1, f"{path.name}: {places}"
        return
    if kind == "texts":
        assert len(samples) + len(rejects) == 1, f"{path.name}: {places}"
    if kind in OF_IMAGES:
        return
    assert len(set(places)) == len(places), f"{path.name}: a place is rejected twice: {places}"
    if not whole and (wanted := WANTED[kind](path)) is not None:
        assert places == wanted, f"{path.name}: places {places}, wanted {wanted}"


def _unpacked(path: Path) -> bytes | None:
    try:
        return {".gz": gzip.decompress, ".bz2": bz2.decompress, ".xz": lzma.decompress, ".zst": lambda _: None}.get(
            path.suffix, lambda held: held
        )(path.read_bytes())
    except (OSError, EOFError, ValueError, lzma.LZMAError):
        return None


def _lines(path: Path) -> list[int] | None:
    held = _unpacked(path)
    return None if held is None else [place for place, line in enumerate(held.split(b"\n"), 1) if line.strip(b" \t\r")]


def _rows(path: Path) -> list[int]:
    return list(range(1, pq.read_metadata(path).num_rows + 1))


def _arrow_rows(path: Path) -> list[int] | None:
    if path.suffix != ".arrow":
        return []
    with pa.memory_map(str(path)) as mapped:
        try:
            batches = list(pa.ipc.open_stream(mapped))
        except pa.ArrowInvalid:
            return None
    return list(range(1, sum(batch.num_rows for batch in batches) + 1))


WANTED: dict[str, Callable[[Path], list[int] | None]] = {
    "jsonl": _lines, "csv": lambda _: None, "tsv": lambda _: None, "texts": lambda _: None, "parquet": _rows, "hf": _arrow_rows,
}  # fmt: skip


def _answers(path: Path) -> dict[str, Any]:
    answers = read_answers(path)
    for answer in answers:
        assert isinstance(answer.key, str), f"a key that is no text: {answer}"
        assert isinstance(answer.label, str), f"a label that is no text: {answer}"
        assert answer.cost is None or isinstance(answer.cost, float), f"a cost that is no number: {answer}"
        assert answer.annotator is None or isinstance(answer.annotator, str), f"a name that is no text: {answer}"
        if answer.boxes is not None:
            assert len(answer.boxes.corners) == len(answer.boxes.names), f"boxes without names: {answer}"
    return {"samples": len(answers)}


def _joined(path: Path) -> dict[str, Any]:
    model = Join(path=path.name, value="value").load(path.parent)
    batch = pa.record_batch({"key": ["k0", "k1", None, ""]})
    (values,) = model.values(batch, Counter())
    assert len(values) == batch.num_rows
    return {"samples": len(model.ids)}


def together(format_: str, start: int) -> int:
    """How many inputs from this one on are one pool."""
    if format_ in (*OF_IMAGES, "texts"):
        return TOGETHER - start % TOGETHER
    alone = format_.startswith(("labels", "join")) or start % (10 * FEW) < 2 * FEW
    return 1 if alone else FEW - start % FEW


class Reader:
    """Asks a process of its own, and starts another where that one died or hangs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            assert self._process.stdin and self._process.stdout
            self._process.stdin.close()
            self._process.stdout.close()
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def log(self) -> Path:
        return self.folder / "stderr.txt"

    def findings(self, format_: str, first: int, last: int) -> Iterator[Finding]:
        """Of the inputs first to last - 1; of a pool with a fault its inputs are read again, one by one."""
        start, end = first, first
        while end < last:
            start = end
            count = min(together(format_, start), last - start)
            end += count
            found = self.ask(format_, start, count)
            if found.fault and count > 1:
                alone = [self.ask(format_, number, 1) for number in range(start, start + count)]
                yield from alone
                if any(one.fault for one in alone):
                    continue
                found = found._replace(inputs=0)
            yield found

    def ask(self, format_: str, first: int, count: int) -> Finding:
        place = self.folder / f"{format_}-{first}-{count}"
        process = self._started()
        assert process.stdin and process.stdout
        process.stdin.write(json.dumps([format_, first, count, str(place)]) + "\n")
        process.stdin.flush()
        began = time.monotonic()
        ready, _, _ = select.select([process.stdout], [], [], SECONDS)
        line = process.stdout.readline() if ready else ""
        if line:
            found = Finding(*json.loads(line))
        else:
            self.__exit__()
            how = (
                f"it ended (exit {process.returncode})" if ready else f"nothing after {time.monotonic() - began:.0f} s"
            )
            found = Finding(format_, first, count, fault=how)
        told = self.log.read_text(errors="replace")
        if not found.fault and "Traceback" in told:
            found = found._replace(fault=f"a traceback on the terminal: {told}")
        if not found.fault and found.peak > PEAK_BYTES:
            found = found._replace(fault=f"a peak of {found.peak / 1e6:,.0f} MB")
        if found.fault:
            self.__exit__()
            return found._replace(
                fault=f"{format_} {first} ({count} of them), in {place}: {found.fault}\n{told}".rstrip()
            )
        shutil.rmtree(place)
        return found

    def _started(self) -> "subprocess.Popen[str]":
        if self._process is None:
            with self.log.open("w") as log:
                self._process = subprocess.Popen(
                    [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONFAULTHANDLER": "1"},
                )  # fmt: skip
        return self._process


if __name__ == "__main__":
    main()
