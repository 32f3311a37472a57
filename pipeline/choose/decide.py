"""A step's third move: decide with one query over all its score files, write the ledger from the answer, and then the
record, which says that the step is done."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tamis.pipeline.choose.batches import side_by_side
from tamis.pipeline.choose.facts import StepChoice
from tamis.pipeline.choose.found import Found, found, nearest
from tamis.pipeline.choose.groups import ASKED_FOR
from tamis.pipeline.choose.ledger import Record, by_part
from tamis.pipeline.errors import RecipeError
from tamis.pipeline.files.atomic import write_parquet, write_record
from tamis.pipeline.progress import say
from tamis.pipeline.recipe.plans import StepPlan
from tamis.pipeline.schemas import KEEPING
from tamis.pipeline.store.database import connect, named, rows
from tamis.pipeline.store.learned import fitted_of
from tamis.pipeline.store.runs import Run, open_run
from tamis.pipeline.store.set_aside import EARLIER, aside
from tamis.selectors.budget import AsFound, Budget
from tamis.selectors.dedup.exact import ExactDedup
from tamis.selectors.recall import FEWEST
from tamis.sql import text as sql_text

A_FIFTH = 0.2  # of the candidates: a rule that takes more is told at once
SKIPPED = 1000  # candidates that are looked at beyond the first that costs too much
EARLIER_CONTENTS = pa.schema([("sample_id", pa.uint64()), ("group_by", pa.binary()), ("tie", pa.string())])


def choose(folder: Path, step: int) -> None:
    """Decide over all score files at once; write the ledger's parts, then the step's record, which says it is done."""
    run = open_run(folder)
    plan = run.steps[step]
    files = [run.work(step) / part.name for part in run.pool.parts]
    scores = named(files)
    learned = fitted_of(run, step)
    record = Record(plan, sum(pq.read_metadata(path).num_rows for path in files) // len(learned.target_shares()))
    with connect(run.store) as con:
        eligible = rows(con, sql_text("count_eligible"), {"scores": scores})[0]["eligible"]
        eligible = learned.candidates_of(eligible)
        told = found(run, plan, learned, scores, eligible)
        of_kind = _of_kind(plan, told)
        budget = plan.budget.units(eligible, of_kind) if plan.budget is not None else None
        earlier = _earlier_contents(run, step) if plan.choice == "exact_dedup" else None
        reader = _decisions(con, plan, learned, scores, budget, eligible, earlier, of_kind)
        for part, table in by_part(reader, len(run.pool.parts)):
            entered = table if plan.selector.budgets else _unranked(table)
            write_parquet(run.ledger(step) / run.pool.parts[part].name, record.entered(entered, files[part]))
        taken = _taken(con, plan, told, scores, record) if isinstance(told, Found) else None
        none = plan.budget is not None and isinstance(told, Found) and told.numbered.none
        first = {"nearest": nearest(con, run, scores)} if none else {}
    facts = learned.tell(StepChoice(run, step, record.reasons["chosen"]))
    if isinstance(told, Found) and taken is not None:
        chosen = None if plan.budget is None else record.reasons["chosen"]
        facts["found"] = told.facts(taken, chosen) | told.longer(facts.get("tokens") or {}) | first
        write_parquet(run.spikes(step), told.table(step, taken))
    elif told is not None:
        facts["found"] = {"unknown": told}
    if heavy := _heavy(plan, record):
        say(f"step {step} ({plan.name}): {'; '.join(heavy)}")
        facts = {**facts, "said": [*facts.get("said", []), *heavy]}
    write_record(run.step_record(step), {**record.summary(budget, eligible), "facts": facts})


def _of_kind(plan: StepPlan, told: Found | str | None) -> int:
    """How many candidates are of the target's kind, where the budget hangs on it. Raises RecipeError."""
    if not plan.needs_number:
        return 0
    what = "budget: auto" if isinstance(plan.budget, AsFound) else "max_epochs"
    if not isinstance(told, Found):
        why = told or "the target lacks fields that the step reads: `keep` them there, too"
        raise RecipeError(f"step {plan.number} ({plan.name}): {what}: {why}")
    if told.number is None:
        barred = ", ".join(f"{count:,} {reason}" for reason, count in told.barred.items())
        few = f"{len(told.spikes) - sum(told.barred.values()):,} samples of the target that can be judged"
        raise RecipeError(
            f"step {plan.number} ({plan.name}): {what}: {few} are too few to tell how many of the kind there are"
            + (f" (the step would take none of the others: {barred})" if barred else "")
            + f": {FEWEST} tell it to about 40%, 100 to 18%. Add some, or give a number"
        )
    return told.of_kind


def _taken(con: Any, plan: StepPlan, told: Found, scores: list[str], record: Record) -> npt.NDArray[np.bool_]:
    """[spikes] whether each would have been chosen, had it lain in the pool."""
    may = np.array([reason is None for reason in told.spikes.reasons], bool)
    if plan.budget is None:
        return may & np.isfinite(told.spikes.keys).any(0)
    if len(told.spikes.keys) > 1:
        lines = {row["target"]: row["line"] for row in rows(con, sql_text("lines_of_targets"), {"scores": scores})}
        over = [told.spikes.keys[target] >= lines.get(target, np.inf) for target in range(len(told.spikes.keys))]
        return may & np.any(over, axis=0)
    return may & np.isfinite(told.spikes.keys[0]) & (told.above < record.reasons["chosen"])


