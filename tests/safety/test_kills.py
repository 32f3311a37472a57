"""Promise: killed anywhere, and given again, every command ends in what it would have made in one go.

A shift is what a team does on one store in turn: a run, labels that come in, a takedown, the next run. Each command of it
is a process that is killed at random moments while it works, by SIGKILL to it and all that it started, and is given
again until it ends. A few kills here; `python bench/faults.py` has a thousand."""

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from warm import Warm

from tamis.flows import settings
from tamis.pipeline.store.manifest import verify
from tamis.pipeline.store.runs import open_complete
from tests_support import BASIC, OF_PHOTOS, s3_server, write_tar

settings.apply()
KILLS = int(os.environ.get("TAMIS_FAULT_KILLS", "0"))  # for each engine; 0: a few, of what needs no server of its own
SEED = int(os.environ.get("TAMIS_FAULT_SEED", "11"))
OF_A_RUN, OF_OTHERS = 8, 2  # kills of one command before it may end
FLOW = ("tamis.flows.curate",)


@contextmanager
def loop() -> Iterator[dict[str, Any]]:
    yield {"engine": ["--engine", "local"]}


@contextmanager
def prefect() -> Iterator[dict[str, Any]]:
    """Runs that share one server."""
    from tamis.flows.server import server

    with server() as address:
        yield {"engine": ["--engine", "prefect"], "env": {"PREFECT_API_URL": address}, "loads": FLOW}


@contextmanager
def ray() -> Iterator[dict[str, Any]]:
    """A cluster of two workers that outlives the runs."""
    command, address = Path(sys.executable).with_name("ray"), "127.0.0.1:6399"
    # Where a user has a token of Ray, it is asked for of its workers alone.
    env = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    start = ["start", "--head", "--num-cpus=2", "--port=6399", "--include-dashboard=false"]
    with prefect() as served:
        env |= served["env"]
        subprocess.run([command, *start], env={**os.environ, **env}, check=True, capture_output=True)
        try:
            loads = (*FLOW, "ray", "prefect_ray")
            yield {"engine": ["--engine", "ray", "--address", address], "env": env, "loads": loads}
        finally:
            subprocess.run([command, "stop", "--force"], check=False, capture_output=True)


@contextmanager
def bucket() -> Iterator[dict[str, Any]]:
    """The store on object storage; whoever goes on is on one of two machines."""
    with s3_server() as system:
        yield {"engine": ["--engine", "local"], "system": system, "loads": ("s3fs",)}


