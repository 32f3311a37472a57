"""A pool that every machine has: docstrings of the packages that tamis is installed with.

What else is installed does not count, so of equal versions the pool is the same everywhere. Files are parsed with
`ast`; nothing of them is imported or run."""

import ast
import json
import re
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tamis.pipeline.machine import cores
from tamis.pipeline.progress import Counter

LEAST_CHARS = 80  # shorter docstrings are mostly titles
LARGEST_FILE = 400_000  # bytes; larger ones are generated tables
FILES_A_PACKAGE = 300  # so that one huge package neither fills the pool nor costs a minute
FILES_A_TASK = 50
NAME = re.compile(r"[\w.-]+")


def write_docstrings(out: Path) -> int:
    """Write one JSON line a docstring: id, package, module, license, text. Returns their number."""
    packages = list(_packages())
    tasks = [
        (name, licence, root, [str(file) for file in files[first : first + FILES_A_TASK]])
        for name, licence, root, files in packages
        for first in range(0, len(files), FILES_A_TASK)
    ]
    count = 0
    counter = Counter("docstrings", sum(len(task[3]) for task in tasks), "files")
    with (
        out.open("w", encoding="utf-8") as lines,
        ProcessPoolExecutor(cores(), mp_context=get_context("spawn")) as pool,
    ):
        for task, found in zip(tasks, pool.map(_of_files, tasks), strict=True):
            counter.add(len(task[3]))
            count += len(found)
            lines.writelines(found)
    counter.end()
    return count


def _packages() -> Iterator[tuple[str, str, str, list[Path]]]:
    """(name, licence, root, files) of each."""
    for name, found in sorted(needed_by("tamis").items()):
        paths = [Path(str(found.locate_file(file))) for file in found.files or [] if file.suffix == ".py"]
        paths = [path for path in sorted(paths) if not {"test", "tests", "_vendor"} & set(path.parts)]
        if paths:
            yield name, _license(found), str(found.locate_file("")), paths[:FILES_A_PACKAGE]


def needed_by(package: str) -> dict[str, Distribution]:
    """What a distribution needs without its extras, by name in small letters; itself left out."""
    found: dict[str, Distribution] = {}
    todo = [package]
    while todo:
        name = todo.pop()
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:  # another system's, or another Python's
            continue
        needs = [need for need in found[name].requires or [] if "extra ==" not in need]
        names = [match[0].lower().replace("_", "-") for need in needs if (match := NAME.match(need))]
        todo += [name for name in names if name not in found]
    found.pop(package, None)
    return found


def _license(found: Distribution) -> str:
    metadata: Any = found.metadata  # an email.message.Message; its type hides `get`
    stated = metadata.get("License-Expression") or metadata.get("License") or ""
    if 0 < len(stated) <= 60 and "\n" not in stated:
        return stated
    classifiers = metadata.get_all("Classifier") or []
    return next((c.rsplit(" :: ", 1)[1] for c in classifiers if c.startswith("License ::")), "unknown")


def _of_files(task: tuple[str, str, str, list[str]]) -> list[str]:
    package, licence, root, files = task
    lines = []
    for file in files:
        path = Path(file)
        module = ".".join(path.relative_to(root).with_suffix("").parts) if path.is_relative_to(root) else path.stem
        for name, text in docstrings(path):
            record = {"id": f"{package}/{module}:{name}", "package": package, "module": module, "license": licence}
            lines.append(json.dumps({**record, "text": text}, ensure_ascii=False) + "\n")
    return lines


def docstrings(path: Path) -> Iterator[tuple[str, str]]:
    """(qualified name, docstring) of a file's module, classes and functions; nothing where it can't be parsed."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            return
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError, RecursionError, MemoryError):
        return
    yield from _walk(tree, "")


def _walk(node: Any, place: str) -> Iterator[tuple[str, str]]:
    met: set[str] = set()
    text = ast.get_docstring(node)
    if text and len(text) >= LEAST_CHARS and _encodable(text):
        yield place or "<module>", text
    for number, child in enumerate(node.body):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            name = f"{place}.{child.name}" if place else child.name
            if name in met:  # overloads and branches define a name again
                name += f"@{number}"
            met.add(name)
            yield from _walk(child, name)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
