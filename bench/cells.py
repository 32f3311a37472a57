"""What long benchmarks have done so far: a line of JSON a cell, so that a stopped command goes on where it was."""

import json
from pathlib import Path
from typing import Any


def cells_in(path: Path) -> list[Any]:
    """The lines that were written whole; one that was being written when the command was stopped is taken out."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    whole = [line for line in lines if line.endswith("\n")]
    if whole != lines:
        path.write_text("".join(whole))
    return [json.loads(line) for line in whole]


def add_cell(path: Path, cell: Any) -> None:
    with path.open("a") as file:
        file.write(json.dumps(cell) + "\n")
