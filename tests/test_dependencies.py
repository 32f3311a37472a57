"""Locks, constraints and the page of dependencies agree with pyproject.toml, and the check says so where they don't."""

import re
import sys
from dataclasses import replace
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

import pytest

from tests_support import ROOT

spec = spec_from_file_location("pins", ROOT / "bench" / "pins.py")
assert spec and spec.loader
pins: Any = module_from_spec(spec)
sys.modules["pins"] = pins
spec.loader.exec_module(pins)


@cache
def held() -> Any:
    return pins.read()


def faults_with(**changed: Any) -> list[str]:
    return list(pins.faults(replace(held(), **changed)))


def without(text: str, pattern: str, put: str = "") -> str:
    changed, count = re.subn(pattern, put, text, count=1, flags=re.MULTILINE)
    assert count, pattern
    return changed


def test_locks_constraints_and_page_agree_with_pyproject() -> None:
    assert faults_with() == []


def test_what_is_pinned_has_a_hash_and_no_lock_names_a_host() -> None:
    locked = pins.pins(held().locks)
    assert len(locked) > 200 and {"numpy", "torch", "kenlm"} <= set(locked)
    assert {name for name, pin in locked.items() if not pin.hashes} == set(pins.APART)
    assert "://" not in held().locks and not any(map(pins.GPU.match, locked))


@pytest.mark.parametrize(
    ("pattern", "put", "told"),
    [
        (r"^numpy==.*", "# none", "numpy: pyproject.toml asks for numpy>=2.0, the locks have none"),
        (r"^numpy==.* ", "numpy==1.26.4 ", "numpy: pyproject.toml asks for numpy>=2.0, the locks have 1.26.4"),
        (r"^anyio==.* ", "anyio==4.0.0 ", "anyio: constraints.txt says .*, the locks have 4.0.0"),
        (r"^kenlm==.* ", "kenlm==0.2.0 ", "kenlm: pyproject.toml asks for kenlm>=0.3, the locks have 0.2.0"),
        (r"(?<=^six==1.17.0)( \\\n +--hash=sha256:[0-9a-f]{64})+", "", "six: no hash"),
        (r"\A", "-f elsewhere\n", "a lock has a line that is no pin: -f elsewhere"),
        (r"\A", "left-pad==1.0\n", "left-pad: no hash"),
        (r"\A", "left-pad==1.0\n", "left-pad: docs/dependencies.md says licence None, wanted unknown"),
    ],
)
def test_a_lock_that_is_wrong_is_told(pattern: str, put: str, told: str) -> None:
    found = faults_with(locks=without(held().locks, pattern, put))
    assert any(re.fullmatch(told, line) for line in found), found


@pytest.mark.parametrize(
    ("pattern", "put", "told"),
    [
        (r"^\| `duckdb` .*\n", "", "duckdb: docs/dependencies.md doesn't say what it is for"),
        (r"^\| `PyYAML` \| MIT", "| `PyYAML` | BSD", "pyyaml: docs/dependencies.md says licence BSD above, MIT below"),
        (r"\| MPL-2.0 \| certifi, ", "| MPL-2.0 | ", "certifi: docs/dependencies.md says licence None, wanted MPL-2.0"),
        (r"^(\| `tamis` \| )MIT-0", r"\1GPL", "cffi: docs/dependencies.md says licence GPL, wanted MIT-0"),
        (r"kenlm \|$", "kenlm, gone |", "gone: docs/dependencies.md says licence LGPL-2.1-or-later, wanted none"),
        (
            r"^\| `\[fasttext\]` .*\n",
            "",
            r"\[fasttext\]: docs/dependencies.md lists other packages \(fasttext-predict\)",
        ),
    ],
)
def test_a_page_that_is_stale_is_told(pattern: str, put: str, told: str) -> None:
    found = faults_with(page=without(held().page, pattern, put))
    assert any(re.fullmatch(told, line) for line in found), found


def test_a_new_dependency_is_told_until_it_is_locked_and_described() -> None:
    more = {**held().project["optional-dependencies"], "new": ["left-pad>=1"]}
    found = faults_with(project={**held().project, "optional-dependencies": more})
    assert found == [
        "left-pad: pyproject.toml asks for left-pad>=1, the locks have none",
        "left-pad: docs/dependencies.md doesn't say what it is for",
    ]
