"""The Prefect flow against the plain loop, under one Prefect harness."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tamis.flows import settings
from tests_support import ROOT, Runner, result_bytes

settings.apply()


@pytest.fixture(scope="module", autouse=True)
def _prefect() -> Iterator[None]:
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield


def test_the_flow_gives_the_same_bytes_as_the_plain_loop(run_in: Runner, workplace: Path) -> None:
    from tamis.flows.curate import curate_flow

    plain = run_in(workplace, store="plain")
    flowed = run_in(workplace, store="flowed", engine=curate_flow)
    assert result_bytes(flowed.folder) == result_bytes(plain.folder)


def test_a_failing_task_fails_the_run_and_the_next_one_goes_on(
    run_in: Runner, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tamis.flows import curate as flows
    from tamis.pipeline import curate

    def broken(*_: object) -> None:
        raise RuntimeError("a disk that gives up")

    monkeypatch.setattr(flows, "RETRY_DELAYS_S", [0, 0])
    with monkeypatch.context() as patch:
        patch.setattr(curate, "write_outputs", broken)
        with pytest.raises(RuntimeError, match="gives up"):
            run_in(workplace, engine=flows.curate_flow)
    assert run_in(workplace, engine=flows.curate_flow).selected == 100


def test_a_night_that_failed_is_tried_again_later_and_later_and_bad_input_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect import flow
    from prefect.client.orchestration import get_client
    from prefect.context import FlowRunContext

    from tamis.flows import night
    from tamis.pipeline.errors import RecipeError, RunFailed

    told: list[tuple[int, int | None]] = []

    @flow(persist_result=False)
    def one(error: str) -> object:
        return night.night(None, tmp_path, tmp_path, False)  # type: ignore[arg-type]

    def fails(*_: object) -> None:
        context = FlowRunContext.get()
        assert context and context.flow_run
        with get_client(sync_client=True) as client:
            run = client.read_flow_run(context.flow_run.id)
        told.append((run.run_count, run.empirical_policy.retry_delay))
        raise (RunFailed if context.parameters["error"] == "machine" else RecipeError)("no luck")

    monkeypatch.setattr(night, "run_next", fails)
    monkeypatch.setattr(night, "DELAYS_S", (0, 1, 2))
    with pytest.raises(RunFailed):
        one("machine")
    assert told == [(1, 0), (2, 1), (3, 2), (4, 2)]
    told.clear()
    with pytest.raises(RecipeError):
        one("recipe")
    assert [count for count, _ in told] == [1]


def test_auto_is_the_plain_loop_without_a_configured_api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    assert not settings.api_configured()
    (tmp_path / "profiles.toml").write_text(
        'active = "a"\n[profiles.a]\nPREFECT_API_URL = "http://127.0.0.1:4200/api"\n'
    )
    assert settings.api_configured()


def test_nothing_but_flows_loads_prefect() -> None:
    code = "import sys, tamis.pipeline.starting, tamis.pipeline.cli.app; sys.exit('prefect' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
