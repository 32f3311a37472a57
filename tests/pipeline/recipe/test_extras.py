"""What a recipe needs and is not installed is told before anything starts, with the command that installs it."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from tamis.pipeline.doors import plan
from tamis.pipeline.recipe import extras
from tests_support import Runner

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("asked", "module", "command"),
    [
        ({"columns": {"c": {"embed": "open_clip", "model": "ViT-B-32", "pretrained": "random"}}}, "open_clip", "clip"),
        ({"columns": {"c": {"classify": "linear"}}}, "sklearn", "classify"),
        ({"columns": {"c": {"loss": "train", "on": "pool", "tokens": "1M"}}}, "accelerate", "lm"),
        ({"pool": [{"format": "images", "path": "photos"}]}, "PIL", "vision"),
    ],
)
def test_by_run_and_by_plan(
    run_in: Runner, workplace: Path, monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any], module: str, command: str
) -> None:
    real = extras.find_spec
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == module else real(name))
    (workplace / "photos").mkdir()
    (workplace / "photos" / "a.jpg").write_bytes(b"an image")
    told = f"needs the extra: pip install 'tamis.{command}.'"
    with pytest.raises(extras.MissingExtra, match=told):
        run_in(workplace, steps=[], **asked)
    assert not (workplace / "store").exists(), "before anything starts"
    with pytest.raises(extras.MissingExtra, match=told):
        plan(workplace / "run.yaml")


def test_the_extras_are_those_of_the_package() -> None:
    held = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(extras.BRINGS) <= set(held)
