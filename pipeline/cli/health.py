"""`tamis doctor`: what is installed here, and whether it works.

Each extra's modules are imported in a process of its own: one that brings its interpreter down is told of, too."""

import platform
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path

from tamis.pipeline.errors import TamisError
from tamis.pipeline.files.urls import as_url, cache_folder
from tamis.pipeline.machine import cores, memory_bytes
from tamis.pipeline.progress import Counter, joined, visible
from tamis.pipeline.recipe.extras import BRINGS, MEANT_FOR, install_command, missing

CORE = ("pyarrow", "duckdb", "numba", "prefect")
SECONDS = 120  # for the import of an extra's modules
TRY = """
import importlib, sys
if "torch" in sys.argv:
    from tamis.pipeline.columns.models.torch_models import declare_operators
    declare_operators()  # as its loaders do
for name in sys.argv[1:]:
    importlib.import_module(name)
"""
GPUS = """
import torch
all_ = [torch.cuda.get_device_properties(place) for place in range(torch.cuda.device_count())]
print("; ".join(f"{one.name}, {one.total_memory / 1e9:.0f} GB" for one in all_))
"""


def examined(store: Path | None) -> tuple[str, bool]:
    """Lines for a person, and whether something that is installed is broken."""
    system = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    lines = [f"tamis      {version('tamis')}, {system}"]
    lines.append(f"           {sys.prefix}")
    lines += _machine(store)
    there = {extra: modules for extra, modules in BRINGS.items() if not missing(*modules)}
    counter = Counter("try extras", len(there) + 1, "extras")

    def tried(modules: tuple[str, ...]) -> str | None:
        fault = _fault(modules)
        counter.add(1)
        return fault

    with ThreadPoolExecutor(max(1, cores() // 2)) as beside:
        faults = dict(zip(["", *there], beside.map(tried, [CORE, *there.values()]), strict=True))
    counter.end()
    lines.append(f"core       {_versions(CORE)}: {faults[''] or 'works'}")
    lines.append("extras")
    for extra in BRINGS:
        if extra not in there:
            told = f"not here     for {MEANT_FOR[extra]}:  {install_command(extra)}"
        elif fault := faults[extra]:
            told = f"BROKEN       {visible(fault)}"
        else:
            told = f"works        {_versions(BRINGS[extra])}"
        lines.append(f"  {extra:<10} {told}")
    broken = [extra or "core" for extra, fault in faults.items() if fault]
    lines.append(f"broken: {', '.join(broken)}" if broken else "All that is installed works.")
    return joined(lines), bool(broken)


def _machine(store: Path | None) -> list[str]:
    memory = memory_bytes()
    lines = [f"machine    {cores()} processors" + ("" if memory is None else f", {memory / 1e9:,.1f} GB of memory")]
    lines.append(f"GPU        {_gpus()}")
    places = {"disk": store if store is not None and as_url(store) is None else Path.cwd(), "cache": cache_folder()}
    for what, place in places.items():
        there = next(one for one in (place.absolute(), *place.absolute().parents) if one.exists())
        used = sum(one.lstat().st_size for one in place.rglob("*") if one.is_file()) if what == "cache" else 0
        held = f"; {used / 1e6:,.0f} MB of earlier picks and downloads" if used else ""
        lines.append(f"{what:<10} {place}: {shutil.disk_usage(there).free / 1e9:,.1f} GB free{held}")
    return lines


def _gpus() -> str:
    if missing("torch"):
        return "not asked: torch is not installed"
    told = _ran([sys.executable, "-c", GPUS])
    if told.returncode:
        return visible(told.stderr.strip().splitlines()[-1] if told.stderr.strip() else "torch can't tell")
    return visible(told.stdout) or "none that torch can use"


def _fault(modules: tuple[str, ...]) -> str | None:
    """Why they can't be imported; None where they can."""
    told = _ran([sys.executable, "-c", TRY, *modules])
    if not told.returncode:
        return None
    last = told.stderr.strip().splitlines()[-1:] or [f"ended with {told.returncode}"]
    return last[0][:200]


def _ran(command: list[str]) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=SECONDS)  # noqa: S603
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"took more than {SECONDS} s")
    except OSError as error:
        raise TamisError(f"{command[0]}: can't be started ({error.strerror})") from error


def _versions(modules: tuple[str, ...]) -> str:
    packages, told = packages_distributions(), []
    for module in modules:
        name = next(iter(packages.get(module, [module])))
        try:
            told.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            told.append(name)
    return ", ".join(told)
