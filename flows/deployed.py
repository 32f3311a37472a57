"""The flows that prefect.yaml and `tamis serve` deploy: curate what is new, embed what is new, a round of labels.

Each is safe to start at any time and as often as one likes: what is done already is not done again. Who may start one
is not who may say what runs: code is allowed by TAMIS_ALLOW_CODE in the worker's environment alone, paths lie below
TAMIS_FOLDER where that is set, and of a recipe that is served only the numbers of MAY_SET are a request's to change."""

import os
import re
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.states import Completed, State

from tamis.flows.curate import THREADS, Tasks, logged
from tamis.flows.night import name_flow_run, night
from tamis.pipeline import machine
from tamis.pipeline.errors import LimitMet, RecipeError, TamisError
from tamis.pipeline.files.atomic import read_json
from tamis.pipeline.files.inside import is_inside
from tamis.pipeline.files.urls import as_url, know_urls
from tamis.pipeline.labels.files import SUFFIXES, read_answers
from tamis.pipeline.labels.rounds import import_answers
from tamis.pipeline.labels.waiting import Stop, Wait, stopped, waited_for
from tamis.pipeline.progress import say
from tamis.pipeline.recipe.recipe import load_recipe, overridden, parse_recipe
from tamis.pipeline.recipe.user_code import ALLOWED
from tamis.pipeline.starting import fill_columns, last_run
from tamis.pipeline.store.old_runs import Fate

SERVED = "TAMIS_SERVED"  # names the file that says what `tamis serve` serves
MAY_SET = re.compile(r"seed|steps\.\d+\.\w+\.(budget|fraction)")


@flow(name="tamis", persist_result=False, task_runner=THREADS)
def recipe_flow(changes: dict[str, int | float | str] | None = None) -> State[Any]:
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
    return night(recipe, folder, Path(served["store"]), served["allow_code"], served["keep_runs"], served["old"])


@flow(name="tamis-curate", persist_result=False, task_runner=THREADS)
def curate_file(recipe: Path, store: Path, keep_runs: int | None = None, old: Fate = "thin") -> State[Any]:
    """The same of a recipe in a file, read anew each time. `keep_runs`: how many runs stay whole; `old`: whether the
    others are thinned, or taken away ("remove")."""
    machine.settle()
    recipe, store = _allowed(recipe), _allowed(store)
    return night(load_recipe(recipe), recipe.absolute().parent, store, _code_allowed(), keep_runs, old)


@flow(name="tamis-embed", persist_result=False, task_runner=THREADS)
def embed_new(recipe: Path, store: Path) -> State[Any]:
    """Read what is new and make the recipe's columns of it; choose nothing. For the nights before a run is wanted."""
    machine.settle()
    recipe, store = _allowed(recipe), _allowed(store)
    name_flow_run(f"{recipe.stem}-columns")
    with logged():
        try:
            rows = fill_columns(load_recipe(recipe), recipe.absolute().parent, store, _code_allowed(), Tasks())
        except LimitMet as error:
            say(str(error))
            return Completed(message=str(error), name="Limited")
    create_markdown_artifact(key="columns", markdown=f"{rows:,} samples have all columns of `{recipe.name}`")
    return Completed(message=f"{rows:,} samples have all columns of {recipe.name}")


@flow(name="tamis-labels", persist_result=False, task_runner=THREADS)
def label_round(
    recipe: Path,
    store: Path,
    answers: Path,
    wait_answers: int | None = None,
    wait_share: float | None = None,
    wait_days: float | None = None,
    stop_labels: int | None = None,
    stop_cost: float | None = None,
) -> State[Any]:
    """Take in the answers that came since, then choose what to label next: the recipe's `emit` makes the tasks.

    `answers` is a folder of labeling tools' exports; files that were taken in before add nothing. The last round is
    waited for until so many of its answers are there, or such a share, or so many days are over; and none is asked once
    there are enough labels, or they cost enough."""
    machine.settle()
    recipe, store, answers = _allowed(recipe), _allowed(store), _allowed(answers)
    loaded = load_recipe(recipe)
    if as_url(store):
        raise RecipeError(f"{store}: a round that waits for answers wants a store on a disk that the worker sees")
    if loaded.labels is None:
        raise RecipeError(f"recipe {recipe}: a round of labels needs `labels: STORE/labels` in the recipe")
    with logged():
        _take_in(store, answers)
        if told := stopped(store, Stop(stop_labels, stop_cost)):
            say(told)
            return Completed(message=told, name="Done")
        last = last_run(store, loaded.name)
        whole = last is not None and (last / "manifest.json").exists()
        if last is not None and whole and (told := waited_for(last, Wait(wait_answers, wait_share, wait_days))):
            say(told)
            return Completed(message=told, name="Waiting")
    return night(loaded, recipe.absolute().parent, store, _code_allowed())


def _take_in(store: Path, answers: Path) -> None:
    """Each file by itself: one that can't be read costs the others nothing."""
    if not (store / "pool").exists():
        return
    for path in sorted(path for path in answers.glob("*") if path.suffix.lower() in SUFFIXES):
        try:
            found = import_answers(store.resolve(), read_answers(path), path.name, None, say)
        except (TamisError, OSError) as error:
            say(f"{error}. Left out; mend or move the file.")
        else:
            say(f"{path.name}: " + "; ".join(found.lines()))


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
