"""Promise: consumers read what its guards, or a person, let through, whole; everything else is held, and says why."""

import json
import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from nights import Nights, chosen, listed, texts

from tamis.pipeline.errors import DamageFound, RunError, SourceError, StoreError
from tamis.pipeline.files.atomic import write_record
from tamis.pipeline.publish.decide import approve, hold, line
from tamis.pipeline.recipe.recipe import parse_recipe
from tamis.pipeline.starting import run_recipe
from tamis.pipeline.store.current import published, published_place, standing
from tamis.pipeline.store.garbage import collect
from tamis.pipeline.store.listing import told
from tamis.pipeline.store.manifest import verify
from tamis.pipeline.store.old_runs import Old, note_thinned
from tamis.pipeline.store.runs import open_complete


@pytest.fixture
def nights(tmp_path: Path) -> Nights:
    made = Nights(tmp_path)
    made.comes("one", texts("a", 40))
    return made


def test_a_run_whose_guards_hold_is_what_consumers_read(nights: Nights) -> None:
    outcome = nights.night()
    current = nights.current
    assert not outcome.held and current["run"] == "nightly-0001"
    assert published_place(nights.store, "selection.jsonl") == str(outcome.folder / "exports" / "selection.jsonl")
    assert (nights.store / "current").resolve() == outcome.folder
    assert current["selection"]["digest"] == outcome.manifest["files"]["selection.parquet"]["digest"]
    assert current["exports"]["selection.jsonl"]["path"] == "runs/nightly-0001/exports/selection.jsonl"
    assert current["since"] is None and current["changes"] == {}
    assert (
        outcome.decision and line("st", "current", outcome.decision) == "published: st/current.json names nightly-0001"
    )


def test_the_lists_beside_a_publication_turn_the_last_one_into_it(nights: Nights) -> None:
    first = nights.night()
    nights.comes("two", texts("b", 40, "b"))
    second = nights.night()
    assert nights.current["since"] == "nightly-0001"
    removed, added = (listed(Path(published_place(nights.store, what))) for what in ("removed", "added"))
    assert removed and added
    assert chosen(first.folder) - removed | added == chosen(second.folder)


def test_the_same_night_again_changes_nothing(nights: Nights) -> None:
    nights.night()
    before = (nights.store / "current.json").read_bytes()
    assert not nights.night().fresh
    assert (nights.store / "current.json").read_bytes() == before and len(nights.records()) == 1


def test_people_approve_and_hold_with_who_and_why(nights: Nights) -> None:
    nights.night()
    nights.comes("two", texts("b", 40, "b"))
    held = nights.night(publish={"overlap": 1.0})
    assert "20 out" not in approve(held.folder, "the new file is meant", by="ann")
    assert nights.current["run"] == "nightly-0002" and nights.current["by"] == "ann"
    assert standing(nights.store) == {"nightly-0001": "before", "nightly-0002": "published"}
    with pytest.raises(StoreError, match="published already"):
        approve(held.folder, "again")
    assert hold(held.folder, "boilerplate").startswith("withdrawn: nightly-0002; ")
    assert nights.current["run"] == "nightly-0001" and (nights.store / "current").resolve().name == "nightly-0001"
    removed, added = (listed(Path(published_place(nights.store, what))) for what in ("removed", "added"))
    assert chosen(held.folder) - removed | added == chosen(nights.store / "runs" / "nightly-0001")
    with pytest.raises(StoreError, match="without data"):
        hold(nights.store / "runs" / "nightly-0001", "bad, too")
    with pytest.raises(StoreError, match="say why"):
        approve(held.folder, " ")
    with pytest.raises(RunError, match="no such run"):
        approve(nights.store / "runs" / "nope", "why not")
    last = nights.records()[-1]
    assert (last["verdict"], last["by"], last["why"]) == ("withdrawn", last["by"], "boilerplate") and "@" in last["by"]
    assert "withdrawn" in told(nights.store)


