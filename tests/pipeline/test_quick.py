"""The common case without a recipe."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tamis.pipeline.progress import hushed
from tamis.pipeline.quick import pick
from tests_support import write_jsonl


def test_pick_again_after_the_pool_changed_and_from_elsewhere(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments: dict[str, Any] = {"like": workplace / "target.jsonl", "n": 3, "out": workplace / "o.jsonl"}
    with hushed():
        first = pick(workplace / "pool.jsonl", **arguments)
        monkeypatch.chdir(workplace)
        assert pick(workplace / "pool.jsonl", **arguments).outcome.fresh is False
        with (workplace / "pool.jsonl").open("a") as out:
            out.write('{"id": "new", "text": "one more text"}\n')
        assert pick(workplace / "pool.jsonl", **arguments).run != first.run


def test_pick_leaves_out_what_the_target_has_and_repeats_unless_it_is_asked_for(tmp_path: Path) -> None:
    like = [{"text": f"wave boat harbour {n}"} for n in range(10)]
    rows = [*like, *({"text": f"wave boat harbour tide {n // 2}"} for n in range(40)), *({"text": f"court {n}"} for n in range(40))]  # fmt: skip
    write_jsonl(tmp_path / "pool.jsonl", [{"id": f"k{n}", **row} for n, row in enumerate(rows)])
    write_jsonl(tmp_path / "target.jsonl", like)
    texts = {}
    for known in (False, True):
        for repeats in (False, True):
            run = pick(tmp_path / "pool.jsonl", tmp_path / "target.jsonl", 20, known=known, repeats=repeats).run
            found = pq.read_table(run / "selection.parquet")["text"].to_pylist()
            assert len(found) == 20
            texts[known, repeats] = found
    theirs = {row["text"] for row in like}
    for (known, repeats), found in texts.items():
        assert bool(theirs & {*found}) == known and (len({*found}) < 20) == repeats, (known, repeats)
