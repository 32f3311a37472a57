"""One night: the next run of a recipe, in a flow run that bears its name; what came of it stands on that one's page.

What tamis says is in its log; funnel, summary, publication, composition and what changed are its artifacts. A run that
is held ends as `Held`, so that an automation can tell of it; one that failed is tried again by Prefect, after longer
and longer, but for bad input, which stays bad."""

from pathlib import Path
from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.states import Completed, State

from tamis.flows.curate import Tasks, logged
from tamis.pipeline import curate
from tamis.pipeline.errors import LimitMet, RunFailed, TamisError
from tamis.pipeline.explain.show import funnel, summary
from tamis.pipeline.files.urls import as_url, without_secrets
from tamis.pipeline.progress import inert, say
from tamis.pipeline.publish.changes import Changes, changes
from tamis.pipeline.publish.decide import line
from tamis.pipeline.publish.told import changes_table, composition_table, escaped
from tamis.pipeline.publish.told import markdown as changes_markdown
from tamis.pipeline.recipe.recipe import Recipe
from tamis.pipeline.starting import Outcome, run_before, run_next
from tamis.pipeline.store.old_runs import Fate
from tamis.pipeline.store.runs import open_complete
from tamis.pipeline.store.tidy import tidied

TRIES = 3  # after the first
FENCE = "`" * 8  # round a text in Markdown
DELAYS_S = (60, 300, 1500)  # before each of them


def night(
    recipe: Recipe,
    recipe_folder: Path,
    store: Path,
    allow_code: bool,
    keep_runs: int | None = None,
    old: Fate = "thin",
) -> State[Any]:
    """Inside a flow: run, tell, and tidy up where `keep_runs` says how many runs stay whole."""
    _may_try_again()
    with logged():
        try:
            outcome = run_next(recipe, recipe_folder, store, allow_code, in_this_flow)
        except LimitMet as error:  # no failure: the next night goes on
            say(str(error))
            return Completed(message=str(error), name="Limited")
        except Exception as error:
            if isinstance(error, TamisError) and not isinstance(error, RunFailed):
                _try_no_more()
            elif (delay := _left()) is not None:
                say(f"{' '.join(str(error).split())[:300]} The next try is in {delay:,} s.")
            raise
        name_flow_run(outcome.folder.name)
        told = _told(recipe, outcome, store)
        say(told)
        show_on_page(outcome, told)
        if keep_runs is not None:
            say(tidied(store, keep_runs, old, allow_code))
    return Completed(message=told, name="Held" if outcome.held else "Completed")


def in_this_flow(folder: Path) -> Path:
    """The engine: carries a run's folder to its manifest with this flow's own tasks."""
    name_flow_run(folder.name)
    return curate.curate(folder, Tasks())


def name_flow_run(name: str) -> None:
    """Call the flow run that we are in by a run's name."""
    context = FlowRunContext.get()
    if context is not None and context.flow_run is not None and context.flow_run.name != name:
        with get_client(sync_client=True) as client:
            client.update_flow_run(context.flow_run.id, name=name)
        context.flow_run.name = name


def _may_try_again() -> None:
    """From here on: what is wrong before is bad input. Prefect knows one delay for all tries of a flow, so each says
    how long it is to the next."""
    context = FlowRunContext.get()
    if context is not None and context.flow_run is not None:
        place = min(max(1, context.flow_run.run_count), len(DELAYS_S)) - 1
        _set_policy(context, retries=TRIES, retry_delay=DELAYS_S[place])


def _left() -> int | None:
    """Seconds to the next try, if there is one."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None or context.flow_run.run_count > TRIES:
        return None
    return DELAYS_S[min(max(1, context.flow_run.run_count), len(DELAYS_S)) - 1]


def _try_no_more() -> None:
    context = FlowRunContext.get()
    if context is not None and context.flow_run is not None:
        _set_policy(context, retries=0)


def _set_policy(context: FlowRunContext, **values: int) -> None:
    assert context.flow_run is not None
    policy = context.flow_run.empirical_policy.model_copy(update=values)
    context.flow_run.empirical_policy = policy
    with get_client(sync_client=True) as client:
        client.update_flow_run(context.flow_run.id, empirical_policy=policy)


def _told(recipe: Recipe, outcome: Outcome, store: Path) -> str:
    """What became of it, in a line."""
    name, rows = outcome.folder.name, f"{outcome.selected:,} selected"
    if recipe.publish is None or outcome.decision is None:
        return f"{name}: {rows}" + ("" if outcome.fresh else "; nothing is new")
    place = without_secrets(as_url(store) or str(store))
    return f"{name}: {rows}; {line(place, recipe.publish.to, outcome.decision)}"


def show_on_page(outcome: Outcome, told: str) -> None:
    """Artifacts; of addresses the places alone, and nothing of the pool is markup."""
    stages = [{"stage": name, "samples": count, "lost": why} for name, count, why in funnel(outcome.manifest)]
    create_table_artifact(key="funnel", table=stages, description=outcome.folder.name)
    lies = f"It lies in {escaped(str(outcome.folder))}; its report is report\\.html there."
    fenced = f"{FENCE}\n{summary(outcome.manifest).replace(FENCE, FENCE[1:])}\n{FENCE}"
    create_markdown_artifact(key="summary", markdown=inert(f"{escaped(told)}\n\n{fenced}\n{lies}"))
    if outcome.decision is not None:
        rows = [{one: guard[one] for one in ("guard", "told", "holds")} for guard in outcome.decision["guards"]]
        create_table_artifact(key="publication", table=rows, description=inert(escaped(told)))
    found = _changed(outcome)
    if found is not None:
        create_markdown_artifact(key="changes", markdown=inert(changes_markdown(found)))
        create_table_artifact(key="changed", table=changes_table(found), description=f"{found.before} → {found.after}")
        create_table_artifact(key="composition", table=composition_table(found), description=outcome.folder.name)


def _changed(outcome: Outcome) -> Changes | None:
    """Since the run that is, or was, published; without any, since the one before."""
    before = run_before(outcome)
    if before is None:
        return None
    return changes(open_complete(before, thinned_too=True), open_complete(outcome.folder))
