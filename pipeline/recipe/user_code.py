"""A user's own Python that a recipe names: run only where that was allowed, and known by its digest.

The permission is a word of the person who starts a command, for the runs that it works on, and lives as long as the
process: it is never read from a store, where anybody may have written it, nor from a request."""

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

from tamis.pipeline.errors import CodeNotAllowed, RecipeError
from tamis.pipeline.files.atomic import digest_file

ALLOWED = "TAMIS_ALLOW_CODE"  # set to 1 it allows whatever this process and its children work on
_allowed: set[Path] = set()  # folders of runs


def allow(folder: Path) -> None:
    """The run in this folder may run the code that its recipe names, in this process."""
    _allowed.add(folder.resolve())


def allowed() -> list[Path]:
    """The runs of this process that may, for its workers elsewhere."""
    return sorted(_allowed)


def is_allowed(folder: Path) -> bool:
    return os.environ.get(ALLOWED) == "1" or folder in _allowed


def need_permission(reference: str, allow_code: bool) -> None:
    if not allow_code:
        raise CodeNotAllowed(f"the recipe runs {reference}; read that code, then add --allow-code")


def load_object(reference: str, folder: Path) -> Any:
    """`file.py:name` (relative to the recipe) or `package.module:name`. Runs that code: ask for --allow-code before."""
    place, _, name = reference.rpartition(":")
    try:
        if place.endswith(".py"):
            path = (folder / place).resolve()
            if not path.is_file():
                raise RecipeError(f"{reference}: no file {path}")
            module_name = f"tamis_user_{path.stem}_{digest_file(path)}"  # edited code is another module
            if module_name not in sys.modules:
                spec = importlib.util.spec_from_file_location(module_name, path)
                if spec is None or spec.loader is None:
                    raise RecipeError(f"{reference}: no file {path}")
                module = importlib.util.module_from_spec(spec)
                sys.modules[module_name] = module
                try:
                    spec.loader.exec_module(module)
                except BaseException:
                    del sys.modules[module_name]
                    raise
            return getattr(sys.modules[module_name], name)
        return getattr(importlib.import_module(place), name)
    except (ImportError, AttributeError, SyntaxError, ValueError) as error:
        raise RecipeError(f"{reference}: can't be loaded: {error}. Wanted FILE.py:NAME or MODULE:NAME.") from error


def code_file(reference: str, folder: Path) -> Path:
    """The Python file that holds what is referred to; helpers that it imports are not followed."""
    return Path(str(sys.modules[load_object(reference, folder).__module__].__file__))
