"""One step, in three moves: fit on pool and target, score shard by shard, choose with one query and write the ledger.

Each move leaves whole files, so a killed step goes on at the shard where it stopped."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, cast
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tamis.pipeline.choose.batches import candidates, side_by_side, targets
from tamis.pipeline.choose.facts import StepChoice
from tamis.pipeline.choose.groups import ASKED_FOR
from tamis.pipeline.choose.ledger import Record, by_part
from tamis.pipeline.errors import RecipeError, RunFailed
from tamis.pipeline.files.atomic import write_batches, write_json, write_parquet
from tamis.pipeline.progress import say
from tamis.pipeline.read.pool import Part
from tamis.pipeline.recipe.plans import StepPlan
from tamis.pipeline.schemas import KEEPING, SCORES
from tamis.pipeline.store.database import connect, rows, scope_mask
from tamis.pipeline.store.learned import fitted_of, load_fitted, model_path, prepared_path, save_fitted
from tamis.pipeline.store.runs import Run, open_run
from tamis.pipeline.store.set_aside import EARLIER, aside, reasons_of
from tamis.selectors.budget import Budget
from tamis.selectors.contract import Inputs, Ranker, Rereadable, Scored, Scorer
from tamis.selectors.dedup.exact import ExactDedup
from tamis.sql import text as sql_text


def count_parts(folder: Path, step: int, names: list[str]) -> None:
    """Count the named shards for a selector whose fit adds up counts, and store each shard's beside the scores."""
    run = open_run(folder)
    selector = cast("Scorer", run.steps[step].selector)
    rows = run.summary(step - 1)["kept"] if step else run.pool.rows
    for name in names:
        final = _counts(run, step, name)
        if not final.exists() and not model_path(run, step).exists():
            sample: list[pa.RecordBatch] = []

            def passed(name: str = name, sample: list[pa.RecordBatch] = sample) -> Iterator[pa.RecordBatch]:
                for batch in in_scope(run, run.part(name), step):
                    if (some := selector.sampled(batch, rows)) is not None:
                        sample.append(some)
                    yield batch

            try:
                table = _table(folder, step, run.evaluation.fingerprint) if run.evaluation else None
                counts = selector.count(passed(), *([] if table is None else [table]))
            except ValueError as error:
                raise RecipeError(f"step {step} ({run.steps[step].name}): {error}") from error
            if sample:
                write_parquet(_counts(run, step, name, "sampled"), pa.Table.from_batches(sample))
            write_parquet(final, pa.table({"bucket": counts}))


@lru_cache(maxsize=2)
def _table(folder: Path, step: int, _fingerprint: str) -> Any:
    """What a selector's counts need of the evaluation, once for all shards of a process."""
    run = open_run(folder)
    selector = cast("Scorer", run.steps[step].selector)
    return selector.table(targets(run, step)) if selector.needs_evaluation else None


def _counts(run: Run, step: int, name: str, what: str = "counts") -> Path:
    return run.work(step) / what / name


A_FIFTH = 0.2  # of the candidates: a rule that takes more is told at once
SKIPPED = 1000  # candidates that are looked at beyond the first that costs too much
OTHER_IDS = np.uint64(0x9E3779B97F4A7C15)  # tells what lies beside the pool from the same sample in it
EARLIER_CONTENTS = pa.schema([("sample_id", pa.uint64()), ("group_by", pa.binary()), ("tie", pa.string())])


def fit_step(folder: Path, step: int) -> Path:
    """Fit the step's selector and store what it learned; returns the file, which is reused where it exists."""
    run = open_run(folder)
    path = model_path(run, step)
    if not path.exists():
        plan = run.steps[step]
        try:
            save_fitted(path, _learned(run, plan))
        except ValueError as error:
            raise RecipeError(f"step {step} ({plan.name}): {error}") from error
    return path


def _learned(run: Run, plan: StepPlan) -> Any:
    step = plan.number
    if plan.selector.ranks:
        ranker = cast("Ranker", plan.selector)
        if ranker.prepared is not None:
            return ranker.rank_prepared(_Candidates(run, step), plan.budget, _prepared(run, step))
        return ranker.rank(_Candidates(run, step), plan.budget)
    selector = cast("Scorer", plan.selector)
    if selector.adds_up:  # integers: the sum is the same in any order
        counted = (pq.read_table(_counts(run, step, part.name))["bucket"].to_numpy() for part in run.pool.parts)
        total = next(counted).astype(np.int64)
        for counts in counted:
            total += counts
        files = [_counts(run, step, part.name, "sampled") for part in run.pool.parts]
        sample = [batch for file in files if file.exists() for batch in pq.read_table(file).to_batches()]
        return selector.fit_counts(total, targets(run, step), *([sample] if sample else []))
    return selector.fit((batch for part in run.pool.parts for batch in in_scope(run, part, step)), targets(run, step))


