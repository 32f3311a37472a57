"""The recipe's `emit`: copies of the selection in the formats that people train with, under exports/.

Each is whole or absent. Nothing is re-encoded: image bytes are copied as they lie, and only here."""

import csv
import re
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from tamis.pipeline.choose.selection import placed
from tamis.pipeline.emit.hf import write_hf
from tamis.pipeline.emit.labels import write_labels
from tamis.pipeline.emit.maps import write_atlas, write_fiftyone
from tamis.pipeline.emit.restored import json_fields, restored_rows, restored_schema, write_restored
from tamis.pipeline.emit.splits import write_splits
from tamis.pipeline.emit.tasks import Chosen, on_one_line, write_coco, write_cvat, write_label_studio
from tamis.pipeline.emit.webdataset import write_webdataset
from tamis.pipeline.errors import RunFailed
from tamis.pipeline.files.atomic import atomic_path
from tamis.pipeline.files.plain_json import json_text, plain
from tamis.pipeline.files.sheets import for_sheets
from tamis.pipeline.read.identity import hex_id
from tamis.pipeline.recipe.expressions import quoted
from tamis.pipeline.recipe.outputs import LabelStudio, Splits, Webdataset, emitted
from tamis.pipeline.store.database import connect, rows, view
from tamis.pipeline.store.runs import Run, open_run

ENDINGS = {"parquet": "parquet", "jsonl": "jsonl", "csv": "csv", "keys": "keys.txt"}
REPEATS = {  # how each export says that a sample counts several times; tasks for people are there once
    "parquet": "field `weight`", "jsonl": "field `weight`", "csv": "field `weight`", "keys": "a line each time",
    "uids": "an entry each time", "webdataset": "`weight` in each .json and in webdataset.parquet",
    "hf": "field `weight`", "splits": "field `weight`", "atlas": "field `tamis_weight`",
    "fiftyone": "field `tamis_weight`",
}  # fmt: skip
HEX = re.compile(r"[0-9a-fA-F]{32}")
UID_TYPE = np.dtype("u8,u8")  # DataComp's: the two halves of 128 bits
CREDITS = (  # kept fields that say whose a sample is and how it may be used
    "license", "licence", "license_url", "author", "creator", "artist", "photographer", "credit", "copyright",
    "attribution", "title", "url", "source_url", "original_url",
)  # fmt: skip


def write_exports(folder: Path) -> None:
    """Write all that the recipe asks for, and whom to credit where the pool says so."""
    run = open_run(folder)
    selection = run.folder / "selection.parquet"
    for entry in run.recipe.emit:
        name, settings = emitted(entry)
        if name in ENDINGS:
            export(selection, run.folder / "exports" / f"selection.{ENDINGS[name]}", name)
        elif name == "uids":
            _uids(run)
        elif name == "labels":
            write_labels(run)
        elif name == "atlas":
            write_atlas(run, run.folder / "exports" / "atlas.parquet")
        elif name == "fiftyone":
            write_fiftyone(run, run.folder / "exports" / "fiftyone.csv")
        elif name == "splits":
            _whole_folder(run, name, partial(write_splits, run, Splits.model_validate(settings)))
        elif name == "hf":
            schema = restored_schema(selection)
            _whole_folder(run, name, partial(write_hf, placed(run), run.recipe.reads_images, schema))
        elif name == "webdataset":
            shards, final = Webdataset.model_validate(settings), run.folder / "exports" / name
            _whole_folder(run, name, partial(write_webdataset, run, placed(run), shards, final=final))
        elif name == "label_studio":
            asked = LabelStudio.model_validate(settings)
            tasks = partial(write_label_studio, Chosen(run, placed(run)), asked, final=run.folder / "exports" / name)
            _whole_folder(run, name, tasks)
        elif name == "cvat":
            _whole_folder(run, name, partial(write_cvat, Chosen(run, placed(run))))
        elif name == "coco":
            with atomic_path(run.folder / "exports" / "coco.json") as path:
                write_coco(Chosen(run, placed(run)), path)
    if run.recipe.emit:
        _attribution(run, selection)


def how_they_repeat(emit: list[str | dict[str, dict[str, Any]]]) -> str:
    """For a person: what each export of a selection with repeats says of them."""
    told: dict[str, list[str]] = {}
    for name in ["parquet", *(emitted(entry)[0] for entry in emit)]:
        if name in REPEATS and name not in told.setdefault(REPEATS[name], []):
            told[REPEATS[name]].append(name)
    return "; ".join(f"{', '.join(names)}: {how}" for how, names in told.items())


