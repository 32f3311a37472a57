"""Groups that nearly vanish are told, and guards make that an error before anything is selected."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tamis.pipeline.choose import decide
from tamis.pipeline.choose.groups import nearly_vanishes
from tamis.pipeline.errors import GuardFailed, RecipeError
from tamis.pipeline.explain.show import summary
from tests_support import Runner, write_jsonl

PROSE = "The committee met in the old library to talk about the budget of the coming year, and so they all did. "


def write_pools(folder: Path) -> dict[str, Any]:
    """One source of prose, one of numbers that Gopher's rules drop but for two of 400; and a field that goes across."""
    prose = [{"id": f"p{n}", "kind": "ab"[n % 2], "text": f"{PROSE * 4} {n}"} for n in range(600)]
    numbers = [{"id": f"n{n}", "kind": "ab"[n % 2], "text": f"{PROSE * 4} x{n}" if n < 2 else "12 34 " * 40} for n in range(400)]  # fmt: skip
    write_jsonl(folder / "prose.jsonl", prose)
    write_jsonl(folder / "numbers.jsonl", numbers)
    source = {"format": "jsonl", "key": "id", "keep": ["kind"]}
    pool = [{**source, "path": f"{name}.jsonl"} for name in ("prose", "numbers")]
    return {"pool": pool, "target": [], "emit": ["keys"]}


RULE = {"text_quality": {"apply": ["gopher"]}}


@pytest.mark.parametrize("rows", [1, 100, 101, 200])
def test_what_is_small_or_goes_by_chance_is_not_told(rows: int) -> None:
    assert nearly_vanishes(rows, 0, 0.5) == (rows > 100)
    assert not nearly_vanishes(rows, rows // 2, 0.5)
    assert not nearly_vanishes(rows, 0, 0.04), "none of eight"


def test_a_source_that_nearly_vanishes_is_told_with_its_step(run_in: Runner, tmp_path: Path) -> None:
    asked = write_pools(tmp_path)
    steps = [{"exact_dedup": {}}, RULE, {"random": {"fraction": 0.5}}]
    outcome = run_in(tmp_path, **{**asked, "steps": [{"random": {"fraction": 1.0}}, RULE]})
    found = outcome.manifest["vanishing"]
    assert [
        (one["field"], Path(one["group"]).name, one["rows"], one["kept"], one["step"], one["selector"]) for one in found
    ] == [("source", "numbers.jsonl", 400, 2, 1, "text_quality")]
    told = f"nearly vanishes at step 1 (text_quality): of source {found[0]['group']} 2 of 400"
    assert told in summary(outcome.manifest) and told in (outcome.folder / "report.html").read_text()
    whole = run_in(tmp_path, name="whole", **{**asked, "steps": steps[2:]})
    assert whole.manifest["vanishing"] == [], "half of everything"
    wanted = run_in(tmp_path, name="wanted", **{**asked, "steps": [{"sql": {"where": "kind = 'a'"}}]})
    assert wanted.manifest["vanishing"] == [], "who asks for a value knows"
    choice = {"random": {"budget": 100, "where": "kind = 'a'"}}
    meant = run_in(tmp_path, name="meant", **{**asked, "steps": [RULE, choice]}).manifest["vanishing"]
    assert [(one["field"], one["rows"], one["kept"] < 2) for one in meant] == [("source", 399, True)], (
        "of 400 one is a b"
    )


@pytest.mark.parametrize("place", ["step", "recipe"])
def test_a_guard_ends_the_run_before_anything_is_selected(run_in: Runner, tmp_path: Path, place: str) -> None:
    asked = write_pools(tmp_path)
    guard = {"by": "source", "keep_at_least": 0.01}
    step = {"text_quality": {"apply": ["gopher"], **({"guard": guard} if place == "step" else {})}}
    recipe: dict[str, Any] = {**asked, "steps": [step], **({"guard": guard} if place == "recipe" else {})}
    for _ in range(2):  # the same command ends the same way
        with pytest.raises(GuardFailed, match=r"2 of 400 are left in all, wanted 0\.01.*text_quality"):
            run_in(tmp_path, **recipe)
    folder = next((tmp_path / "store" / "runs").iterdir())
    assert not (folder / "selection.parquet").exists() and not (folder / "exports").exists()
    assert sum(pq.read_table(path).num_rows for path in (folder / "ledger").rglob("*.parquet")) == 1000
    assert GuardFailed.exit_code == 1
    lower = {"by": ["source", "kind"], "keep_at_least": 0.004}
    recipe = {**asked, "steps": [{"text_quality": {"apply": ["gopher"], "guard": lower}}], "guard": [lower]}
    assert run_in(tmp_path, **recipe).selected == 602


def test_a_steps_guard_counts_its_own_candidates(run_in: Runner, tmp_path: Path) -> None:
    asked = write_pools(tmp_path)
    steps = [{"random": {"budget": 100, "where": "kind = 'a'"}}, {"random": {"budget": 60, "guard": {"by": "kind", "keep_at_least": 0.5, "rows": 10}}}]  # fmt: skip
    assert run_in(tmp_path, **{**asked, "steps": steps}).selected == 60


@pytest.mark.parametrize(
    ("guard", "told"),
    [
        ({"by": "source"}, "wanted {by: source, keep_at_least: 0.01}"),
        ({"by": "source", "keep_at_least": 2}, "wanted {by: source"),
        ({"by": "nofield", "keep_at_least": 0.1}, "no field or column 'nofield'"),
        ({"by": "source", "keep_at_least": 0.1, "else": 1}, "wanted {by: source"),
    ],
)
def test_a_wrong_guard_is_told_before_anything_starts(
    run_in: Runner, tmp_path: Path, guard: dict[str, Any], told: str
) -> None:
    asked = write_pools(tmp_path)
    for recipe in ({"guard": guard, "steps": [RULE]}, {"steps": [{"text_quality": {"guard": guard}}]}):
        with pytest.raises(RecipeError) as error:
            run_in(tmp_path, **asked, **recipe)
        assert told in str(error.value) and not (tmp_path / "store" / "pool").exists()


def test_the_command_line_ends_with_one(tmp_path: Path) -> None:
    write_pools(tmp_path)
    (tmp_path / "r.yaml").write_text(
        "pool: [{format: jsonl, path: '*.jsonl', key: id}]\n"
        "steps: [{text_quality: {apply: [gopher]}}]\n"
        "guard: {by: source, keep_at_least: 0.01}\n"
    )
    command = [Path(sys.executable).with_name("tamis"), "run", "r.yaml", "--store", "store"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "2 of 400 are left" in done.stderr and "Traceback" not in done.stderr


def test_a_rule_that_takes_more_than_a_fifth_is_told_at_once(
    run_in: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = write_pools(tmp_path)
    lines: list[str] = []
    monkeypatch.setattr(decide, "say", lines.append)
    outcome = run_in(tmp_path, **{**asked, "steps": [RULE, {"random": {"fraction": 0.1}}]})
    taken = outcome.manifest["steps"][0]["reasons"]["gopher_word_length"]
    told = f"gopher_word_length takes {taken / 1000:.0%} of 1,000"
    assert taken > 200 and told in outcome.manifest["steps"][0]["facts"]["said"]
    assert lines == [f"step 0 (text_quality): {told}"]
    assert f"text_quality: {told}" in summary(outcome.manifest)
    asked_for = run_in(tmp_path, name="asked", **{**asked, "steps": [{"sql": {"where": "kind = 'a'"}}]})
    assert "said" not in asked_for.manifest["steps"][0]["facts"], "a condition of one's own is known"
