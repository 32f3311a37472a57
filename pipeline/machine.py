"""What this process may use of its machine, and the most memory that it held.

A container's limit counts as the machine's size: processors and memory are those of the process's affinity and of its
control group (version 1 or 2), and TAMIS_CORES and TAMIS_MEMORY stand above both. The settings of `settle` are to be
made before pyarrow and torch are imported, and only by a process of our own (the command line, workers): a library
has no right to. Measured on 640 MB of JSONL: a fifth less memory and a fifth less time than with the C allocator's
defaults, which give pages back to the kernel and take them again for every block. OpenMP's threads wait asleep: awake
they take a shared machine's time from whoever computes, themselves among them."""

import ctypes
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tamis.pipeline.errors import RunFailed

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # malloc.h
KEEP_BYTES = 32 << 20  # blocks up to this size are reused rather than returned
NO_LIMIT = 1 << 60  # bytes: version 1 says a number near 2^63 where there is none
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
GROUPS = Path("/sys/fs/cgroup")
MINE = Path("/proc/self/cgroup")
LOOK_SECONDS = 0.2


def settle() -> None:
    """Arrow shares the C allocator; two arenas instead of eight a core; freed blocks are kept for the next ones; as
    many threads as there are processors to use, which sleep while they wait."""
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("OMP_NUM_THREADS", str(cores()))
    try:
        mallopt = ctypes.CDLL(None).mallopt  # glibc alone
    except (OSError, AttributeError):
        return
    mallopt(M_ARENA_MAX, 2)
    mallopt(M_MMAP_THRESHOLD, KEEP_BYTES)
    mallopt(M_TRIM_THRESHOLD, 2 * KEEP_BYTES)


def end_with(parent: int) -> None:
    """From here on this process ends when that one does, also by SIGKILL."""
    import threading

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_SECONDS)
        os._exit(1)

    if parent != os.getpid():
        threading.Thread(target=watch, daemon=True).start()


def cores() -> int:
    """Processors that this process may use, at least one. Raises RunFailed where TAMIS_CORES is no number."""
    if asked := os.environ.get("TAMIS_CORES"):
        if not asked.isdecimal() or int(asked) < 1:
            raise RunFailed(f"TAMIS_CORES: wanted a number of processors, found {asked!r}")
        return int(asked)
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([mine, *(int(share) for share in _processor_shares())]))


def idle_cores() -> int:
    """Of these, how many have had nothing to do for the last moment, at least one: what a computation of many small
    steps should take, since it waits for its slowest thread at each. Takes 0.2 seconds; only Linux tells."""
    before = _idle_seconds()
    if before is None:
        return cores()
    began = time.monotonic()
    time.sleep(LOOK_SECONDS)
    after = _idle_seconds() or before
    if after == before == 0:  # a kernel that tells nothing
        return cores()
    return max(1, min(cores(), round((after - before) / (time.monotonic() - began))))


def _idle_seconds() -> float | None:
    with suppress(OSError, ValueError, IndexError):
        idle = int(Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[4])
        return idle / os.sysconf("SC_CLK_TCK")
    return None


def memory_bytes() -> int | None:
    """Memory that this process may use; None where nothing says. Raises RunFailed where TAMIS_MEMORY is no size."""
    if asked := os.environ.get("TAMIS_MEMORY"):
        return size_of(asked)
    limits = [int(told) for told in _told("memory", "memory.max", "memory.limit_in_bytes") if told.isdecimal()]
    with suppress(OSError, ValueError):
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return min((limit for limit in limits if limit < NO_LIMIT), default=None)


def size_of(text: str) -> int:
    """Bytes of `8G`, `512M`, or a number. Raises RunFailed."""
    number, unit = text.strip().upper().removesuffix("B").removesuffix("I"), ""
    if number and number[-1] in UNITS:
        number, unit = number[:-1], number[-1]
    try:
        size = int(float(number) * UNITS[unit])
    except (ValueError, OverflowError):
        size = 0
    if size < 1:
        raise RunFailed(f"TAMIS_MEMORY: wanted a size such as 8G or 512M, found {text!r}")
    return size


def _processor_shares() -> Iterator[float]:
    """Processors that each control group above this process grants."""
    for told in _told("cpu", "cpu.max", "cpu.cfs_quota_us"):
        quota, _, period = told.partition(" ")
        if quota.lstrip("-").isdecimal() and period.isdecimal() and int(quota) > 0 and int(period) > 0:
            yield int(quota) / int(period)


def _told(controller: str, second: str, first: str) -> Iterator[str]:
    """What the process's control groups say, from its own up to the root: files of version 2, then of version 1. Where
    a group is not to be seen from here (a container's), the root's files are the container's."""
    try:
        lines = MINE.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        names = controllers.split(",")
        if not controllers:
            base, file = GROUPS, second
        elif controller in names:
            base, file = GROUPS / controllers, first
            base = base if base.is_dir() else GROUPS / controller
        else:
            continue
        places = [base / path.strip("/"), *(base / path.strip("/")).parents]
        for place in places:
            with suppress(OSError, UnicodeDecodeError):
                told = (place / file).read_text(encoding="ascii").strip()
                if file == "cpu.cfs_quota_us":
                    told += " " + (place / "cpu.cfs_period_us").read_text(encoding="ascii").strip()
                yield told
            if place == base:
                break


def forget_peak() -> None:
    """Begin to count anew. Does nothing where the kernel can't (only Linux does)."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def peak() -> int | None:
    """Bytes of the most memory held since then, decoding workers not counted; None where the kernel doesn't say."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)
