"""What a step may choose from, and how much."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tamis.pipeline.errors import RecipeError
from tamis.pipeline.explain.show import funnel
from tests_support import Runner, write_jsonl


def test_facts_speak_of_what_was_chosen_in_scope(run_in: Runner, workplace: Path) -> None:
    step = {"importance_resampling": {"budget": 5, "where": "part = 'corpus'"}}
    outcome = run_in(workplace, steps=[step])
    record = outcome.manifest["steps"][0]
    tokens = record["facts"]["tokens"]
    assert (tokens["selection"]["texts"], tokens["random"]["texts"]) == (5, 5)
    assert tokens["pool"]["texts"] == record["eligible"] < record["candidates"]


def test_a_fraction_is_exact(run_in: Runner, workplace: Path) -> None:
    write_jsonl(workplace / "pool.jsonl", [{"id": str(i), "part": "x", "text": f"t{i}"} for i in range(100)])
    assert run_in(workplace, steps=[{"random": {"fraction": 0.29}}], target=[]).selected == 29


POOL: dict[str, Any] = {
    "pool": [{"format": "jsonl", "path": "pool.jsonl", "key": "id", "keep": ["ads", "worth"]}], "target": [], "emit": [],
}  # fmt: skip


def write_ads(folder: Path) -> None:
    rows = [{"id": f"k{n:03d}", "ads": n % 3 == 0, "worth": n, "text": f"text number {n // 2}"} for n in range(300)]
    write_jsonl(folder / "pool.jsonl", rows)


CHOOSES: list[dict[str, Any]] = [
    {"random": {"budget": 50}}, {"random": {"fraction": 0.25}}, {"threshold": {"column": "worth", "budget": 50}},
    {"threshold": {"column": "worth", "budget": {"cost": 12_225, "by": "worth"}}},
    {"quota": {"by": "ads", "shares": {"false": 1}, "budget": 50}}, {"exact_dedup": {}}, {"near_dedup": {}},
    {"threshold": {"column": "worth", "above": 249}}, {"text_quality": {"apply": ["c4"]}},
]  # fmt: skip


@pytest.mark.parametrize("step", CHOOSES, ids=lambda step: "-".join(map(str, [*step, *next(iter(step.values()))])))
@pytest.mark.parametrize("outside", [None, "keep", "drop"])
def test_a_choice_leaves_out_what_its_where_does_and_a_rule_lets_it_pass(
    run_in: Runner, tmp_path: Path, step: dict[str, Any], outside: str | None
) -> None:
    write_ads(tmp_path)
    name, settings = next(iter(step.items()))
    asked = {**settings, "where": "not ads", **({} if outside is None else {"outside": outside})}
    chosen = {"budget", "fraction"} & settings.keys()
    passes = outside == "keep" or (outside is None and not chosen)
    outcome = run_in(tmp_path, steps=[{"threshold": {"column": "worth", "above": -1}}, {name: asked}], **POOL)
    rows = pq.read_table(outcome.folder / "selection.parquet").to_pylist()
    outsiders = [row for row in rows if row["ads"]]
    reason = "passed_through" if passes else "not_in_scope"
    assert outcome.manifest["steps"][1]["reasons"][reason] == 100
    assert len(outsiders) == (100 if passes else 0)
    assert all(row["score"] == row["worth"] for row in outsiders), "the score of the step before stands"
    if chosen and not isinstance(settings.get("budget"), dict):
        assert len(rows) - len(outsiders) == 50
    told = funnel(outcome.manifest)[-1][2]
    assert ("100 passed through" if passes else "-100 not_in_scope") in told


def test_outside_is_of_a_where_and_one_of_two(run_in: Runner, tmp_path: Path) -> None:
    write_ads(tmp_path)
    for settings, told in (
        ({"outside": "drop"}, "there is no `where`"), ({"outside": "off", "where": "ads"}, "wanted keep or drop"),
    ):  # fmt: skip
        with pytest.raises(RecipeError, match=told):
            run_in(tmp_path, steps=[{"random": {"budget": 5, **settings}}], **POOL)
    with pytest.raises(RecipeError, match="drops what its `where` leaves out"):
        run_in(tmp_path, steps=[{"sql": {"where": "ads", "outside": "keep"}}], **POOL)


def test_of_several_targets_each_skips_what_is_too_dear(run_in: Runner, tmp_path: Path) -> None:
    rows = [{"id": f"{kind}{n}", "text": f"{kind} " * (9 - n), "p": 60 if n == 0 else 10} for kind in ("sea", "law") for n in range(6)]  # fmt: skip
    write_jsonl(tmp_path / "pool.jsonl", rows)
    for kind in ("sea", "law"):
        write_jsonl(tmp_path / f"{kind}.jsonl", [{"text": f"{kind} " * 20}])
    source = {"format": "jsonl", "path": "pool.jsonl", "key": "id", "keep": ["p"]}
    target = [{"format": "jsonl", "path": f"{kind}.jsonl"} for kind in ("sea", "law")]
    step = {"importance_resampling": {"budget": {"cost": 100, "by": "p"}, "targets": [1, 1]}}
    asked = {"pool": [source], "target": target, "emit": []}
    outcome = run_in(tmp_path, steps=[step], **asked)
    keys = pq.read_table(outcome.folder / "selection.parquet")["key"].to_pylist()
    assert sorted(keys) == [f"{kind}{n}" for kind in ("law", "sea") for n in range(1, 6)]
