"""A whole run, as a table of contents: read, make columns, take each step, write. Engines only order the work.

The plain loop (`Loop`) and the Prefect flow (flows/curate.py) both walk this one list, so neither can do what the
other can't. Every stage writes whole files and skips those that exist: started again, a run goes on where it was."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any, Protocol

import numpy as np
import pyarrow.parquet as pq

from tamis.pipeline.choose.decide import choose
from tamis.pipeline.choose.groups import hold_step, watch
from tamis.pipeline.choose.history import write_history
from tamis.pipeline.choose.selection import write_selection
from tamis.pipeline.choose.steps import count_parts, fit_step, score_parts
from tamis.pipeline.columns.labels import read_labels
from tamis.pipeline.emit.outputs import write_exports
from tamis.pipeline.errors import SourceError
from tamis.pipeline.explain.report.page import write_report
from tamis.pipeline.files.atomic import read_json, write_record
from tamis.pipeline.files.sealed import made_anew
from tamis.pipeline.making import learn, made_in_the_decode, make_columns, stage_name, turns, unmade
from tamis.pipeline.parallel import ordered_map
from tamis.pipeline.progress import Counter, coming, say, still, visible
from tamis.pipeline.read.families import Contents
from tamis.pipeline.read.held_out import contents_in, divided, held_contents
from tamis.pipeline.read.ingest import ingest
from tamis.pipeline.read.names import repeated_names
from tamis.pipeline.read.pool import Pool, rows_read
from tamis.pipeline.recipe.plans import StepPlan
from tamis.pipeline.store.costs import Purse, metered, note, within
from tamis.pipeline.store.learned import model_path
from tamis.pipeline.store.manifest import write_manifest
from tamis.pipeline.store.runs import Run, open_run
from tamis.pipeline.store.set_aside import settle
from tamis.selectors.texts.ngrams import load_loops

Spent = dict[str, Any]


class Engine(Protocol):
    """Runs functions of paths and small values: one alone, or one over the names of many shards.

    `model`: a model may run in it, so that it wants a GPU where there is one; `rows`: how many there are to work on,
    for those who watch. Both return what other processes than this one spent. An engine that tries again raises
    RunFailed with the shards that could not be done."""

    def one(self, label: str, function: Callable[..., Any], *arguments: Any, model: bool = False) -> list[Spent]: ...

    def many(
        self,
        label: str,
        function: Callable[..., None],
        names: Sequence[str],
        *arguments: Any,
        model: bool = False,
        rows: int = 0,
    ) -> list[Spent]: ...


class Loop:
    """The plain loop: calls in order, shards over threads."""

    def one(self, label: str, function: Callable[..., Any], *arguments: Any, model: bool = False) -> list[Spent]:
        function(*arguments)
        return []

    def many(
        self,
        label: str,
        function: Callable[..., None],
        names: Sequence[str],
        *arguments: Any,
        model: bool = False,
        rows: int = 0,
    ) -> list[Spent]:
        counter = Counter(label, len(names), "shards", rows)
        for _ in ordered_map(lambda name: function(*arguments, [name]), names):
            counter.add(1)
        counter.end()
        return []


def curate(folder: Path, engine: Engine) -> Path:
    """Carry the run in this folder to its manifest, and return that."""
    stages = Stages(folder, engine)
    run = take_steps(folder, stages, fill(folder, stages))
    stages.to_the_end()
    stages.one("groups", watch, folder, rows=run.pool.rows)
    rows = run.summary(len(run.steps) - 1)["kept"] if run.steps else run.pool.rows
    stages.one("selection", write_selection, folder, rows=rows)
    stages.one("exports and report", write_outputs, folder, rows=rows)
    return finish(folder)


def take_steps(folder: Path, stages: "Stages", run: Run) -> Run:
    """Each step: fit, score, choose, unless it was taken."""
    names, rows = [part.name for part in run.pool.parts], run.pool.rows
    for step in run.steps:
        label = _called(step)
        if _taken(run, step.number):
            say(f"{label}: taken already, {run.summary(step.number)['kept']:,} kept")
        else:
            if step.selector.adds_up:
                stages.many(f"{label}: count", count_parts, names, folder, step.number, rows=rows)
            stages.one(f"{label}: fit", fit_step, folder, step.number, rows=rows)
            stages.many(f"{label}: score", score_parts, names, folder, step.number, rows=rows)
            stages.one(f"{label}: choose", choose, folder, step.number, rows=rows)
        if run.recipe.steps_given[step.number].guards:
            stages.one(f"{label}: guard", hold_step, folder, step.number, rows=rows)
        rows = run.summary(step.number)["kept"]
    return run


def _called(step: StepPlan) -> str:
    return f"step {step.number} {step.name}"


def _taken(run: Run, step: int) -> bool:
    """Whether a step was taken, and what it wrote is as it was."""
    files = [run.ledger(step) / part.name for part in run.pool.parts if (run.ledger(step) / part.name).exists()]
    if made_anew(run.step_record(step)) or any(map(made_anew, [model_path(run, step), *files])):
        run.step_record(step).unlink(missing_ok=True)
        return False
    return True


def fill(folder: Path, stages: "Stages") -> Run:
    """Read what is new, and make every column of it."""
    stages.read(folder)
    run = open_run(folder)
    names = [part.name for part in run.pool.parts]
    steps = [_called(step) for step in run.steps]
    stages.order = ["read", *(stage_name(makers) for makers in turns(run)), *steps, "selection", "exports and report"]
    for turn, makers in enumerate(turns(run)):
        for maker in makers:
            if maker.kind.learns:
                stages.one(f"train {maker.name}", learn, folder, maker.name, model=True)
        heavy = any(maker.kind.heavy for maker in makers)
        label, left = stage_name(makers), unmade(run, makers)
        shown = label if left else f"{label}: there already"
        stages.many(label, make_columns, names, folder, turn, rows=left, model=heavy, shown=shown)
    return run


class Stages:
    """The engine, with what each stage costs noted in the run's folder as it ends."""

    def __init__(self, folder: Path, engine: Engine) -> None:
        self._folder, self._engine = folder, engine
        recipe = open_run(folder).recipe
        self._purse = None if recipe.limits is None else Purse(recipe.limits, recipe.prices)
        self.order: list[str] = []  # the stages to come, once they are known

    def read(self, folder: Path) -> None:
        """The first stage; what it worked on is known when it is over."""
        run = open_run(folder)
        before = rows_read(run.store / "pool")
        with self._metered("read", 0, 0) as row, still("read"):
            note(folder, self._engine.one("read", read_inputs, folder, model=_model_reads(run)))
            row["rows"] = rows_read(run.store / "pool") - before
        if self._purse is not None and not row["rows"]:
            self._purse.nothing_yet()

    def to_the_end(self) -> None:
        """What is left is done at a stretch, for nothing of it could be gone on with."""
        self._purse = None

    def one(
        self, label: str, function: Callable[..., Any], *arguments: Any, rows: int = 0, model: bool = False
    ) -> None:
        with self._metered(label, 0, rows), still(label):
            note(self._folder, self._engine.one(label, function, *arguments, model=model))

    def many(
        self,
        label: str,
        function: Callable[..., None],
        names: Sequence[str],
        *arguments: Any,
        rows: int = 0,
        model: bool = False,
        shown: str | None = None,
    ) -> None:
        if self._purse is not None:  # looked at between shards
            function = partial(within, self._purse, label, function)
        with self._metered(label, len(names), rows), still(label, ends=False):
            spent = self._engine.many(shown or label, function, names, *arguments, model=model, rows=rows)
            note(self._folder, spent)
            if self._purse is not None and spent:
                self._purse.something()

    @contextmanager
    def _metered(self, label: str, shards: int, rows: int) -> Iterator[Spent]:
        row: Spent = {}
        if self._purse is not None:
            self._purse.check(label)
        here = next((place for place, stage in enumerate(self.order) if label.startswith(stage)), None)
        coming("" if here is None or here + 1 == len(self.order) else self.order[here + 1])
        try:
            with metered(label, shards, rows) as row:
                yield row
        finally:
            note(self._folder, [row])


