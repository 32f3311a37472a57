"""`tamis compare`, `explain`, `probe`: what selections and columns are worth. Heavy imports wait, as in cli.py."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tamis.pipeline.progress import show


def compare(
    selections: list[Path],
    *,
    store: Path | None = None,
    column: str | None = None,
    oracle: str | None = None,
    train: str | None = None,
    by: str | None = None,
    held_out: Path | None = None,
    seeds: int = 3,
    out: Annotated[Path, Parameter(name=["--out", "-o"])] = Path("compare.html"),
    allow_code: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Compare selections of one pool: what they share, hold and cost, and how well they serve the target.

    Parameters
    ----------
    selections
        runs (STORE/runs/NAME), or recipes, which are run on --store; random of the same size is added
    store
        where recipes are run
    column
        vectors to measure nearness in (default: the first that a run has)
    oracle
        FIELD=VALUE of a kept field that names the true group: what could be gained at most
    train
        train on each: tiny, small or medium, a language model from scratch; a folder, that one further; head, a
        linear head on --column by the classes of --by. Reports each one's loss on what no selection holds
    by
        the kept field with the classes, for --train head
    held_out
        JSON lines of target texts that no selection saw, for --train (default: the target itself)
    seeds
        trainings of each
    out
        the page; the same figures as JSON beside it
    allow_code
        let recipes run the Python code that they name
    """
    from tamis.pipeline.comparing.page import table, write_comparison
    from tamis.pipeline.comparing.selections import comparison
    from tamis.pipeline.errors import RecipeError
    from tamis.pipeline.files.atomic import write_json

    if out.suffix == ".json":
        raise RecipeError(f"-o {out}: the page is HTML; the figures go to a .json beside it")
    found = comparison(selections, store, column, oracle, allow_code, train, held_out, seeds, by)
    write_comparison(found, out)
    write_json(out.with_suffix(".json"), found)
    show(table(found))
    show(out, sys.stderr)


def explain(run: Path) -> None:
    """Say which of the pool's fields go along with being dropped, and how strongly.

    Parameters
    ----------
    run
        the run's folder, STORE/runs/NAME
    """
    from tamis.pipeline.explain.drops import explain as tell
    from tamis.pipeline.store.runs import open_complete

    show(tell(open_complete(run)))


def probe(
    run: Path,
    column: str,
    *,
    by: str | None = None,
    out: Annotated[Path, Parameter(name=["--out", "-o"])] = Path("probe.html"),
    allow_code: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Say whether a column of vectors carries your classes, or your target, at all: before labels are paid for.

    Parameters
    ----------
    run
        a run that has the column
    column
        its name
    by
        a kept field with classes, or `labels` (default: the first that has some)
    out
        the page: some samples with their nearest neighbours
    allow_code
        let the run's recipe run the Python code that it names
    """
    from tamis.pipeline.explain.probe import probe as tell
    from tamis.pipeline.store.runs import open_complete

    show(tell(open_complete(run, allow_code), column, by, out))
    show(out, sys.stderr)
