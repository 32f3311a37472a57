"""`tamis serve`, `demo`, `doctor`, `selectors`, `columns`, `check-selector`, `recipe-schema`.

Heavy imports wait inside the verbs, so that --help answers at once."""

import sys
from pathlib import Path
from typing import Literal

from tamis.pipeline.cli.engines import engine_of
from tamis.pipeline.cli.families import Flag, Settings
from tamis.pipeline.progress import show


def serve(
    recipe: Path,
    *,
    store: Path,
    every: str | None = None,
    cron: str | None = None,
    look: str | None = None,
    if_running: Literal["wait", "skip"] = "wait",
    keep_runs: int | None = None,
    old: Literal["thin", "remove"] = "thin",
    port: int = 4200,
    allow_code: Flag = False,
) -> None:
    """Run a RECIPE again and again as a Prefect deployment, each time over what is new.

    Runs are called NAME-0001, NAME-0002, ...: a run that failed goes on, and where nothing has changed nothing is done.
    With `against: kept` in the recipe each chooses beside what earlier ones kept; with `publish` what its guards let
    through is what consumers read.

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
    look
        or how often to look for files that are new or changed: a run begins once they stand still, by two looks
    if_running
        what becomes of a run that is due while one goes on
    keep_runs
        after each run, tidy up: all but so many of the newest are old
    old
        what becomes of old runs: thin leaves manifest, selection, report and counts, remove nothing
    port
        of the Prefect server that is started where none is configured
    allow_code
        let the recipe run the Python code that it names

    Examples
    --------
    tamis serve recipe.yaml --store my-store --every 6h
    tamis serve recipe.yaml --store my-store --cron "0 3 * * *" --keep-runs 7
    tamis serve recipe.yaml --store s3://bucket/my-store --look 1m
    """
    from tamis.pipeline.cli.spans import span_of
    from tamis.pipeline.errors import RecipeError
    from tamis.pipeline.recipe.recipe import load_recipe
    from tamis.pipeline.starting import check
    from tamis.pipeline.store.old_runs import Old

    loaded = load_recipe(recipe)
    check(loaded, recipe.absolute().parent, allow_code)
    given = [text for text in (every, cron, look) if text is not None]
    if not given or (every is not None and cron is not None):
        raise RecipeError('serve: wanted either --every 6h or --cron "0 3 * * *", and --look 1m beside it or alone')
    if look is not None and if_running == "skip":
        raise RecipeError("--look with --if-running skip: what comes while a run goes on would begin none; let it wait")
    if keep_runs is not None:
        Old(keep_runs, fate=old)  # said before anything starts
    interval = None if every is None else span_of(every, "--every")
    looks = None if look is None else span_of(look, "--look")
    from tamis.flows import settings

    settings.apply()
    from tamis.flows.serve import When
    from tamis.flows.serve import serve as keep_running

    when = When(interval, cron, looks, if_running)
    keep_running(
        loaded, recipe.absolute().parent, store, allow_code, when=when, port=port, keep_runs=keep_runs, old=old
    )


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
        the docstrings of what tamis is installed with, or scanned digits
    folder
        where the demo's data, recipe and store go (default: tamis-demo, or tamis-demo-images)
    engine
        the Prefect flow with its embedded server, or the plain loop

    Examples
    --------
    tamis demo
    tamis demo images --engine local
    """
    from tamis.pipeline.demo.curation import demo as show_demo

    show_demo(folder or Path("tamis-demo" if what == "text" else "tamis-demo-images"), engine_of(engine), what)


def check_selector(
    selector: str,
    *,
    set_: Settings = None,
) -> None:
    """Run the conformance suite on a SELECTOR of your own, and say what fails in words. Runs its code.

    Parameters
    ----------
    selector
        MODULE:NAME, FILE.py:NAME, or the name of an installed one
    set_
        KEY=VALUE, its settings: --set column=v; the small pool has vectors v and w, losses v_prior and v_conditional,
        text measures read, objects, images photo and seen, fields part and sure

    Examples
    --------
    tamis check-selector mine.py:Longest
    tamis check-selector mine.py:Near --set column=v
    """
    from tamis.pipeline.conformance.check import check_selector as try_all
    from tamis.pipeline.conformance.check import lines
    from tamis.pipeline.recipe.recipe import settings_of

    findings = try_all(selector, settings_of(tuple(set_ or ())))
    show("\n".join(lines(findings)))
    if not all(finding.holds for finding in findings):
        sys.exit(1)


def selectors(name: str | None = None) -> None:
    """List the steps that a recipe may have, or tell one with its settings.

    Parameters
    ----------
    name
        the step's name

    Examples
    --------
    tamis selectors
    tamis selectors near_dedup
    """
    from tamis.pipeline.errors import RecipeError
    from tamis.selectors.reference import described

    try:
        show(described(name))
    except ValueError as error:
        raise RecipeError(str(error)) from error


def columns(name: str | None = None) -> None:
    """List the columns that a recipe may have, or tell one with its settings.

    Parameters
    ----------
    name
        the column's verb and kind

    Examples
    --------
    tamis columns
    tamis columns embed.open_clip
    """
    from tamis.pipeline.columns.reference import described

    show(described(name))


def recipe_schema() -> None:
    """Print the JSON Schema of recipes, by which editors complete and check them.

    A recipe's first line names it, as `tamis init` writes it: # yaml-language-server: $schema=FILE

    Examples
    --------
    tamis recipe-schema > recipe.schema.json
    """
    import json

    from tamis.pipeline.cli.recipe_schema import schema

    show(json.dumps(schema(), indent=2))


def doctor(store: Path | None = None) -> None:
    """Say what is installed here and whether it works: extras, processors, memory, GPU, disk. Exit 1 if one is broken.

    Parameters
    ----------
    store
        look at its disk, too

    Examples
    --------
    tamis doctor
    tamis doctor my-store
    """
    from tamis.pipeline.cli.health import examined

    found, broken = examined(store)
    show(found)
    if broken:
        sys.exit(1)
