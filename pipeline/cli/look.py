"""`tamis report`, `view`, `why`, `sql`, `runs`, `explain`, `compare`, `tune`, `probe`: what came of a run, its worth.

Heavy imports wait inside the verbs, so that --help answers at once."""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from tamis.pipeline.cli.families import Flag, Out
from tamis.pipeline.progress import show


def why(run: Path, key: str) -> None:
    """Tell one sample's story in a run: where it came from, each step's decision, and what it would have taken.

    Parameters
    ----------
    run
        the run's folder, STORE/runs/NAME
    key
        the sample's key, or its id (16 hex digits)

    Examples
    --------
    tamis why my-store/runs/recipe 'doc-17'
    """
    from tamis.pipeline.explain.why import why as tell
    from tamis.pipeline.store.runs import open_complete

    show(tell(open_complete(run, thinned_too=True), key))


def sql(
    run: Path,
    query: str,
    *,
    format: Literal["table", "csv", "json"] = "table",
    seconds: float = 3600,
    spill: float | None = None,
) -> None:
    """Answer one SELECT over a run: views pool, rejects, ledger, selection, spikes, and each column.

    Parameters
    ----------
    run
        the run's folder, STORE/runs/NAME
    query
        for instance "select reason, count(*) from ledger group by all"
    format
        how to print the answer
    seconds
        that it may take
    spill
        gigabytes that it may put on the disk (default: 100, and never more than half of what is free)

    Examples
    --------
    tamis sql my-store/runs/recipe "select reason, count(*) from ledger group by all"
    tamis sql my-store/runs/recipe "select key, score from selection order by rank" --format csv
    """
    from tamis.pipeline.store.query import ask, print_answer
    from tamis.pipeline.store.runs import open_complete

    most = None if spill is None else int(spill * 1e9)
    print_answer(ask(open_complete(run, thinned_too=True), query, seconds, most), format)


def report(run: Path, *, open: Annotated[bool, Parameter(name="--open", show_default=False)] = False) -> None:
    """Print where the run's report lies, a single HTML file to open in a browser.

    Parameters
    ----------
    run
        the run's folder, STORE/runs/NAME
    open
        open it in this machine's browser

    Examples
    --------
    tamis report my-store/runs/recipe
    tamis report my-store/runs/recipe --open
    """
    import webbrowser

    from tamis.pipeline.store.runs import open_complete

    page = open_complete(run, thinned_too=True).folder / "report.html"
    show(page)
    if open and not webbrowser.open(page.as_uri()):
        show("tamis: found no browser here; copy that file to where there is one", sys.stderr)


def view(
    place: list[Path],
    *,
    port: int = 0,
    open: Annotated[bool, Parameter(name="--open", show_default=False)] = False,
    open_with: Literal["atlas", "fiftyone", "lightly"] | None = None,
) -> None:
    """Look at every decision on a page of this machine: filter, search, open samples, try settings, mark what is wrong.

    Parameters
    ----------
    place
        a run (STORE/runs/NAME), or several of one store; a store: its newest run; or a column (STORE/columns/NAME)
    port
        of 127.0.0.1, where the page is served (default: a free one)
    open
        open it in this machine's browser
    open_with
        start another viewer on the run instead, where it is installed: Embedding Atlas, FiftyOne or LightlyStudio

    Examples
    --------
    tamis view my-store/runs/recipe
    tamis view my-store/runs/a my-store/runs/b --open
    tamis view my-store/runs/recipe --open-with atlas
    """
    import webbrowser
    from contextlib import suppress
    from threading import Event

    from tamis.pipeline.errors import RunError, RunFailed
    from tamis.pipeline.progress import say
    from tamis.pipeline.view.others import open_with as start
    from tamis.pipeline.view.rows.seen import seen
    from tamis.pipeline.view.serve import served
    from tamis.pipeline.view.session import Session

    if open_with is not None:
        run = seen(place).run
        if run is None:
            raise RunError(f"view --open-with: {place[0]} is no run")
        if ended := start(run, open_with):
            raise RunFailed(f"{open_with} ended with exit code {ended}")
        return
    with suppress(KeyboardInterrupt), served(Session(seen(place)), port) as address:
        show(address)
        say("Open it in a browser of this machine. Ctrl-C ends it; marks are kept as they are made.")
        if open and not webbrowser.open(address):
            say("tamis: found no browser here; copy the address to one")
        Event().wait()


def runs(store: Path, *, all_: Annotated[bool, Parameter(name="--all", negative=())] = False) -> None:
    """List a store's runs, newest last: what was chosen, when, in which time, by which steps; what has not ended.

    Parameters
    ----------
    store
        the store
    all_
        those that `tamis compare` made, too

    Examples
    --------
    tamis runs my-store
    """
    from tamis.pipeline.files.remote import readable
    from tamis.pipeline.store.listing import told

    show(told(readable(store), every=all_))


