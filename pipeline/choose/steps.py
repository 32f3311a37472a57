"""One step's first two moves: fit on pool and target, and score shard by shard; decide.py has the third.

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
from tamis.pipeline.errors import RecipeError, RunFailed
from tamis.pipeline.files.atomic import write_batches, write_parquet
from tamis.pipeline.files.sealed import made_anew
from tamis.pipeline.read.pool import Part
from tamis.pipeline.recipe.plans import StepPlan
from tamis.pipeline.schemas import SCORES
from tamis.pipeline.store.database import scope_mask
from tamis.pipeline.store.learned import fitted_of, load_fitted, model_path, prepared_path, save_fitted
from tamis.pipeline.store.runs import Run, open_run
from tamis.pipeline.store.set_aside import EARLIER, aside, reasons_of
from tamis.selectors.contract import BESIDE, Inputs, Ranker, Rereadable, Scored, Scorer


def count_parts(folder: Path, step: int, names: list[str]) -> None:
    """Count the named shards for a selector whose fit adds up counts, and store each shard's beside the scores."""
    run = open_run(folder)
    selector = cast("Scorer", run.steps[step].selector)
    rows = run.summary(step - 1)["kept"] if step else run.pool.rows
    for name in names:
        final = _counts(run, step, name)
        if made_anew(final) and made_anew(model_path(run, step)):
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


OTHER_IDS = np.uint64(0x9E3779B97F4A7C15)  # tells what lies beside the pool from the same sample in it


def fit_step(folder: Path, step: int) -> Path:
    """Fit the step's selector and store what it learned; returns the file, which is reused where it exists."""
    run = open_run(folder)
    path = model_path(run, step)
    if made_anew(path):
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
    if not made_anew(path):
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
            yield told.append_column(BESIDE, pa.nulls(batch.num_rows, pa.string()))


def _with_labels(batch: pa.RecordBatch) -> pa.RecordBatch:
    if "labels" in batch.schema.names:
        return batch
    return batch.append_column("labels", pa.nulls(batch.num_rows, pa.string()))


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
        if made_anew(final):
            plan, number = run.steps[step], run.part_number(name)
            pairs = with_scope(run, run.part(name), step, _cost_fields(plan), _costs_alone(plan))
            try:
                write_batches(final, SCORES, (_score(run, plan, learned, number, *pair) for pair in pairs))
            except pa.ArrowException:
                raise
            except ValueError as error:
                raise RecipeError(f"step {step} ({plan.name}): {error}") from error


def _costs_alone(plan: StepPlan) -> Inputs | None:
    """Of a ranker, which has decided already, batches need hold no more."""
    if not plan.selector.ranks:
        return None
    counted = plan.budget is not None and plan.budget.field == "n_tokens"
    return Inputs(fields=(), ngrams=plan.selector.inputs().ngrams if counted else None)


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
        "weight": pa.nulls(count, pa.float64()) if told.weight is None else pa.array(told.weight),
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