def export(selection: Path, final: Path, name: str, *, sealed: bool = True) -> None:
    """Write a selection as one file, in one of ENDINGS' formats; `sealed` where it lies in a run's folder."""
    with atomic_path(final, sealed=sealed) as path:
        _WRITERS[name](selection, path)


def _whole_folder(run: Run, name: str, write: Callable[[Path], None]) -> None:
    final, beside = run.folder / "exports" / name, run.folder / "exports" / f".{name}.writing"
    if final.exists():
        return
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    write(beside)
    beside.rename(final)


def records(selection: Path) -> Iterator[dict[str, Any]]:
    """The selection's rows with ids as hex text; values as JSON has them."""
    for record in restored_rows(pq.ParquetFile(selection).iter_batches(batch_size=1024)):
        yield {name: plain(value) for name, value in (record | {"sample_id": hex_id(record["sample_id"])}).items()}


def _parquet(selection: Path, path: Path) -> None:
    if json_fields(pq.read_schema(selection)):
        write_restored(selection, path)
        return
    with selection.open("rb") as source, path.open("wb") as out:
        while block := source.read(1 << 20):
            out.write(block)


def _jsonl(selection: Path, path: Path) -> None:
    with path.open("w", encoding="utf-8") as out:
        for record in records(selection):
            filled = {
                name: value for name, value in record.items() if not (name in ("uri", "offset") and value is None)
            }
            out.write(json_text(filled) + "\n")


def _csv(selection: Path, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(pq.read_schema(selection).names)
        for record in records(selection):
            writer.writerow(json_text(value) if isinstance(value, (list, dict)) else value for value in record.values())


def _keys(selection: Path, path: Path) -> None:
    with path.open("w", encoding="utf-8") as out:
        for batch in pq.ParquetFile(selection).iter_batches(columns=["key", "weight"]):
            pairs = zip(batch["key"].to_pylist(), batch["weight"].to_pylist(), strict=True)
            out.writelines(f"{on_one_line(key)}\n" * max(1, round(weight)) for key, weight in pairs)


_WRITERS: dict[str, Callable[[Path, Path], None]] = {"parquet": _parquet, "jsonl": _jsonl, "csv": _csv, "keys": _keys}


def _uids(run: Run) -> None:
    """DataComp's subset file: 128-bit uids as pairs, sorted, each as often as it counts, for its resharder repeats them
    so; of pools without a field `uid`, the content hashes."""
    found = []
    for batch in placed(run):
        if "uid" in batch.schema.names:
            mine = batch["uid"].to_pylist()
        else:
            mine = [value.hex() for value in batch["content_hash"].to_pylist()]
        times = [max(1, round(weight)) for weight in batch["weight"].to_pylist()]
        found += [one for one, count in zip(mine, times, strict=True) for _ in range(count)]
    try:
        pairs = uids(found)
    except ValueError as error:
        raise RunFailed(
            f"{error}. Keep the pool's uids under another name: then they are made of the contents."
        ) from error
    with atomic_path(run.folder / "exports" / "uids.npy") as path, path.open("wb") as out:
        np.save(out, pairs, allow_pickle=False)


def uids(hexes: list[str]) -> np.ndarray[Any, np.dtype[Any]]:
    """[n] of UID_TYPE from 32 hex digits each, sorted. Raises ValueError where one is something else."""
    pairs = []
    for text in hexes:
        if not (isinstance(text, str) and HEX.fullmatch(text)):
            raise ValueError(f"uids: wanted 32 hex digits, found {text!r}")
        pairs.append((int(text[:16], 16), int(text[16:], 16)))
    return np.array(sorted(pairs), UID_TYPE)


def _attribution(run: Run, selection: Path) -> None:
    """Whom to credit for each chosen sample, where the pool has such fields."""
    schema = pq.read_schema(selection)
    credit = [name for name in schema.names if name.casefold() in CREDITS]
    if not credit:
        return
    with connect(run.store) as con, atomic_path(run.folder / "exports" / "attribution.csv") as path:
        view(con, "selection", [selection])
        fields = ", ".join(map(quoted, ["key", *credit, "uri"]))
        with path.open("w", encoding="utf-8", newline="") as out:
            writer = csv.writer(out)
            writer.writerow(["key", *credit, "uri"])
            for row in rows(con, f"select {fields} from selection order by rank"):
                writer.writerow(for_sheets(value if value is None else str(value)) for value in row.values())
