"""Cells of a CSV that people open in a sheet: none is taken for a formula, and what was written is read again.

A sheet runs what begins with = + - @ (also behind white space, and in their wide forms). An apostrophe before it makes
it a text; one more where a cell begins so already, so that taking one away gives what was."""

import re
from typing import Any

LIVE = re.compile(r"'*\s*[=+\-@\uff1d\uff0b\uff0d\uff20]")
QUOTED = re.compile(r"'+\s*[=+\-@\uff1d\uff0b\uff0d\uff20]")


def for_sheets(value: Any) -> Any:
    """A text with an apostrophe where it needs one; anything else as it is."""
    return f"'{value}" if isinstance(value, str) and LIVE.match(value) else value


def from_sheets(cell: str) -> str:
    """What was written."""
    return cell[1:] if QUOTED.match(cell) else cell
