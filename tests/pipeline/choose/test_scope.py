"""What a step may choose from, and how much."""

from pathlib import Path

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
