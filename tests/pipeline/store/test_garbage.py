"""`tamis gc`: what no run needs goes, what one needs stays, and what went is read again when it is asked for."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tamis.pipeline.errors import StoreError
from tamis.pipeline.store.garbage import collect
from tamis.pipeline.store.manifest import verify
from tamis.pipeline.store.runs import open_complete
from tests_support import Runner, result_bytes, write_jsonl

STEPS = [{"importance_resampling": {"budget": 20}}]


def test_a_store_of_complete_runs_has_nothing_to_collect(run_in: Runner, workplace: Path) -> None:
    run_in(workplace, steps=STEPS)
    collect(workplace / "store", delete=True)  # its selection and the same as an export stand once
    assert "everything is needed" in collect(workplace / "store", delete=True)


def test_what_only_a_deleted_run_needed_goes_and_comes_back_the_same(run_in: Runner, workplace: Path) -> None:
    first = run_in(workplace, name="first", steps=STEPS)
    bytes_then = result_bytes(first.folder)
    write_jsonl(workplace / "target.jsonl", [{"text": "another target altogether, of one text"}])
    (workplace / "pool.jsonl").write_text(
        (workplace / "pool.jsonl").read_text() + '{"id": "new", "text": "one more"}\n'
    )
    second = run_in(workplace, name="second", steps=STEPS)
    store = workplace / "store"
    collect(store, delete=True)  # equal files of both stand once
    before = {path for path in store.rglob("*") if path.is_file()}
    assert "everything is needed" in collect(store, delete=False)
    shutil.rmtree(first.folder)
    told = collect(store, delete=False)
    assert "pool group 0 (1 shard): of no run" in told and "can go" in told and "model" in told
    assert {path for path in store.rglob("*") if path.is_file()} == before - {
        p for p in before if first.folder in p.parents
    }
    assert "deleted" in collect(store, delete=True) and "everything is needed" in collect(store, delete=True)
    assert verify(open_complete(second.folder)) == []
    assert not (store / "pool" / "part-00000.parquet").exists()
    shutil.rmtree(second.folder)
    collect(store, delete=True)
    again = run_in(workplace, name="second", steps=STEPS)
    assert verify(open_complete(again.folder)) == [] and len(bytes_then) == len(result_bytes(again.folder))


def test_while_a_run_has_not_ended_only_unfinished_files_go(run_in: Runner, workplace: Path) -> None:
    run = run_in(workplace, steps=STEPS)
    (run.folder / "manifest.json").unlink()
    (workplace / "store" / "pool" / ".part-00007.parquet.writing").write_bytes(b"half")
    told = collect(workplace / "store", delete=True)
    assert "1 unfinished files" in told and "group" not in told
    assert run_in(workplace, steps=STEPS).selected == 20


def test_what_was_forgotten_no_model_of_before_chooses_for(run_in: Runner, tmp_path: Path) -> None:
    """A ranker's picks are stored; those of before the takedown must not stand in for those after."""
    from tamis.pipeline.store.whereabouts import forget

    vectors: Any = np.random.default_rng(0).normal(size=(40, 4))
    write_jsonl(
        tmp_path / "pool.jsonl", [{"id": f"k{n}", "text": f"text {n}", "v": list(v)} for n, v in enumerate(vectors)]
    )
    np.savez(tmp_path / "v.npz", key=np.array([f"k{n}" for n in range(40)]), vector=vectors.astype("f4"))
    asked: dict[str, Any] = {
        "pool": [{"format": "jsonl", "path": "pool.jsonl", "key": "id"}], "target": [], "emit": [],
        "columns": {"look": {"embed": "precomputed", "path": "v.npz"}},
        "steps": [{"k_center": {"column": "look", "budget": 10}}],
    }  # fmt: skip
    first = run_in(tmp_path, name="first", **asked)
    keys = pq.read_table(first.folder / "selection.parquet")["key"].to_pylist()
    forget(tmp_path / "store", keys[:4])
    second = run_in(tmp_path, name="second", **asked)
    later = pq.read_table(second.folder / "selection.parquet")["key"].to_pylist()
    assert len(later) == 10 and not set(later) & set(keys[:4])


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no store"):
        collect(tmp_path, delete=True)
