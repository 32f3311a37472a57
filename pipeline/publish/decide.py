"""A run published or held: by its recipe's guards when it ends, by people at any time.

Both write a decision on record, with who and why, and move STORE/current.json if the run is to be current from then
on. The lists of what changed are written before the decision that they belong to, so a kill leaves both or neither in
force. Whoever calls these holds the store."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tamis.pipeline.errors import StoreError, TamisError
from tamis.pipeline.explain.show import shortest
from tamis.pipeline.files.atomic import read_json, store_lock, write_parquet
from tamis.pipeline.files.inside import NotInside, inside
from tamis.pipeline.files.remote import working_run
from tamis.pipeline.files.urls import as_url
from tamis.pipeline.progress import say
from tamis.pipeline.publish.changes import IN, OUT, changes
from tamis.pipeline.publish.guards import Finding, findings
from tamis.pipeline.recipe.publish import SWITCH, Publish
from tamis.pipeline.recipe.recipe import plain_name
from tamis.pipeline.store.current import (
    GUARDS,
    HELD,
    PUBLISHED,
    WITHDRAWN,
    decision_on,
    decisions,
    last_decision,
    list_path,
    manifest_digest,
    mend_switch,
    next_number,
    read_decision,
    record_decision,
    switch_name,
    switches,
    who,
)
from tamis.pipeline.store.runs import THINNED, Run, open_complete, open_run

Decision = dict[str, Any]


def settle(run: Run, publish: Publish) -> Decision:
    """Hold a complete run against its guards; the decision that stands, where there is one. `publish` is the recipe's
    of now: a run that other guards held is asked again, as long as it is the last."""
    mend_switch(run.store, publish.to)
    known, last = decision_on(run.store, publish.to, run.name), last_decision(run.store, publish.to)
    asked = publish.model_dump(mode="json", exclude_defaults=True)
    again = known is not None and known == last and (known["by"], known["verdict"]) == (GUARDS, HELD)
    if known is not None and not (again and known["asked"] != asked):
        return known
    current = _current(run.store, last)
    if current is None and last is not None and last["current"] is not None:
        raise StoreError(
            f"run {last['current']!r}, which is published, is gone from {run.store / 'runs'}, or another has its name: "
            f"there is nothing to hold {run.name!r} against. Look at it, and publish it by hand: tamis approve "
            f"{run.folder} --why TEXT"
        )
    if run.thinned:
        raise _has_no_exports(run)
    found = [*_of_recipe(run, publish.to, last), *findings(run, publish, current)]
    broken = [one for one in found if not one.holds]
    without = "nothing was published before to compare with" if asked.keys() - {"to"} else "no guards"
    why = "; ".join(f"{one.guard}: {one.told}" for one in broken or found) or without
    told: dict[str, Any] = {"by": GUARDS, "why": why, "asked": asked, "guards": [one._asdict() for one in found]}
    if broken:
        return _stays(run.store, publish.to, run.name, run.recipe.name, HELD, last, **told)
    return _moves(run, publish.to, last, PUBLISHED, **told)


def settle_undecided(store: Path, name: str, publish: Publish) -> None:
    """Decide on a complete run that was killed before, so that no later one takes what it chose for published."""
    run = open_run(store / "runs" / name)
    if run.complete and not run.thinned and decision_on(store, publish.to, name) is None:
        settle(run, publish)


def settle_failed(store: Path, name: str, recipe: str, publish: Publish, error: TamisError) -> Decision:
    """A run that its own `guard:`, or an empty pool, ended has nothing to publish; that the last one stays is on
    record, once."""
    mend_switch(store, publish.to)
    last, why = last_decision(store, publish.to), str(error).partition(" Nothing was selected")[0]
    if last is not None and (last["run"], last["why"]) == (name, why):
        return last
    return _stays(store, publish.to, name, recipe, HELD, last, by=GUARDS, why=why, asked={}, guards=[])


def approve(run: Path, why: str, by: str | None = None, to: str | None = None) -> str:
    """Publish a complete run, whatever its guards said, and tell. Raises StoreError, RunError."""
    return _by_people(run, why, by, to, _approved)


def hold(run: Path, why: str, by: str | None = None, to: str | None = None) -> str:
    """Keep a run from consumers, and tell; where it is published, the one before it is again. Raises StoreError,
    RunError."""
    return _by_people(run, why, by, to, _held)


def _by_people(place: Path, why: str, by: str | None, to: str | None, verdict: Callable[..., Decision]) -> str:
    if not why.strip():
        raise StoreError("--why: say why in a few words; it is kept with the decision")
    with working_run(place) as folder:
        run = open_complete(folder, thinned_too=True)
        to = to or _switch_of(run)
        switch_name(to)  # it may be no name
        with store_lock(run.store, say):
            mend_switch(run.store, to)
            last = last_decision(run.store, to)
            told = {"by": by or who(), "why": " ".join(why.split()), "asked": {}, "guards": []}
            decision = verdict(run, to, last, **told)
    url = as_url(place)
    return line(shortest(run.store) if url is None else url.partition("/runs/")[0], to, decision)


def _approved(run: Run, to: str, last: Decision | None, **told: Any) -> Decision:
    if run.thinned:
        raise _has_no_exports(run)
    if last is not None and last["current"] == run.name and _current(run.store, last) is not None:
        raise StoreError(f"run {run.name!r} is published already, by decision {last['moved']} of this switch")
    return _moves(run, to, last, PUBLISHED, **told)


def _held(run: Run, to: str, last: Decision | None, **told: Any) -> Decision:
    if last is None or last["current"] != run.name:
        return _stays(run.store, to, run.name, run.recipe.name, HELD, last, **told)
    before = _published_before(run.store, to, run.name)
    if before is None:
        raise StoreError(
            f"run {run.name!r} is the only one that was ever published and stands whole: consumers would be without "
            "data. Approve another one first: tamis approve RUN --why TEXT"
        )
    return _moves(before, to, last, WITHDRAWN, about=run, **told)


def _has_no_exports(run: Run) -> StoreError:
    return StoreError(f"run {run.name!r}: was thinned, and has no exports to publish. Make it again as another.")


def _of_recipe(run: Run, to: str, last: Decision | None) -> list[Finding]:
    """A switch is one recipe's, until a person says otherwise."""
    if last is None or last["current"] is None or last["recipe"] == run.recipe.name:
        return []
    told = f"{switch_name(to)}.json is recipe {last['recipe']!r}'s, and this is {run.recipe.name!r}"
    return [Finding("recipe", f"{told}; `publish: {{to: NAME}}` makes a switch of its own", False)]


