"""A recipe run again and again on one machine, each time over what is new: a Prefect deployment with a schedule.

Where no Prefect API is configured a server is started on loopback, for as long as this lasts; whoever asks it must know
the word that the start prints. What is served is settled by who starts it, in a file that nobody else can read: a
request begins a run, and can change no more than numbers."""

import os
import tempfile
from datetime import timedelta
from pathlib import Path

import yaml

from tamis.flows.deployed import SERVED, recipe_flow
from tamis.flows.server import server
from tamis.flows.settings import AUTH, api_configured
from tamis.pipeline.files.atomic import write_json
from tamis.pipeline.files.urls import as_url, known_urls
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
    asked = recipe.model_dump(mode="json", exclude_defaults=True)
    with server(port) as address, tempfile.TemporaryDirectory(prefix="tamis-serve-") as private:
        told = Path(private) / "served.json"
        place = as_url(store) or str(store.absolute())
        served = {"recipe": asked, "recipe_folder": str(recipe_folder.absolute()), "store": place}
        write_json(told, {**served, "allow_code": allow_code, "urls": known_urls(), "process": os.getpid()})
        os.environ[SERVED] = str(told)
        recipe_flow()
        word = os.environ.get(AUTH)
        asks = f" to who gives its word, {word}" if word and not api_configured() else ""
        say(f"serving {recipe.name}: {address.removesuffix('/api')} shows its runs{asks}; Ctrl-C ends it")
        recipe_flow.serve(
            name=recipe.name,
            description=f"```yaml\n{yaml.safe_dump(asked, sort_keys=False)}```",
            interval=every,
            cron=cron,
            limit=1,
            pause_on_shutdown=False,
            print_starting_message=False,
        )
