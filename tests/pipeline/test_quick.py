"""The common case without a recipe."""

from pathlib import Path
from typing import Any

import pytest

from tamis.pipeline.progress import hushed
from tamis.pipeline.quick import pick


def test_pick_again_after_the_pool_changed_and_from_elsewhere(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments: dict[str, Any] = {"like": workplace / "target.jsonl", "n": 3, "out": workplace / "o.jsonl"}
    with hushed():
        first = pick(workplace / "pool.jsonl", **arguments)
        monkeypatch.chdir(workplace)
        assert pick(workplace / "pool.jsonl", **arguments).outcome.fresh is False
        with (workplace / "pool.jsonl").open("a") as out:
            out.write('{"id": "new", "text": "one more text"}\n')
        assert pick(workplace / "pool.jsonl", **arguments).run != first.run
