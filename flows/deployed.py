"""The flows that prefect.yaml and `tamis serve` deploy: curate what is new, embed what is new, a round of labels.

Each is safe to start at any time and as often as one likes: what is done already is not done again. Who may start one
is not who may say what runs: code is allowed by TAMIS_ALLOW_CODE in the worker's environment alone, paths lie below
TAMIS_FOLDER where that is set, and of a recipe that is served only the numbers of MAY_SET are a request's to change."""

import os
import re
from pathlib import Path

from prefect import flow
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from tamis.flows.curate import Tasks, curate_flow
from tamis.pipeline import machine
from tamis.pipeline.errors import RecipeError
from tamis.pipeline.explain.show import funnel, summary
from tamis.pipeline.files.atomic import read_json
from tamis.pipeline.files.inside import is_inside
from tamis.pipeline.files.urls import as_url, know_urls
from tamis.pipeline.labels.files import SUFFIXES, read_answers
from tamis.pipeline.labels.rounds import import_answers
from tamis.pipeline.progress import say
from tamis.pipeline.recipe.recipe import Recipe, load_recipe, overridden, parse_recipe
from tamis.pipeline.recipe.user_code import ALLOWED
from tamis.pipeline.starting import Outcome, fill_columns, run_next

SERVED = "TAMIS_SERVED"  # names the file that says what `tamis serve` serves
MAY_SET = re.compile(r"seed|steps\.\d+\.\w+\.(budget|fraction)")


@flow(name="tamis", persist_result=False)
def recipe_flow(changes: dict[str, int | float | str] | None = None) -> str:
    """The next run of the recipe that is served: the last one's name where that did not end or nothing is new, else a
    new one. `changes` are other numbers, by their place: {"steps.0.random.budget": 100}, {"seed": 1}."""
    machine.settle()
    served = read_json(Path(os.environ[SERVED]))
    machine.end_with(served["process"])
    know_urls(served["urls"])
    if refused := [place for place in changes or {} if not MAY_SET.fullmatch(place)]:
        raise RecipeError(f"changes: {refused[0]} is not a request's to set; these are: seed, steps.N.NAME.budget")
    folder = Path(served["recipe_folder"])
    recipe = parse_recipe(overridden(served["recipe"], dict(changes or {})), folder)
    return _next(recipe, folder, Path(served["store"]), served["allow_code"])


@flow(name="tamis-curate", persist_result=False)
def curate_file(recipe: Path, store: Path) -> str:
    """The same of a recipe in a file, read anew each time."""
    machine.settle()
    recipe, store = _allowed(recipe), _allowed(store)
    return _next(load_recipe(recipe), recipe.absolute().parent, store, _code_allowed())


@flow(name="tamis-embed", persist_result=False)
def embed_new(recipe: Path, store: Path) -> str:
    """Read what is new and make the recipe's columns of it; choose nothing. For the nights before a run is wanted."""
    machine.settle()
    recipe, store = _allowed(recipe), _allowed(store)
    rows = fill_columns(load_recipe(recipe), recipe.absolute().parent, store, _code_allowed(), Tasks())
    create_markdown_artifact(key="columns", markdown=f"{rows:,} samples have all columns of `{recipe.name}`")
    return str(store)


@flow(name="tamis-labels", persist_result=False)
def label_round(recipe: Path, store: Path, answers: Path) -> str:
    """Take in the answers that came since, then choose what to label next: the recipe's `emit` makes the tasks.

    `answers` is a folder of labeling tools' exports; files that were taken in before add nothing."""
    machine.settle()
    recipe, store, answers = _allowed(recipe), _allowed(store), _allowed(answers)
    loaded = load_recipe(recipe)
    if loaded.labels is None:
        raise RecipeError(f"recipe {recipe}: a round of labels needs `labels: STORE/labels` in the recipe")
    if (store / "pool").exists():
        for path in sorted(path for path in answers.glob("*") if path.suffix.lower() in SUFFIXES):
            try:
                found = import_answers(store.resolve(), read_answers(path), path.name, None, say)
            except RecipeError as error:  # the other files' answers are none the worse
                say(f"{error}. Left out; mend or move the file.")
            else:
                say(f"{path.name}: " + "; ".join(found.lines()))
    return _next(load_recipe(recipe), recipe.absolute().parent, store, _code_allowed())


def _allowed(place: Path) -> Path:
    """A path of a request's: below the folder that the worker was given. Raises RecipeError."""
    folder = os.environ.get("TAMIS_FOLDER")
    if folder is None or as_url(place):
        return place
    if not is_inside(Path(folder), Path(folder) / place):
        raise RecipeError(f"{place}: not below TAMIS_FOLDER ({folder}), where this worker's recipes and stores lie")
    return place


def _code_allowed() -> bool:
    """By who started the worker."""
    return os.environ.get(ALLOWED) == "1"


def _next(recipe: Recipe, recipe_folder: Path, store: Path, allow_code: bool) -> str:
    outcome = run_next(recipe, recipe_folder, store, allow_code, curate_flow)
    _tell(outcome)
    return str(outcome.folder)


def _tell(outcome: Outcome) -> None:
    """What the flow run's page shows: funnel, summary, a link to the report."""
    stages = [{"stage": name, "samples": count, "lost": why} for name, count, why in funnel(outcome.manifest)]
    create_table_artifact(key="funnel", table=stages, description=outcome.folder.name)
    create_markdown_artifact(key="summary", markdown=f"```\n{summary(outcome.manifest)}\n```")
    create_link_artifact(key="report", link=(outcome.folder / "report.html").as_uri(), link_text=outcome.folder.name)
