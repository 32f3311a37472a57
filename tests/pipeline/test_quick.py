"""The common case without a recipe."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tamis.pipeline.cli.app import app
from tamis.pipeline.errors import NothingFound, RecipeError
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


def test_pick_without_a_number_takes_the_kind_or_says_that_there_is_none(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)

    def texts(kind: str, count: int) -> list[dict[str, str]]:
        """Of words of its kind and some of all, as rare as words are."""
        rows = np.minimum(draw.zipf(1.3, (count, 40)), 300)
        return [{"text": " ".join(f"{kind if n > 8 else 'common'}{n}" for n in row.tolist())} for row in rows]

    write_jsonl(tmp_path / "pool.jsonl", [*texts("sea", 40), *texts("law", 400)])
    write_jsonl(tmp_path / "law.jsonl", texts("law", 400))
    write_jsonl(tmp_path / "target.jsonl", texts("sea", 60))
    write_jsonl(tmp_path / "few.jsonl", texts("sea", 8))
    out = tmp_path / "out.txt"
    picked = pick(tmp_path / "pool.jsonl", tmp_path / "target.jsonl", out=out)
    number = picked.outcome.manifest["steps"][1]["facts"]["found"]["number"]
    assert number["low"] <= 40 <= number["high"] and picked.outcome.selected == round(number["value"])
    assert len(out.read_text().splitlines()) == picked.outcome.selected
    with pytest.raises(NothingFound) as none:
        pick(tmp_path / "law.jsonl", tmp_path / "target.jsonl", out=tmp_path / "none.txt")
    said = str(none.value).splitlines()
    assert "nothing of the target's kind is there (at most " in said[0] and len(said) == 5 and "-n N takes" in said[4]
    assert all(line.startswith("  nearest: ") for line in said[1:4])
    assert not (tmp_path / "none.txt").exists()
    assert pick(tmp_path / "law.jsonl", tmp_path / "target.jsonl", 5, out=tmp_path / "five.txt").outcome.selected == 5
    with pytest.raises(RecipeError, match="8 samples of the target that can be judged are too few"):
        pick(tmp_path / "pool.jsonl", tmp_path / "few.jsonl", out=out)
    with pytest.raises(NothingFound) as ended:
        app(
            [
                "pick",
                str(tmp_path / "law.jsonl"),
                "--like",
                str(tmp_path / "target.jsonl"),
                "-o",
                str(tmp_path / "n.txt"),
            ]
        )
    assert ended.value.exit_code == 1 and not (tmp_path / "n.txt").exists()
