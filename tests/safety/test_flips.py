"""Promise: a bit that flips anywhere in a store is found, or does no harm, and then it is said where and how that was seen.

`verify` finds what a finished run answers for. What it does not look at is held against the next run over the store: it
makes what it would have made, or ends in one line. A few here; `python bench/faults.py` flips ten thousand."""

import json
import os
import random
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tamis.pipeline.doors import import_labels
from tamis.pipeline.errors import TamisError
from tamis.pipeline.files.atomic import read_json
from tamis.pipeline.progress import hushed
from tamis.pipeline.recipe.recipe import parse_recipe
from tamis.pipeline.starting import run_recipe
from tamis.pipeline.store.manifest import verify
from tamis.pipeline.store.runs import open_complete
from tamis.pipeline.store.whereabouts import forget
from tests_support import result_bytes, write_jsonl

FLIPS = int(os.environ.get("TAMIS_FAULT_FLIPS", "150"))
SEED = int(os.environ.get("TAMIS_FAULT_SEED", "3"))
ALSO = 0.05  # of those that verify finds: would the next run have found them?
RECIPE: dict[str, Any] = {
    "name": "flipped",
    "pool": [{"format": "jsonl", "path": "pool.jsonl", "key": "id", "keep": ["part"]}],
    "target": [{"format": "jsonl", "path": "target.jsonl"}],
    "columns": {"read": {"measure": "text"}},
    "labels": "labels",
    "steps": [{"exact_dedup": {}}, {"importance_resampling": {"budget": 40}}, {"sql": {"where": "labels IS NULL"}}],
    "emit": ["keys"],
}


@pytest.mark.fault(
    "A flipped bit anywhere in a store is found by verify, or by the next run, or the next run gives the same bytes as without it"
)
def test_flipped_bits_are_found_or_harmless(
    tmp_path: Path, doc_records: list[dict[str, str]], record_property: Callable[[str, Any], None]
) -> None:
    write_jsonl(tmp_path / "pool.jsonl", [*doc_records[:150], doc_records[3], {"id": "x"}])
    write_jsonl(tmp_path / "target.jsonl", doc_records[200:220])
    store, chance, counts = tmp_path / "store", random.Random(SEED), Counter[str]()
    with hushed():
        run(tmp_path, store, "kept")
        complete = open_complete(store / "runs" / "kept")
        labeled, *gone = pq.read_table(complete.folder / "selection.parquet")["key"].to_pylist()[:4]
        (tmp_path / "answers.csv").write_text(f"key,label,labeled_at\n{labeled},good,2026-01-01\n")
        import_labels(store, tmp_path / "answers.csv")
        forget(store, gone)
        wanted = run(tmp_path, shutil.copytree(store, tmp_path / "whole"), "next")
    files = [path for path in sorted(store.rglob("*")) if path.is_file() and path.stat().st_size]
    sizes = [path.stat().st_size for path in files]
    assert verify(complete) == []
    for number in range(FLIPS):
        path = chance.choices(files, sizes)[0] if number % 4 else chance.choice(files)  # small ones have their turn
        whole, place, bit = path.read_bytes(), chance.randrange(path.stat().st_size), chance.randrange(8)
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
        try:
            found = bool(verify(complete))
        except TamisError:
            found = True
        if not found or chance.random() < ALSO:
            there = shutil.copytree(store, tmp_path / f"flipped-{number}")
            seen = next_run(tmp_path, there, wanted)
            assert seen, f"{path.relative_to(store)}, byte {place}, bit {bit}: the next run gives others"
            shutil.rmtree(there)
        kind = re.sub(r"[0-9a-f]{8,}|\d+", "N", path.name)
        counts += Counter({"flips": 1, "found by verify" if found else f"{seen} ({kind})": 1})
        path.write_bytes(whole)
    assert verify(complete) == []
    record_property("counts", json.dumps(counts))


def run(folder: Path, store: Path, name: str) -> dict[str, bytes]:
    recipe = parse_recipe({**RECIPE, "labels": str(store / "labels")}, folder)
    return result_bytes(run_recipe(recipe, folder, store, name).folder)


def next_run(folder: Path, store: Path, wanted: dict[str, bytes]) -> str:
    """What it said of the damage, or that there was no need; empty: it gave something else."""
    try:
        with hushed():
            found = run(folder, store, "next")
    except TamisError as error:
        assert "\n" not in str(error)
        return "told by the next run"
    assert read_json(store / "runs" / "next" / "manifest.json")["run"] == "next"
    return "harmless: the next run gives the same bytes" if found == wanted else ""
