"""Which engine carries a run: the one place outside flows/ that imports it, and only where it is wanted."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

EngineName = Literal["auto", "local", "prefect", "ray"]


def engine_of(name: str, address: str | None = None) -> Callable[[Path], Path] | None:
    """The Prefect flow where it is wanted, else None: the plain loop. Raises RecipeError."""
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