class _Candidates(Rereadable):
    """What a ranker sees, shard by shard, as often as it likes."""

    def __init__(self, run: Run, step: int, inputs: Inputs | None = None) -> None:
        self._run, self._step = run, step
        self._inputs = inputs or run.steps[step].selector.inputs()

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return _to_rank(self._run, self._step, self._inputs)

    def having(self, *fields: str) -> "_Candidates":
        return _Candidates(self._run, self._step, Inputs(fields=fields))


def _prepared(run: Run, step: int) -> Any:
    """What the step's selector makes once for all thresholds; stored, and reused where it stands and can be read."""
    path, selector = prepared_path(run, step), cast("Ranker", run.steps[step].selector)
    if path.exists():
        with suppress(OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile):
            return load_fitted(path, selector, prepared=True)
    save_fitted(path, selector.prepare(_Candidates(run, step)), prepared=True)
    load_fitted.cache_clear()
    return load_fitted(path, selector, prepared=True)


def _to_rank(run: Run, step: int, inputs: Inputs) -> Iterator[pa.RecordBatch]:
    """What a ranker sees: the candidates, and what earlier runs chose, as labeled: taken from the start."""
    plan = run.steps[step]
    ids, reasons = aside(run)
    earlier = ids[reasons == EARLIER]
    more = _cost_fields(plan)
    if plan.selector.compares_with:
        yield from _beside(run, step, inputs)
    for part in run.pool.parts:
        candidates_ = in_scope(run, part, step, more, inputs)
        if not len(earlier):
            yield from candidates_
            continue
        yield from map(_with_labels, candidates_)
        wanted = replace(inputs, fields=(*inputs.fields, *more))
        for batch in side_by_side(run, part, wanted, of_target=False):
            mine = batch.filter(pa.array(np.isin(batch["sample_id"].to_numpy(), earlier)))
            if mine.num_rows:
                told = _with_labels(mine)
                place = told.schema.get_field_index("labels")
                yield told.set_column(place, "labels", told["labels"].fill_null(""))  # labeled, as nothing


def _beside(run: Run, step: int, inputs: Inputs) -> Iterator[pa.RecordBatch]:
    """Of the target or evaluation, what the step compares with; ids are of another kind than the pool's, which may have
    the same samples."""
    for source in targets(run, step, inputs):
        for batch in source:
            place = batch.schema.get_field_index("sample_id")
            ids = batch["sample_id"].to_numpy() ^ OTHER_IDS
            told = batch.set_column(place, "sample_id", pa.array(ids))
            yield told.append_column("beside", pa.nulls(batch.num_rows, pa.string()))


def _with_labels(batch: pa.RecordBatch) -> pa.RecordBatch:
    if "labels" in batch.schema.names:
        return batch
    return batch.append_column("labels", pa.nulls(batch.num_rows, pa.string()))


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


def in_scope(
    run: Run, part: Part, step: int, more: tuple[str, ...] = (), inputs: Inputs | None = None
) -> Iterator[pa.RecordBatch]:
    """The candidates that the step may choose from: those inside its `where`."""
    for batch, inside in with_scope(run, part, step, more, inputs):
        yield batch if inside.all() else batch.filter(pa.array(inside))


def with_scope(
    run: Run, part: Part, step: int, more: tuple[str, ...] = (), inputs: Inputs | None = None
) -> Iterator[tuple[pa.RecordBatch, npt.NDArray[np.bool_]]]:
    """Batches of candidates, and which of them are inside the step's `where`, and not set aside before the first."""
    where = run.steps[step].where
    inside = None if where is None else scope_mask(run, part, where)
    apart = aside(run)[0] if step == 0 else np.zeros(0, np.uint64)
    for batch in candidates(run, part, step, inputs or run.steps[step].selector.inputs(), more):
        ids = batch["sample_id"].to_numpy()
        mask = np.ones(len(ids), bool) if inside is None else np.isin(ids, inside)
        yield batch, mask & ~np.isin(ids, apart) if len(apart) else mask


def score_parts(folder: Path, step: int, names: list[str]) -> None:
    """Write the score file of each named shard, unless it is there."""
    run = open_run(folder)
    learned = fitted_of(run, step)
    for name in names:
        final = run.work(step) / name
        if not final.exists():
            plan, number = run.steps[step], run.part_number(name)
            ids_alone = Inputs(fields=()) if plan.selector.ranks else None  # all is decided already
            pairs = with_scope(run, run.part(name), step, _cost_fields(plan), ids_alone)
            try:
                write_batches(final, SCORES, (_score(run, plan, learned, number, *pair) for pair in pairs))
            except pa.ArrowException:
                raise
            except ValueError as error:
                raise RecipeError(f"step {step} ({plan.name}): {error}") from error


def _cost_fields(plan: StepPlan) -> tuple[str, ...]:
    field = plan.budget.field if plan.budget is not None else None
    return () if field is None or field == "n_tokens" else (field,)  # n-grams bring n_tokens with them


