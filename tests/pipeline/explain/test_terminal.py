"""What a terminal is shown."""

from pathlib import Path

from tamis.pipeline.explain.why import why
from tamis.pipeline.store.runs import open_complete
from tests_support import Runner, write_jsonl


def test_control_characters_do_not_reach_a_terminal(run_in: Runner, workplace: Path) -> None:
    write_jsonl(workplace / "pool.jsonl", [{"id": "k", "part": "x", "text": "red \x1b[31m alert"}])
    outcome = run_in(workplace, steps=[], target=[])
    assert "\x1b" not in why(open_complete(outcome.folder), "k")
