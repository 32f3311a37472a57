"""JSON from outside and to others: what can't be parsed ends in a ValueError, however deep it is nested; what is
written every parser takes."""

import json
import math
from base64 import b64encode
from datetime import date, time
from typing import Any


def load_json(text: str | bytes) -> Any:
    """Raises ValueError."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def load_record(text: str | bytes) -> tuple[Any, list[str]]:
    """One value, and the names that its outermost object has more than once: of these it holds the last. Raises
    ValueError."""
    twice: list[str] = []

    def as_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        held = dict(pairs)
        names = [name for name, _ in pairs] if len(held) < len(pairs) else []
        twice[:] = sorted({name for name in names if names.count(name) > 1})  # the outermost comes last
        return held

    try:
        return json.loads(text, object_pairs_hook=as_dict), twice
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def json_text(value: Any) -> str:
    """A value as JSON; what JSON has no word for stands as its text."""
    return json.dumps(plain(value), ensure_ascii=False, default=str, allow_nan=False)


def plain(value: Any) -> Any:
    """A value as JSON has it: what is not a number is nothing, bytes are base64, times and dates are ISO 8601."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, bytes):
        return b64encode(value).decode()
    return value.isoformat() if isinstance(value, date | time) else value
