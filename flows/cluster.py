"""The same flow with its tasks on a Ray cluster, or on worker processes of this machine: no scheduler of our own.

Every worker sees the store at the same path (a shared file system) and has tamis installed. A task that runs a model
asks for a GPU where the cluster has one; a worker that is lost costs the task that it was at, which Ray runs again,
and shards that stand are passed over. Models are held by the worker's process, so one that is kept loads them once."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from prefect import flow

from tamis.flows.curate import Tasks, as_task, each, logged, name_of_run
from tamis.flows.server import server
from tamis.flows.settings import api_configured
from tamis.pipeline import curate
from tamis.pipeline.curate import Spent
from tamis.pipeline.errors import RunFailed
from tamis.pipeline.machine import cores
from tamis.pipeline.recipe.extras import require_extra
from tamis.pipeline.recipe.user_code import allow, allowed
from tamis.pipeline.store.costs import WORKER, metered

TRIES = 3  # of Ray, after a worker was lost; Prefect tries again what raised
HERE = (None, "local")


class RayTasks(Tasks):
    """Tasks go to workers; what is one call alone and needs no model stays with the flow, beside the store's lock."""

    def __init__(self) -> None:
        import ray

        whole = ray.cluster_resources()
        self.workers = max(1, int(whole.get("CPU", 1)))
        self._gpu = 1 if whole.get("GPU", 0) >= 1 else 0

    def one(self, label: str, function: Callable[..., Any], *arguments: Any, model: bool = False) -> list[Spent]:
        if not model:
            return super().one(label, function, *arguments)
        with self._resources(model):
            return [as_task(label, _one).submit(label, function, arguments, allowed()).result()]

    def submit(
        self, label: str, function: Callable[..., None], arguments: tuple[Any, ...], group: list[str], model: bool
    ) -> Any:
        with self._resources(model):
            return as_task(label, _some).submit(label, function, arguments, group, allowed())

    def _resources(self, model: bool) -> AbstractContextManager[Any]:
        from prefect_ray.context import remote_options

        return remote_options(num_cpus=1, num_gpus=self._gpu if model else 0, max_retries=TRIES)  # type: ignore[no-any-return, unused-ignore]


def _one(stage: str, function: Callable[..., Any], arguments: tuple[Any, ...], allowed_for: list[Path]) -> Spent:
    for folder in allowed_for:
        allow(folder)
    with metered(f"{stage} {WORKER}") as row:
        function(*arguments)
    return row


def _some(
    stage: str, function: Callable[..., None], arguments: tuple[Any, ...], names: list[str], allowed_for: list[Path]
) -> Spent:
    for folder in allowed_for:
        allow(folder)
    with metered(f"{stage} {WORKER}", len(names)) as row:
        each(function, arguments, names)
    return row


@flow(name="curate", flow_run_name=name_of_run, persist_result=False)
def _curate(folder: Path) -> Path:
    with logged():
        return curate.curate(folder, RayTasks())


def on_ray(address: str | None = None) -> Callable[[Path], Path]:
    """The engine: a function that carries a run folder to its manifest on this cluster. Raises RunFailed."""
    require_extra("--engine ray", "ray")
    from prefect_ray import RayTaskRunner

    if address not in HERE and not api_configured():
        raise RunFailed(
            "--engine ray with an --address: workers of other machines report to a Prefect API that all of them reach. "
            "Set PREFECT_API_URL, for instance to http://HEAD:4200/api of `prefect server start --host 0.0.0.0`."
        )
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

    def engine(folder: Path) -> Path:
        told = {"OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "passive")}  # as the command line does
        quiet = {"log_to_driver": False, "logging_level": "ERROR", "runtime_env": {"env_vars": told}}
        if address in HERE:
            here = {**quiet, "num_cpus": cores(), "include_dashboard": False}
            runner = RayTaskRunner(address="local", init_kwargs=here)  # not one that happens to run on this machine
        else:
            runner = RayTaskRunner(address=address, init_kwargs=quiet)
        with server() if not api_configured() else nullcontext():
            return Path(_curate.with_options(task_runner=runner)(folder))

    return engine
