"""The shape of the repository: what shadows nothing, who imports whom, and docs that tell the truth."""

import ast
import re
import runpy
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tamis.selectors.catalog import SELECTORS
from tests_support import ROOT

FOLDERS = ("pipeline", "selectors", "sql", "flows")
MOST_MODULES = 15  # of a room


def rooms(folder: str) -> list[Path]:
    """The folder and all that are in it, but for those that hold files of a page."""
    below = [path for path in (ROOT / folder).rglob("*") if path.is_dir() and path.name not in ("__pycache__", "page")]
    return [ROOT / folder, *sorted(below)]


def modules(room: Path) -> list[Path]:
    return sorted(path for path in room.glob("*.py") if path.name != "__init__.py")


ROOMS = [room for folder in FOLDERS for room in rooms(folder)]


def test_selectors_is_no_package_and_no_file_shadows_the_standard_library() -> None:
    assert not (ROOT / "selectors" / "__init__.py").exists()
    assert not (ROOT / "tamis").exists()
    for folder in FOLDERS:
        for path in modules(ROOT / folder):
            assert path.stem not in sys.stdlib_module_names, path


def test_the_wheel_names_every_room() -> None:
    named = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert sorted(named) == sorted("tamis." + ".".join(room.relative_to(ROOT).parts) for room in ROOMS)


@pytest.mark.parametrize(
    "room", [room for room in ROOMS if room.name != "sql"], ids=lambda room: str(room.relative_to(ROOT))
)
def test_a_room_is_small_and_says_what_each_file_is(room: Path) -> None:
    assert len(modules(room)) <= MOST_MODULES
    if room == ROOT / "selectors":
        return
    tree = ast.parse((room / "__init__.py").read_text())
    told = ast.get_docstring(tree) or ""
    if room not in (ROOT / "pipeline", ROOT / "flows"):
        assert len(tree.body) == 1, "a room's __init__.py has no code"
        assert told.count("\n\n") >= 2 or room.parent.name == "columns", (
            "what it is; what comes in and goes out; its files"
        )
    listed = {line.split()[0] for line in told.splitlines() if line.startswith("    ") and len(line.split()) > 1}
    files = {path.name for path in modules(room)}
    assert {name for name in listed if name.endswith(".py")} == files
    inside = {f"{path.name}/" for path in rooms(str(room.relative_to(ROOT)))[1:] if path.parent == room}
    assert room == ROOT / "pipeline" or {name for name in listed if name.endswith("/")} == inside


def test_no_loose_question_who_a_selector_or_a_column_is() -> None:
    for room in rooms("pipeline"):
        for path in modules(room):
            for line in path.read_text().splitlines():
                asked = re.search(r"(hasattr|getattr|isinstance)\((\w+\.)*(selector|learned|kind|maker)\b", line)
                assert asked is None, f"{path}: {line.strip()}"


def test_importing_the_pipeline_loads_nothing_heavy() -> None:
    code = (
        "import sys, tamis.pipeline, tamis.pipeline.cli.app, tamis.pipeline.recipe.recipe, tamis.selectors.catalog\n"
        "print([name for name in ('torch', 'prefect', 'faiss', 'duckdb', 'numba') if name in sys.modules])"
    )
    for folder in (ROOT, ROOT / "tests"):
        out = subprocess.run(
            [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
        ).stdout
        assert out.strip() == "[]"


def test_the_standard_library_works_from_the_root() -> None:
    code = "import selectors, select, multiprocessing, asyncio; print(selectors.DefaultSelector.__name__)"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert out.strip().endswith("Selector")


def test_a_wheel_holds_all_modules_and_answers_a_query(tmp_path: Path) -> None:
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--disable-pip-version-check",
        "-w",
        str(tmp_path),
    ]
    copy = tmp_path / "source"
    tracked = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for name in tracked.splitlines():
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run([*build, str(copy)], check=True, capture_output=True)
    wheel = next(tmp_path.glob("*.whl"))
    names = set(zipfile.ZipFile(wheel).namelist())
    for room in ROOMS:
        for path in [*room.glob("*.py"), *room.glob("*.sql"), *room.glob("*.html"), *room.glob("*.css")]:
            assert f"tamis/{path.relative_to(ROOT)}" in names
    for path in (ROOT / "pipeline" / "view" / "page").iterdir():
        assert f"tamis/{path.relative_to(ROOT)}" in names
    unpacked = tmp_path / "unpacked"
    zipfile.ZipFile(wheel).extractall(unpacked)
    code = (  # an editable install's finder would come first: leave it out
        "import sys; sys.meta_path = [f for f in sys.meta_path if 'editable' not in repr(f).lower()];"
        f"sys.path.insert(0, {str(unpacked)!r}); import tamis.sql, duckdb; assert 'unpacked' in tamis.sql.__file__;"
        "duckdb.sql('create view pool as select 1 a'); duckdb.sql('create view selection as select 1 a');"
        "print(duckdb.sql(tamis.sql.text('composition').replace('$field', 'a')).fetchall())"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert out.stdout.strip() == "[(1, 1, 1)]", out.stderr


def test_every_selector_is_documented_with_its_row() -> None:
    page = (ROOT / "docs" / "selectors.md").read_text()
    for name in SELECTORS:
        assert f"| `{name}` |" in page


def test_the_readmes_tree_names_every_room_in_thirty_lines() -> None:
    readme = (ROOT / "README.md").read_text()
    tree = readme[readme.index("## The tree") :].split("```")[1].strip().splitlines()
    assert len(tree) <= 30
    folder, named = "", set()
    for line in tree:
        words = [word for word in line.split("  ")[0 if line[0] != " " else 1].split() if word.endswith(("/", ".py"))]
        folder = folder if line.startswith(" ") else words[0]
        named |= {folder + word if line.startswith(" ") else word for word in words}
    for name in named:
        assert (ROOT / name).exists(), f"the README's tree names {name}"
    for top in ("pipeline", "selectors"):
        inside = {f"{path.relative_to(ROOT)}/" for path in rooms(top)[1:] if path.parent == ROOT / top}
        assert inside <= named, inside - named


def test_every_verb_is_in_the_docs() -> None:
    from tamis.pipeline.cli.app import app

    docs = "\n".join(path.read_text() for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
    for verb in app:
        if not verb.startswith("-"):
            assert f"tamis {verb}" in docs


PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_prose_is_no_wider_than_a_terminal(page: Path) -> None:
    fenced = False
    for number, line in enumerate(page.read_text().splitlines(), 1):
        fenced ^= line.lstrip().startswith("```")
        assert fenced or line.startswith(("|", "<!--")) or len(line) <= 120, f"{page}:{number}"


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) < 120


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        assert "://" in target or (page.parent / target).exists(), f"{page}: {target}"


def test_the_reference_is_what_the_code_says() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "reference" / "make.py"))["pages"]()
    for name, text in made.items():
        held = (ROOT / "docs" / "reference" / name).read_text()
        assert held == text, f"{name}: python docs/reference/make.py writes it anew"
