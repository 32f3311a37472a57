"""The pages of docs/, run as they stand: what they show is what comes of it. docs/outputs.py writes them anew."""

import re
import runpy
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import get_args

import pytest
import yaml

from tamis.pipeline import progress
from tamis.pipeline.demo.docstrings import needed_by
from tamis.pipeline.recipe.plans import resolve_steps
from tamis.pipeline.recipe.recipe import load_recipe
from tamis.pipeline.recipe.reference import MODELS, keys_of
from tamis.pipeline.recipe.source import FORMATS, Format
from tests_support import ROOT

outputs = runpy.run_path(str(ROOT / "docs" / "outputs.py"))
SHOWN = sorted(path for path in (ROOT / "docs").rglob("*.md") if "```console" in path.read_text())
PINS = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))


def as_pinned() -> bool:
    """Whether the demo's pool is the one that the pages were written from."""
    pinned = {name.lower().replace("_", "-"): wanted for name, wanted in PINS.items()}
    here = {name: version(name) for name in needed_by("tamis")}
    return sys.version_info[:2] == (3, 11) and all(pinned.get(name, found) == found for name, found in here.items())


@pytest.mark.thorough
@pytest.mark.parametrize("page", SHOWN, ids=lambda path: path.stem)
def test_a_page_shows_what_is_printed(page: Path, tmp_path: Path) -> None:
    text = page.read_text()
    if "TAMIS_TEST_DATA" in text and not Path(outputs["DATA"]).exists():
        pytest.skip(f"no real data at {outputs['DATA']}; set TAMIS_TEST_DATA")
    for shown, printed in outputs["play"](text, tmp_path):
        if "TAMIS_TEST_DATA" in text or as_pinned():
            assert outputs["differences"](shown.printed, printed) == [], shown.command


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("a\n...\nz\n", "a\nb\nc\nz\n", True),
        ("a\n...\nz\n", "b\nc\nz\n", False),
        ("step 0: score    1 shard     0.0 s\n", "step 0: score    1 shard     12.4 s\n", True),
        ("  pool   18,934  ███\n", "  pool   18,935  ███\n", False),
        ("...\nlast\n", "1\n2\nlast\n", True),
        ("one\n", "one\ntwo\n", False),
    ],
)
def test_what_varies_is_not_compared_and_the_rest_is(shown: str, printed: str, same: bool) -> None:
    assert (outputs["differences"](shown, printed) == []) is same


def test_work_that_is_told_only_where_it_took_long_is_not_compared(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "SILENT", 0.05)
    with progress.still("read"):
        time.sleep(0.3)
    counter = progress.Counter("decode", 0, "images")
    counter.add(7)
    counter.end()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) >= 3
    assert [line for line in lines if not outputs["UNDER_WAY"].search(line)] == lines[-1:]


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda path: str(path.stem))
def test_every_whole_recipe_of_a_page_is_one(page: Path, tmp_path: Path) -> None:
    for number, text in enumerate(re.findall(r"^```yaml.*\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)):
        if "pool" in (yaml.safe_load(text) or {}):
            (tmp_path / f"r{number}.yaml").write_text(text)
            recipe = load_recipe(tmp_path / f"r{number}.yaml")
            resolve_steps(recipe, tmp_path, allow_code=False, columns=[*recipe.columns, "labels"])


def test_the_reference_tells_of_every_format_and_every_key() -> None:
    assert set(FORMATS) == set(get_args(Format))
    for title, model in MODELS.items():
        for key in keys_of(model):
            assert key.meaning, f"{title}: {key.name} has no meaning in the docstring"
