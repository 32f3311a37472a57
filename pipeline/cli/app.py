"""The command line: each verb a thin face on one library call.

Results go to stdout, progress to stderr. Exit codes: 0 done, 1 a failed run, damage or a bug, 2 bad input,
130 stopped by Ctrl-C. Heavy imports wait inside the verbs, so that --help answers at once."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from tamis.pipeline import machine
from tamis.pipeline.cli.compare import compare, explain, probe
from tamis.pipeline.cli.label import label
from tamis.pipeline.cli.store import compact, forget, gc, where
from tamis.pipeline.errors import TamisError, said
from tamis.pipeline.progress import show

app = App(
    name="tamis",
    help="Decide what models are trained on: curated subsets with a reason on record for every sample.",
    help_format="plaintext",
    version_flags=["--version"],
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
for verb in (compare, explain, probe, label, where, forget, gc, compact):
    app.command(verb)
EngineName = Literal["auto", "local", "prefect", "ray"]


@app.command
def pick(
    pool: Path,
    *,
    like: Path,
    count: Annotated[int | None, Parameter(name=["--count", "-n"])] = None,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    keep: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    form: Literal["tamis", "published"] = "tamis",
    seed: int = 0,
    repeats: Annotated[bool, Parameter(negative=())] = False,
    known: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Write the samples of POOL that are most like a target, without a recipe.

    POOL and --like are JSONL (plain, .gz, .zst), Parquet, CSV, a folder of texts or a saved Hugging Face dataset.

    Parameters
    ----------
    pool
        file or folder to choose from
    like
        file or folder that the selection should resemble
    count
        how many samples (default: as many as there are of the target's kind)
    out
        .jsonl, .parquet, .csv, or .txt for keys alone
    keep
        fields of the pool to carry along
    form
        our form of importance resampling, or the published one
    seed
        of the noise of the published form
    repeats
        take equal samples more than once
    known
        take samples that are in the target, too
    """
    from tamis.pipeline.explain.show import shortest, summary
    from tamis.pipeline.quick import pick as pick_samples

    picked = pick_samples(
        pool, like, count, out, keep=tuple(keep or ()), seed=seed, form=form, repeats=repeats, known=known
    )
    show(summary(picked.outcome.manifest), sys.stderr)
    show(f"  ask why:  tamis why {shortest(picked.run)} KEY", sys.stderr)
    show(out)


@app.command
def init(path: Path, *, out: Annotated[Path, Parameter(name=["--out", "-o"])] = Path("recipe.yaml")) -> None:
    """Look at the data in PATH and write a commented recipe for it.

    Parameters
    ----------
    path
        file or folder with the pool
    out
        where to write the recipe; an existing file is never overwritten
    """
    from tamis.pipeline.draft import draft
    from tamis.pipeline.errors import RecipeError

    text = draft(path, out.absolute().parent)
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise RecipeError(f"{out}: exists and is not overwritten; choose another name with -o") from error
    except OSError as error:
        raise RecipeError(f"{out}: {error.strerror}") from error
    show(out)


