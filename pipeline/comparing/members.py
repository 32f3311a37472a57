"""The selections that are compared: runs and recipes as they were asked for, and what is set beside them.

Each selection is made once more without the target's held part, several times where chance chooses; random of the same
size is added, of what the steps before the choice left and of the whole pool, and with `oracle` the true group. What
stands is found again."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from tamis.pipeline.errors import RecipeError
from tamis.pipeline.explain.report import data
from tamis.pipeline.files.atomic import fingerprint
from tamis.pipeline.progress import hushed, say
from tamis.pipeline.read.held_out import held_contents, holds
from tamis.pipeline.read.pool import current_pool
from tamis.pipeline.recipe.recipe import Recipe, load_recipe
from tamis.pipeline.starting import run_recipe
from tamis.pipeline.store.listing import OF_COMPARE
from tamis.pipeline.store.query import views
from tamis.pipeline.store.runs import Run, open_complete

RANDOM, OF_POOL, ORACLE = "random", "random of pool", "oracle"
HELD_OUT, DRAWS = 0.25, 3  # share of the target's contents; draws of what is left to chance
ORACLE_EPOCHS = 4  # it repeats a group smaller than the budget so often: nearly as good as new (Muennighoff 2023)


@dataclass(frozen=True)
class Member:
    """One selection."""

    name: str  # of a baseline what it is, else the run's
    run: Run
    ids: npt.NDArray[np.uint64]  # sorted
    judged: tuple[Run, ...]  # the same without the target's held part, drawn anew where chance chooses

    @property
    def size(self) -> int:
        return len(self.ids)


def gathered(asked: list[Path], store: Path | None, oracle: str | None, allow_code: bool) -> list[Member]:
    """The selections: runs as they stand, recipes run now, random and the oracle last."""
    runs = [_run(path, store, allow_code) for path in asked]
    first = runs[0]
    for run in runs[1:]:
        if run.store != first.store or run.pool.fingerprint != first.pool.fingerprint:
            raise RecipeError(f"run {run.folder}: another pool than that of {first.folder}; compare runs of one pool")
        if (run.target and run.target.fingerprint) != (first.target and first.target.fingerprint):
            raise RecipeError(f"run {run.folder}: another target than that of {first.folder}")
        if (run.judge and run.judge.fingerprint) != (first.judge and first.judge.fingerprint):
            raise RecipeError(f"run {run.folder}: another `judge:` than that of {first.folder}; give all the same one")
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        raise RecipeError(f"{next(name for name in names if names.count(name) > 1)}: given twice")
    if taken := {RANDOM, OF_POOL, ORACLE} & set(names):
        raise RecipeError(f"{taken.pop()}: that name is of a selection that compare adds; give the run another")
    if any(run.recipe.hold_out for run in runs):
        raise RecipeError("hold_out: compare holds a part of the target out itself; compare runs of the whole target")
    whole = same_seen(first)
    members = [
        Member(run.name, run, selected(run), judged_of(run, whole, f"{run.name}-judged", run.recipe, allow_code))
        for run in runs
    ]
    before = _before_the_choice(first)
    by_chance = {"random": {"budget": _budget(first)}}
    members.append(_beside(first, whole, RANDOM, [*before, by_chance], allow_code))
    if before:
        members.append(_beside(first, whole, OF_POOL, [by_chance], allow_code))
    if oracle is not None:
        field, equals, value = oracle.partition("=")
        if not equals or field not in first.recipe.kept:
            kept = ", ".join(sorted(first.recipe.kept)) or "none"
            raise RecipeError(f"--oracle {oracle}: wanted FIELD=VALUE, of a kept field (there are: {kept})")
        budget = {"budget": members[0].size, "max_epochs": ORACLE_EPOCHS}
        quota = {"quota": {"by": field, "shares": {value: 1}, **budget}}
        members.append(_beside(first, whole, ORACLE, [quota], allow_code))
        if not members[-1].size:
            raise RecipeError(f"--oracle {oracle}: no sample has that value (there are: {_values(first, field)})")
    return members


def _before_the_choice(run: Run) -> list[dict[str, Any]]:
    """Its steps before the last one that chooses: what all candidates of the choice have behind them."""
    choices = [step.number for step in run.steps if step.budget is not None]
    return run.recipe.steps[: choices[-1]] if choices else []


def judged_of(run: Run, whole: list[str | None], what: str, recipe: Recipe, allow_code: bool) -> tuple[Run, ...]:
    """What a recipe chooses of a run's pool without the target's held part; several times where its steps leave it to
    chance."""
    first = _made(run, whole, what, recipe, recipe.steps, allow_code, 0)
    noisy = any(step.selector.noisy or step.name == "random" for step in first.steps)
    more = (_made(run, whole, what, recipe, recipe.steps, allow_code, draw) for draw in range(1, DRAWS if noisy else 1))
    return first, *more


def same_seen(run: Run) -> list[str | None]:
    return [run.pool.fingerprint, run.target.fingerprint if run.target else None]


def _values(run: Run, field: str) -> str:
    with views(run) as con:
        found = data.composition(con, field)
    return ", ".join(group["name"] for group in found["groups"][:8]) if found else "none"


def _run(path: Path, store: Path | None, allow_code: bool) -> Run:
    if path.suffix not in (".yaml", ".yml"):
        return open_complete(path, allow_code)
    if store is None:
        raise RecipeError(f"{path}: a recipe is run on a store; add --store DIR")
    recipe = load_recipe(path)
    say(f"running {path.name}")
    with hushed():
        return open_complete(run_recipe(recipe, path.absolute().parent, store, None, allow_code).folder)


def _beside(first: Run, whole: list[str | None], what: str, steps: list[dict[str, Any]], allow_code: bool) -> Member:
    """A selection that compare adds. Raises RecipeError."""
    draws = 1 if what == ORACLE else DRAWS
    made = tuple(
        _made(first, whole, what.replace(" ", "-"), first.recipe, steps, allow_code, draw) for draw in range(draws)
    )
    return Member(what, made[0], selected(made[0]), made)


def _made(
    of: Run, whole: list[str | None], what: str, given: Recipe, steps: list[dict[str, Any]], allow_code: bool, draw: int
) -> Run:
    """A run of another one's pool, of a recipe with these steps and without the target's held part, found again where
    it stands. Raises RecipeError."""
    share = HELD_OUT if of.recipe.target else None
    changed = {
        "steps": steps,
        "emit": [],
        "against": None,
        "guard": None,
        "hold_out": share,
        "seed": given.seed + draw,
    }
    recipe: Recipe = given.model_copy(update=changed)
    asked = recipe.model_dump(mode="json", exclude={"name", "engine"})
    name = f"{OF_COMPARE}{what}-{fingerprint([asked, whole])[:8]}"
    if not (of.store / "runs" / name / "manifest.json").exists():
        with hushed():
            run_recipe(recipe.model_copy(update={"name": name}), of.recipe_folder, of.store, name, allow_code)
    run = open_complete(of.store / "runs" / name)
    seen = current_pool(run.whole_target_folder, run.inputs["target"]) if run.inputs["target"] else None
    parts = [part.digest for part in seen.parts if part.origin < len(of.recipe.target)] if seen else []
    if [run.pool.fingerprint, fingerprint(parts) if of.recipe.target else None] != whole:
        raise RecipeError(
            f"run {of.folder}: its pool or target has changed since, so a {what} selection would be of others. "
            "Run it again under another name and compare that."
        )
    return run


def _budget(run: Run) -> Any:
    """As the last step has it where it counts something else than samples, of which any step can tell; else as many as
    it chose, repeats counted. What chance chooses is all different."""
    last = run.recipe.steps_given[-1].settings.get("budget") if run.recipe.steps_given else None
    if not isinstance(last, dict) or "rows" in last or ("tokens" in last and "by" not in last):
        weights = pq.read_table(run.folder / "selection.parquet", columns=["weight"])["weight"].to_numpy()
        stands_for = any(step.selector.weighs for step in run.steps)  # what a sample stands for is no repeat
        return len(weights) if stands_for else round(float(weights.sum()))
    return {name: value for name, value in last.items() if name != "max_epochs"}


def selected(run: Run) -> npt.NDArray[np.uint64]:
    table = pq.read_table(run.folder / "selection.parquet", columns=["sample_id"])
    return np.sort(table["sample_id"].to_numpy())


def times_of(run: Run) -> npt.NDArray[np.int64]:
    """How often each counts, in the order of `selected`."""
    table = pq.read_table(run.folder / "selection.parquet", columns=["sample_id", "weight"])
    order = np.argsort(table["sample_id"].to_numpy())
    if any(step.selector.weighs for step in run.steps):  # what a sample stands for is no repeat
        return np.ones(len(order), np.int64)
    return np.maximum(1, np.rint(table["weight"].to_numpy()[order])).astype(np.int64)


def held_of(run: Run) -> tuple[npt.NDArray[np.uint64], int]:
    """Ids of the target's samples that are held out, rising, and how many contents that are."""
    if run.target is None:
        return np.zeros(0, np.uint64), 0
    contents = held_contents(run.target, HELD_OUT, len(run.recipe.target))
    batches = (
        batch
        for part in run.target.parts
        for batch in pq.ParquetFile(part.path).iter_batches(columns=["sample_id", "content_hash"])
    )
    ids = [np.zeros(0, np.uint64), *(batch["sample_id"].to_numpy()[holds(batch, contents)] for batch in batches)]
    return np.sort(np.concatenate(ids)), len(contents)
