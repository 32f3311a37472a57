"""A recipe run again and again on one machine, each time over what is new: a Prefect deployment with a schedule.

Where no Prefect API is configured a server is started on loopback, for as long as this lasts; whoever asks it must know
the word that the start prints. What is served is settled by who starts it, in a file that nobody else can read: a
request begins a run, and can change no more than numbers. What people set on its page stays as they set it: a schedule
that was paused there is paused when this starts anew."""

import asyncio
import os
import signal
import tempfile
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy, StateType
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule
from prefect.exceptions import ObjectNotFound
from prefect.runner import Runner
from prefect.states import Cancelled, Crashed

from tamis.flows.deployed import SERVED, recipe_flow
from tamis.flows.server import server
from tamis.flows.settings import AUTH, api_configured
from tamis.flows.watch import Looker, watching
from tamis.pipeline.files.atomic import write_json
from tamis.pipeline.files.urls import as_url, known_urls
from tamis.pipeline.progress import say
from tamis.pipeline.recipe.recipe import Recipe
from tamis.pipeline.store.old_runs import Fate

PORT = 4200
MOST_AT_ONCE = 8  # flow runs of which all but one find the deployment's one slot taken, and end


class When(NamedTuple):
    """When a night begins: by a clock, or when there is something new; and what becomes of one that is due while
    another goes on."""

    every: timedelta | None = None
    cron: str | None = None
    look: timedelta | None = None  # how often the sources are looked at; a run begins once what is new stands still
    if_running: Literal["wait", "skip"] = "wait"


def serve(
    recipe: Recipe,
    recipe_folder: Path,
    store: Path,
    allow_code: bool = False,
    *,
    when: When,
    port: int = PORT,
    keep_runs: int | None = None,
    old: Fate = "thin",
) -> None:
    """Run it now, so that what is wrong shows at once and what was missed is caught up, once; then whenever it is due,
    until stopped by SIGINT or SIGTERM."""
    signal.signal(signal.SIGTERM, _stop)
    asked = recipe.model_dump(mode="json", exclude_defaults=True)
    with server(port) as address, tempfile.TemporaryDirectory(prefix="tamis-serve-") as private:
        told = Path(private) / "served.json"
        place = as_url(store) or str(store.absolute())
        served: dict[str, Any] = {"recipe": asked, "recipe_folder": str(recipe_folder.absolute()), "store": place}
        served |= {"allow_code": allow_code, "keep_runs": keep_runs, "old": old}
        write_json(told, {**served, "urls": known_urls(), "process": os.getpid()})
        os.environ[SERVED] = str(told)
        known, looker = _known(recipe.name), None if when.look is None else Looker(recipe)
        if known.paused or known.stopped:
            say(f"{recipe.name} was paused on its page: nothing runs until it is resumed there")
            if looker is not None:
                looker.nothing_ran()
        else:
            _pass_over_what_was_missed(known)
            recipe_flow()
        runner = _Runner(name=recipe.name, pause_on_shutdown=False, limit=MOST_AT_ONCE if _skips(when) else 1)
        deployment = runner.add_flow(
            recipe_flow,  # type: ignore[arg-type, unused-ignore]
            name=recipe.name,
            description=f"```yaml\n{yaml.safe_dump(asked, sort_keys=False)}```",
            schedules=_schedules(when, known),
            paused=known.paused,
            concurrency_limit=_limit(when),
        )
        watched: AbstractContextManager[None] = nullcontext()
        if looker is not None and when.look is not None:
            watched = watching(looker, when.look, deployment)
        word = os.environ.get(AUTH)
        asks = f" to who gives its word, {word}" if word and not api_configured() else ""
        with suppress(KeyboardInterrupt), watched:
            say(f"serving {recipe.name}: {address.removesuffix('/api')} shows its runs{asks}; Ctrl-C ends it")
            asyncio.run(runner.start())


class _Runner(Runner):
    """Prefect's, which ends at SIGTERM as it does at Ctrl-C: its own way leaves a coroutine that nobody awaits."""

    def handle_sigterm(self, *_: Any, **__: Any) -> None:
        _stop()


def _stop(*_: Any) -> None:
    raise KeyboardInterrupt


class _Known(NamedTuple):
    """What the server has of a deployment from an earlier start."""

    deployment: Any | None
    paused: bool
    stopped: bool  # each of its schedules, by its own switch


def _known(name: str) -> _Known:
    with get_client(sync_client=True) as client:
        try:
            found = client.read_deployment_by_name(f"{recipe_flow.name}/{name}")
        except ObjectNotFound:
            return _Known(None, False, False)
    stopped = bool(found.schedules) and not any(one.active for one in found.schedules)
    return _Known(found, bool(found.paused), stopped)


def _schedules(when: When, known: _Known) -> list[dict[str, Any]]:
    """As Prefect has them; stopped where they were."""
    found: list[dict[str, Any]] = []
    if when.every is not None:
        found.append({"schedule": IntervalSchedule(interval=when.every)})
    if when.cron is not None:
        found.append({"schedule": CronSchedule(cron=when.cron)})
    return [{**one, "active": not known.stopped} for one in found]


def _skips(when: When) -> bool:
    return when.if_running == "skip"


def _limit(when: When) -> ConcurrencyLimitConfig:
    """One run at a time: the server holds the next back, or cancels it."""
    strategy = ConcurrencyLimitStrategy.CANCEL_NEW if _skips(when) else ConcurrencyLimitStrategy.ENQUEUE
    return ConcurrencyLimitConfig(limit=1, collision_strategy=strategy)


def _pass_over_what_was_missed(known: _Known) -> None:
    """Flow runs that were due while nothing served them, for the one at the start stands for all; and those that the
    end of an earlier start left as running, where no other process can be at them."""
    if known.deployment is None:
        return
    late = [StateType.SCHEDULED]
    left = [] if api_configured() else [StateType.RUNNING, StateType.PENDING]
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(
            deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[known.deployment.id])),
            flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[*late, *left]))),
        )
        for run in found:
            if run.state_type in left:
                client.set_flow_run_state(run.id, Crashed(message="what served it ended"), force=True)
            elif run.expected_start_time is not None and run.expected_start_time < datetime.now(UTC):
                told = "missed; the run at the next start stands for it"
                client.set_flow_run_state(run.id, Cancelled(message=told), force=True)
