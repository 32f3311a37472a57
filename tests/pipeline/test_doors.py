"""The doors for Python: each opens, whatever was imported before, and what it gives back can be asked."""

import doctest
import importlib
import json
import pkgutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

import tamis.pipeline
from tamis.pipeline import doors, export_tasks, open_run, pick, plan, results, run, why
from tamis.pipeline.errors import RecipeError, RunError, SourceError, TamisError
from tamis.pipeline.progress import hushed
from tests_support import write_jsonl


@pytest.fixture
def here(tmp_path: Path, doc_records: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with pool.jsonl and target.jsonl."""
    some = doc_records[:430]
    write_jsonl(tmp_path / "pool.jsonl", [record for n, record in enumerate(some) if n % 14 != 3 or n > 420])
    write_jsonl(tmp_path / "target.jsonl", some[3:421:14])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_is_not_installed_is_one_line(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = pick(["red wine", "a car"], like=["dry wine", "sweet wine"], n=1).selection()
    monkeypatch.setattr(results, "missing", lambda package: [package])
    for ask, package in ((chosen.to_pandas, "pandas"), (chosen.to_hf, "datasets")):
        with pytest.raises(TamisError, match=f"{package} is not installed: pip install {package}"):
            ask()


@pytest.mark.parametrize("door", tamis.pipeline.__all__)
def test_the_example_of_each_door_runs(here: Path, door: str) -> None:
    tests = doctest.DocTestFinder().find(getattr(doors, door), door, globs={**vars(doors), "Path": Path})
    assert sum(len(test.examples) for test in tests) > 0
    with hushed():
        for test in tests:
            assert doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test).failed == 0


def test_a_door_is_a_function_after_every_submodule_was_imported() -> None:
    for found in pkgutil.walk_packages(tamis.pipeline.__path__, "tamis.pipeline."):
        importlib.import_module(found.name)
    for door in tamis.pipeline.__all__:
        assert callable(getattr(tamis.pipeline, door)), door
        assert getattr(tamis.pipeline, door).__module__ == "tamis.pipeline.doors"
    assert set(tamis.pipeline.__all__) <= set(dir(tamis.pipeline))
    with pytest.raises(AttributeError, match="no attribute 'pik'"):
        tamis.pipeline.pik  # noqa: B018


def test_importing_the_doors_loads_nothing_heavy_and_takes_no_tenth_of_a_second() -> None:
    code = (
        "import sys, time; began = time.process_time(); from tamis.pipeline import pick, run, plan, compare, open_run, why;"
        "print([n for n in ('duckdb', 'torch', 'prefect', 'numba', 'faiss') if n in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_a_recipe_is_a_file_or_a_dict_and_may_be_overridden(here: Path) -> None:
    asked: dict[str, Any] = {
        "pool": [{"format": "jsonl", "path": "pool.jsonl", "key": "id", "keep": ["part"]}],
        "steps": [{"random": {"budget": 7}}],
    }
    (here / "r.yaml").write_text(json.dumps(asked))
    with hushed():
        first = run("r.yaml", store="s")
        again = run({**asked, "name": "r"}, store="s")
        more = run(here / "r.yaml", store="s", name="more", set={"steps.0.random.budget": 9, "seed": 3})
    assert (first.fresh, again.fresh, first.selected, more.selected) == (True, False, 7, 9)
    assert "random: 7 rows" in plan(asked) and "seed 5" in plan(asked, set={"seed": 5})
    with pytest.raises(RecipeError, match="no such place"):
        run(asked, store="s", set={"steps.4.random": {}})
    with pytest.raises(RecipeError, match="did you mean 'steps'"):
        run({**asked, "step": []}, store="s")
    for wrong, message in (
        ({"recipe": None}, "recipe: wanted a YAML file's path or a dict, found NoneType"),
        ({"recipe": asked, "set": {1: 2}}, "set: wanted places such as .*, found 1"),
        ({"recipe": asked, "engine": "local"}, "engine: wanted a flow of tamis.flows or a function, found 'local'"),
    ):
        with pytest.raises(RecipeError, match=message):
            run(**wrong, store="s")


def test_a_result_is_asked_for_everything(here: Path) -> None:
    with hushed():
        result = pick("pool.jsonl", like="target.jsonl", n=25, out="out.jsonl")
    assert len((here / "out.jsonl").read_text().splitlines()) == 25
    chosen = result.selection()
    assert (chosen.num_rows, len(list(chosen)), chosen.column_names[:3]) == (25, 25, ["rank", "sample_id", "key"])
    assert pa.table(chosen).num_rows == 25
    assert duckdb.sql("select count(*) from chosen").fetchall() == [(25,)]
    assert chosen.to_hf().num_rows == 25 and list(chosen.to_pandas()["rank"])[:2] == [1, 2]
    key = chosen["key"][0].as_py()
    assert "SELECTED" in result.why(key) and why(result, key) == result.why(key) == why(result.folder, key)
    assert [stage.rows for stage in result.funnel] == [400, 400, 386, 25]
    assert result.facts["1 importance_resampling"]["kl_reduction"] is not None
    assert result.verify() == [] and open_run(str(result.folder)).selected == 25
    assert result.sql("select count(*) as n from pool").to_pylist() == [{"n": 400}]
    none = result.sql("select key, text from pool where false")
    assert (len(none), none.column_names) == (0, ["key", "text"])
    assert "importance_resampling" in repr(result) and "400" in result._repr_html_()
    assert result.report._repr_html_().startswith("<iframe") and Path(result.report).exists()
    assert "<script" not in chosen._repr_html_() and "rows" in chosen._repr_html_()
    assert repr(chosen).splitlines()[-1] == "(25 rows)"
    with pytest.raises(RunError):
        open_run(here / "nothing")
    with pytest.raises(RecipeError, match="no tool 'excel'"):
        export_tasks(result, "excel")


def test_what_is_in_memory_is_a_pool(here: Path, doc_records: list[dict[str, str]]) -> None:
    some, like = doc_records[:60], [record["text"] for record in doc_records[60:70]]
    frame = pa.Table.from_pylist(some).to_pandas()
    with hushed():
        pools = (some, pa.Table.from_pylist(some), frame)
        found = [pick(pool, like=like, n=5).selection()["key"].to_pylist() for pool in pools]
        texts = pick([record["text"] for record in some], like=like, n=5).selection()
    assert found[0] == found[1] == found[2]
    assert [some[int(place)]["id"] for place in texts["key"].to_pylist()] == found[0]
    for wrong in ([], 5, {"a": 1}, [1, 2], b"x"):
        with pytest.raises(SourceError, match="wanted a path, a list of texts"):
            pick(wrong, like=like, n=1)