def _model_reads(run: Run) -> bool:
    """Whether the decode that reads the pool also feeds a model."""
    return any(maker.output.way == "images" and maker.kind.heavy for maker in run.asked)


def read_inputs(folder: Path) -> None:
    """Bring pool and target up to date and record which shards this run sees. What an earlier attempt recorded is not
    trusted before: another machine may have put up less than it had."""
    run = open_run(folder)
    warming = Thread(target=_load_loops, args=(run,), daemon=True)
    warming.start()
    pool = _pool_of(run)
    _need_rows("pool", pool)
    groups: dict[str, Any] = {"pool": pool.groups, "target": [], "aside": ""}
    held = judge = np.zeros(0, np.uint64)
    if run.recipe.beside:
        named = (name for name in ("target", "evaluation", "judge") if getattr(run.recipe, name))
        what = " and ".join(named)  # read as one
        share = run.recipe.hold_out
        columns = () if share else made_in_the_decode(run, True)
        target = ingest(
            run.whole_target_folder, run.recipe.beside, run.recipe.strict, say, is_target=True, columns=columns
        )
        _need_rows_beside(run, target)
        _say_counts(what, target)
        groups["target"] = target.groups
        if share:
            held = held_contents(target, share, len(run.recipe.target))
            for part in (False, True):
                place = run.divided_target(share, target.groups, held_part=part)
                divided(target, place, share, len(run.recipe.target), held_part=part)
        judge = _of_judge(run, target)
    groups["aside"] = settle(run, pool, held, judge)
    path = folder / "inputs.json"
    if not path.exists() or {"aside": "", **read_json(path)} != groups:
        path.unlink(missing_ok=True)  # a kill from here on leaves no run whose inputs may be these again
        for stale in ("ledger", "steps", ".work", "exports"):  # decisions over other shards are no decisions
            shutil.rmtree(folder / stale, ignore_errors=True)
        (folder / "selection.parquet").unlink(missing_ok=True)
        (folder / "groups.json").unlink(missing_ok=True)
        write_record(path, groups)
    run = open_run(folder)
    for maker in run.makers:  # settle the columns' folders here, alone, before shards are worked on side by side
        run.column(maker)
        if run.beside and maker.of_target:
            run.column(maker, of_target=True)
            if run.held:
                run.held.column(maker, of_target=True)
    _say_counts("pool", pool)
    if run.recipe.labels is not None:
        _say_labels(Path(run.recipe.labels), pool)


