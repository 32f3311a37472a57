"""New files are seen once they stand still, whatever the disk or the bucket says in between."""

from pathlib import Path

import pytest

from tamis.flows import settings
from tamis.pipeline.errors import SourceError
from tamis.pipeline.recipe.recipe import parse_recipe
from tests_support import write_jsonl

settings.apply()
ROW = [{"id": "a", "text": "a text"}]


def test_a_file_counts_once_two_looks_saw_it_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tamis.flows import watch

    recipe = parse_recipe({"name": "r", "pool": [{"format": "jsonl", "path": "new/*.jsonl"}]}, tmp_path)
    (tmp_path / "new").mkdir()
    looker = watch.Looker(recipe)
    assert looker.new() == 0, "there is none"
    write_jsonl(tmp_path / "new" / "a.jsonl", ROW)
    assert looker.new() == 0, "it may be written yet"
    write_jsonl(tmp_path / "new" / "a.jsonl", ROW * 2)
    assert looker.new() == 0, "it was"
    with monkeypatch.context() as patch:

        def away(*_: object) -> None:
            raise SourceError("the bucket does not answer")

        patch.setattr(watch, "find_files", away)
        assert looker.new() == 0
    assert looker.new() == 0, "the look before saw nothing"
    assert looker.new() == 1
    assert looker.new() == 1, "until it is taken"
    looker.taken()
    assert looker.new() == 0
    looker.nothing_ran()
    assert looker.new() == 1
