"""What a store of many nights does not pile up: decisions that are read, files of no rejects, lines of files gone."""

import json
from pathlib import Path

import pytest
from nights import Nights, texts

from tamis.pipeline.errors import DamageFound
from tamis.pipeline.files import sealed
from tamis.pipeline.files.atomic import write_record
from tamis.pipeline.files.sealed import check, checking
from tamis.pipeline.read.pool import records_of
from tamis.pipeline.store.compact import compact
from tamis.pipeline.store.listing import told
from tamis.pipeline.store.manifest import verify
from tamis.pipeline.store.runs import open_complete
from tamis.pipeline.store.tidy import tidied


@pytest.fixture
def nights(tmp_path: Path) -> Nights:
    return Nights(tmp_path, publish={})


def some_nights(nights: Nights, first: int, last: int) -> None:
    for number in range(first, last + 1):
        nights.comes(f"n{number:02d}", texts(f"n{number:02d}x", 6))
        nights.night()
        tidied(nights.store, keep_runs=2, fate="remove")


def test_decisions_on_runs_that_are_gone_are_not_read(nights: Nights) -> None:
    some_nights(nights, 1, 6)
    old = nights.store / "publications" / "current"
    for number in (1, 2, 3):
        (old / f"{number:06d}.json").write_text("years ago")
    some_nights(nights, 7, 7)
    assert nights.current["run"] == "nightly-0007"
    assert [line.split()[0] for line in told(nights.store).splitlines()[1:3]] == ["nightly-0006", "nightly-0007"]


def test_a_name_that_comes_again_has_none_of_the_decisions_of_before(nights: Nights) -> None:
    some_nights(nights, 1, 2)
    nights.comes("n03", texts("n03x", 6))
    before = nights.night(publish={"rows": 100})
    assert before.held
    for path in sorted((nights.store / "runs").glob("*"), reverse=True)[:1]:
        path.rename(nights.folder / "taken away")
    assert "held" not in told(nights.store)
    again = nights.night(publish={"rows": 100})
    assert again.folder == before.folder and again.held and "held" in told(nights.store)


def test_only_groups_with_rejects_have_a_file_of_them(nights: Nights) -> None:
    some_nights(nights, 1, 1)
    (nights.folder / "pool" / "n02.jsonl").write_text('{"id": "x", "part": "a"}\n')
    some_nights(nights, 3, 4)
    groups = nights.store / "pool" / ".groups"
    assert [path.name for path in groups.glob("*.parquet")] == ["00001.parquet"]
    assert [record["rejects"] for record in records_of(nights.store / "pool")] == [{}, {"missing_field": 1}, {}]
    compact(nights.store)
    last = nights.night(steps=[{"random": {"budget": 5}}])
    assert last.manifest["pool"]["rejects"] == {"missing_field": 1} and verify(open_complete(last.folder)) == []


def test_an_index_of_another_version_is_none(nights: Nights) -> None:
    some_nights(nights, 1, 1)
    pool = nights.store / "pool"
    path = pool / ".groups" / "00000.json"
    state, before = path.stat(), records_of(pool)
    copy = {"size": state.st_size, "mtime_ns": state.st_mtime_ns, "record": before[0]}
    write_record(pool / ".groups" / ".index.json", {"records": {path.name: copy}}, sealed=False)
    assert records_of(pool) == before
    some_nights(nights, 2, 2)


def test_lines_of_files_that_are_gone_go(nights: Nights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed, "WORTH_DROPPING", 1)
    some_nights(nights, 1, 4)
    compact(nights.store)
    some_nights(nights, 5, 7)
    pool = nights.store / "pool"
    names = [json.loads(line)[0] for line in (pool / ".sealed").read_text().splitlines()]
    there = sorted(path.name for path in pool.glob("[!.]*.parquet"))
    assert sorted(names) == there and "part-00000.parquet" not in names
    assert verify(open_complete(nights.store / "runs" / "nightly-0007")) == []
    some_nights(nights, 8, 8)
    shard = pool / there[0]
    digest = {part["name"]: part["digest"] for one in records_of(pool) for part in one["parts"]}[shard.name]
    shard.write_bytes(b"P" * shard.stat().st_size)
    with checking(), pytest.raises(DamageFound, match="damaged"):
        check(shard, digest)
