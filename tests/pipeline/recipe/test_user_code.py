"""The user's own Python: run only where it is needed, and another column when it is edited."""

from pathlib import Path

import pyarrow.parquet as pq

from tamis.pipeline.explain.why import why
from tamis.pipeline.store.manifest import verify
from tamis.pipeline.store.query import ask
from tamis.pipeline.store.runs import open_complete
from tests_support import BASIC, Runner

RANDOM = [{"random": {"budget": 5}}]
CODE = "from pathlib import Path\nPath({mark!r}).touch()\n\n\ndef taste(batch):\n    return [1.0] * batch.num_rows\n"


def test_looking_at_a_run_runs_no_users_code(run_in: Runner, workplace: Path) -> None:
    mark = workplace / "mark"
    (workplace / "mine.py").write_text(CODE.format(mark=str(mark)))
    columns = {"taste": {"python": "mine.py:taste"}}
    outcome = run_in(workplace, columns=columns, allow_code=True, steps=[*BASIC["steps"], *RANDOM])
    mark.unlink()
    (workplace / "mine.py").write_text("raise SystemExit('ran')\n")
    run = open_complete(outcome.folder)
    assert len(list(ask(run, "select taste from taste limit 1"))) == 1
    key = pq.read_table(outcome.folder / "selection.parquet")["key"][0].as_py()
    assert "n-grams" in why(run, key)
    assert verify(run) == []
    assert not mark.exists()


def test_edited_code_is_another_column(run_in: Runner, workplace: Path) -> None:
    for value in (1.0, 2.0):
        (workplace / "mine.py").write_text(f"def taste(batch):\n    return [{value}] * batch.num_rows\n")
        columns = {"taste": {"python": "mine.py:taste"}}
        outcome = run_in(workplace, name=f"v{value:.0f}", columns=columns, allow_code=True, steps=RANDOM)
        folder = outcome.manifest["columns"][0]["folder"]
        part = next((workplace / "store" / folder).glob("part-*"))
        assert pq.read_table(part)["taste"][0].as_py() == value