def _score(
    run: Run, plan: StepPlan, learned: Any, part: int, batch: pa.RecordBatch, inside: npt.NDArray[np.bool_]
) -> pa.Table:
    """Score rows of one batch; with several targets a row for each of them."""
    told: Scored = learned.scored(batch)
    scores = np.atleast_2d(told.score)
    keys = scores if told.order is None else np.atleast_2d(told.order)
    count = batch.num_rows
    if scores.shape[1:] != (count,):
        raise RunFailed(f"{plan.name}: score gave {scores.shape[1:]} values for {count} rows")
    apart = reasons_of(run, batch["sample_id"].to_numpy()) if plan.number == 0 else [None] * count
    reasons = zip(apart, told.barred or [None] * count, inside.tolist(), strict=True)
    barred = [why or (reason if ok else plan.outside) for why, reason, ok in reasons]
    whole = np.ones(count, np.int64)
    if plan.budget is not None:  # what lies outside of the scope costs nothing, and may have no price
        whole = np.zeros(count, np.int64)
        whole[inside] = plan.budget.costs(batch.filter(pa.array(inside)))
    related = np.zeros(count, np.uint64) if told.related is None else told.related
    shared = {
        "part": pa.array(np.full(count, part, np.int32)),
        "cost": pa.array(whole),
        "barred": pa.array(barred, pa.string()),
        "group_by": pa.nulls(count, pa.binary()) if told.group is None else told.group.cast(pa.binary()),
        "tie": pa.nulls(count, pa.string()) if told.tie is None else told.tie,
        "related_id": pa.array(related, mask=related == 0),
    }
    tables = []
    for target, (score, key) in enumerate(zip(scores, keys, strict=True)):
        # what only keeps or drops has no score, nor has a ranker's row that it gave none: an earlier step's stands
        none = np.full(count, plan.selector.unscored) | (np.isnan(score) if plan.selector.ranks else False)
        none |= ~inside  # nor has what lies outside of its scope
        arrays = {
            **shared,
            "sample_id": batch["sample_id"],
            "score": pa.array(score, pa.float64(), mask=none),
            "order_key": pa.array(key, pa.float64()),
            "target": pa.array(np.full(count, target, np.int32)),
            "detail": pa.array(_details(told.detail or [None] * count, target, len(scores)), pa.string()),
        }
        tables.append(pa.table([arrays[name] for name in SCORES.names], schema=SCORES))
    return pa.concat_tables(tables)


def _details(details: list[str | None], target: int, targets: int) -> list[str | None]:
    """Where several targets are served, the ledger says for which."""
    if targets == 1:
        return details
    return [f"target {target}" + (f"; {detail}" if detail else "") for detail in details]


def choose(folder: Path, step: int) -> None:
    """Decide over all score files at once; write the ledger's parts, then the step's record, which says it is done."""
    run = open_run(folder)
    plan = run.steps[step]
    scores = [str(run.work(step) / part.name) for part in run.pool.parts]
    learned = fitted_of(run, step)
    record = Record(plan, sum(pq.read_metadata(path).num_rows for path in scores) // len(learned.target_shares()))
    with connect(run.store) as con:
        eligible = rows(con, sql_text("count_eligible"), {"scores": scores})[0]["eligible"]
        eligible = learned.candidates_of(eligible)
        budget = plan.budget.units(eligible) if plan.budget is not None else None
        earlier = _earlier_contents(run, step) if plan.choice == "exact_dedup" else None
        reader = _decisions(con, plan, learned, scores, budget, eligible, earlier)
        for part, table in by_part(reader, len(run.pool.parts)):
            told = table if plan.selector.budgets else _unranked(table)
            write_parquet(run.ledger(step) / run.pool.parts[part].name, record.entered(told, Path(scores[part])))
    facts = learned.tell(StepChoice(run, step, record.reasons["chosen"]))
    if heavy := _heavy(plan, record):
        say(f"step {step} ({plan.name}): {'; '.join(heavy)}")
        facts = {**facts, "said": [*facts.get("said", []), *heavy]}
    write_json(run.step_record(step), {**record.summary(budget, eligible), "facts": facts})


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


def _decisions(
    con: Any,
    plan: StepPlan,
    learned: Any,
    scores: list[str],
    budget: int | None,
    eligible: int,
    earlier: Path | None,
) -> Any:
    """A reader over the choice's query."""
    parameters: dict[str, Any] = {"scores": scores}
    proportions = learned.target_shares()
    rows(con, "create temp table taken (sample_id ubigint, target integer)")
    if plan.choice == "quota":
        quotas = learned.quotas(plan.budget)
        parameters |= {"groups": list(quotas), "quotas": list(quotas.values()), "max_epochs": plan.selector.epochs}
        query = "choose_quota"
    elif plan.choice == "exact_dedup":
        query = "choose_exact_dedup"
        parameters["earlier"] = str(earlier)
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
    return con.sql(sql_text(query), params=parameters).to_arrow_reader(65_536)