@app.command
def run(
    recipe: Path,
    *,
    store: Path,
    name: Annotated[str | None, Parameter(name="--run")] = None,
    engine: EngineName | None = None,
    local: Annotated[bool, Parameter(negative=())] = False,
    address: str | None = None,
    set_: Annotated[list[str] | None, Parameter(name="--set")] = None,
    allow_code: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Run a RECIPE on a store. The same again changes nothing; a stopped run goes on where it was.

    Parameters
    ----------
    recipe
        YAML file
    store
        folder for the pool, columns and runs; one store, one pool
    name
        the run's name (default: the recipe's)
    engine
        auto is Prefect where a Prefect API is configured, else the plain loop
    local
        the same as --engine local
    address
        of the Ray cluster for --engine ray: auto, or ray://HEAD:10001 (default: workers on this machine)
    set_
        KEY=VALUE, overrides the recipe: --set seed=1 --set steps.0.random.budget=10
    allow_code
        let the recipe run the Python code that it names
    """
    from tamis.pipeline.explain.show import paths, summary
    from tamis.pipeline.files.urls import as_url
    from tamis.pipeline.recipe.recipe import load_recipe
    from tamis.pipeline.starting import run_recipe

    loaded = load_recipe(recipe, tuple(set_ or ()))
    chosen = _engine("local" if local else engine or loaded.engine, address)
    outcome = run_recipe(loaded, recipe.absolute().parent, store, name, allow_code, chosen)
    if not outcome.fresh:
        show(f"run {outcome.folder.name} is complete already; nothing was rewritten", sys.stderr)
    show(summary(outcome.manifest), sys.stderr)
    show(paths(outcome.folder), sys.stderr)
    url = as_url(store)
    show(f"{url}/runs/{outcome.folder.name}" if url else outcome.folder)


@app.command
def serve(
    recipe: Path,
    *,
    store: Path,
    every: str | None = None,
    cron: str | None = None,
    port: int = 4200,
    allow_code: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Run a RECIPE again and again as a Prefect deployment, each time over what is new.

    Runs are called NAME-0001, NAME-0002, ...: a run that failed goes on, and where nothing has changed nothing is done.
    With `against: kept` in the recipe each chooses beside what earlier ones kept.

    Parameters
    ----------
    recipe
        YAML file
    store
        folder for the pool, columns and runs
    every
        how often: 30m, 6h, 1d
    cron
        or when: "0 3 * * *"
    port
        of the Prefect server that is started where none is configured
    allow_code
        let the recipe run the Python code that it names
    """
    from datetime import timedelta

    from tamis.pipeline.errors import RecipeError
    from tamis.pipeline.recipe.recipe import load_recipe
    from tamis.pipeline.starting import check

    loaded = load_recipe(recipe)
    check(loaded, recipe.absolute().parent, allow_code)
    if (every is None) == (cron is None):
        raise RecipeError('serve: wanted either --every 6h or --cron "0 3 * * *"')
    units = {"m": "minutes", "h": "hours", "d": "days"}
    if every is not None and not (every[:-1].isdigit() and int(every[:-1]) and every[-1] in units):
        raise RecipeError(f"--every {every}: wanted a number and m, h or d, such as 6h")
    interval = None if every is None else timedelta(**{units[every[-1]]: int(every[:-1])})
    from tamis.flows import settings

    settings.apply()
    from tamis.flows.serve import serve as keep_running

    keep_running(loaded, recipe.absolute().parent, store, allow_code, every=interval, cron=cron, port=port)


def _engine(name: str, address: str | None = None) -> Callable[[Path], Path] | None:
    """The Prefect flow where it is wanted, else None. The one place outside flows/ that imports it."""
    from tamis.flows import settings
    from tamis.pipeline.errors import RecipeError

    if address is not None and name != "ray":
        raise RecipeError("--address is that of a Ray cluster: give it with --engine ray")
    if name == "local" or (name == "auto" and not settings.api_configured()):
        return None
    settings.apply()
    if name == "ray":
        from tamis.flows.cluster import on_ray

        return on_ray(address)
    from tamis.flows.curate import curate_flow

    return curate_flow  # type: ignore[no-any-return, unused-ignore]  # Prefect is not followed


@app.command
def check_selector(
    selector: str,
    *,
    set_: Annotated[list[str] | None, Parameter(name="--set")] = None,
) -> None:
    """Run the conformance suite on a SELECTOR of your own, and say what fails in words. Runs its code.

    Parameters
    ----------
    selector
        MODULE:NAME, FILE.py:NAME, or the name of an installed one
    set_
        KEY=VALUE, its settings: --set column=v; the small pool has vectors v and w, losses v_prior and v_conditional,
        text measures read, objects, images photo and seen, fields part and sure
    """
    from tamis.pipeline.conformance.check import check_selector as try_all
    from tamis.pipeline.conformance.check import lines
    from tamis.pipeline.recipe.recipe import settings_of

    findings = try_all(selector, settings_of(tuple(set_ or ())))
    show("\n".join(lines(findings)))
    if not all(finding.holds for finding in findings):
        sys.exit(1)


