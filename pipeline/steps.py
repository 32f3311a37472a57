"""One step, in three moves: fit on pool and target, score shard by shard, choose with one query and write the ledger.

Each move leaves whole files, so a killed step goes on at the shard where it stopped."""

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from tamis.pipeline.atomic import atomic_path, fingerprint, read_json, write_batches, write_json, write_parquet
from tamis.pipeline.batches import candidates, targets
from tamis.pipeline.database import connect, rows, scope_mask
from tamis.pipeline.errors import RunFailed
from tamis.pipeline.identity import hex_id
from tamis.pipeline.importance_facts import importance_facts
from tamis.pipeline.ingest import Part
from tamis.pipeline.parallel import ordered_map
from tamis.pipeline.plans import StepPlan
from tamis.pipeline.schemas import LEDGER, SCORES
from tamis.pipeline.store import Run, open_run
from tamis.selectors.budget import Budget, Fraction
from tamis.selectors.importance import ImportanceResampling, Seen
from tamis.sql import text as sql_text


def fit_step(folder: Path, step: int) -> Path:
    """Fit the step's selector and store what it learned; returns the file, which is reused where it exists."""
    run = open_run(folder)
    path = model_path(run, step)
    if not path.exists():
        selector = run.steps[step].selector
        if isinstance(selector, ImportanceResampling):  # counts of shards are made in parallel and added
            learned = selector.fit_counts(
                _count(run, step), [selector.count(t, with_hashes=True) for t in targets(run, step)]
            )
        else:
            pool = (batch for part in run.pool.parts for batch in in_scope(run, part, step))
            learned = selector.fit(pool, targets(run, step))
        save_fitted(path, learned)
    return path


def _count(run: Run, step: int) -> Seen:
    selector = run.steps[step].selector
    total = Seen(np.zeros(selector.map.buckets, np.int64))
    for seen in ordered_map(lambda part: selector.count(in_scope(run, part, step)), run.pool.parts, ahead=0):
        total.buckets += seen.buckets
    return total


def in_scope(run: Run, part: Part, step: int) -> Iterator[pa.RecordBatch]:
    """The candidates that the step may choose from: those inside its `where`."""
    for batch, inside in with_scope(run, part, step):
        yield batch if inside.all() else batch.filter(pa.array(inside))


def with_scope(
    run: Run, part: Part, step: int, more: tuple[str, ...] = ()
) -> Iterator[tuple[pa.RecordBatch, npt.NDArray[np.bool_]]]:
    where = run.steps[step].where
    inside = None if where is None else scope_mask(run, part, where)
    for batch in candidates(run, part, step, more):
        ids = batch["sample_id"].to_numpy()
        yield batch, np.ones(len(ids), bool) if inside is None else np.isin(ids, inside)


def model_path(run: Run, step: int) -> Path:
    """Models are named by all that they depend on, so runs that differ only in a budget share one."""
    plan = run.steps[step]
    learned_from = {
        "earlier": run.recipe.steps[:step],
        "selector": [plan.name, dataclasses.asdict(plan.selector), plan.where],
        "seed": run.recipe.seed,
        "columns": [maker.fingerprint for maker in run.makers],
        "pool": run.pool.fingerprint,
        "target": run.target.fingerprint if run.target else None,
        "version": 1,
    }
    return run.store / "models" / fingerprint(learned_from) / "fitted.npz"


def save_fitted(path: Path, learned: Any) -> None:
    """Arrays as they are, everything else as JSON, the settings not at all: no pickle is written or read."""
    arrays, plain = {}, {}
    for field in dataclasses.fields(learned):
        value = getattr(learned, field.name)
        if isinstance(value, np.ndarray):
            arrays[field.name] = value
        elif not dataclasses.is_dataclass(value):
            plain[field.name] = value
    with atomic_path(path) as beside, beside.open("wb") as out:
        np.savez(out, allow_pickle=False, **arrays, _plain=np.array(json.dumps(plain)))


@lru_cache(maxsize=4)
def load_fitted(path: Path, selector: Any) -> Any:
    kind = getattr(selector, "fitted", type(selector))
    with np.load(path, allow_pickle=False) as stored:
        values = {name: stored[name] for name in stored.files if name != "_plain"}
        values |= json.loads(str(stored["_plain"]))
    for field in dataclasses.fields(kind):
        if field.name not in values:
            values[field.name] = selector
    return kind(**values)


def fitted_of(run: Run, step: int) -> Any:
    selector = run.steps[step].selector
    try:
        return load_fitted(model_path(run, step), selector)
    except TypeError:  # a selector with a list or map among its settings has no hash
        return load_fitted.__wrapped__(model_path(run, step), selector)


