"""`tamis init` and `tamis pick` over several files, patterns and folders of several formats."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from tamis.pipeline.cli.app import app
from tamis.pipeline.cli.recipe_schema import schema
from tamis.pipeline.doors import pick
from tamis.pipeline.draft import SCHEMA, sources_for
from tamis.pipeline.errors import SourceError
from tamis.pipeline.recipe.recipe import load_recipe
from tests_support import write_jsonl

ROWS = [
    {"id": f"k{n}", "text": f"a text of number {n} and some words", "part": "ab"[n % 2], "score": n / 2}
    for n in range(36)
]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TAMIS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    write_jsonl(tmp_path / "data" / "a.jsonl", ROWS[:12])
    write_jsonl(tmp_path / "data" / "b.jsonl", ROWS[12:24])
    pq.write_table(pa.Table.from_pylist(ROWS[24:]), tmp_path / "data" / "c.parquet")
    (tmp_path / "data" / "README.txt").write_text("not a sample")
    write_jsonl(tmp_path / "target.jsonl", [{"text": "a text of number 3 and words"}, {"text": "some words of a text"}])
    return tmp_path


def made(place: Path, *given: str) -> dict[str, Any]:
    out = place / "recipe.yaml"
    out.unlink(missing_ok=True)
    app(["init", *given, "-o", str(out)])
    load_recipe(out)
    recipe: dict[str, Any] = yaml.safe_load(out.read_text())
    jsonschema.validate(recipe, schema())
    first = out.read_text().splitlines()[0]
    assert first == f"# yaml-language-server: $schema={SCHEMA}"
    assert json.loads((place / SCHEMA).read_text()) == schema()
    return recipe


@pytest.mark.parametrize("given", ["data/*.jsonl", "data/?.jsonl"])
def test_a_pattern_stays_one(place: Path, given: str) -> None:
    assert [source["path"] for source in made(place, given)["pool"]] == [given]


def test_several_files_are_one_source_where_they_are_read_alike(place: Path) -> None:
    pool = made(place, "data/a.jsonl", "data/b.jsonl", "data/c.parquet")["pool"]
    assert [source["path"] for source in pool] == [["data/a.jsonl", "data/b.jsonl"], "data/c.parquet"]
    assert [source["format"] for source in pool] == ["jsonl", "parquet"]
    assert all(source["key"] == "id" and source["keep"] == ["part"] for source in pool)


def test_a_folder_with_tables_of_two_formats_gives_both(place: Path) -> None:
    pool = made(place, "data")["pool"]
    assert [(source["format"], source["path"]) for source in pool] == [("jsonl", "data"), ("parquet", "data")]
    picked = pick(place / "data", place / "target.jsonl", n=36, known=True)
    assert sorted(picked.selection()["key"].to_pylist()) == sorted(row["id"] for row in ROWS)


def test_pick_takes_several(place: Path) -> None:
    app([
        "pick", "data/a.jsonl", "data/*.parquet", "--like", "target.jsonl", "-n", "24", "-o", "out.jsonl", "--keep", "all",
    ])  # fmt: skip
    rows = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert {row["key"] for row in rows} == {row["id"] for row in [*ROWS[:12], *ROWS[24:]]}
    by_key = {row["id"]: row for row in ROWS}
    assert all(row["part"] == by_key[row["key"]]["part"] for row in rows)
    assert all(row["source_score"] == by_key[row["key"]]["score"] for row in rows), "`score` is a name of ours"


def test_a_list_of_paths_is_files_and_a_list_of_texts_is_texts(place: Path) -> None:
    picked = pick([place / "data" / "a.jsonl", place / "data" / "b.jsonl"], place / "target.jsonl", n=3)
    assert picked.manifest["pool"]["rows"] == 24
    assert pick(["one text", "another text"], place / "target.jsonl", n=1).manifest["pool"]["rows"] == 2


def test_what_is_not_there_or_of_two_kinds_is_one_line(place: Path) -> None:
    with pytest.raises(SourceError, match=r"^nowhere\.jsonl: no such file or folder$"):
        sources_for(Path("nowhere.jsonl"))
    with pytest.raises(SourceError, match=r"nothing fits it as a pattern"):
        sources_for(Path("data/*.csv"))
    Image.new("RGB", (8, 8)).save(place / "data" / "z.png")
    with pytest.raises(SourceError, match="some hold images"):
        app(["init", "data/z.png", "data/a.jsonl", "-o", "other.yaml"])
