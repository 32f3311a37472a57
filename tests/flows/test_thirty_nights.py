"""Thirty nights of a store on a real Prefect server and worker, in small: each is begun when the last one is over.

A source that breaks, one that is empty, one ten times as large, a worker that is killed, a schedule that is paused, a
person who holds and one who approves, a takedown. A consumer reads all the while, and is never without data."""

import json
import os
import re
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from deployments import ask, until, worker
from nights import chosen, listed, texts

from tamis.flows import settings
from tamis.pipeline.files.atomic import digest_file
from tamis.pipeline.progress import hushed
from tamis.pipeline.publish.decide import approve, hold
from tamis.pipeline.store.current import standing
from tamis.pipeline.store.manifest import verify
from tamis.pipeline.store.runs import open_complete
from tamis.pipeline.store.whereabouts import forget
from tests_support import write_jsonl

pytestmark = pytest.mark.thorough
settings.apply()
BROKEN, EMPTY, HUGE, KILLED, PAUSED, HOLD, TAKEDOWN, LAST = 5, 9, 12, 15, 18, 21, 25, 30
RECIPE = {
    "name": "nightly",
    "pool": [{"format": "jsonl", "path": "new/*.jsonl", "key": "id", "keep": ["part"]}],
    "steps": [{"exact_dedup": {}}, {"random": {"budget": 40}}],
    "emit": ["jsonl"],
    "publish": {"rows": [20, 40], "rejects": 0.2, "new_rows": 1, "share": {"by": "part", "within": 0.4}},
}


class Consumer(threading.Thread):
    """Reads what is published, again and again, and holds it against its digests."""

    def __init__(self, store: Path) -> None:
        super().__init__(daemon=True)
        self.store, self.over, self.wrong, self.seen = store, threading.Event(), list[str](), list[str]()

    def run(self) -> None:
        while not self.over.wait(0.05):
            try:
                told = json.loads((self.store / "current.json").read_text())
                for one in (told["selection"], told["manifest"], *told["exports"].values(), *told["changes"].values()):
                    if digest_file(self.store / one["path"]) != one["digest"]:
                        self.wrong.append(f"{told['run']}: {one['path']} is not what it says")
                if not self.seen or self.seen[-1] != told["run"]:
                    self.seen.append(told["run"])
            except Exception as error:  # noqa: BLE001  whatever it is, a consumer has met it
                self.wrong.append(repr(error))


