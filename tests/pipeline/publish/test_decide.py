"""Promise: consumers read what its guards, or a person, let through, whole; everything else is held, and says why."""

import json
import os
import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from dying import Death, changes_of, killed
from nights import Nights, chosen, listed, texts

from tamis.pipeline.errors import DamageFound, GuardFailed, RecipeError, RunError, SourceError, StoreError
from tamis.pipeline.files.atomic import write_record
from tamis.pipeline.files.mirror import in_order
from tamis.pipeline.publish.decide import approve, hold, line
from tamis.pipeline.recipe.recipe import parse_recipe
from tamis.pipeline.starting import run_next, run_recipe
from tamis.pipeline.store.current import published, published_place, standing
from tamis.pipeline.store.garbage import collect
from tamis.pipeline.store.listing import told
from tamis.pipeline.store.manifest import verify
from tamis.pipeline.store.old_runs import OF_OLD, Old, note_thinned
from tamis.pipeline.store.runs import open_complete
from tests_support import s3_server


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


BROKEN: list[tuple[dict[str, Any], list[dict[str, Any]], str]] = [
    ({"rows": [10, 15]}, [], "rows: 20 samples, wanted at most 15"),
    ({"rows": 30}, [], "rows: 20 samples, wanted at least 30"),
    ({"new_rows": 5}, texts("b", 3), "new_rows: 3 new samples, wanted at least 5"),
    ({"overlap": 0.99}, texts("b", 200), "overlap: "),
    ({"share": {"by": "part", "within": 0.05}}, texts("b", 100, "b"), "share part: of part 'b' are "),
    ({"share": {"by": ["part"], "keep_at_least": 0.9, "rows": 5}}, texts("b", 100, "b"), "% of its share, wanted at least 90%"),
    ({"kl": 0.01}, texts("b", 200), "kl: KL of its n-grams from the last published one's: "),
]  # fmt: skip


@pytest.mark.parametrize(("publish", "comes", "why"), BROKEN, ids=[one[2][:14] for one in BROKEN])
def test_a_guard_that_does_not_hold_keeps_the_last_one(
    nights: Nights, publish: dict[str, Any], comes: list[dict[str, Any]], why: str
) -> None:
    nights.night(publish={})
    nights.comes("two", comes or texts("c", 1))
    outcome = nights.night(publish=publish)
    assert outcome.held and outcome.decision and why in outcome.decision["why"]
    assert nights.current["run"] == "nightly-0001"
    told_once = line(nights.store, "current", outcome.decision)
    assert told_once.startswith("held: ") and "current.json stays with nightly-0001" in told_once
    assert not verify(open_complete(outcome.folder))  # the run itself is whole


def test_the_target_costs_more_under_a_worse_selection(tmp_path: Path) -> None:
    nights = Nights(tmp_path, target=[{"format": "jsonl", "path": "good.jsonl", "key": "id"}])
    nights.comes("one", texts("a", 40))
    good = [{"id": f"g{n}", "text": f"sonata {n} in minor"} for n in range(9)]
    (tmp_path / "good.jsonl").write_text("".join(json.dumps(one) + "\n" for one in good))
    nights.comes("two", [{**one, "id": f"w{n}", "part": "a"} for n, one in enumerate(good)])
    kept = {"importance_resampling": {"budget": 12}}
    nights.night(steps=[kept], publish={})
    worse = [{"importance_resampling": {"budget": 12, "where": "key not like 'w%'"}}]
    outcome = nights.night(steps=worse, publish={"target_nats": 0.1})
    assert outcome.held and outcome.decision and "an n-gram of the target costs" in outcome.decision["why"]


def test_rejects_are_of_what_is_new(nights: Nights) -> None:
    nights.night(publish={})
    path = nights.comes("two", texts("b", 6))
    path.write_text(path.read_text() + "not json\n" * 4)
    outcome = nights.night(publish={"rejects": 0.1})
    assert outcome.decision and "4 of 10 new rows are rejects (40.0%), wanted at most 10.0%" in outcome.decision["why"]


def test_a_guard_of_the_steps_is_told_as_held_and_stays_an_error(nights: Nights) -> None:
    nights.night()
    nights.comes("two", texts("b", 200, "b"))
    with pytest.raises(GuardFailed):
        nights.night(guard={"by": "part", "keep_at_least": 0.9, "rows": 0})
    with pytest.raises(GuardFailed):
        nights.night(guard={"by": "part", "keep_at_least": 0.9, "rows": 0})
    verdicts = [(one["run"], one["verdict"]) for one in nights.records()]
    assert verdicts == [("nightly-0001", "published"), ("nightly-0002", "held")]
    assert nights.current["run"] == "nightly-0001"


def test_a_held_run_is_asked_again_by_other_guards(nights: Nights) -> None:
    assert nights.night(publish={"rows": 30}).held
    assert nights.night(publish={"rows": 30}).held and len(nights.records()) == 1
    outcome = nights.night(publish={"rows": 20})
    assert not outcome.held and not outcome.fresh and nights.current["run"] == "nightly-0001"


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


def test_nothing_published_is_one_line(nights: Nights) -> None:
    nights.night(publish={"rows": 99})
    with pytest.raises(StoreError, match=r"nothing is published, for there is no current\.json"):
        published_place(nights.store)


@pytest.mark.parametrize(
    ("publish", "told"),
    [
        ({"row": 5}, "publish.row: unknown key, did you mean 'rows'?"),
        ({"rows": [5, 1]}, "rows: wanted the fewest and the most"),
        ({"to": "../x"}, "can't name a switch"),
        ({"share": {"by": "part"}}, "wanted `within: 0.1` or `keep_at_least: 0.5`"),
        ({"target_nats": 0.1}, "there is no `target`"),
    ],
)
def test_a_wrong_publish_is_said_before_anything_starts(nights: Nights, publish: dict[str, Any], told: str) -> None:
    with pytest.raises(RecipeError) as error:
        parse_recipe({**nights.recipe, "publish": publish}, nights.folder)
    assert told in str(error.value)


def test_a_field_that_is_not_there_is_said_before_anything_starts(nights: Nights) -> None:
    with pytest.raises(RecipeError, match=r"publish.share: by: the pool has no field or column 'langage'"):
        nights.night(publish={"share": {"by": "langage", "within": 0.1}})


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