@pytest.mark.thorough
@pytest.mark.fault(
    "SIGKILL at random moments of runs, label imports and takedowns: every file is whole, and the same commands again "
    "give the same selections, ledgers, exports, label rounds and list of what is forgotten"
)
@pytest.mark.parametrize(
    ("where", "kills"),
    [(loop, KILLS or 6), (prefect, KILLS), (ray, KILLS), (bucket, KILLS or 3)],
    ids=["loop", "prefect", "ray", "object storage"],
)
def test_killed_at_random_moments(
    where: Callable[[], Any], kills: int, photos: Path, workplace: Path, record_property: Callable[[str, Any], None]
) -> None:
    if not kills:
        pytest.skip("the long form: python bench/faults.py")
    write_tar(workplace / "tars" / "00000.tar", photos)
    with where() as told:
        counts: Counter[str] = Counter()
        for recipe in ("texts", "images"):
            with Shift.of(workplace, recipe, random.Random(f"{SEED} {recipe}"), **told) as shift:
                while counts["kills"] < (kills if recipe == "images" else kills * 3 // 5):
                    counts += shift.worked(kills - counts["kills"])
    record_property("counts", json.dumps(counts))


class Shift:
    """The commands of one, and what they make where nobody kills them."""

    def __init__(
        self, folder: Path, recipe: str, chance: random.Random, *, engine: list[str], env: dict[str, str] | None = None,
        system: Any = None, loads: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        self.folder, self.recipe, self.chance, self.system = folder, recipe, chance, system
        self.warm = Warm(loads, {**os.environ, **(env or {})})
        pool = {**BASIC, "emit": ["parquet", "jsonl", "csv", "webdataset"]}
        if recipe == "images":
            tars = {"pool": [{"format": "webdataset", "path": "tars/*.tar"}], "steps": [{"random": {"budget": 30}}]}
            pool = {**OF_PHOTOS, **tars, "emit": ["hf", "keys"]}
        (folder / f"{recipe}.yaml").write_text(yaml.safe_dump({**pool, "name": recipe}))
        self.asked = [*engine, "--store"]
        self.times = [self._timed(arguments) for arguments in self._commands("whole")]
        self.wanted = made(self._here("whole"))
        self.number = 0

    @classmethod
    @contextmanager
    def of(cls, *told: Any, **more: Any) -> Iterator["Shift"]:
        shift = cls(*told, **more)
        try:
            yield shift
        finally:
            shift.warm.close()

    def _store(self, name: str) -> str:
        return f"{'s3://tamis/' if self.system else ''}{self.recipe}-{name}"

    def _commands(self, name: str) -> Iterator[list[str]]:
        """Labels and takedowns are of what the first run chose."""
        store = self._store(name)
        yield ["run", f"{self.recipe}.yaml", "--run", "first", *self.asked, store]
        keys = pq.read_table(self._here("whole") / "runs" / "first" / "selection.parquet")["key"].to_pylist()
        answers = self.folder / f"{self.recipe}-answers.csv"
        answers.write_text("key,label,labeled_at\n" + "".join(f"{key},good,2026-01-01\n" for key in keys[:9]))
        yield ["label", "import", store, answers.name]
        yield ["forget", store, *keys[3:6]]
        yield ["run", f"{self.recipe}.yaml", "--run", "second", *self.asked, store]

    def _timed(self, arguments: list[str]) -> float:
        began = time.monotonic()
        assert not self._killed(arguments, None)
        return time.monotonic() - began

    def worked(self, most: int) -> Counter[str]:
        """The whole shift, on a store of its own, with so many kills at most; returns what was killed."""
        counts: Counter[str] = Counter()
        self.number += 1
        name = f"killed-{self.number}"
        for arguments, usual_s in zip(self._commands(name), self.times, strict=True):
            tries = OF_A_RUN if arguments[0] == "run" else OF_OTHERS
            for _ in range(min(tries, most - counts["kills"])):
                if not self._killed(arguments, self.chance.uniform(0.2, 1.0) * usual_s):
                    break
                counts += {"kills": 1, f"in {arguments[0]}": 1}  # type: ignore[assignment]
            assert not self._killed(arguments, None)
        store = self._here(name)
        assert made(store) == self.wanted
        for run in ("first", "second"):
            assert verify(open_complete(store / "runs" / run)) == []
        shutil.rmtree(store)
        if self.system:
            self.system.rm(f"tamis/{self.recipe}-{name}", recursive=True)
        return counts

    def _killed(self, arguments: list[str], after_s: float | None) -> bool:
        env = {"TAMIS_CACHE": str(self.folder / f"machine {self.chance.randrange(2)}")}
        said = self.folder / "said"
        code = self.warm.run(arguments, self.folder, env, said, after_s)
        assert code == 0 or (code == -9 and after_s is not None), said.read_text()
        for path in self.folder.glob(f"{self.recipe}-killed-*/**/part-*.parquet"):
            pq.read_metadata(path)
        return code != 0

    def _here(self, name: str) -> Path:
        """A store as a folder: of object storage a copy."""
        folder = self.folder / f"{self.recipe}-{name}"
        if self.system:
            shutil.rmtree(folder, ignore_errors=True)
            self.system.get(f"tamis/{self.recipe}-{name}", str(folder), recursive=True)
        return folder


def made(store: Path) -> dict[str, Any]:
    """What a store's commands made for people: files by their bytes, lists without the time of day."""
    files = [path for part in ("ledger", "exports") for path in (store / "runs").glob(f"*/{part}/**/*")]
    files += [*(store / "runs").glob("*/selection.parquet"), *(store / "labels").glob("round-*.parquet")]
    found: dict[str, Any] = {
        str(path.relative_to(store)): path.read_bytes()
        for path in sorted(files)
        if path.is_file() and path.name[0] != "."
    }
    found["forgotten"] = pq.read_table(store / "forgotten.parquet")["key"].to_pylist()
    removals = [row for path in (store / "removals").glob("*.parquet") for row in pq.read_table(path).to_pylist()]
    found["removals"] = {json.dumps(row, sort_keys=True) for row in removals}
    return found
