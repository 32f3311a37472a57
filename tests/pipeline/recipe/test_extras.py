"""What a recipe needs and is not installed is told before anything starts, with the command that installs it."""

import sys
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
    told = rf"needs the extra: .*pip install .*\[{command}\]"
    with pytest.raises(extras.MissingExtra, match=told):
        run_in(workplace, steps=[], **asked)
    assert not (workplace / "store").exists(), "before anything starts"
    with pytest.raises(extras.MissingExtra, match=told):
        plan(workplace / "run.yaml")


def test_the_extras_are_those_of_the_package() -> None:
    held = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(extras.BRINGS) == set(extras.MEANT_FOR) <= set(held)


class Installed:
    """A distribution that says where it came from."""

    def __init__(self, told: str | None) -> None:
        self.told = told

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return self.told


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        (None, "'tamis[clip]'"),
        ('{"url": "file:///home/me/my%20tamis", "dir_info": {}}', "'/home/me/my tamis[clip]'"),
        ('{"url": "file:///home/me/my%20tamis", "dir_info": {"editable": true}}', "-e '/home/me/my tamis[clip]'"),
        ('{"url": "https://e.org/t.git", "vcs_info": {"vcs": "git"}}', "'tamis[clip] @ git+https://e.org/t.git'"),
        ('{"url": "https://e.org/tamis-1.whl", "archive_info": {}}', "'tamis[clip] @ https://e.org/tamis-1.whl'"),
    ],
)
def test_the_command_is_of_where_tamis_came_from(
    monkeypatch: pytest.MonkeyPatch, told: str | None, wanted: str
) -> None:
    monkeypatch.setattr(extras, "distributions", lambda name: iter([Installed(None), Installed(told)]))
    assert extras.install_command("clip").endswith(f"pip install {wanted}")


def test_the_command_is_of_this_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "pip").touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert extras.install_command("clip").startswith(f"{sys.executable} -m pip install"), "another one's pip"
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{tmp_path}")
    assert extras.install_command("clip").startswith("pip install")
    real = extras.find_spec
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "pip" else real(name))
    assert extras.install_command("clip").startswith(f"uv pip install --python {sys.executable}")


def test_a_clone_stays_one_in_the_versions_that_it_pins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "constraints.txt").touch()
    (tmp_path / "tamis").mkdir()
    (tmp_path / "tamis" / "constraints.txt").touch()
    monkeypatch.chdir(tmp_path)
    told = f'{{"url": "{tmp_path.as_uri()}", "dir_info": {{"editable": true}}}}'
    monkeypatch.setattr(extras, "distributions", lambda name: iter([Installed(told)]))
    assert extras.install_command("clip").endswith(f"install -c {tmp_path}/constraints.txt -e '{tmp_path}[clip]'")
    monkeypatch.setattr(extras, "distributions", lambda name: iter([Installed(None)]))
    assert extras.install_command("clip").endswith("install 'tamis[clip]'"), "a folder of that name is not it"