def _switch_of(run: Run) -> str:
    """On which the run was decided last; of one that never was, its recipe's."""
    told = {to: one for to in switches(run.store) if (one := decision_on(run.store, to, run.name)) is not None}
    mine = run.recipe.publish.to if run.recipe.publish else SWITCH
    return max(told, key=lambda to: str(told[to]["at"]), default=mine)


def _current(store: Path, last: Decision | None) -> Run | None:
    """The published run, if it is there yet, and no other of its name."""
    if last is None or last["current"] is None:
        return None
    if manifest_digest(store, last["current"]) != last["current_manifest"]:
        return None
    return open_complete(_folder(store, last["current"]))


def _folder(store: Path, name: str) -> Path:
    try:
        return inside(store / "runs", plain_name(name))
    except NotInside as error:
        raise StoreError(str(error)) from error


def _published_before(store: Path, to: str, name: str) -> Run | None:
    """The latest run that was published, was not withdrawn since, and stands whole."""
    passed = {name}
    for path in decisions(store, to):
        one = read_decision(path)
        if one["verdict"] == PUBLISHED and one["run"] not in passed:
            there = manifest_digest(store, one["run"])
            run = open_complete(_folder(store, one["run"]), thinned_too=True) if there == one["manifest"] else None
            if run is not None and not run.thinned:
                return run
        passed.add(one["run"])
    return None


def _stays(store: Path, to: str, run: str, recipe: str, verdict: str, last: Decision | None, **told: Any) -> Decision:
    kept = {key: None if last is None else last[key] for key in ("current", "current_manifest", "moved", "before")}
    owner = recipe if last is None or last["current"] is None else last["recipe"]
    return record_decision(store, to, run=run, recipe=owner, verdict=verdict, changed=None, **kept, **told)


def _moves(run: Run, to: str, last: Decision | None, verdict: str, about: Run | None = None, **told: Any) -> Decision:
    """The switch goes to this run; `about`: the one that was decided on, where that is another. Raises StoreError where
    something of it is gone."""
    files = read_json(run.folder / "manifest.json")["files"]
    for name in ("selection.parquet", *(name for name in files if name.startswith("exports/"))):
        path = run.stored(f"runs/{run.name}/{name}")
        if not path.is_file() or path.stat().st_size != files[name]["bytes"]:
            raise StoreError(f"{path}: is not as the run wrote it, so it is not published. tamis verify {run.folder}")
    before, number = _current(run.store, last), next_number(run.store, to)
    found = None
    if before is not None:
        found = changes(before, run)
        for what, change in (("removed", OUT), ("added", IN)):
            mine: pa.Table = found.table.filter(pc.equal(found.table["change"], change))
            write_parquet(list_path(run.store, to, number, what), mine)
    return record_decision(
        run.store, to, run=(about or run).name, recipe=run.recipe.name, verdict=verdict,
        current=run.name, current_manifest=manifest_digest(run.store, run.name), moved=number,
        before=None if before is None else before.name,
        changed=None if found is None else {change: dict(found.why(change)) for change in (OUT, IN)}, **told,
    )  # fmt: skip


def line(store: Path | str, to: str, decision: Decision) -> str:
    """What became of a run, and what to do next."""
    place, run, current = f"{store}/{switch_name(to)}.json", decision["run"], decision["current"]
    if decision["verdict"] == HELD:
        stays = f"{place} stays with {current}" if current else "nothing is published yet"
        gone = (Path(store) / "runs" / run / THINNED).exists()
        more = "" if gone else f". tamis approve {store}/runs/{run} --why TEXT publishes it"
        return f"held: {decision['why']}; {stays}{more}"
    if decision["verdict"] == WITHDRAWN:
        return f"withdrawn: {run}; {place} names {current} again"
    told = decision["changed"]
    more = "" if told is None else f" after {decision['before']}: {_sum(told[OUT]):,} out, {_sum(told[IN]):,} in"
    return f"published: {place} names {run}{more}"


def _sum(counts: dict[str, int]) -> int:
    return sum(counts.values())
