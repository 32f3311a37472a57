"""What a step learned, stored under a name that stands for all that it depends on: arrays and JSON, no pickle."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np

from tamis.pipeline.columns.hashed import hashed_makers
from tamis.pipeline.files.atomic import atomic_path, fingerprint
from tamis.pipeline.store.runs import Run
from tamis.selectors.catalog import findable
from tamis.selectors.contract import Ranker, Selector
from tamis.selectors.own import learned_by

SMALL = 32 << 20  # bytes; to pack more takes seconds
MODEL_VERSION = 6  # raise when the same inputs would be fitted otherwise


def model_path(run: Run, step: int) -> Path:
    """Models are named by all that they depend on, so runs that differ only in a budget share one."""
    plan = run.step(step)
    learned_from = _learned_from(run, step, plan.selector)
    if plan.selector.ranks:  # what it picks depends on how much it may
        learned_from["budget"] = repr(plan.budget)
    return run.store / "models" / fingerprint(learned_from) / "fitted.npz"


def prepared_path(run: Run, step: int) -> Path:
    """Of what a selector prepares (`prepares` tells which settings that depends on), so that thresholds share it."""
    learned_from = _learned_from(run, step, cast("Ranker", run.step(step).selector).prepares())
    return run.store / "models" / fingerprint({**learned_from, "prepared": True}) / "prepared.npz"


def answered_by_ledger(run: Run) -> set[Path]:
    """What the steps of a run that has ended learned or prepared, and nobody asks again: its ledger answers for it. A
    step of the user's own keeps it, for its code is not run to ask."""
    if not run.complete:
        return set()
    found = set()
    for number, given in enumerate(run.recipe.steps_given):
        if findable(given.name) is None:
            break  # the names of later ones hang on it
        selector = run.step(number).selector
        found |= set() if selector.explains else {model_path(run, number)}
        found |= set() if selector.prepared is None else {prepared_path(run, number)}
    return found


def _learned_from(run: Run, step: int, selector: Selector) -> dict[str, Any]:
    plan = run.step(step)
    learned_from = {
        "earlier": run.recipe.steps[:step],
        "selector": [plan.name, selector.as_settings(), plan.where],
        "seed": run.recipe.seed,
        "code": run.code,
        "columns": run.columns,
        "pool": run.pool.fingerprint,
        "target": run.target.fingerprint if run.target else None,
        "version": run.model_version or MODEL_VERSION,
    }
    before = [run.step(number).selector for number in range(step + 1) if findable(run.recipe.steps_given[number].name)]
    if run.evaluation and any(one.needs_evaluation for one in before):
        learned_from["evaluation"] = run.evaluation.fingerprint  # what it dropped is no candidate of later steps
    if hashed := [maker.fingerprint for one in before for maker in hashed_makers(one.inputs())]:
        learned_from["hashed"] = hashed
    if apart := run.inputs.get("aside"):
        learned_from["aside"] = apart
    return learned_from


def save_fitted(path: Path, learned: Any, prepared: bool = False) -> None:
    """Arrays as they are, everything else as JSON, the settings not at all: no pickle is written or read."""
    arrays, plain = {}, {}
    for name, value in (learned if prepared else learned_by(learned)).stored().items():
        if isinstance(value, np.ndarray):
            arrays[name] = value
        else:
            plain[name] = value
    small = sum(array.nbytes for array in arrays.values()) <= SMALL
    write = np.savez_compressed if small else np.savez  # counts of n-grams are mostly zeros: a twentieth
    with atomic_path(path) as beside, beside.open("wb") as out:
        write(out, allow_pickle=False, **arrays, _plain=np.array(json.dumps(plain)))


@lru_cache(maxsize=4)
def load_fitted(path: Path, selector: Selector, prepared: bool = False) -> Any:
    """What was saved: of the selector's fitted class, or of what it prepares."""
    with np.load(path, allow_pickle=False) as stored:
        values = {name: stored[name] for name in stored.files if name != "_plain"}
        values |= json.loads(str(stored["_plain"]))
    found = selector.restored(values, prepared)
    return found if prepared else learned_by(found)


def fitted_of(run: Run, step: int) -> Any:
    selector = run.step(step).selector
    try:
        return load_fitted(model_path(run, step), selector)
    except TypeError:  # a selector with a list or map among its settings has no hash
        return load_fitted.__wrapped__(model_path(run, step), selector)
