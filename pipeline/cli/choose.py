"""`tamis pick`, `init`, `plan`, `run`: choosing.

Heavy imports wait inside the verbs, so that --help answers at once."""

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from tamis.pipeline.cli.engines import EngineName, engine_of
from tamis.pipeline.cli.families import Flag, Out, Settings
from tamis.pipeline.progress import show


def pick(
    pool: list[Path],
    *,
    like: list[Path],
    count: Annotated[int | None, Parameter(name=["--count", "-n"])] = None,
    out: Out,
    keep: Annotated[list[str] | None, Parameter(consume_multiple=True, negative=())] = None,
    form: Literal["tamis", "published"] = "tamis",
    seed: int = 0,
    repeats: Flag = False,
    known: Flag = False,
) -> None:
    """Write the samples of POOL that are most like a target, without a recipe.

    POOL and --like are JSONL (plain, .gz, .zst), Parquet, CSV, folders of texts or images, tars of images, or a saved
    Hugging Face dataset.

    Parameters
    ----------
    pool
        files, folders or 'patterns' to choose from
    like
        a file, folder or 'pattern' that the selection should resemble; may be given several times
    count
        how many samples (default: as many as there are of the target's kind)
    out
        .jsonl, .parquet, .csv, or .txt for keys alone
    keep
        fields of the pool to carry along; all of them: --keep all
    form
        our form of importance resampling, or the published one
    seed
        of the noise of the published form
    repeats
        take equal samples more than once
    known
        take samples that are in the target, too

    Examples
    --------
    tamis pick pool.jsonl --like target.jsonl -o like-it.jsonl
    tamis pick 'crawl/*.parquet' --like wanted.jsonl -n 5000 --keep all -o chosen.parquet
    tamis pick photos --like examples -n 200 -o like-these.parquet
    """
    from tamis.pipeline.explain.show import command, shortest, summary
    from tamis.pipeline.quick import pick as pick_samples

    picked = pick_samples(
        pool, like, count, out, keep=tuple(keep or ()), seed=seed, form=form, repeats=repeats, known=known
    )
    show(summary(picked.outcome.manifest), sys.stderr)
    show(f"  ask why:  {command()} why {shortest(picked.run)} KEY", sys.stderr)
    show(out)


def init(paths: list[Path], *, like: Path | None = None, out: Out = Path("recipe.yaml")) -> None:
    """Look at data and write a commented recipe for it.

    Parameters
    ----------
    paths
        files, folders and 'patterns' of the pool; what comes to a folder or pattern later is read, too
    like
        samples that the selection should resemble: the recipe then chooses as many as are like them
    out
        where to write the recipe; an existing one is never overwritten. Beside it stands tamis.schema.json, by which
        editors complete and check recipes

    Examples
    --------
    tamis init pool.jsonl --like target.jsonl -o recipe.yaml
    tamis init 'crawl/*.parquet' notes.jsonl -o recipe.yaml
    """
    from tamis.pipeline.cli.recipe_schema import schema
    from tamis.pipeline.draft import SCHEMA, draft
    from tamis.pipeline.errors import RecipeError

    text = draft(paths, out.absolute().parent, like)
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(text)
        out.with_name(SCHEMA).write_text(json.dumps(schema()) + "\n", encoding="utf-8")
    except FileExistsError as error:
        raise RecipeError(f"{out}: exists and is not overwritten; choose another name with -o") from error
    except OSError as error:
        raise RecipeError(f"{out}: {error.strerror}") from error
    show(out)


def plan(
    recipe: Path,
    *,
    store: Path | None = None,
    set_: Settings = None,
    allow_code: Flag = False,
) -> None:
    """Say what a run of RECIPE would do: rows, bytes, what is reused, what it would find, and how long it takes.

    Parameters
    ----------
    recipe
        the YAML file
    store
        where it would run: what lies there is reused, and its earlier runs tell the time. Without one a part of the
        pool is run aside
    set_
        KEY=VALUE: overrides a place of the recipe, as of `tamis run`
    allow_code
        run the Python that the recipe names

    Examples
    --------
    tamis plan recipe.yaml
    tamis plan recipe.yaml --store my-store
    """
    from tamis.pipeline.files.remote import readable
    from tamis.pipeline.forecast import forecast
    from tamis.pipeline.recipe.recipe import load_recipe

    known = None if store is None else readable(store)
    show(forecast(load_recipe(recipe, tuple(set_ or ())), recipe.absolute().parent, known, allow_code))


def run(
    recipe: Path,
    *,
    store: Path,
    name: Annotated[str | None, Parameter(name="--run")] = None,
    engine: EngineName | None = None,
    local: Flag = False,
    address: str | None = None,
    set_: Settings = None,
    pool_of: str | None = None,
    allow_code: Flag = False,
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
    pool_of
        name of a run of the store: choose from the pool as that one saw it, whatever came since
    allow_code
        let the recipe run the Python code that it names

    Examples
    --------
    tamis run recipe.yaml --store my-store
    tamis run recipe.yaml --store my-store --run small --set steps.0.random.budget=100
    tamis run new.yaml --store my-store --run backfill --pool-of nightly-0012
    """
    from tamis.pipeline.explain.show import paths, shortest, summary
    from tamis.pipeline.files.urls import as_url
    from tamis.pipeline.publish.decide import line
    from tamis.pipeline.recipe.recipe import load_recipe
    from tamis.pipeline.starting import run_recipe

    loaded = load_recipe(recipe, tuple(set_ or ()))
    chosen = engine_of("local" if local else engine or loaded.engine, address)
    outcome = run_recipe(
        loaded,
        recipe.absolute().parent,
        store,
        name,
        allow_code,
        chosen,
        pool_of=pool_of,
    )
    if not outcome.fresh:
        show(f"run {outcome.folder.name} is complete already; nothing was rewritten", sys.stderr)
    show(summary(outcome.manifest), sys.stderr)
    show(paths(outcome.folder), sys.stderr)
    url = as_url(store)
    if loaded.publish and outcome.decision:
        place = url or shortest(outcome.folder.parent.parent)
        show(f"  {line(place, loaded.publish.to, outcome.decision)}", sys.stderr)
    show(f"{url}/runs/{outcome.folder.name}" if url else outcome.folder)
    if outcome.held:
        sys.exit(1)
