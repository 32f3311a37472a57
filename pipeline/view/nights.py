"""The nights of a store: which runs are published, held or withdrawn, by whom and why; what changed between two."""

import shlex
from typing import Any

from tamis.pipeline.errors import QueryError
from tamis.pipeline.publish.changes import IN, OUT, changes
from tamis.pipeline.publish.told import MOST_GROUPS, moved
from tamis.pipeline.store.current import current_run, decisions, read_decision, switches
from tamis.pipeline.store.runs import Run, open_complete

MOST_DECISIONS = 200
EXAMPLES = 5  # keys of each reason


def nights(run: Run, place: str) -> dict[str, Any]:
    """Decisions, the last first, and the command that publishes the run that is looked at. `place`: the store, as a
    command has it."""
    told = []
    for to in switches(run.store):
        for path in decisions(run.store, to)[:MOST_DECISIONS]:
            one = read_decision(path)
            told.append({
                "to": to, "run": one["run"], "verdict": one["verdict"], "by": one["by"], "at": one["at"],
                "why": one["why"], "before": one["before"],
                "guards": [[guard["guard"], guard["told"], guard["holds"]] for guard in one["guards"]],
            })  # fmt: skip
    told.sort(key=lambda one: one["at"], reverse=True)
    named = {to: current_run(run.store, to) for to in switches(run.store)}
    current = {to: name for to, name in named.items() if name is not None}
    folder = shlex.quote(f"{place}/runs/{run.name}")
    return {"decisions": told, "current": current, "approve": f'tamis approve {folder} --why "..."'}


def changed(run: Run, before: str, place: str) -> dict[str, Any]:
    """From another run to this one. `place`: the store, as a command has it. Raises QueryError, RunError."""
    runs = run.store / "runs"
    if before not in [one.name for one in runs.iterdir()]:
        raise QueryError(f"the store has no run {before!r}")
    found = changes(open_complete(runs / before, thinned_too=True), run)
    table = found.table.select(["change", "why", "key"]).to_pylist()
    sides = {}
    for change in (OUT, IN):
        keys: dict[str, list[str]] = {}
        for row in table:
            if row["change"] == change and len(some := keys.setdefault(row["why"], [])) < EXAMPLES:
                some.append(row["key"])
        sides[change] = [{"why": why, "samples": count, "keys": keys[why]} for why, count in found.why(change)]
    fields = [{"name": name, "groups": moved(found, name)[:MOST_GROUPS]} for name in found.composition]
    command = " ".join(["tamis diff", *(shlex.quote(f"{place}/runs/{name}") for name in (before, run.name))])
    return {
        "before": before, "after": run.name, "rows_before": found.rows_before, "rows_after": found.rows_after,
        "stay": found.stay, "rank_correlation": found.rank_correlation, "sides": sides, "fields": fields,
        "recipe": found.recipe, "command": command,
    }  # fmt: skip
