"""A run as a Prefect flow: the stages of pipeline/curate.py, each call a task.

Tasks take and return paths and small values. One over shards carries several of them, since a task costs 5-7 ms."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.task_runners import ThreadPoolTaskRunner

from tamis.pipeline import curate
from tamis.pipeline.errors import TamisError
from tamis.pipeline.parallel import cores
from tamis.pipeline.progress import Counter

RETRY_DELAYS_S: list[float] = [1, 10]
MOST_SHARDS = 64  # a task; about half a minute where a shard takes half a second


class Tasks:
    """The engine that makes a Prefect task of every call; a failed one is tried twice more, after 1 and 10 seconds."""

    def one(self, label: str, function: Callable[..., Any], *arguments: Any) -> Any:
        return _as_task(label, function)(*arguments)

    def many(self, label: str, function: Callable[..., None], names: Sequence[str], *arguments: Any) -> None:
        size = min(MOST_SHARDS, -(-len(names) // cores()))
        some = _as_task(label, function)
        groups = [list(names[first : first + size]) for first in range(0, len(names), size)]
        counter = Counter(label, len(names), "shards")
        for future, group in [(some.submit(*arguments, group), group) for group in groups]:
            future.result()
            counter.add(len(group))
        counter.end()


def _as_task(label: str, function: Callable[..., Any]) -> Any:
    return task(
        function,
        name=label,
        retries=2,
        retry_delay_seconds=RETRY_DELAYS_S,
        persist_result=False,
        retry_condition_fn=_may_pass,
    )


def _may_pass(_task: Any, _run: Any, state: Any) -> bool:
    """Bad input stays bad; a disk or a network may come back."""
    return not isinstance(state.result(raise_on_failure=False), TamisError)


@flow(name="curate", task_runner=ThreadPoolTaskRunner(max_workers=cores()), persist_result=False)
def curate_flow(folder: Path) -> Path:
    """Carry the run in this folder to its manifest."""
    return curate.curate(folder, Tasks())