def test_thirty_nights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tamis.flows.server import server

    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    store, new = tmp_path / "my-store", tmp_path / "new"
    new.mkdir()
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    with server() as address, worker(tmp_path, address) as at_work:
        curate = next(one for one in ask(address, "deployments/filter", {}) if one["name"] == "curate")

        def begun() -> str:
            asked = {"parameters": {"recipe": "recipe.yaml", "store": "my-store", "keep_runs": 7}}
            return str(ask(address, f"deployments/{curate['id']}/create_flow_run", asked)["id"])

        def flow_run(run: str) -> dict[str, Any]:
            found: dict[str, Any] = ask(address, "flow_runs/filter", {"flow_runs": {"id": {"any_": [run]}}})[0]
            return found

        def night() -> dict[str, Any]:
            run = begun()
            until(lambda: flow_run(run)["state_type"] in ("COMPLETED", "FAILED", "CRASHED"), tmp_path)
            return flow_run(run)

        def killed_at_work() -> None:
            run = begun()
            until(lambda: flow_run(run)["state_type"] == "RUNNING", tmp_path)
            at_work.kill()
            ask(address, f"flow_runs/{run}/set_state", {"state": {"type": "CRASHED"}, "force": True})
            at_work.start()

        def comes(number: int, count: int = 30, part: str = "a") -> Path:
            return write_jsonl(new / f"n{number:02d}.jsonl", texts(f"n{number:02d}x", count, part))

        consumer, names, held = Consumer(store), list[str](), dict[int, str]()
        for number in range(1, LAST + 1):
            path = comes(number)
            if number == BROKEN:
                path.write_text("<html>502 Bad Gateway</html>\n" * 30)
            if number == EMPTY:
                path.write_text("")
            if number == HUGE:
                comes(number, 300, "b")
            if number == BROKEN + 1:
                comes(BROKEN)  # mended
            if number == PAUSED:
                ask(address, f"deployments/{curate['id']}/pause_deployment", {})
                schedules = ask(address, "deployments/filter", {"deployments": {"id": {"any_": [curate["id"]]}}})
                assert schedules[0]["paused"]
                continue
            if number == PAUSED + 1:
                ask(address, f"deployments/{curate['id']}/resume_deployment", {})
            if number == KILLED:
                killed_at_work()
            ended = night()
            assert ended["state_type"] == "COMPLETED", ended["state"]
            name = ended["name"]
            assert name not in names, "one flow run a run"
            names.append(name)
            if ended["state_name"] == "Held":
                held[number] = ended["state"]["message"]
            if number == 1:
                consumer.start()
            if number == HUGE + 1:
                with hushed():
                    approve(store / "runs" / name, "the new part is meant", by="bob")
            if number == HOLD:
                with hushed():
                    hold(store / "runs" / name, "half of it is boilerplate", by="ann")
                    assert json.loads((store / "current.json").read_text())["run"] == names[-2]
                    until(lambda: consumer.seen[-1] == names[-2], tmp_path)
                    approve(store / "runs" / name, "it was not", by="bob")
            if number == TAKEDOWN - 1:
                with hushed():
                    taken = sorted(key for key, _ in chosen(store / "runs" / name))[:3]
                    forget(store, taken)
            if number == TAKEDOWN:
                left = pq.read_table(
                    store / json.loads((store / "current.json").read_text())["changes"]["removed"]["path"]
                )
                gone = dict(zip(left["key"].to_pylist(), left["why"].to_pylist(), strict=True))
                assert [gone[key] for key in taken] == ["forgotten"] * 3
        time.sleep(0.2)
        consumer.over.set()
        consumer.join()
        assert consumer.wrong == []
        # Which nights are held, and why, with both numbers.
        assert set(held) == {BROKEN, EMPTY, HUGE, HUGE + 1}
        assert "30 of 30 new rows are rejects (100.0%), wanted at most 20.0%" in held[BROKEN]
        assert "new_rows: 0 new samples, wanted at least 1" in held[EMPTY]
        assert re.search(r"share part: of part 'b' are \d+\.\d% after 0\.0%, wanted within 40\.0%", held[HUGE])
        # Every decision is on record, and the lists turn each publication into the next.
        records = [json.loads(path.read_text()) for path in sorted((store / "publications" / "current").glob("*.json"))]
        verdicts = [one["verdict"] for one in records]
        assert (verdicts.count("held"), verdicts.count("withdrawn")) == (4, 1)
        assert [one["by"] for one in records if one["by"] != "guards"] == ["bob", "ann", "bob"]
        assert consumer.seen == [one["current"] for one in records if one["moved"] == one["number"]]
        for one in records:
            if one["moved"] != one["number"] or one["before"] is None:
                continue
            place = store / "publications" / "current"
            removed, added = (listed(place / f"{one['number']:06d}-{what}.parquet") for what in ("removed", "added"))
            before, after = (chosen(store / "runs" / one[which]) for which in ("before", "current"))
            assert before - removed | added == after, one["number"]
            assert sum(one["changed"]["out"].values()) == len(removed)
        # What stands answers for itself: seven runs whole, the others thinned.
        whole = []
        for name in names:
            run = open_complete(store / "runs" / name, thinned_too=True)
            assert verify(run) == []
            whole += [] if run.thinned else [name]
        assert whole == names[-7:]
        assert standing(store)[names[-1]] == "published" and os.readlink(store / "current") == f"runs/{names[-1]}"
        # A row for each of the thirty nights but the paused one, whose file came with the next.
        counts = [
            record["pool"]["samples"]
            for record in (json.loads((store / "runs" / n / "manifest.json").read_text()) for n in names)
        ]
        assert len(names) == LAST - 1 and counts[-1] == 30 * (LAST - 2) + 300