def score_parts(folder: Path, step: int, names: list[str]) -> None:
    """Write the score file of each named shard, unless it is there."""
    run = open_run(folder)
    learned = fitted_of(run, step)
    for name in names:
        final = run.work(step) / name
        if not final.exists():
            plan, number = run.steps[step], run.part_number(name)
            pairs = with_scope(run, run.part(name), step, _cost_fields(plan))
            write_batches(final, SCORES, (_score(plan, learned, number, *pair) for pair in pairs))


def _cost_fields(plan: StepPlan) -> tuple[str, ...]:
    budget = plan.budget
    if not isinstance(budget, Budget) or budget.unit == "rows":
        return ()
    if budget.unit == "bytes":
        return ("n_bytes",)
    return (budget.by,) if budget.by else ()


def _score(plan: StepPlan, learned: Any, part: int, batch: pa.RecordBatch, inside: npt.NDArray[np.bool_]) -> pa.Table:
    """Score rows of one batch; with several targets a row for each of them."""
    scores = learned.scores(batch) if hasattr(learned, "scores") else learned.score(batch)[None, :]
    keys = learned.order_keys(batch, scores) if hasattr(learned, "order_keys") else scores
    count = batch.num_rows
    if scores.shape[1:] != (count,):
        raise RunFailed(f"{plan.name}: score gave {scores.shape[1:]} values for {count} rows")
    barred = learned.barred(batch) if hasattr(learned, "barred") else [None] * count
    barred = [reason if ok else "not_in_scope" for reason, ok in zip(barred, inside.tolist(), strict=True)]
    groups = learned.groups(batch).cast(pa.binary()) if hasattr(learned, "groups") else pa.nulls(count, pa.binary())
    ties = learned.ties(batch) if hasattr(learned, "ties") else pa.nulls(count, pa.string())
    marks = (
        ["in target" if found else None for found in learned.is_in_target(batch)]
        if hasattr(learned, "is_in_target")
        else None
    )
    costs, numbers = _costs(plan, batch), pa.array(np.full(count, part, np.int32))
    tables = []
    for target, (score, key) in enumerate(zip(scores, keys, strict=True)):
        names = [
            mark if len(scores) == 1 else f"target {target}" + (f"; {mark}" if mark else "")
            for mark in marks or [None] * count
        ]
        # a deduplication ranks nothing: its ledger has no score
        shown = pa.nulls(count, pa.float64()) if plan.choice == "exact_dedup" else pa.array(score, pa.float64())
        tables.append(
            pa.table(
                [
                    batch["sample_id"], shown, pa.array(key, pa.float64()), numbers, costs,
                    pa.array(np.full(count, target, np.int32)), pa.array(barred, pa.string()), groups, ties,
                    pa.array(names, pa.string()),
                ],
                schema=SCORES,
            )
        )  # fmt: skip
    return pa.concat_tables(tables)


def _costs(plan: StepPlan, batch: pa.RecordBatch) -> pa.Array:
    fields = _cost_fields(plan)
    if isinstance(plan.budget, Budget) and plan.budget.unit != "rows":
        costs = batch[fields[0] if fields else "n_tokens"].cast(pa.float64()).to_numpy(zero_copy_only=False)
        if not np.isfinite(costs).all() or (costs < 0).any():
            raise RunFailed(f"{plan.name}: the budget's field {plan.budget.by!r} has rows without a cost of 0 or more")
        return pa.array(np.ceil(costs).astype(np.int64))
    return pa.array(np.ones(batch.num_rows, np.int64))


