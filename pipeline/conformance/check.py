"""`tamis check-selector`: the suite on anybody's selector."""

import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from tamis.pipeline.conformance.bench import Bench, Case
from tamis.pipeline.conformance.claims import CLAIMS, Fails
from tamis.pipeline.errors import RecipeError, TamisError
from tamis.pipeline.recipe.user_code import load_object
from tamis.selectors.catalog import build, build_class
from tamis.selectors.contract import Selector
from tamis.selectors.own import adopted

BUDGET = 20


class Finding(NamedTuple):
    """One claim, whether it holds, and if not, where; seconds that it took."""

    sentence: str
    holds: bool
    words: str
    seconds: float


def check_selector(asked: str | type, settings: dict[str, Any] | None = None) -> list[Finding]:
    """Try a selector, MODULE:NAME, FILE.py:NAME, the name of an installed one, or a class of an importable module.

    `settings` may name what the small pool has: the columns `v` and `w` of vectors, `v_prior` and `v_conditional` of
    losses, `read` of text measures, `objects`, `photo` and `seen` of images, the fields `part` and `sure`. Runs the
    selector's code. Raises RecipeError where it can't be built."""
    name = _absolute(asked if isinstance(asked, str) else f"{asked.__module__}:{asked.__qualname__}")
    given = dict(settings or {})
    kind = _built(name, given)
    if kind.budgets and not kind.rules and not {"budget", "fraction"} & set(given):
        given["budget"] = BUDGET
    if kind.needs_where:
        given.setdefault("where", "part <> 'b'")
    case = Case(name, given, kind)
    with tempfile.TemporaryDirectory(prefix="tamis-check-") as folder:
        bench = Bench(Path(folder))
        return [_tried(bench, case, name) for name in CLAIMS if CLAIMS[name].applies(case)]


def _tried(bench: Bench, case: Case, name: str) -> Finding:
    began, words = time.monotonic(), ""
    try:
        CLAIMS[name].check(bench, case)
    except Fails as error:
        words = str(error)
    except TamisError as error:
        words = f"refused: {error}"
    except Exception as error:  # noqa: BLE001  the selector's own; the suite goes on
        words = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return Finding(CLAIMS[name].sentence, not words, words, time.monotonic() - began)


def _built(name: str, settings: dict[str, Any]) -> Selector:
    """The selector, as a run would build it. Raises RecipeError."""
    plain = {key: value for key, value in settings.items() if key not in ("budget", "fraction", "where")}
    try:
        return build(name, plain) if ":" not in name else adopted(build_class(load_object(name, Path.cwd()), plain))
    except (ValueError, TypeError) as error:
        raise RecipeError(f"{name}: {error}") from error


def _absolute(name: str) -> str:
    """Files are found from the working folder."""
    place, colon, last = name.rpartition(":")
    return f"{Path(place).absolute()}:{last}" if colon and place.endswith(".py") else name


def lines(findings: list[Finding]) -> list[str]:
    """For a terminal: each claim, and what fails in words."""
    said = []
    for one in findings:
        said.append(f"{'holds' if one.holds else 'FAILS'}  {one.sentence}  ({one.seconds:.1f} s)")
        said += [] if one.holds else [f"       {one.words}"]
    failed = sum(not one.holds for one in findings)
    return [*said, f"{len(findings) - failed} of {len(findings)} hold"]
