"""A second judge of another kind: apart from what is chosen from, told beside the target by every measure and training."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from planted import planted

from tamis.pipeline import open_run
from tamis.pipeline.comparing.page import table, write_comparison
from tamis.pipeline.comparing.selections import comparison
from tamis.pipeline.errors import RecipeError, SourceError
from tamis.pipeline.explain.show import funnel
from tamis.pipeline.store.runs import open_complete
from tests_support import Runner, write_jsonl

SOURCE = {"format": "jsonl", "key": "id"}
ASKED: dict[str, Any] = {
    "pool": [{**SOURCE, "path": "pool.jsonl"}],
    "target": [{**SOURCE, "path": "target.jsonl"}],
    "judge": [{**SOURCE, "path": "judge.jsonl"}],
    "emit": [],
}
LIKE = [{"importance_resampling": {"budget": 40}}]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The judge's texts are of the kitchen; five of them lie in the pool, too."""
    draw = np.random.default_rng(0)
    texts = {kind: [planted(draw, kind, 60) for _ in range(60)] for kind in ("sea", "law", "kitchen")}
    rows = [{"id": f"{kind}{n}", "text": text} for kind, some in texts.items() for n, text in enumerate(some)]
    write_jsonl(tmp_path / "pool.jsonl", rows)
    write_jsonl(tmp_path / "target.jsonl", [{"id": f"t{n}", "text": planted(draw, "sea", 60)} for n in range(20)])
    judge = [*texts["kitchen"][:5], *(planted(draw, "kitchen", 60) for _ in range(15))]
    write_jsonl(tmp_path / "judge.jsonl", [{"id": f"j{n}", "text": text} for n, text in enumerate(judge)])
    return tmp_path


def test_what_judges_is_never_chosen(run_in: Runner, place: Path) -> None:
    run = open_run(run_in(place, **ASKED, steps=[{"random": {"budget": 180}}]).folder)
    dropped = run.sql(
        "select key, reason from ledger join pool using (sample_id) where not kept order by key"
    ).to_pylist()
    assert [(row["key"], row["reason"]) for row in dropped] == [(f"kitchen{n}", "of_the_judge") for n in range(5)]
    assert "selections are judged by it" in run.why("kitchen0")


def test_decontamination_keeps_off_what_judges(run_in: Runner, place: Path) -> None:
    lines = (place / "judge.jsonl").read_text().splitlines()
    near = lines[10].replace('"}', ' and more"}').replace('"j10"', '"near"')
    with (place / "pool.jsonl").open("a") as file:
        file.write(near + "\n")
    run = open_run(run_in(place, **ASKED, steps=[{"decontaminate": {}}]).folder)
    reasons = {
        row["key"]: row["reason"]
        for row in run.sql("select key, reason from ledger join pool using (sample_id)").to_pylist()
    }
    assert reasons["near"] == "in_evaluation" and reasons["kitchen0"] == "of_the_judge" and reasons["sea0"] == "chosen"


def test_compare_tells_what_a_filter_costs_elsewhere(run_in: Runner, place: Path) -> None:
    run = run_in(place, **ASKED, name="like", steps=LIKE).folder
    found = comparison([run], None, None, None, train="tiny", seeds=2)
    by = {member["name"]: member for member in found["members"]}
    assert by["like"]["target_nats"] < by["random"]["target_nats"]
    assert by["like"]["judge_target_nats"] > by["random"]["judge_target_nats"]
    trained = found["trained"]["by"]
    assert trained["like"]["judge"] > trained["random"]["judge"] and trained["like"]["loss"] < trained["random"]["loss"]
    shown = table(found)
    assert "judge nats" in shown and "judge loss" in shown
    assert "It costs elsewhere: judge nats" in shown and "20 samples of `judge:`" in shown
    write_comparison(found, place / "page.html")
    page = (place / "page.html").read_text()
    assert "judge nats" in page and "judge loss" in page


def test_without_a_judge_nothing_is_said_of_one(run_in: Runner, place: Path) -> None:
    run = run_in(place, **{**ASKED, "judge": []}, name="like", steps=LIKE).folder
    assert "judge" not in table(comparison([run], None, None, None)).replace("Judged", "")


def test_a_source_that_moves_to_the_judge_divides_the_target_anew(run_in: Runner, place: Path) -> None:
    both = {**ASKED, "target": [*ASKED["target"], *ASKED["judge"]], "judge": [], "hold_out": 0.25}
    whole = open_complete(run_in(place, **both, name="whole", steps=LIKE).folder)
    apart = open_complete(run_in(place, **{**ASKED, "hold_out": 0.25}, name="apart", steps=LIKE).folder)
    assert whole.whole_target_folder == apart.whole_target_folder and whole.target_folder != apart.target_folder
    assert apart.judge is not None and sum(part.rows for part in apart.judge.parts) == 20
    held = {text for part in apart.held.target.parts for text in pq.read_table(part.path)["text"].to_pylist()}
    rest = {text for part in apart.target.parts for text in pq.read_table(part.path)["text"].to_pylist()}
    assert len(held) == 5 and len(rest) == 15 and not held & rest


def test_runs_of_different_judges_are_not_compared(run_in: Runner, place: Path) -> None:
    mine = run_in(place, **ASKED, name="mine", steps=LIKE).folder
    other = run_in(place, **{**ASKED, "judge": []}, name="other", steps=LIKE).folder
    with pytest.raises(RecipeError, match="another `judge:` than that of"):
        comparison([mine, other], None, None, None)


def test_an_empty_judge_and_a_wrong_key_are_one_line(run_in: Runner, place: Path) -> None:
    (place / "judge.jsonl").write_text('{"id": "j0", "text": ""}\n')
    with pytest.raises(SourceError, match="judge source 0: not one usable sample"):
        run_in(place, **ASKED, steps=LIKE)
    with pytest.raises(RecipeError, match=r"judge\.0\.pth: unknown key, did you mean 'path'"):
        run_in(place, **{**ASKED, "judge": [{**SOURCE, "pth": "judge.jsonl"}]}, steps=LIKE)


def test_without_steps_what_is_set_aside_is_told_all_the_same(run_in: Runner, place: Path) -> None:
    outcome = run_in(place, **ASKED, steps=[])
    run = open_run(outcome.folder)
    assert outcome.manifest["selected"] == 175
    assert ("selection", 175, "-5 set aside") in funnel(outcome.manifest)
    assert "NOT SELECTED" in run.why("kitchen0") and "set aside of_the_judge" in run.why("kitchen0")
    assert "NOT" not in run.why("kitchen9")
