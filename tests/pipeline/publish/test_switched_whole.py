"""Promise: killed anywhere, and on object storage, consumers have the old or the new."""

import os
import shutil
from pathlib import Path

import pytest
from dying import Death, changes_of, killed
from nights import Nights, chosen, listed, texts

from tamis.pipeline.errors import StoreError
from tamis.pipeline.files.mirror import in_order
from tamis.pipeline.publish.decide import approve
from tamis.pipeline.recipe.recipe import parse_recipe
from tamis.pipeline.starting import run_next
from tamis.pipeline.store.current import published, published_place
from tamis.pipeline.store.garbage import collect
from tamis.pipeline.store.old_runs import OF_OLD, Old
from tests_support import s3_server


@pytest.fixture
def nights(tmp_path: Path) -> Nights:
    made = Nights(tmp_path)
    made.comes("one", texts("a", 40))
    return made


@pytest.mark.parametrize("by", ["person", "guards"])
def test_killed_while_publishing_consumers_have_the_old_or_the_new(nights: Nights, by: str) -> None:
    first = nights.night()
    nights.comes("two", texts("b", 40, "b"))
    second = nights.night(publish={"overlap": 1.0})
    old, whole = chosen(first.folder), chosen(second.folder)

    def command() -> object:
        return approve(second.folder, "meant", by="ann") if by == "person" else nights.night(publish={"rows": 5})

    backup = nights.store.with_name("backup")
    _copy(nights.store, backup)
    count = changes_of(command, nights.store)
    assert nights.current["run"] == "nightly-0002" and count > 8
    _copy(backup, nights.store)
    for at in range(1, count + 1, max(1, count // 20)):
        for half in (False, True):
            assert killed(command, nights.store, Death(at, half)) or at == count
            collect(nights.store, delete=False)  # finds its way in what a kill leaves
            seen = Path(published_place(nights.store)).name
            assert chosen(nights.store / "runs" / seen) == (old if seen == "nightly-0001" else whole)
            try:
                approve(second.folder, "meant", by="ann")
            except StoreError as error:
                assert "published already" in str(error)
            assert nights.current["run"] == "nightly-0002" and (nights.store / "current").resolve() == second.folder
            assert [one["run"] for one in nights.records()][-1] == "nightly-0002"
            removed, added = (listed(Path(published_place(nights.store, what))) for what in ("removed", "added"))
            assert old - removed | added == whole
            _copy(backup, nights.store)


def _copy(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, symlinks=True)


@pytest.mark.thorough
def test_on_object_storage_the_switch_goes_up_last(nights: Nights, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_server() as system:
        url = Path("s3://tamis/store")
        recipe = parse_recipe(nights.recipe, nights.folder)
        run_next(recipe, nights.folder, url)
        assert published_place(url) == "s3://tamis/store/runs/nightly-0001"
        nights.comes("two", texts("b", 40, "b"))
        monkeypatch.setenv("TAMIS_CACHE", str(nights.folder / "another machine's"))
        held = run_next(parse_recipe({**nights.recipe, "publish": {"overlap": 1.0}}, nights.folder), nights.folder, url)
        assert held.held
        monkeypatch.setenv("TAMIS_CACHE", str(nights.folder / "a third's"))
        told_by = approve(Path("s3://tamis/store/runs/nightly-0002"), "meant")
        assert told_by.startswith("published: s3://tamis/store/current.json names nightly-0002 after nightly-0001")
        place = published_place(url, "removed")
        assert system.exists(place) and published(url)["run"] == "nightly-0002"
        monkeypatch.setenv("TAMIS_CACHE", str(nights.folder / "a fourth's"))
        collect_at(url, nights)
        kept = {path.split("/")[3] for path in system.find("tamis/store/runs") if "/ledger/" in path}
        assert kept == {"nightly-0001", "nightly-0002", "nightly-0004"}, "0003 was thinned in the bucket, too"


def collect_at(url: Path, nights: Nights) -> None:
    """Two more nights, and `gc` by a machine that has no copy yet."""
    from tamis.pipeline.files.remote import working_copy

    for name in ("three", "four"):
        nights.comes(name, texts(name, 5))
        run_next(nights.parsed(publish=None), nights.folder, url)
    os.environ["TAMIS_CACHE"] = str(nights.folder / "a fifth's")
    with working_copy(url, also=OF_OLD) as here:
        collect(here, delete=True, old=Old(keep_runs=1))


def test_in_a_bucket_decisions_come_after_what_they_speak_of() -> None:
    names = [
        "current.json",
        "publications/current/000002.json",
        "runs/n/manifest.json",
        "runs/n/ledger/p",
        "pool/.sealed",
    ]
    order = [
        "pool/.sealed",
        "runs/n/ledger/p",
        "runs/n/manifest.json",
        "publications/current/000002.json",
        "current.json",
    ]
    assert in_order(names) == order
