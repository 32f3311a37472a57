"""Models in this process: each is loaded once, for all columns and outputs of equal settings; a few are kept."""

import threading
from collections.abc import Callable
from typing import Any

_one = threading.RLock()
MOST_LOADED = 8  # all that judge one batch
_loaded: dict[str, tuple[Any, dict[str, Any]]] = {}  # the one asked for last stands last


def model_of(key: str, load: Callable[[], Any]) -> Any:
    """The model itself. `key` stands for settings and files: other weights are another model."""
    with _one:
        return _held(key, load)[0]


def reader_of(key: str, load: Callable[[], Any], name: str, reader: Callable[[Any], Any]) -> Any:
    """What gives the values of one of its outputs, made of the model; `name` stands for that one's settings."""
    with _one:
        model, readers = _held(key, load)
        if name not in readers:
            readers[name] = reader(model)
        return readers[name]


def _held(key: str, load: Callable[[], Any]) -> tuple[Any, dict[str, Any]]:
    held = _loaded.pop(key, None)
    if held is None:
        while len(_loaded) >= MOST_LOADED:
            _loaded.pop(next(iter(_loaded)))
        held = (load(), {})
    _loaded[key] = held
    return held


def forget() -> None:
    """Let all of them go."""
    with _one:
        _loaded.clear()
