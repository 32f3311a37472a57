"""Files of a store that are missing or damaged are named."""

from pathlib import Path

import pytest

from tamis.pipeline.errors import DamageFound
from tamis.pipeline.explain.why import why
from tamis.pipeline.store.manifest import verify
from tamis.pipeline.store.runs import open_complete
from tests_support import Runner


def test_missing_and_damaged_files_of_a_store_are_named(run_in: Runner, workplace: Path) -> None:
    outcome = run_in(workplace)
    column = next((workplace / "store" / "columns" / "ngrams").glob("part-*"))
    column.write_bytes(column.read_bytes()[:-1] + b"x")
    assert any(str(column) in line for line in verify(open_complete(outcome.folder)))
    part = next((workplace / "store" / "pool").glob("part-*"))
    part.unlink()
    other = run_in(workplace, name="other", steps=[{"importance_resampling": {"budget": 3, "ngrams": 1}}])
    assert other.selected == 3, "its files are read anew"
    with pytest.raises(DamageFound):
        why(open_complete(outcome.folder), "anything")
    (outcome.folder / "request.json").write_text("{")
    with pytest.raises(DamageFound, match=r"request\.json"):
        open_complete(outcome.folder)
