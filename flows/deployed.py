"""The flows that prefect.yaml and `tamis serve` deploy: curate what is new, embed what is new, a round of labels.

Each is safe to start at any time and as often as one likes: what is done already is not done again."""

from pathlib import Path

from prefect import flow
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from tamis.flows.curate import Tasks, curate_flow
from tamis.pipeline import machine
from tamis.pipeline.errors import RecipeError
from tamis.pipeline.explain.show import funnel, summary
from tamis.pipeline.labels.files import SUFFIXES, read_answers
from tamis.pipeline.labels.rounds import import_answers
from tamis.pipeline.progress import say
from tamis.pipeline.recipe.recipe import Recipe, load_recipe, parse_recipe
from tamis.pipeline.starting import Outcome, fill_columns, run_next


@flow(name="tamis", persist_result=False)
def recipe_flow(recipe: Recipe, recipe_folder: Path, store: Path, allow_code: bool = False) -> str:
    """The next run of a recipe: the last one's name where that did not end or nothing is new, else a new one."""
    machine.settle()
    resolved = parse_recipe(recipe.model_dump(mode="json", exclude_defaults=True), recipe_folder)
    return _next(resolved, recipe_folder, store, allow_code)


@flow(name="tamis-curate", persist_result=False)
def curate_file(recipe: Path, store: Path, allow_code: bool = False) -> str:
    """The same of a recipe in a file, read anew each time."""
    machine.settle()
    return _next(load_recipe(recipe), recipe.absolute().parent, store, allow_code)


@flow(name="tamis-embed", persist_result=False)
def embed_new(recipe: Path, store: Path, allow_code: bool = False) -> str:
    """Read what is new and make the recipe's columns of it; choose nothing. For the nights before a run is wanted."""
    machine.settle()
    rows = fill_columns(load_recipe(recipe), recipe.absolute().parent, store, allow_code, Tasks())
    create_markdown_artifact(key="columns", markdown=f"{rows:,} samples have all columns of `{recipe.name}`")
    return str(store)


@flow(name="tamis-labels", persist_result=False)
def label_round(recipe: Path, store: Path, answers: Path, allow_code: bool = False) -> str:
    """Take in the answers that came since, then choose what to label next: the recipe's `emit` makes the tasks.

    `answers` is a folder of labeling tools' exports; files that were taken in before add nothing."""
    machine.settle()
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
    return _next(load_recipe(recipe), recipe.absolute().parent, store, allow_code)


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