@app.command
def plan(
    recipe: Path,
    *,
    store: Path | None = None,
    set_: Annotated[list[str] | None, Parameter(name="--set")] = None,
    allow_code: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Say what a run of RECIPE would do: rows, bytes, what is reused, and how long earlier runs took."""
    from tamis.pipeline.files.remote import readable
    from tamis.pipeline.forecast import forecast
    from tamis.pipeline.recipe.recipe import load_recipe

    known = None if store is None else readable(store)
    show(forecast(load_recipe(recipe, tuple(set_ or ())), recipe.absolute().parent, known, allow_code))


@app.command
def why(run: Path, key: str) -> None:
    """Tell one sample's story in a run: where it came from, each step's decision, and what it would have taken.

    Parameters
    ----------
    run
        the run's folder, STORE/runs/NAME
    key
        the sample's key, or its id (16 hex digits)
    """
    from tamis.pipeline.explain.why import why as tell
    from tamis.pipeline.store.runs import open_complete

    show(tell(open_complete(run), key))


@app.command
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
    """
    from tamis.pipeline.store.query import ask, print_answer
    from tamis.pipeline.store.runs import open_complete

    most = None if spill is None else int(spill * 1e9)
    print_answer(ask(open_complete(run), query, seconds, most), format)


@app.command
def verify(run: Path) -> None:
    """Check every digest and every sum of a run; exit 1 on damage."""
    from tamis.pipeline.errors import DamageFound
    from tamis.pipeline.store.manifest import verify as check
    from tamis.pipeline.store.runs import open_complete

    damage = check(open_complete(run))
    if damage:
        raise DamageFound("\n".join(damage))
    show(f"{run}: every file is as it was written, and every count adds up")


@app.command
def report(run: Path) -> None:
    """Print where the run's report lies, a single HTML file to open in a browser."""
    from tamis.pipeline.store.runs import open_complete

    show(open_complete(run).folder / "report.html")


@app.command
def selectors() -> None:
    """List the steps that a recipe may have, with their settings."""
    from tamis.selectors.catalog import describe

    show(describe())


@app.command
def demo(
    what: Literal["text", "images"] = "text",
    *,
    folder: Path | None = None,
    engine: Literal["prefect", "local"] = "prefect",
) -> None:
    """Curate what every machine has, through the Prefect flow, in about a minute.

    Parameters
    ----------
    what
        the docstrings of everything installed here, or scanned digits
    folder
        where the demo's data, recipe and store go (default: tamis-demo, or tamis-demo-images)
    engine
        the Prefect flow with its embedded server, or the plain loop
    """
    from tamis.pipeline.demo.curation import demo as show_demo

    show_demo(folder or Path("tamis-demo" if what == "text" else "tamis-demo-images"), _engine(engine), what)


def main() -> None:
    """Entry point: one clear line for bad input, a traceback for bugs alone."""
    try:
        machine.settle()
        app()
    except TamisError as error:
        show(f"tamis: {error}", sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        told = said(error, _place())
        if not isinstance(told, TamisError):
            raise
        show(f"tamis: {told}", sys.stderr)
        sys.exit(told.exit_code)
    except KeyboardInterrupt:
        show("\ntamis: stopped. Nothing is lost: the same command goes on from here.", sys.stderr)
        sys.exit(130)


def _place() -> str:
    """What the command was about, for a line that says what could not be done with it."""
    given = sys.argv[sys.argv.index("--store") + 1 :] if "--store" in sys.argv else sys.argv[2:]
    return next((word for word in given if not word.startswith("-")), "it")


if __name__ == "__main__":
    main()
