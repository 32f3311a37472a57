"""A recipe run again and again on one machine, each time over what is new: a Prefect deployment with a schedule.

Where no Prefect API is configured a server is started on loopback, for as long as this lasts."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from tamis.flows.curate import curate_flow
from tamis.flows.server import server
from tamis.pipeline.progress import say
from tamis.pipeline.recipe import Recipe, parse_recipe
from tamis.pipeline.run import Outcome, run_next
from tamis.pipeline.show import funnel, summary

PORT = 4200


@flow(name="tamis", persist_result=False)
def recipe_flow(recipe: Recipe, recipe_folder: Path, store: Path, allow_code: bool = False) -> str:
    """The next run of a recipe: the last one's name where that did not end or nothing is new, else a new one."""
    resolved = parse_recipe(recipe.model_dump(mode="json", exclude_defaults=True), recipe_folder)
    outcome = run_next(resolved, recipe_folder, store, allow_code, curate_flow)
    _tell(outcome)
    return str(outcome.folder)


def _tell(outcome: Outcome) -> None:
    """What the flow run's page shows: funnel, summary, a link to the report."""
    stages = [{"stage": name, "samples": count, "lost": why} for name, count, why in funnel(outcome.manifest)]
    create_table_artifact(key="funnel", table=stages, description=outcome.folder.name)
    create_markdown_artifact(key="summary", markdown=f"```\n{summary(outcome.manifest)}\n```")
    create_link_artifact(key="report", link=(outcome.folder / "report.html").as_uri(), link_text=outcome.folder.name)


def serve(
    recipe: Recipe,
    recipe_folder: Path,
    store: Path,
    allow_code: bool = False,
    *,
    every: timedelta | None = None,
    cron: str | None = None,
    port: int = PORT,
) -> None:
    """Run it now, so that what is wrong shows at once, and by the schedule until stopped; a run that is due while one
    goes on waits for it."""
    with server(port) as address:
        recipe_flow(recipe, recipe_folder.absolute(), store.absolute(), allow_code)
        say(f"serving {recipe.name}: {address.removesuffix('/api')} shows its runs; Ctrl-C ends it")
        recipe_flow.serve(
            name=recipe.name,
            parameters=parameters(recipe, recipe_folder, store, allow_code),
            interval=every,
            cron=cron,
            limit=1,
            pause_on_shutdown=False,
            print_starting_message=False,
        )


def parameters(recipe: Recipe, recipe_folder: Path, store: Path, allow_code: bool) -> dict[str, Any]:
    """Of a deployment: plain JSON."""
    return {
        "recipe": recipe.model_dump(mode="json", exclude_defaults=True),
        "recipe_folder": str(recipe_folder.absolute()),
        "store": str(store.absolute()),
        "allow_code": allow_code,
    }
