"""The user's own Python: run only where it is needed, and another column when it is edited."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tamis.pipeline.errors import CodeNotAllowed, RecipeError
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


KIND = """
from dataclasses import asdict, dataclass
from typing import ClassVar

import pyarrow as pa

from tamis.pipeline.columns.contract import ColumnKind, NoModel, Output


@dataclass(frozen=True, kw_only=True)
class Vowels(ColumnKind):
    verb: ClassVar[str] = "measure"
    kind: ClassVar[str] = "vowels"

    scale: float = 1.0

    def makes(self, images):
        return [Output(main=pa.float64(), more=(("letters", pa.int32()),), reads=("text",))]

    def fingerprinted(self, folder):
        return {**asdict(self), "version": 1}

    def load(self, place):
        return Shares(self.scale)


class Shares(NoModel):
    def __init__(self, scale):
        self.scale = scale

    def values(self, batch, told):
        texts = [text or "" for text in batch["text"].to_pylist()]
        told.counts["texts_cut"] += 1
        vowels = [self.scale * sum(char in "aeiou" for char in text) for text in texts]
        return [pa.array(vowels), pa.array([len(text) for text in texts], pa.int32())]
"""


def test_a_users_kind_has_settings_and_fields_as_ours_have(run_in: Runner, workplace: Path) -> None:
    (workplace / "mine.py").write_text(KIND)
    column = {"python": "mine.py:Vowels", "scale": 10}
    steps = [{"threshold": {"column": "open", "above": 100}}, {"sql": {"where": "open_letters > 50"}}]
    asked = {"target": [], "columns": {"open": column}, "steps": steps}
    with pytest.raises(CodeNotAllowed):
        run_in(workplace, **asked)
    outcome = run_in(workplace, allow_code=True, **asked)
    texts = pq.read_table(outcome.folder / "selection.parquet")["text"].to_pylist()
    assert texts and all(sum(char in "aeiou" for char in text) > 10 and len(text) > 50 for text in texts)
    assert verify(open_complete(outcome.folder)) == []
    with pytest.raises(RecipeError, match="unknown setting 'scal', did you mean 'scale'"):
        run_in(workplace, name="b", allow_code=True, **{**asked, "columns": {"open": {**column, "scal": 1}}})
    with pytest.raises(RecipeError, match="is a function, which has no settings"):
        (workplace / "fn.py").write_text("def taste(batch):\n    return [1.0] * batch.num_rows\n")
        run_in(
            workplace, name="c", allow_code=True, **{**asked, "columns": {"open": {"python": "fn.py:taste", "x": 1}}}
        )


def test_an_edited_kind_is_another_column(run_in: Runner, workplace: Path) -> None:
    asked = {"target": [], "columns": {"open": {"python": "mine.py:Vowels"}}, "steps": RANDOM, "allow_code": True}
    found = []
    for name, code in (("a", KIND), ("b", KIND.replace('"aeiou"', '"y"'))):
        (workplace / "mine.py").write_text(code)
        folder = run_in(workplace, name=name, **asked).manifest["columns"][0]["folder"]
        parts = sorted((workplace / "store" / folder).glob("part-*"))
        found.append([value for part in parts for value in pq.read_table(part)["open"].to_pylist()])
    assert len(found[0]) == len(found[1]) and sum(found[0]) > sum(found[1]) > 0


STEPS = """
from dataclasses import dataclass

import numpy as np

from tamis.selectors.contract import Inputs


@dataclass(frozen=True, kw_only=True)
class Short:
    most: int = 500
    budgeted = False

    def inputs(self):
        return Inputs(fields=("n_bytes",))

    def fit(self, pool, targets):
        return self

    def score(self, batch):
        return -np.asarray(batch["n_bytes"], float)

    def verdicts(self, batch):
        return [("over_most", f"{n} bytes") if n > self.most else None for n in batch["n_bytes"].to_pylist()]


@dataclass(frozen=True)
class Cut:
    taken: np.ndarray

    def score(self, batch):
        place = {one: -rank for rank, one in enumerate(self.taken.tolist())}
        return np.array([place.get(one, np.nan) for one in batch["sample_id"].to_pylist()], float)


@dataclass(frozen=True, kw_only=True)
class Shortest:
    fitted = Cut

    def inputs(self):
        return Inputs(fields=("n_bytes",))

    def rank(self, pool, budget):
        rows = [row for batch in pool for row in batch.select(["n_bytes", "sample_id"]).to_pylist()]
        rows.sort(key=lambda row: (row["n_bytes"], row["sample_id"]))
        return Cut(np.array([row["sample_id"] for row in rows[: budget.amount]], np.uint64))
"""


def test_steps_without_a_base_of_ours_drop_by_reason_and_rank(run_in: Runner, workplace: Path) -> None:
    (workplace / "own.py").write_text(STEPS)
    steps = [{"own.py:Short": {"most": 400}}, {"own.py:Shortest": {"budget": 7}}]
    outcome = run_in(workplace, target=[], steps=steps, allow_code=True)
    run = open_complete(outcome.folder)
    sizes = [
        row
        for batch in ask(run, "select n_bytes from pool order by n_bytes limit 7")
        for row in batch["n_bytes"].to_pylist()
    ]
    chosen = "select n_bytes from pool join selection using (sample_id) order by n_bytes"
    assert [row for batch in ask(run, chosen) for row in batch["n_bytes"].to_pylist()] == sizes
    (dropped,) = ask(run, "select key, n_bytes from pool where n_bytes > 400 order by sample_id limit 1")
    assert f"over_most\n            {dropped['n_bytes'][0].as_py()} bytes" in why(run, dropped["key"][0].as_py())
    assert verify(run) == []
