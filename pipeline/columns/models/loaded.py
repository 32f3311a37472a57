"""Models in this process: each is loaded once, for all columns and outputs of equal settings; a few are kept."""

import threading
from collections.abc import Callable
from typing import Any

_one = threading.RLock()
MOST_LOADED = 8  # models that judge one batch; what only computes has a place of its own
MOST_LIGHT = 64
_loaded: dict[str, tuple[Any, dict[str, Any]]] = {}  # the one asked for last stands last
_light: dict[str, tuple[Any, dict[str, Any]]] = {}


def model_of(key: str, load: Callable[[], Any], heavy: bool) -> Any:
    """The model itself. `key` stands for settings and files: other weights are another model; `heavy`: whether it
    counts."""
    with _one:
        return _held(key, load, heavy)[0]


def reader_of(key: str, load: Callable[[], Any], heavy: bool, name: str, reader: Callable[[Any], Any]) -> Any:
    """What gives the values of one of its outputs, made of the model; `name` stands for that one's settings."""
    with _one:
        model, readers = _held(key, load, heavy)
        if name not in readers:
            readers[name] = reader(model)
        return readers[name]


def _held(key: str, load: Callable[[], Any], heavy: bool) -> tuple[Any, dict[str, Any]]:
    held = _loaded if heavy else _light
    found = held.pop(key, None)
    if found is None:
        while len(held) >= (MOST_LOADED if heavy else MOST_LIGHT):
            held.pop(next(iter(held)))
        found = (load(), {})
    held[key] = found
    return found