def _pool_of(run: Run) -> Pool:
    """Brought up to date; or as another run saw it. Raises SourceError where shards of that are gone."""
    if run.pool_of is None:
        columns = made_in_the_decode(run, False)
        return ingest(run.store / "pool", run.recipe.pool, run.recipe.strict, say, columns=columns)
    other = open_run(run.store / "runs" / run.pool_of)
    if gone := [part.name for part in other.pool.parts if not part.place.exists()]:
        raise SourceError(
            f"--pool-of {run.pool_of}: {len(gone):,} of its shards are gone ({gone[0]}), for it was thinned. Its pool "
            "can't be seen any more; pin a run that is to be (`tamis gc STORE --pin RUN`)"
        )
    return other.pool


def _say_labels(path: Path, pool: Pool) -> None:
    """How many labels belong to samples of the pool, and which contradict each other."""
    labels = read_labels(path)
    conflicts = labels.conflicts
    if not path.exists() and path.parent != pool.folder.parent:
        say(f"labels: {path} is not there, and is no folder of this store: nothing counts as labeled")
    known = 0
    for part in pool.parts:
        table = pq.read_table(part.path, columns=["sample_id", "key"])
        pairs = zip(table["sample_id"].to_pylist(), table["key"].to_pylist(), strict=True)
        known += sum(labels.of(sample_id, key) is not None for sample_id, key in pairs)
    said = f"labels: {len(labels):,} keys, {known:,} of them in the pool"
    if several := [key for key in labels.by_key if key in repeated_names(pool)]:
        said += f"; {len(several):,} of several namespaces' samples, which all count as labeled"
    if conflicts:
        some = visible(", ".join(conflicts[:3]))
        said += f"; {len(conflicts):,} with two labels, which count as labeled without saying as what ({some})"
    say(said)


def _say_counts(what: str, pool: Pool) -> None:
    lost = sum(pool.rejects.values())
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(pool.rejects.items()))
    counts = f"{what}: {pool.source_rows:,} rows = {pool.rows:,} samples + {lost:,} rejects"
    say(counts + (f" ({reasons})" if lost else ""))


def _load_loops(run: Run) -> None:
    """While files are read: the compiled loops take as long to load as 64 MB of JSON to parse."""
    for step in run.steps:
        if (ngrams := step.selector.inputs().ngrams) is not None:
            load_loops(ngrams)


def _need_rows(what: str, pool: Pool) -> None:
    if pool.rows:
        return
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(pool.rejects.items())) or "no rows at all"
    table = pool.folder / "rejects.parquet"
    first = pq.read_table(table, columns=["detail"])["detail"].slice(0, 1).to_pylist() if table.exists() else []
    example = f": {first[0]}" if first and first[0] else ""
    raise SourceError(f"{what}: not one usable sample ({reasons}{example}). See {table} for each row.")


def _of_judge(run: Run, beside: Pool) -> Contents:
    """Contents of the judge's sources."""
    return contents_in(part for part in beside.parts if part.origin >= run.recipe.judge_from)


def _need_rows_beside(run: Run, pool: Pool) -> None:
    """A target needs a row, and so does each source of what must not be trained on, or it comes in."""
    origins = range(len(run.recipe.target))
    groups = [("target", [*origins])] if run.recipe.target else []
    groups += [(f"evaluation source {n}", [len(origins) + n]) for n in range(len(run.recipe.evaluation))]
    groups += [(f"judge source {n}", [run.recipe.judge_from + n]) for n in range(len(run.recipe.judge))]
    for what, sources in groups:
        _need_rows(what, replace(pool, parts=[part for part in pool.parts if part.origin in sources]))


def write_outputs(folder: Path) -> None:
    """Exports and report, side by side: neither needs the other."""
    write_history(open_run(folder))
    with ThreadPoolExecutor(1) as beside:
        report = beside.submit(write_report, folder)
        write_exports(folder)
        report.result()


def finish(folder: Path) -> Path:
    """Write the manifest, last of all, and clear what was only on its way."""
    manifest = write_manifest(folder)
    shutil.rmtree(folder / ".work", ignore_errors=True)
    (folder / "costs.jsonl").unlink(missing_ok=True)  # costs.parquet has it
    return manifest
