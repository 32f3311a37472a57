"""Steps and column kinds of other packages: a small one is built, installed, and used under its own names."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests_support import write_jsonl

PROJECT = """\
[build-system]
requires = ["setuptools>=65"]
build-backend = "setuptools.build_meta"

[project]
name = "tamis-vowels"
version = "1.2"

[project.entry-points."tamis.selectors"]
most_vowels = "tamis_vowels:MostVowels"

[project.entry-points."tamis.columns"]
"measure.vowels" = "tamis_vowels:Vowels"
"""
CODE = textwrap.dedent(
    '''
    """Texts with many vowels."""

    from dataclasses import asdict, dataclass
    from pathlib import Path
    from typing import ClassVar

    import numpy as np
    import pyarrow as pa

    from tamis.pipeline.columns.contract import ColumnKind, NoModel, Output
    from tamis.selectors.contract import Fitted, Inputs, Scorer


    def share(text):
        return sum(char in "aeiou" for char in text.lower()) / max(1, len(text))


    @dataclass(frozen=True, kw_only=True)
    class MostVowels(Scorer, Fitted):
        """those: what is counted"""

        column: str | None = None

        def inputs(self):
            return Inputs(fields=("text",) if self.column is None else (self.column,))

        def fit(self, pool, targets):
            return self

        def score(self, batch):
            if self.column is not None:
                return batch[self.column].to_numpy(zero_copy_only=False).astype(float)
            return np.array([share(text or "") for text in batch["text"].to_pylist()], float)


    @dataclass(frozen=True, kw_only=True)
    class Vowels(ColumnKind):
        """scale: what the share is multiplied by"""

        verb: ClassVar[str] = "measure"
        kind: ClassVar[str] = "vowels"
        heavy: ClassVar[bool] = False

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
            return [pa.array([self.scale * share(text) for text in texts]), pa.array([len(text) for text in texts], pa.int32())]
    '''
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed package, to be put on the path."""
    source = tmp_path_factory.mktemp("vowels")
    (source / "pyproject.toml").write_text(PROJECT)
    (source / "tamis_vowels.py").write_text(CODE)
    site = tmp_path_factory.mktemp("site")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--disable-pip-version-check",
    ]
    subprocess.run([*pip, "--target", str(site), str(source)], check=True, capture_output=True)
    return site


def tamis(site: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("tamis")), *words]
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )


def test_its_step_and_column_run_under_their_own_names(site: Path, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "pool.jsonl", [{"id": word, "text": word} for word in ("rhythm", "aeolian", "queue", "cat")])
    (tmp_path / "r.yaml").write_text(
        "pool: [{format: jsonl, path: pool.jsonl, key: id}]\n"
        "columns: {open: {measure: vowels, scale: 10}}\n"
        "steps: [{threshold: {column: open_letters, above: 4}}, {most_vowels: {column: open, budget: 2}}]\n"
        "emit: [keys]\n"
    )
    done = tamis(site, tmp_path, "run", "r.yaml", "--store", "s", "--local")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "s/runs/r/exports/selection.keys.txt").read_text().split() == ["queue", "aeolian"]
    assert "score 8" in tamis(site, tmp_path, "why", "s/runs/r", "queue").stdout
    assert tamis(site, tmp_path, "verify", "s/runs/r").returncode == 0
    gone = tamis(tmp_path, tmp_path, "run", "r.yaml", "--store", "s", "--run", "other", "--local")
    assert gone.returncode == 2 and "no measure 'vowels'; known: image, text" in gone.stderr


def test_the_list_says_which_package_a_step_is_from_and_the_suite_knows_it(site: Path, tmp_path: Path) -> None:
    assert "Texts with many vowels. (of tamis-vowels 1.2)" in tamis(site, tmp_path, "selectors").stdout
    assert "most_vowels" not in tamis(tmp_path, tmp_path, "selectors").stdout
    checked = tamis(site, tmp_path, "check-selector", "most_vowels")
    assert checked.returncode == 0 and "8 of 8 hold" in checked.stdout, checked.stdout + checked.stderr
    refused = tamis(site, tmp_path, "check-selector", "most_vowls")
    assert refused.returncode == 2 and len(refused.stderr.splitlines()) == 1
