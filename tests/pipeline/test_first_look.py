"""What `tamis plan` tells of recall and number from a part of the pool."""

import gzip
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tamis.pipeline import first_look as of_look
from tamis.pipeline import plan, run
from tests_support import write_jsonl

SEA = "wave salt boat harbour tide sail anchor gull storm deck rope mast"
LAW = "court judge appeal statute clause party brief motion verdict bench writ plea"


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    draw = np.random.default_rng(0)

    def text(words: str) -> str:
        return " ".join(draw.choice(words.split(), 20))

    rows = [{"id": f"k{n}", "text": text(SEA if n % 10 == 0 else LAW)} for n in range(1000)]
    write_jsonl(tmp_path / "pool.jsonl", rows)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "pool.parquet")
    (tmp_path / "texts").mkdir()
    for row in rows[:300]:
        (tmp_path / "texts" / f"{row['id']}.txt").write_text(row["text"])
    write_jsonl(tmp_path / "target.jsonl", [{"text": text(SEA)} for _ in range(60)])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(of_look, "ROWS", 400)
    monkeypatch.setattr(of_look, "FEW", 0)
    return {
        "pool": [{"format": "jsonl", "path": "pool.jsonl", "key": "id"}],
        "target": [{"format": "jsonl", "path": "target.jsonl"}],
        "steps": [{"exact_dedup": {}}, {"importance_resampling": {"budget": 50}}, {"sql": {"where": "n_bytes > 3"}}],
    }


def told(recipe: dict[str, Any]) -> list[str]:
    lines = plan(recipe).splitlines()
    first = next((n for n, line in enumerate(lines) if line.startswith("found")), None)
    return [] if first is None else lines[first : first + 3]


def number(line: str) -> float:
    return float(line.split("about ")[1].split(maxsplit=1)[0].replace(",", ""))


def test_a_part_tells_of_the_whole(recipe: dict[str, Any]) -> None:
    lines = told(recipe)
    assert lines[0].startswith("found    importance_resampling finds ") and "judged by 60 samples" in lines[0]
    assert 40 <= int(lines[0].split("finds ")[1].split("%")[0]) <= 60, "50 of about 100"
    assert 70 <= number(lines[1]) <= 130 and lines[2].strip() == "judging by the first 400 rows of about 1,000"
    parquet = recipe | {"pool": [{"format": "parquet", "path": "pool.parquet", "key": "id"}]}
    assert told(parquet)[1:] == lines[1:]
    auto = recipe | {"steps": [{"importance_resampling": {"budget": "auto"}}]}
    assert 70 <= number(told(auto)[1]) <= 130
    tokens = recipe | {"steps": [{"importance_resampling": {"budget": {"tokens": 4000, "max_epochs": "auto"}}}]}
    assert 70 <= number(told(tokens)[1]) <= 130
    texts = recipe | {"pool": [{"format": "texts", "path": "texts"}]}
    assert "judging by all 300 rows" in told(texts)[-1]


def time_of(recipe: dict[str, Any], **more: Any) -> str:
    return next(line for line in plan(recipe, **more).splitlines() if line.startswith("time"))[9:]


def test_time_is_measured_on_a_part_or_unknown_and_why(recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    without = recipe | {"target": [], "steps": [{"random": {"budget": 5}}]}
    assert "judging" not in plan(without).partition("machine")[0]
    assert told(without) == [] and told(recipe | {"steps": [{"exact_dedup": {}}]}) == []
    assert re.fullmatch(r"about \d+ s, measured on the first 400 rows of about 1,000", time_of(without))
    run(without, store="store", name="done")
    assert "judging by run 'done'" in time_of(without, store="store"), "an earlier run tells more"
    monkeypatch.setattr(of_look, "run_recipe", None)
    heavy = recipe | {"columns": {"nll": {"loss": "train", "on": "pool", "tokens": "1k"}}}
    assert told(heavy) == [] and time_of(heavy).startswith("unknown: column nll is made by a model")
    assert time_of(without | {"labels": "store/labels"}).startswith("unknown: it depends on earlier runs or on labels")


def test_a_small_pool_is_run_through_once_and_whole(recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_look, "FEW", 5000)
    runs: list[int] = []
    part_run = of_look._part_run
    monkeypatch.setattr(of_look, "_part_run", lambda *some: runs.append(some[3]) or part_run(*some))
    assert time_of(recipe).endswith("s, measured by a run aside") and runs == [2000]


def test_a_folder_of_images_is_measured_on_some_of_them(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_look, "ROWS", 40 * of_look.TIMES)
    monkeypatch.setattr(of_look, "FEW", 0)
    asked = {
        "pool": [{"format": "images", "path": str(photos), "keep": ["label"]}],
        "columns": {"look": {"embed": "classic"}},
        "steps": [{"exact_dedup": {}}, {"random": {"budget": 20}}],
    }
    assert re.fullmatch(r"about \d+ s, measured on the first 40 rows of about \d+", time_of(asked))
    tar = {"pool": [{"format": "webdataset", "path": "x.tar"}]}
    (Path(photos).parent / "x.tar").write_bytes(b"")
    monkeypatch.chdir(photos.parent)
    assert time_of(asked | tar).startswith("unknown: no run of this store has read these images")


def test_rows_of_packed_files_are_reckoned_by_what_a_part_of_them_unpacks_to(recipe: dict[str, Any]) -> None:
    Path("packed").mkdir()
    lines = Path("pool.jsonl").read_bytes().splitlines(keepends=True)
    for part in range(5):
        Path(f"packed/{part}.jsonl.gz").write_bytes(gzip.compress(b"".join(lines[200 * part : 200 * part + 200])))
    packed = recipe | {"pool": [{"format": "jsonl", "path": "packed", "key": "id"}]}
    assert "of about 1,000" in told(packed)[-1]
    Path("packed/2.jsonl.gz").write_bytes(gzip.compress(b"".join(lines))[:1000])
    assert "about" in time_of(packed), "one that ends early costs no plan"


def test_what_goes_wrong_in_a_part_is_one_line_of_the_plan(recipe: dict[str, Any]) -> None:
    write_jsonl(Path("few.jsonl"), [{"text": "wave boat"}] * 3)
    few = recipe | {"target": [{"format": "jsonl", "path": "few.jsonl"}]}
    assert "no copies of each other" in plan(few)
    auto = few | {"steps": [{"importance_resampling": {"budget": "auto"}}]}
    assert "found    can't be told from a part: step 0 (importance_resampling): budget: auto:" in plan(auto)


def test_none_in_a_part_is_none_of_the_part_and_what_can_t_be_read_is_a_line(recipe: dict[str, Any]) -> None:
    rows = [{"id": f"k{n}", "text": " ".join(np.random.default_rng(n).choice(LAW.split(), 20))} for n in range(800)]
    write_jsonl(Path("law.jsonl"), rows)
    lines = told(recipe | {"pool": [{"format": "jsonl", "path": "law.jsonl", "key": "id"}]})
    assert "nothing of the target's kind is among the first 400 rows, so at most " in lines[0] and "of all" in lines[0]
    Path("bad.parquet").write_bytes(b"PAR1 and no more")
    bad = recipe | {"pool": [{"format": "parquet", "path": "bad.parquet", "key": "id"}]}
    assert "found    can't be told from a part: " in plan(bad)
