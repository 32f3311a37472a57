"""A recipe run again and again on one machine, each time over what is new: a Prefect deployment with a schedule.

Where no Prefect API is configured a server is started on loopback, for as long as this lasts."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from tamis.flows.deployed import recipe_flow
from tamis.flows.server import server
from tamis.pipeline.files.urls import as_url
from tamis.pipeline.progress import say
from tamis.pipeline.recipe.recipe import Recipe

PORT = 4200


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
        recipe_flow(**parameters(recipe, recipe_folder, store, allow_code))
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
        "store": as_url(store) or str(store.absolute()),
        "allow_code": allow_code,
    }