def test_a_person_holds_what_is_not_published_yet(nights: Nights) -> None:
    held = nights.night(publish={"rows": 30})
    assert hold(held.folder, "wait for the lawyers").startswith("held: wait for the lawyers; nothing is published yet")
    assert nights.night(publish={"rows": 20}).held  # no guard overrules a person


def test_what_a_held_night_chose_is_there_for_the_next(tmp_path: Path) -> None:
    nights = Nights(tmp_path, against="kept", steps=[{"random": {"budget": 50}}])
    nights.comes("one", texts("a", 20))
    first = nights.night()
    nights.comes("two", texts("b", 5))
    assert nights.night().held
    nights.comes("three", texts("c", 9))
    third = nights.night()
    assert {key[0] for key, _ in chosen(third.folder)} == {"b", "c"} and not third.held
    assert {key[0] for key, _ in chosen(first.folder)} == {"a"}


def test_two_recipes_have_two_switches_or_one_is_held(nights: Nights) -> None:
    nights.night()
    other = nights.night(name="other")
    assert other.held and other.decision and "current.json is recipe 'nightly''s" in other.decision["why"]
    apart = nights.night(name="apart", publish={"to": "apart"})
    assert not apart.held and published(nights.store, "apart")["run"] == "apart-0001"
    assert nights.current["run"] == "nightly-0001" and (nights.store / "current-apart").resolve() == apart.folder


def test_what_can_name_no_switch_is_refused(nights: Nights) -> None:
    outcome = nights.night()
    with pytest.raises(StoreError, match="can't name a switch"):
        published_place(nights.store, to="../x")
    with pytest.raises(StoreError, match="can't name a switch"):
        approve(outcome.folder, "out of the store", to="../../x")
    assert not (nights.folder / "x").exists()


def test_nothing_published_is_one_line(nights: Nights) -> None:
    nights.night(publish={"rows": 99})
    with pytest.raises(StoreError, match=r"nothing is published, for there is no current\.json"):
        published_place(nights.store)


def test_what_is_published_and_gone_is_one_line_and_a_person_goes_on(nights: Nights) -> None:
    first = nights.night()
    nights.comes("two", texts("b", 40, "b"))
    second = nights.night(publish={"overlap": 1.0})
    shutil.rmtree(first.folder)
    nights.comes("three", texts("c", 40, "b"))
    with pytest.raises(StoreError, match="'nightly-0001', which is published, is gone"):
        nights.night()
    approve(second.folder, "the first was taken away by hand")
    assert not nights.night().held and nights.current["run"] == "nightly-0003"


def test_another_run_under_the_name_of_a_published_one_is_not_held_against_itself(nights: Nights) -> None:
    shutil.rmtree(nights.night(publish={"overlap": 0.99}).folder)
    (nights.folder / "pool" / "one.jsonl").unlink()
    nights.comes("two", texts("b", 40, "b"))
    with pytest.raises(StoreError, match="or another has its name"):
        nights.night(publish={"overlap": 0.99})
    approve(nights.store / "runs" / "nightly-0001", "it was made again over other files")
    again = open_complete(nights.store / "runs" / "nightly-0001")
    assert nights.current["number"] == 2 and nights.current["since"] is None
    assert chosen(again.folder) and not verify(again)


def test_a_thinned_run_is_never_published(nights: Nights) -> None:
    nights.night(publish=None)
    nights.comes("two", texts("b", 40, "b"))
    nights.night(publish=None)
    for folder in sorted((nights.store / "runs").iterdir()):
        note_thinned(folder, [], 0)
    with pytest.raises(StoreError, match="was thinned, and has no exports to publish"):
        nights.night(publish={"rows": 1})
    assert not (nights.store / "current.json").exists()


