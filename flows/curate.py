"""A run as a Prefect flow: the stages of pipeline/curate.py, each call a task, in threads or on a Ray cluster.

Tasks take and return paths and small values. One over shards carries several of them, since a task costs 5-7 ms, and
goes on past a shard that fails: that one is tried again, and the run ends with the list of those that stay undone."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.runtime import flow_run
from prefect.task_runners import ThreadPoolTaskRunner

from tamis.pipeline import curate
from tamis.pipeline.curate import Spent
from tamis.pipeline.errors import RunFailed, TamisError
from tamis.pipeline.machine import cores
from tamis.pipeline.progress import Counter, heard

RETRY_DELAYS_S: list[float] = [1, 10]
MOST_SHARDS = 64  # a task; about half a minute where a shard takes half a second
SHOWN_EVERY_S = 2.0  # each costs some 30 ms
TOLD = 5  # shards that the last line names


class ShardsFailed(Exception):
    """Some of a task's shards could not be done; `args[0]` says why, by shard."""

    args: tuple[dict[str, str]]


class Tasks:
    """The engine that makes a Prefect task of every call; what failed is tried twice more, after 1 and 10 seconds."""

    workers = cores()

    def one(self, label: str, function: Callable[..., Any], *arguments: Any, model: bool = False) -> list[Spent]:
        as_task(label, function)(*arguments)
        return []

    def many(
        self,
        label: str,
        function: Callable[..., None],
        names: Sequence[str],
        *arguments: Any,
        model: bool = False,
        rows: int = 0,
    ) -> list[Spent]:
        size = max(1, min(MOST_SHARDS, -(-len(names) // self.workers)))
        groups = [list(names[first : first + size]) for first in range(0, len(names), size)]
        counter = Counter(label, len(names), "shards", rows)
        told = time.monotonic()
        shown = create_progress_artifact(key="progress", progress=0.0, description=label)
        costs: list[Spent] = []
        failed: dict[str, str] = {}
        refused: list[TamisError] = []
        for future, group in [(self.submit(label, function, arguments, group, model), group) for group in groups]:
            try:
                costs += filter(None, [future.result()])
                counter.add(len(group))
                if time.monotonic() - told >= SHOWN_EVERY_S or counter.done == len(names):
                    update_progress_artifact(shown, progress=100.0 * counter.done / len(names))
                    told = time.monotonic()
            except ShardsFailed as error:
                failed |= error.args[0]
            except TamisError as error:
                refused.append(error)
            except Exception as error:  # noqa: BLE001  a worker that was lost for good; the others still count
                failed |= dict.fromkeys(group, _told(error))
        counter.end()
        if refused:
            raise refused[0]
        if failed:
            raise RunFailed(_all_told(label, failed, len(names)))
        return costs

    def submit(
        self, label: str, function: Callable[..., None], arguments: tuple[Any, ...], group: list[str], model: bool
    ) -> Any:
        """A future of None, or of what another process spent."""
        return as_task(label, each).submit(function, arguments, group)


def each(function: Callable[..., None], arguments: tuple[Any, ...], names: list[str]) -> None:
    """Do shard after shard; what stands from an earlier try is passed over by the function itself."""
    failed = {}
    for name in names:
        try:
            function(*arguments, [name])
        except TamisError:
            raise
        except Exception as error:  # noqa: BLE001  whatever it is, the other shards can be done
            failed[name] = _told(error)
    if failed:
        raise ShardsFailed(failed)


def _told(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def _all_told(label: str, failed: dict[str, str], shards: int) -> str:
    listed = "; ".join(f"{name} ({why})" for name, why in sorted(failed.items())[:TOLD])
    more = f"; and {len(failed) - TOLD:,} more" if len(failed) > TOLD else ""
    return (
        f"{label}: {len(failed):,} of {shards:,} shards could not be done after {1 + len(RETRY_DELAYS_S)} tries: "
        f"{listed}{more}. The others are done; the same command goes on with these."
    )


def as_task(label: str, function: Callable[..., Any]) -> Any:
    return task(
        function,
        name=label,
        retries=len(RETRY_DELAYS_S),
        retry_delay_seconds=RETRY_DELAYS_S,
        persist_result=False,
        retry_condition_fn=_may_pass,
    )


def _may_pass(_task: Any, _run: Any, state: Any) -> bool:
    """Bad input stays bad; a disk or a network may come back."""
    return not isinstance(state.result(raise_on_failure=False), TamisError)


def name_of_run() -> str:
    """Of the run whose folder a flow is given."""
    return Path(str(flow_run.parameters["folder"])).name


THREADS = ThreadPoolTaskRunner(max_workers=cores())


@flow(name="curate", task_runner=THREADS, flow_run_name=name_of_run, persist_result=False)
def curate_flow(folder: Path) -> Path:
    """Carry the run in this folder to its manifest."""
    with logged():
        return curate.curate(folder, Tasks())


@contextmanager
def logged() -> Iterator[None]:
    """What tamis says inside stands in the flow run's log, too."""
    log = get_run_logger()
    with heard(lambda line: log.info("%s", line)):
        yield