def _heavy(plan: StepPlan, record: Record) -> list[str]:
    """Rules that take more than a fifth, unless they are the user's own conditions."""
    if plan.budget is not None or not record.candidates:
        return []
    taken = {reason: count for reason, count in record.reasons.items() if reason not in (*KEEPING, *ASKED_FOR)}
    most = sorted(taken.items(), key=lambda one: (-one[1], one[0]))
    return [
        f"{reason} takes {count / record.candidates:.0%} of {record.candidates:,}"
        for reason, count in most
        if count > A_FIFTH * record.candidates
    ]


def _unranked(table: pa.Table) -> pa.Table:
    """A rule keeps or drops, and puts nothing in order: an earlier choice's order stands."""
    place = table.schema.get_field_index("rank")
    return table.set_column(place, "rank", pa.nulls(table.num_rows, pa.int64()))


def _skipping(con: Any, plan: StepPlan, scores: list[str], budget: int, target: int = 0) -> list[int]:
    """Ranks that are still affordable where an earlier one is not: it is skipped, for at most SKIPPED further ones."""
    if not isinstance(plan.budget, Budget) or plan.budget.unit == "rows":
        return []
    beyond = {"scores": scores, "budget": budget, "target": target, "most": SKIPPED + 1}
    taken: list[int] = []
    left: float | None = None
    for row in rows(con, sql_text("beyond_budget"), beyond):
        left = budget - row["before"] if left is None else left
        if row["cost"] <= left:
            left -= row["cost"]
            taken.append(row["rank"])
    return taken


def _repeats(con: Any, plan: StepPlan, scores: list[str], budget: int | None, of_kind: int) -> dict[str, int | None]:
    """How many of the best are taken how often; once each, as far as the budget goes, where it ends among these."""
    once = {"distinct": None, "passes": 1, "left": 0}
    if plan.budget is None or plan.budget.epochs == 1 or not of_kind or not budget:
        return once
    most = None if plan.budget.epochs == "auto" else plan.budget.epochs
    asked = {"scores": scores, "first": of_kind, "budget": budget, "epochs": most}
    last = next(iter(rows(con, sql_text("repeats"), asked)), None)
    passes = 0 if last is None or not last["spent"] else min(budget // last["spent"], most or budget)
    if last is None or passes < 1:
        return once
    left = 0 if passes == most else budget - passes * last["spent"]
    return {"distinct": last["rank"], "passes": passes, "left": left}


def _decisions(
    con: Any,
    plan: StepPlan,
    learned: Any,
    scores: list[str],
    budget: int | None,
    eligible: int,
    earlier: Path | None,
    of_kind: int,
) -> Any:
    """A reader over the choice's query; `of_kind`: candidates of the target's kind, which may repeat."""
    parameters: dict[str, Any] = {"scores": scores}
    proportions = learned.target_shares()
    rows(con, "create temp table taken (sample_id ubigint, target integer)")
    if plan.choice == "quota":
        quotas = learned.quotas(plan.budget)
        parameters |= {"groups": list(quotas), "quotas": list(quotas.values()), "max_epochs": plan.selector.epochs}
        query = "choose_quota"
    elif plan.choice == "exact_dedup":
        query = "choose_exact_dedup"
        parameters["earlier"] = named(filter(None, [earlier]))
    elif len(proportions) > 1:
        query = "choose_by_target"
        whole = budget or 0
        parts = [int(whole * share) for share in proportions]
        parts[-1] += whole - sum(parts)  # as published: what rounding leaves goes to the last target
        for target, part in enumerate(parts):
            more = _skipping(con, plan, scores, part, target)
            rows(con, sql_text("take_for_target"), {"scores": scores, "target": target, "budget": part, "more": more})
    else:
        query = f"choose_{plan.choice}" if plan.choice == "budget_with_ties" else "choose_budget"
        parameters["budget"] = eligible if budget is None else budget  # a rule keeps all that it doesn't bar
        if query == "choose_budget":
            parameters["more"] = _skipping(con, plan, scores, parameters["budget"])
            parameters |= _repeats(con, plan, scores, budget, of_kind)
    return con.sql(sql_text(query), params=parameters).to_arrow_reader(65_536)


def _earlier_contents(run: Run, step: int) -> Path:
    """For a deduplication that is not the first step: contents of what earlier runs chose, which the first step took
    out."""
    ids, reasons = aside(run)
    earlier = ids[reasons == EARLIER] if step else ids[:0]
    found = [EARLIER_CONTENTS.empty_table()]
    dedup = cast("ExactDedup", run.steps[step].selector)
    for part in run.pool.parts if len(earlier) else ():
        for batch in side_by_side(run, part, dedup.inputs(), of_target=False):
            mine = batch.filter(pa.array(np.isin(batch["sample_id"].to_numpy(), earlier)))
            told = [mine["sample_id"], dedup.groups(mine).cast(pa.binary()), dedup.tie_keys(mine)]
            found.append(pa.table(told, schema=EARLIER_CONTENTS))
    path = run.work(step) / "earlier" / "contents.parquet"
    write_parquet(path, pa.concat_tables(found))
    return path
