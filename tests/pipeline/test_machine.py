"""What a process may use: affinity, control groups of both versions, and what the user says above them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tamis.pipeline import machine
from tamis.pipeline.errors import RunFailed
from tamis.pipeline.store.database import connect


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree of control groups in place of the kernel's, on a machine of 64 processors."""
    monkeypatch.setattr(machine, "GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(machine, "MINE", tmp_path / "mine")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(64)))
    for name in ("TAMIS_CORES", "TAMIS_MEMORY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text + "\n")


@pytest.mark.parametrize(
    ("own", "above", "wanted"),
    [
        ("400000 100000", "max 100000", 4),
        ("max 100000", "250000 100000", 2),
        ("50000 100000", "max 100000", 1),
        ("max 100000", "max 100000", 64),
    ],
)
def test_version_2_limits_by_the_least_of_all_groups_above(groups: Path, own: str, above: str, wanted: int) -> None:
    (groups / "mine").write_text("0::/pod/box\n")
    write(groups / "cgroup" / "pod" / "box", cpu__max=own, memory__max="2147483648")
    write(groups / "cgroup" / "pod", cpu__max=above, memory__max="max")
    assert machine.cores() == wanted
    assert machine.memory_bytes() == 2 << 30


def test_a_containers_own_files_lie_at_the_root(groups: Path) -> None:
    (groups / "mine").write_text("0::/docker/that/is/not/seen/here\n")
    write(groups / "cgroup", cpu__max="300000 100000", memory__max="1073741824")
    assert (machine.cores(), machine.memory_bytes()) == (3, 1 << 30)


def test_version_1_and_no_limit(groups: Path) -> None:
    (groups / "mine").write_text("4:cpu,cpuacct:/box\n3:memory:/box\n1:name=systemd:/\n")
    write(groups / "cgroup" / "cpu,cpuacct" / "box", cpu__cfs_quota_us="800000", cpu__cfs_period_us="100000")
    write(groups / "cgroup" / "memory" / "box", memory__limit_in_bytes="536870912")
    assert (machine.cores(), machine.memory_bytes()) == (8, 512 << 20)
    write(groups / "cgroup" / "cpu,cpuacct" / "box", cpu__cfs_quota_us="-1")
    write(groups / "cgroup" / "memory" / "box", memory__limit_in_bytes=str(2**63 - 4096))
    assert machine.cores() == 64
    assert machine.memory_bytes() == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_what_the_user_says_stands_above_and_nonsense_is_one_line(
    groups: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (groups / "mine").write_text("0::/\n")
    write(groups / "cgroup", cpu__max="200000 100000", memory__max="1073741824")
    monkeypatch.setenv("TAMIS_CORES", "7")
    monkeypatch.setenv("TAMIS_MEMORY", "1.5G")
    assert (machine.cores(), machine.memory_bytes()) == (7, 3 << 29)
    assert [machine.size_of(text) for text in ("8G", "512MiB", "64mb", "1000")] == [8 << 30, 512 << 20, 64 << 20, 1000]
    for name, value in (("TAMIS_CORES", "many"), ("TAMIS_CORES", "0")):
        monkeypatch.setenv(name, value)
        with pytest.raises(RunFailed, match="wanted a number of processors"):
            machine.cores()
    for value in ("lots", "-1G", "0"):
        monkeypatch.setenv("TAMIS_MEMORY", value)
        with pytest.raises(RunFailed, match="wanted a size such as 8G"):
            machine.memory_bytes()


def test_the_database_takes_no_more_than_a_quarter(
    groups: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAMIS_MEMORY", "512M")
    monkeypatch.setenv("TAMIS_CORES", "3")
    with connect(tmp_path) as con:
        told = dict(
            con.execute(
                "select name, value from duckdb_settings() where name in ('memory_limit', 'threads')"
            ).fetchall()
        )
    assert told == {"memory_limit": "128.0 MiB", "threads": "3"}


def test_the_command_line_lets_threads_sleep_and_the_library_does_not() -> None:
    code = "import os; {}; print(os.environ.get('OMP_WAIT_POLICY'), os.environ.get('OMP_NUM_THREADS'))"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")} | {"TAMIS_CORES": "2"}

    def told(what: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", code.format(what)], env=clean, capture_output=True, text=True, check=True
        ).stdout

    assert told("import tamis.pipeline.cli.app").split() == ["None", "None"]
    assert told("from tamis.pipeline.cli import app; app.machine.settle()").split() == ["passive", "2"]


def test_idle_processors_are_those_that_nobody_uses() -> None:
    assert 1 <= machine.idle_cores() <= machine.cores()
