"""The shape of the repository: what shadows nothing, who imports whom, and docs that tell the truth."""

import ast
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tamis.selectors.catalog import SELECTORS
from tests_support import ROOT

FOLDERS = ("pipeline", "selectors", "sql", "flows")
MAY_IMPORT = {
    "pipeline": {"pipeline", "selectors", "sql"},
    "selectors": {"selectors"},
    "sql": set(),
    "flows": {"flows", "pipeline"},
}


def modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).glob("*.py"))


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_selectors_is_no_package_and_no_file_shadows_the_standard_library() -> None:
    assert not (ROOT / "selectors" / "__init__.py").exists()
    assert not (ROOT / "tamis").exists()
    for folder in FOLDERS:
        assert not [path for path in (ROOT / folder).iterdir() if path.is_dir() and path.name != "__pycache__"], "flat"
        for path in modules(folder):
            assert path.stem == "__init__" or path.stem not in sys.stdlib_module_names, path


@pytest.mark.parametrize("folder", FOLDERS)
def test_folders_import_only_whom_they_may(folder: str) -> None:
    for path in modules(folder):
        for name in imports(path):
            parts = name.split(".")
            if parts[0] == "tamis" and len(parts) > 1:
                allowed = MAY_IMPORT[folder] | ({"flows"} if path == ROOT / "pipeline" / "cli.py" else set())
                assert parts[1] in allowed, f"{path.name} imports {name}"
            assert parts[0] != "prefect" or folder == "flows", f"{path.name} imports prefect"


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
    for folder in FOLDERS:
        for path in [*modules(folder), *(ROOT / folder).glob("*.sql"), *(ROOT / folder).glob("*.html")]:
            assert f"tamis/{folder}/{path.name}" in names
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


def test_the_readme_tree_names_every_file_of_the_four_folders() -> None:
    readme = (ROOT / "README.md").read_text()
    tree = readme[readme.index("## The tree") :]
    for folder in FOLDERS:
        assert f"\n{folder}/" in tree
        for path in [*modules(folder), *(ROOT / folder).glob("*.sql")]:
            assert path.stem == "__init__" or f"\n  {path.name} " in tree, (
                f"{folder}/{path.name} is not in the README's tree"
            )
    for line in tree[: tree.index("```", tree.index("```") + 3)].splitlines():
        name = line.strip().split(" ")[0]
        if line.startswith("  ") and "." in name and not line.startswith("   "):
            assert any((ROOT / folder / name).exists() for folder in FOLDERS), f"the README's tree names {name}"


def test_every_verb_is_in_the_docs() -> None:
    from tamis.pipeline.cli.app import app

    docs = "\n".join(path.read_text() for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
    for verb in app:
        if not verb.startswith("-"):
            assert f"tamis {verb}" in docs


def test_every_reason_is_in_the_docs() -> None:
    from tamis.pipeline.schemas import LEDGER_REASONS, REJECT_REASONS

    page = (ROOT / "docs" / "store.md").read_text()
    for reason in [*LEDGER_REASONS, *REJECT_REASONS]:
        assert f"`{reason}`" in page
