"""The flow on a real Ray of two workers against the plain loop: the same bytes, whatever becomes of a worker."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tamis.flows import settings
from tamis.pipeline.errors import RunFailed
from tamis.pipeline.read import shards
from tamis.pipeline.store.manifest import verify
from tamis.pipeline.store.runs import open_complete
from tests_support import Runner, result_bytes

pytestmark = pytest.mark.thorough

pytest.importorskip("prefect_ray", reason="needs the extra `ray`")
settings.apply()
STEPS = [
    {"exact_dedup": {}},
    {"threshold": {"column": "length", "above": 30, "budget": 900}},
    {"importance_resampling": {"budget": 100}},
]
LENGTHS = """\
def of(batch):
    return [float(len(text)) for text in batch["text"].to_pylist()]
"""
KILLED_ONCE = """\
import os, signal
from pathlib import Path

def of(batch):
    mark = Path(__file__).with_name("killed")
    if not mark.exists() and batch["key"][0].as_py() >= "m":
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return [float(len(text)) for text in batch["text"].to_pylist()]
"""
BROKEN = """\
def of(batch):
    raise OSError("a disk that gives up")
"""


@pytest.fixture(scope="module", autouse=True)
def _two_workers() -> Iterator[None]:
    import ray

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(
        "local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR", namespace="prefect"
    )
    yield
    ray.shutdown()


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_ROWS", 300)


def test_two_workers_give_the_bytes_of_the_plain_loop(run_in: Runner, workplace: Path) -> None:
    from tamis.flows.cluster import on_ray

    (workplace / "user.py").write_text(LENGTHS)
    asked = {"columns": {"length": {"python": "user.py:of"}}, "steps": STEPS, "allow_code": True}
    plain = run_in(workplace, store="plain", **asked)
    spread = run_in(workplace, store="spread", engine=on_ray(), **asked)
    assert result_bytes(spread.folder) == result_bytes(plain.folder) and len(result_bytes(plain.folder)) > 12
    assert verify(open_complete(spread.folder)) == []
    workers = set(pq.read_table(spread.folder / "costs.parquet")["worker"].to_pylist())
    assert len(workers) >= 3, "the flow's process and two workers"


@pytest.mark.fault("A worker of the cluster is killed: its task is done again, the same bytes")
def test_a_lost_worker_costs_its_task_alone(run_in: Runner, workplace: Path) -> None:
    from tamis.flows.cluster import on_ray

    (workplace / "user.py").write_text(KILLED_ONCE)
    asked = {"columns": {"length": {"python": "user.py:of"}}, "steps": STEPS, "allow_code": True}
    spread = run_in(workplace, store="spread", engine=on_ray(), **asked)
    assert (workplace / "killed").exists()
    plain = run_in(workplace, store="plain", **asked)
    assert result_bytes(spread.folder) == result_bytes(plain.folder)


@pytest.mark.fault("A shard that fails again and again: the run ends with its name, the next goes on with it")
def test_shards_that_stay_undone_are_listed_and_the_next_run_does_them(
    run_in: Runner, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tamis.flows import curate
    from tamis.flows.cluster import on_ray

    monkeypatch.setattr(curate, "RETRY_DELAYS_S", [0])
    (workplace / "user.py").write_text(BROKEN)
    asked = {"columns": {"length": {"python": "user.py:of"}}, "steps": STEPS, "allow_code": True}
    with pytest.raises(RunFailed) as told:
        run_in(workplace, engine=on_ray(), **asked)
    listed = re.findall(r"part-\d+\.parquet \(OSError: a disk that gives up\)", str(told.value))
    assert len(listed) == 5 and "could not be done after 2 tries" in str(told.value)
    (workplace / "user.py").write_text(LENGTHS)
    assert run_in(workplace, engine=on_ray(), **asked).selected == 100


def test_another_machines_workers_need_a_prefect_api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from tamis.flows.cluster import on_ray

    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    with pytest.raises(RunFailed, match="Set PREFECT_API_URL"):
        on_ray("ray://somewhere:10001")