def explain(run: Path) -> None:
    """Say which of the pool's fields go along with being dropped, and how strongly.

    Parameters
    ----------
    run
        the run's folder, STORE/runs/NAME

    Examples
    --------
    tamis explain my-store/runs/recipe
    """
    from tamis.pipeline.explain.drops import explain as tell
    from tamis.pipeline.store.runs import open_complete

    show(tell(open_complete(run)))


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
    budgets: str | None = None,
    out: Out = Path("compare.html"),
    allow_code: Flag = False,
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
    budgets
        0.5,1,3,10: a single recipe at so many times its budget, in one table and figure
    out
        the page; the same figures as JSON beside it
    allow_code
        let recipes run the Python code that they name

    Examples
    --------
    tamis compare my-store/runs/a my-store/runs/b
    tamis compare a.yaml b.yaml --store my-store --oracle domain=medicine --train tiny
    tamis compare a.yaml --store my-store --budgets 0.5,1,3,10
    """
    from tamis.pipeline.comparing.page import table, write_comparison
    from tamis.pipeline.comparing.selections import comparison
    from tamis.pipeline.errors import RecipeError
    from tamis.pipeline.files.atomic import write_json

    if out.suffix == ".json":
        raise RecipeError(f"-o {out}: the page is HTML; the figures go to a .json beside it")
    how = {"column": column, "oracle": oracle, "train": train, "held_out": held_out, "seeds": seeds, "by": by}
    if budgets is not None:
        _by_budget(selections, store, budgets, out, allow_code, how)
        return
    found = comparison(selections, store, allow_code=allow_code, **how)  # type: ignore[arg-type]
    write_comparison(found, out)
    write_json(out.with_suffix(".json"), found, sealed=False)
    show(table(found))
    show(out, sys.stderr)


def _by_budget(
    selections: list[Path], store: Path | None, budgets: str, out: Path, allow_code: bool, how: dict[str, Any]
) -> None:
    from tamis.pipeline.comparing.curve import by_budget, table, write_curve
    from tamis.pipeline.errors import RecipeError
    from tamis.pipeline.files.atomic import write_json

    if len(selections) != 1 or selections[0].suffix not in (".yaml", ".yml") or store is None:
        raise RecipeError("--budgets: wanted one recipe, and --store DIR, where it is run at each")
    found = by_budget(selections[0], store, budgets, allow_code, **how)
    write_curve(found, out)
    write_json(out.with_suffix(".json"), found, sealed=False)
    show(table(found))
    show(out, sys.stderr)


def tune(
    recipe: Path,
    others: list[Path] | None = None,
    *,
    store: Path,
    over: list[str] | None = None,
    column: str | None = None,
    train: str | None = None,
    seeds: int = 3,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    allow_code: Flag = False,
) -> None:
    """Find settings by what they are worth to the target: all are tried, the best are trained on, chance is told.

    Parameters
    ----------
    recipe
        the recipe, which is also tried as it stands
    others
        further recipes to try, over the same pool and target
    store
        where all of it is run and kept: the same command goes on where it was stopped
    over
        KEY=VALUE,VALUE: a place of the recipe and values to try there; all combinations of several;
        steps.N.combine.weights=search finds weights round after round
    column
        vectors to judge nearness in, in place of the target's n-grams
    train
        tiny, small or medium: the best third are judged by training such a model from scratch, too
    seeds
        trainings of each of the last ones
    out
        a recipe with what was found; what was tried goes to a .json beside it
    allow_code
        let recipes run the Python code that they name

    Examples
    --------
    tamis tune my.yaml --store my-store --over steps.1.importance_resampling.ngrams=1,2,3
    tamis tune my.yaml other.yaml --store my-store --train tiny -o tuned.yaml
    """
    from tamis.pipeline.comparing.tuning import tuned
    from tamis.pipeline.comparing.tuning_told import as_yaml, table
    from tamis.pipeline.errors import RecipeError
    from tamis.pipeline.files.atomic import write_json

    if out is not None and out.suffix not in (".yaml", ".yml"):
        raise RecipeError(f"-o {out}: a recipe is YAML; what was tried goes to a .json beside it")
    if out is not None and out.absolute() in [one.absolute() for one in (recipe, *(others or []))]:
        raise RecipeError(f"-o {out}: is a recipe that is tried; it would be written over")
    if out is not None and any(out.absolute().parent != one.absolute().parent for one in (recipe, *(others or []))):
        raise RecipeError(f"-o {out}: paths in it are as seen from the recipe's folder; put it there")
    asked = {"column": column, "train": train, "seeds": seeds, "allow_code": allow_code}
    found = tuned(recipe, store, over or [], others or [], **asked)  # type: ignore[arg-type]
    show(table(found))
    if out is not None:
        out.write_text(as_yaml(found), encoding="utf-8")
        write_json(out.with_suffix(".json"), found, sealed=False)
        show(out, sys.stderr)


def probe(
    run: Path,
    column: str,
    *,
    by: str | None = None,
    out: Out = Path("probe.html"),
    allow_code: Flag = False,
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

    Examples
    --------
    tamis probe my-store/runs/recipe clip --by label
    """
    from tamis.pipeline.explain.probe import probe as tell
    from tamis.pipeline.store.runs import open_complete

    show(tell(open_complete(run, allow_code), column, by, out))
    show(out, sys.stderr)