def test_a_run_that_was_killed_before_its_decision_is_decided_on_before_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nights = Nights(tmp_path, against="kept", steps=[{"random": {"budget": 50}}])
    nights.comes("one", texts("a", 20))
    nights.night()
    nights.comes("two", texts("b", 20))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("tamis.pipeline.starting.settle", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        nights.night()
    nights.comes("three", texts("c", 20))
    nights.night()
    assert [one["current"] for one in nights.records()] == ["nightly-0001", "nightly-0002", "nightly-0003"]


def test_people_decide_on_the_switch_that_the_run_was_decided_on(nights: Nights) -> None:
    nights.night(publish=None)
    held = nights.night(publish={"to": "prod", "rows": 99})
    assert held.held and approve(held.folder, "meant").startswith(f"published: {nights.store}/current-prod.json")
    assert not (nights.store / "current.json").exists()
    approve(held.folder, "for the others, too", to="apart")
    assert published(nights.store, "apart")["run"] == "nightly-0001"


def test_what_lacks_an_export_is_not_published(nights: Nights) -> None:
    held = nights.night(publish={"rows": 99})
    (held.folder / "exports" / "selection.jsonl").unlink()
    with pytest.raises(StoreError, match=r"selection.jsonl: is not as the run wrote it, so it is not published"):
        approve(held.folder, "meant")
    with pytest.raises(StoreError, match="nothing is published"):
        published_place(nights.store)


def test_without_its_records_current_json_is_a_switch_all_the_same(nights: Nights) -> None:
    nights.night()
    nights.comes("two", texts("b", 40))
    second = nights.night(publish=None)
    shutil.rmtree(nights.store / "publications")
    collect(nights.store, delete=True, old=Old(keep_runs=1, fate="remove"))
    assert Path(published_place(nights.store)).name == "nightly-0001"
    approve(second.folder, "the records were lost")
    assert nights.current["run"] == "nightly-0002" and (nights.store / "current").resolve() == second.folder


def test_an_empty_pool_is_on_record_as_held(nights: Nights) -> None:
    nights.night()
    nights.comes("one", [])
    with pytest.raises(SourceError):
        nights.night()
    assert nights.records()[-1]["verdict"] == "held" and nights.current["run"] == "nightly-0001"


def test_a_run_over_an_earlier_pool_is_not_published(nights: Nights) -> None:
    nights.night()
    nights.comes("two", texts("b", 40))
    nights.night()
    recipe = parse_recipe(nights.recipe, nights.folder)
    back = run_recipe(recipe, nights.folder, nights.store, "back", pool_of="nightly-0001")
    assert back.decision is None and nights.current["run"] == "nightly-0002"


def test_a_damaged_current_json_is_written_anew(nights: Nights) -> None:
    nights.night()
    (nights.store / "current.json").write_text("{")
    nights.night()
    assert nights.current["run"] == "nightly-0001"


def test_a_clock_that_is_behind_undoes_no_hold(nights: Nights, monkeypatch: pytest.MonkeyPatch) -> None:
    held = nights.night(publish={"rows": 99})
    path = nights.store / "publications" / "current" / "000001.json"
    told = json.loads(path.read_text())
    told.pop("record_digest")
    ended = datetime.fromisoformat(held.manifest["ended"]) - timedelta(minutes=9)
    write_record(path, {**told, "by": "ann", "at": ended.isoformat()}, sealed=False)
    assert nights.night(publish={"rows": 1}).held


@pytest.mark.parametrize("what", [{"current": "../../elsewhere"}, {"run": None, "current": None}, {"moved": "../1"}])
def test_a_record_names_runs_and_no_paths(nights: Nights, what: dict[str, Any]) -> None:
    nights.night()
    path = nights.store / "publications" / "current" / "000001.json"
    told = json.loads(path.read_text())
    told.pop("record_digest")
    write_record(path, {**told, "before": None, **what}, sealed=False)
    nights.comes("two", texts("b", 4))
    with pytest.raises(DamageFound, match="damaged"):
        nights.night()
    assert (nights.store / "current").resolve().name == "nightly-0001"