def choose(folder: Path, step: int) -> None:
    """Decide over all score files at once; write the ledger's parts, then the step's record, which says it is done."""
    run = open_run(folder)
    plan = run.steps[step]
    scores = [str(run.work(step) / part.name) for part in run.pool.parts]
    proportions = getattr(fitted_of(run, step), "proportions", (1.0,))
    record = _Record(plan, sum(pq.read_metadata(path).num_rows for path in scores) // len(proportions))
    with connect(run.store) as con:
        eligible = rows(con, sql_text("count_eligible"), {"scores": scores})[0]["eligible"]
        budget = budget_in_units(plan, eligible)
        reader = _decisions(con, plan, scores, budget, proportions)
        for part, table in _by_part(reader, len(run.pool.parts)):
            write_parquet(run.ledger(step) / run.pool.parts[part].name, record.entered(table, Path(scores[part])))
    facts = {}
    if isinstance(plan.selector, ImportanceResampling):
        facts = importance_facts(run, step, fitted_of(run, step), record.kept)
    write_json(run.step_record(step), {**record.summary(budget, eligible), "facts": facts})


def budget_in_units(plan: StepPlan, eligible: int) -> int | None:
    if isinstance(plan.budget, Fraction):
        return int(plan.budget.share * eligible)
    return plan.budget.amount if plan.budget else None


def _decisions(con: Any, plan: StepPlan, scores: list[str], budget: int | None, proportions: Sequence[float]) -> Any:
    """A reader over the choice's query."""
    parameters: dict[str, Any] = {"scores": scores}
    if plan.choice == "quota":
        quotas = plan.selector.quotas(budget)
        parameters |= {"groups": list(quotas), "quotas": list(quotas.values()), "max_epochs": plan.selector.max_epochs}
        query = "choose_quota"
    elif plan.choice == "exact_dedup":
        query = "choose_exact_dedup"
    elif len(proportions) > 1:
        query = "choose_by_target"
        rows(con, "create temp table taken (sample_id ubigint, target integer)")
        whole = budget or 0
        parts = [int(whole * share) for share in proportions]
        parts[-1] += whole - sum(parts)  # as published: what rounding leaves goes to the last target
        for target, part in enumerate(parts):
            rows(con, sql_text("take_for_target"), {"scores": scores, "target": target, "budget": part})
    else:
        query = "choose_budget"
        parameters["budget"] = budget
    return con.sql(sql_text(query), params=parameters).to_arrow_reader(65_536)


def _by_part(reader: Any, parts: int) -> Iterator[tuple[int, pa.Table]]:
    """Rows of the answer, which is in the order of shards and rows, shard by shard; empty shards too."""
    empty = pa.table(reader.schema.empty_table())
    current, held = 0, [empty]
    for batch in reader:
        numbers = batch["part"].to_numpy()
        for part in range(current, int(numbers[-1]) + 1):
            if part > current:
                yield current, pa.concat_tables(held)
                current, held = part, [empty]
            first, end = np.searchsorted(numbers, [part, part + 1])
            held.append(pa.table(batch).slice(first, end - first))
    for part in range(current, parts):
        yield part, pa.concat_tables(held)
        held = [empty]


class _Record:
    """Counts what goes into the ledger, and where the line between kept and dropped ran."""

    def __init__(self, plan: StepPlan, candidates: int) -> None:
        self.plan, self.candidates = plan, candidates
        self.kept = self.dropped = self.spent = 0
        self.weight = 0.0
        self.reasons: Counter[str] = Counter()
        self.last: dict[str, Any] | None = None  # the lowest ranked that was kept
        self.first: dict[str, Any] | None = None  # the highest ranked that was dropped

    def entered(self, table: pa.Table, scores: Path) -> pa.Table:
        """The ledger's rows of one shard: the decisions, with score and detail from the score file."""
        count = table.num_rows
        told = pq.read_table(scores, columns=["score", "detail", "cost"]).take(table["row"])
        table = table.append_column("score", told["score"]).append_column("detail", told["detail"])
        table = table.append_column("cost", told["cost"])
        kept = table["kept"].to_numpy()
        self.kept += int(kept.sum())
        self.dropped += count - int(kept.sum())
        self.weight += float(table["weight"].to_numpy()[kept].sum())
        reasons = table["reason"].to_pylist()
        self.reasons.update(reasons)
        chosen = np.array([reason == "chosen" for reason in reasons], bool)
        self.spent += int(told["cost"].to_numpy()[chosen].sum())
        ranked = table.filter(table["rank"].is_valid()) if count else table
        for state, best in ((True, max), (False, min)):
            side = ranked.filter(pa.array(ranked["kept"].to_numpy() == state)) if ranked.num_rows else ranked
            if side.num_rows:
                ranks = side["rank"].to_numpy()
                row = side.slice(int(ranks.argmax() if state else ranks.argmin()), 1).to_pylist()[0]
                mine = {name: row[name] for name in ("rank", "score", "cost")}
                mine["sample_id"] = hex_id(row["sample_id"])
                if state:
                    self.last = best(filter(None, (self.last, mine)), key=lambda r: r["rank"])
                else:
                    self.first = best(filter(None, (self.first, mine)), key=lambda r: r["rank"])
        arrays = {name: table[name] for name in table.column_names}
        arrays["step"] = pa.array(np.full(count, self.plan.number, np.int32))
        arrays["selector"] = pa.array([self.plan.name] * count, pa.string())
        return pa.table({name: arrays[name] for name in LEDGER.names}).cast(LEDGER)

    def summary(self, budget: int | None, eligible: int) -> dict[str, Any]:
        assert self.kept + self.dropped == self.candidates, "the ledger lost a candidate"
        return {
            "step": self.plan.number,
            "selector": self.plan.name,
            "candidates": self.candidates,
            "eligible": eligible,
            "kept": self.kept,
            "dropped": self.dropped,
            "reasons": dict(sorted(self.reasons.items())),
            "budget": budget,
            "unit": getattr(self.plan.budget, "unit", "rows"),
            "spent": self.spent,
            "next_cost": self.first["cost"] if self.first else None,
            "weight": self.weight,
            "last_kept": self.last,
            "first_dropped": self.first,
        }


def step_summary(run: Run, step: int) -> dict[str, Any]:
    return read_json(run.step_record(step))
