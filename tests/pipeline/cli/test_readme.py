"""The commands and code of README and docs, run as they stand on a small pool."""

import re
import shlex
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import yaml

from tests_support import ROOT, write_jsonl

README = (ROOT / "README.md").read_text()


def blocks(text: str, language: str = "") -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [block for named, block in found if named == language]


def prepare(folder: Path, doc_records: list[dict[str, str]]) -> None:
    """A pool of 400, and 30 of the same kinds as the target."""
    some = doc_records[:430]
    write_jsonl(folder / "pool.jsonl", [record for n, record in enumerate(some) if n % 14 != 3 or n > 420])
    write_jsonl(folder / "target.jsonl", some[3:421:14])


def ends_by_ctrl_c(command: list[str], folder: Path) -> None:
    """A verb that serves a page until it is stopped."""
    serving = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert serving.stdout is not None
    address = serving.stdout.readline().strip()
    with urllib.request.urlopen(address.partition("#")[0], timeout=30) as answer:
        assert b"tamis" in answer.read()
    serving.send_signal(signal.SIGINT)
    _, told = serving.communicate(timeout=30)
    assert serving.returncode == 0, told


def test_every_readme_command_but_make_runs(tmp_path: Path, doc_records: list[dict[str, str]]) -> None:
    prepare(tmp_path, doc_records)
    bin_folder = Path(sys.executable).parent
    ran = 0
    for block in blocks(README):
        for line in block.splitlines():
            if line.startswith("tamis "):
                command = shlex.split(line.replace("KEY", shlex.quote(doc_records[0]["id"])))
                command[0] = str(bin_folder / command[0])
                if command[1] == "view":
                    ends_by_ctrl_c(command, tmp_path)
                else:
                    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
                    assert result.returncode == 0, f"{line}: {result.stderr}"
                ran += 1
    assert ran >= 7


def test_the_readmes_python_runs(tmp_path: Path, doc_records: list[dict[str, str]]) -> None:
    prepare(tmp_path, doc_records)
    code = blocks(README, "python")[0]
    assert len([line for line in code.splitlines() if line.strip()]) <= 5
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "SELECTED" in result.stdout and "chosen" in result.stdout


def test_the_docs_own_selector_and_recipe_run(tmp_path: Path, doc_records: list[dict[str, str]]) -> None:
    prepare(tmp_path, doc_records)
    page = (ROOT / "docs" / "selectors.md").read_text()
    (tmp_path / "own.py").write_text(blocks(page, "python")[0])
    steps = yaml.safe_load(blocks(page, "yaml")[0])["steps"]
    recipe = {"pool": [{"format": "jsonl", "path": "pool.jsonl", "key": "id"}], "steps": steps}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe))
    command = [Path(sys.executable).with_name("tamis"), "run", "r.yaml", "--store", "s", "--local"]
    refused = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert refused.returncode == 2 and "--allow-code" in refused.stderr
    result = subprocess.run([*command, "--allow-code"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_the_recipe_of_the_docs_is_valid(tmp_path: Path) -> None:
    from tamis.pipeline.recipe.recipe import Recipe

    recipe = yaml.safe_load(blocks((ROOT / "docs" / "recipe.md").read_text(), "yaml")[0])
    assert Recipe.model_validate(recipe).name == "medical"
