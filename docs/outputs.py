"""Run what a page shows, and hold it against what comes of it.

    python docs/outputs.py docs/tutorial.md [...]     # run, and write what was printed into the page

A `console` block has commands (`$ ...`) and what they print; a block with `title="FILE"` is a file that is written
first; a comment `before: COMMANDS` is run and not shown, with the real data of TAMIS_TEST_DATA. A page's blocks run in
order in one new folder, which stands in them as HOME. A line `...` stands for any lines: as many lines before and
behind it are written as there were. What takes time is told in other words each time, so seconds, rates and sizes are
not compared, nor the lines of work that is under way or is told only where it took long."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from difflib import ndiff
from pathlib import Path
from typing import NamedTuple

HOME = "/home/me/tamis"
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$|^<!-- before: (.*?) -->$', re.MULTILINE | re.DOTALL)
UNDER_WAY = re.compile(r"rows +[\d.]+ s|… [\d,.]+ s|\d/s.* left| then \w|^.{40} {12,}[\d.]+ s$", re.MULTILINE)
VARYING = re.compile(
    r" [\d,]+/s|\d[\d.,]*(?= ?(?:s|ms|[kKMG]B|GiB|/s|processors)\b)|\d{4}-\d\d-\d\d[T ][\d:]+\w*"
    r"|(?<=cache/)\w+|(?<=pick-)\w+|\d+\.\d(?=  )(?: +\d+$)?|─+"
)
MOST_SECONDS = 600
DATA = os.environ.get("TAMIS_TEST_DATA", str(Path(__file__).resolve().parents[2] / "shared" / "data"))


class Shown(NamedTuple):
    command: str
    printed: str  # as the page has it


def blocks(page: str) -> Iterator[tuple[re.Match[str], str, list[Shown]]]:
    """(block, file to write, commands) in order; of other blocks nothing."""
    for block in BLOCK.finditer(page):
        language, title, text, before = block.groups()
        if title or before:
            yield block, title, []
        elif language == "console":
            parts = re.split(r"^\$ ((?:.*\\\n)*.*)\n", text, flags=re.MULTILINE)[1:]
            yield block, "", [Shown(*pair) for pair in zip(parts[::2], parts[1::2], strict=True)]


def play(page: str, folder: Path) -> Iterator[tuple[Shown, str]]:
    """Each command of a page with what it prints now. Raises RuntimeError where one fails."""
    paths = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "TAMIS_CACHE": str(folder / ".cache")}
    for block, title, commands in blocks(page):
        if title:
            (folder / title).write_text(block[3], encoding="utf-8")
        if block[4]:
            subprocess.run(
                ["bash", "-c", block[4]], cwd=folder, check=True, env={**os.environ, **paths, "TAMIS_TEST_DATA": DATA}
            )
        for shown in commands:
            done = subprocess.run(
                ["bash", "-c", shown.command], cwd=folder, text=True, timeout=MOST_SECONDS, check=False,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, **paths, "COLUMNS": "100"},
            )  # fmt: skip
            if done.returncode != 0:
                raise RuntimeError(f"{shown.command}: exit code {done.returncode}\n{done.stdout}")
            lines = done.stdout.replace(str(folder), HOME).splitlines(keepends=True)
            yield shown, "".join(line.rstrip() + "\n" for line in lines if not UNDER_WAY.search(line))


def differences(shown: str, printed: str) -> list[str]:
    """Lines of the page alone (-) and of what is printed alone (+), but for what varies."""
    return [line for line in ndiff(_plain(shown), _plain(_cut(shown, printed))) if line[0] in "+-"]


def _plain(text: str) -> list[str]:
    return [" ".join(VARYING.sub(" ", line).split()) for line in text.splitlines()]


def written(page: str, folder: Path) -> str:
    """The page with what is printed now."""
    now = iter(list(play(page, folder)))
    for block, _, commands in list(blocks(page)):
        if commands:
            text = "".join(f"$ {shown.command}\n{_cut(shown.printed, next(now)[1])}" for shown in commands)
            page = page.replace(block[0], f"```console\n{text}```")
    return page


def _cut(shown: str, printed: str) -> str:
    """What was printed, with as many lines before and behind `...` as are shown."""
    lines, told = printed.splitlines(keepends=True), shown.splitlines()
    if "..." not in told:
        return printed
    before = told.index("...")
    behind = len(told) - before - 1
    return "".join([*lines[:before], "...\n", *lines[len(lines) - behind :]])


def main() -> None:
    for name in sys.argv[1:]:
        path = Path(name)
        with tempfile.TemporaryDirectory() as folder:
            path.write_text(written(path.read_text(encoding="utf-8"), Path(folder).resolve()), encoding="utf-8")


if __name__ == "__main__":
    main()
