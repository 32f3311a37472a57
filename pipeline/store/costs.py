"""What a run cost: for each task, seconds of processor and GPU, peak memory, bytes read and written, rows, money.

A task is what one process did of a stage at once: the stage itself in the plain loop, and each task of a cluster.
Lines are appended to the run's costs.jsonl as tasks end, so a run that was killed still tells of what it paid for;
the shard that was under way when it was killed is not told of."""

import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from tamis.pipeline import machine
from tamis.pipeline.errors import LimitMet
from tamis.pipeline.files.sealed import made_so_far
from tamis.pipeline.recipe.limits import RunLimits
from tamis.pipeline.recipe.recipe import Prices

COSTS = pa.schema(
    [
        pa.field("stage", pa.string(), nullable=False),
        pa.field("worker", pa.string(), nullable=False),  # host:process
        pa.field("shards", pa.int32(), nullable=False),
        pa.field("rows", pa.int64(), nullable=False),  # that it worked on; 0 where the stage has none of its own
        pa.field("wall_s", pa.float64(), nullable=False),
        pa.field("processor_s", pa.float64(), nullable=False),  # of all threads, and of child processes that ended
        pa.field("gpu_s", pa.float64(), nullable=False),  # a GPU was held
        pa.field("peak_bytes", pa.int64()),  # of this process; null where the kernel doesn't say
        pa.field("read_bytes", pa.int64()),  # by read calls, also of cached files
        pa.field("written_bytes", pa.int64()),
    ]
)
WORKER = "worker"  # rows of other processes: their wall time lies inside that of the stage's own row
ADDED = ("processor_s", "gpu_s", "read_bytes", "written_bytes")


@contextmanager
def metered(stage: str, shards: int = 0, rows: int = 0) -> Iterator[dict[str, Any]]:
    """Yield a row of COSTS that is filled when the block ends, however it ends."""
    row: dict[str, Any] = {
        "stage": stage, "worker": f"{socket.gethostname()}:{os.getpid()}", "shards": shards, "rows": rows,
    }  # fmt: skip
    machine.forget_peak()
    wall, processor, (read, written) = time.monotonic(), _processor_s(), _bytes()
    try:
        yield row
    finally:
        took, (now_read, now_written) = time.monotonic() - wall, _bytes()
        row |= {
            "wall_s": round(took, 3),
            "processor_s": round(_processor_s() - processor, 3),
            "gpu_s": round(took * _gpus_held(), 3),
            "peak_bytes": machine.peak(),
            "read_bytes": None if read is None or now_read is None else now_read - read,
            "written_bytes": None if written is None or now_written is None else now_written - written,
        }


def _processor_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _bytes() -> tuple[int | None, int | None]:
    """That this process has read and written so far; only Linux says."""
    try:
        lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    except OSError:
        return None, None
    told = dict(line.split(": ") for line in lines)
    return int(told["rchar"]), int(told["wchar"])


def _gpus_held() -> int:
    torch = sys.modules.get("torch")
    return torch.cuda.device_count() if torch is not None and torch.cuda.is_initialized() else 0


_begun: set[float] = set()  # purses of which this process has done a task


class Purse:
    """What this process spends from now on, held against a recipe's `limits`; of another process's tasks, the time."""

    def __init__(self, limits: RunLimits, prices: Prices | None) -> None:
        self.limits, self.prices, self.process = limits, prices, os.getpid()
        self.began, self.processor_s, self.written = time.time(), _processor_s(), _bytes()[1] or 0
        self.made = made_so_far()

    def something(self) -> None:
        """Other processes made what stands."""
        self.made = -1

    def nothing_yet(self) -> None:
        """What was done so far will be done again by whoever goes on."""
        self.made = made_so_far()

    def check(self, where: str) -> None:
        """Raises LimitMet where one is spent, and something was made that stands: by small limits, too, it ends. Of
        another process the first task is let through."""
        if os.getpid() == self.process and made_so_far() == self.made:
            return
        if os.getpid() != self.process and self.began not in _begun:
            _begun.add(self.began)
            return
        told = self._spent(time.time() - self.began)
        for spent, most, shown in told:
            if spent >= most:
                raise LimitMet(
                    f"limits: {shown} are spent ({where}). What is done stands: the same command goes on, as "
                    "does the next night."
                )

    def _spent(self, seconds: float) -> list[tuple[float, float, str]]:
        """Of each limit: spent, most, and how that is told."""
        limits, found = self.limits, []
        if limits.seconds is not None:
            found.append((seconds, limits.seconds, f"{limits.seconds:,g} seconds"))
        if os.getpid() != self.process:
            return found
        written = (_bytes()[1] or 0) - self.written
        if limits.bytes is not None:
            found.append((written, limits.bytes, f"{limits.bytes:,} bytes"))
        if limits.cost is not None and self.prices is not None:
            row = {"processor_s": _processor_s() - self.processor_s, "gpu_s": seconds * _gpus_held()}
            cost = money([{**row, "written_bytes": written}], self.prices) or 0.0
            found.append((cost, limits.cost, f"{limits.cost:,.4g} {self.prices.currency or 'of cost'}"))
        return found


def within(purse: Purse, label: str, function: Callable[..., None], *arguments: Any) -> None:
    """The function, unless a limit is met."""
    purse.check(label)
    function(*arguments)


def note(folder: Path, costs: Iterable[dict[str, Any]]) -> None:
    """Add rows to the run's costs."""
    lines = "".join(json.dumps(row) + "\n" for row in costs if row)  # of a stage that was stopped as it began: none
    with (folder / "costs.jsonl").open("a", encoding="utf-8") as out:
        out.write(lines)


def noted(folder: Path) -> list[dict[str, Any]]:
    """All rows so far. A line that a kill cut short, or that tells of no stage, is passed over."""
    path = folder / "costs.jsonl"
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and "stage" in row:
            found.append(row)
    return found


def by_stage(costs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a stage, in the order in which they first ended; `wall_s` is of the stage, not of its workers."""
    stages: dict[str, dict[str, Any]] = {}
    for row in costs:
        mine = row["stage"].removesuffix(f" {WORKER}")
        sums = stages.setdefault(mine, {"stage": mine, "tasks": 0, "rows": 0, "wall_s": 0.0, **dict.fromkeys(ADDED, 0)})
        sums["tasks"] += 1
        for name in ADDED:
            sums[name] = round(sums[name] + (row[name] or 0), 3)
        if mine == row["stage"]:
            sums["wall_s"] = round(sums["wall_s"] + row["wall_s"], 3)
            sums["rows"] = max(sums["rows"], row["rows"])
        sums["peak_bytes"] = max(sums.get("peak_bytes", 0), row["peak_bytes"] or 0)
    return list(stages.values())


def money(stages: list[dict[str, Any]], prices: Prices | None) -> float | None:
    """What these stages cost at the recipe's prices; None where it gives none."""
    if prices is None:
        return None
    hours = sum(row["processor_s"] for row in stages) / 3600, sum(row["gpu_s"] for row in stages) / 3600
    written = sum(row["written_bytes"] for row in stages) / 1e9
    whole = hours[0] * prices.processor_hour + hours[1] * prices.gpu_hour + written * prices.gigabyte_written
    return round(whole, 6)
