"""Starting a run: check everything that can be checked, claim its folder, and carry it through."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from glob import escape
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from tamis.pipeline.columns.declared import Maker, by_name, check_columns, declared_makers, taught_by_target
from tamis.pipeline.columns.hashed import MINHASH_VERSION, NGRAMS_VERSION
from tamis.pipeline.curate import Engine, Loop, Stages, curate, fill
from tamis.pipeline.errors import (
    GuardFailed,
    NothingFound,
    RecipeError,
    RunError,
    RunTaken,
    SourceError,
    TamisError,
    said,
)
from tamis.pipeline.files.atomic import digest_file, read_json, store_lock, sweep, write_record
from tamis.pipeline.files.remote import working_copy
from tamis.pipeline.files.sealed import SEALS, checking
from tamis.pipeline.files.store_format import mark_format
from tamis.pipeline.progress import say
from tamis.pipeline.publish.decide import settle, settle_failed, settle_undecided
from tamis.pipeline.read.ingest import READER_VERSION
from tamis.pipeline.read.pool import records_of
from tamis.pipeline.read.required import require_fields
from tamis.pipeline.read.sources import find_files
from tamis.pipeline.recipe.expressions import check_where
from tamis.pipeline.recipe.extras import require_extra
from tamis.pipeline.recipe.plans import StepPlan, resolve_steps
from tamis.pipeline.recipe.recipe import Recipe, plain_name
from tamis.pipeline.recipe.user_code import allow, code_file
from tamis.pipeline.store.current import PUBLISHED, decided_so_far
from tamis.pipeline.store.learned import MODEL_VERSION
from tamis.pipeline.store.runs import open_run
from tamis.pipeline.store.set_aside import forgotten_keys
from tamis.selectors.catalog import package_of, plugged

NOTHING_CHOSEN = (GuardFailed, NothingFound, SourceError)  # by what came, and not by how it was asked for


@dataclass(frozen=True)
class Outcome:
    """Where a run lies, and what came of it."""

    folder: Path
    manifest: dict[str, Any]
    fresh: bool  # False: it was complete already, and nothing was written
    decision: dict[str, Any] | None = None  # with `publish` in the recipe: published or held

    @property
    def selected(self) -> int:
        return self.manifest["selected"]

    @property
    def held(self) -> bool:
        """Whether its guards, or a person, keep it from consumers."""
        return self.decision is not None and self.decision["verdict"] != PUBLISHED


def run_recipe(
    recipe: Recipe,
    recipe_folder: Path,
    store: Path,
    name: str | None = None,
    allow_code: bool = False,
    engine: Engine | Callable[[Path], Path] | None = None,
    *,
    pool_of: str | None = None,
) -> Outcome:
    """Run a recipe on a store; the same again changes nothing, a killed one goes on.

    `engine` is the plain loop, or a function that carries a run folder to its manifest (the Prefect flow). `pool_of`:
    the name of a run of the store whose pool this one is to see, whatever came since."""
    check(recipe, recipe_folder, allow_code)
    name = plain_name(name or recipe.name)
    with working_copy(Path(store), name) as here:
        return _run_in(here, recipe, recipe_folder, name, allow_code, engine, pool_of)


def _run_in(
    store: Path,
    recipe: Recipe,
    recipe_folder: Path,
    name: str,
    allow_code: bool,
    engine: Engine | Callable[[Path], Path] | None,
    pool_of: str | None,
) -> Outcome:
    folder = store / "runs" / name
    if pool_of is not None:
        _same_pool(store, recipe, pool_of)
    if allow_code:
        allow(folder)
    with store_lock(store, say), checking():
        mark_format(store)
        fresh = not folder.exists()
        try:
            claim(folder, recipe, recipe_folder, allow_code, pool_of)
            was_complete = (folder / "manifest.json").exists()
            if was_complete:
                _still_same(folder)
            elif callable(engine):
                engine(folder)
            else:
                curate(folder, engine or Loop())
            publish = recipe.publish if pool_of is None else None  # a choice from an older pool is for comparison
            decision = settle(open_run(folder), publish) if publish else None
        except Exception as error:
            if recipe.publish and pool_of is None and isinstance(error, NOTHING_CHOSEN):
                settle_failed(store, name, recipe.name, recipe.publish, error)
            if fresh and isinstance(error, TamisError) and error.exit_code == TamisError.exit_code:
                _leave_nothing(folder)
            raise said(error, store) from error
    return Outcome(folder, read_json(folder / "manifest.json"), not was_complete, decision)


def _same_pool(store: Path, recipe: Recipe, pool_of: str) -> None:
    """That the run is there, and its pool is this recipe's. Raises RunError, RecipeError."""
    if not (store / "runs" / plain_name(pool_of) / "inputs.json").exists():
        raise RunError(
            f"--pool-of {pool_of}: no run of this store that has read its pool. `tamis runs {store}` lists them"
        )
    other = open_run(store / "runs" / pool_of).recipe
    if other.pool != recipe.pool:
        raise RecipeError(f"--pool-of {pool_of}: its recipe reads another `pool` than this one")


def _leave_nothing(folder: Path) -> None:
    """Of a run that was refused before it read anything: no name is taken, and nothing is kept for its sake."""
    if folder.is_dir() and {path.name for path in folder.iterdir()} <= {"request.json", "costs.jsonl", SEALS}:
        shutil.rmtree(folder)


def run_next(
    recipe: Recipe,
    recipe_folder: Path,
    store: Path,
    allow_code: bool = False,
    engine: Engine | Callable[[Path], Path] | None = None,
) -> Outcome:
    """The next of a recipe's runs NAME-0001, NAME-0002, ...: the last one again where it did not end or nothing has
    changed since, else a new one."""
    with working_copy(Path(store)) as here:
        newest = last_run(here, recipe.name)
    last = 1 if newest is None else int(newest.name[-4:])
    try:
        return run_recipe(recipe, recipe_folder, store, f"{recipe.name}-{last:04d}", allow_code, engine)
    except RunTaken:
        if recipe.publish is not None:
            with working_copy(Path(store), f"{recipe.name}-{last:04d}") as here, store_lock(here, say):
                settle_undecided(here, f"{recipe.name}-{last:04d}", recipe.publish)
        return run_recipe(recipe, recipe_folder, store, f"{recipe.name}-{last + 1:04d}", allow_code, engine)


def run_before(outcome: Outcome) -> Path | None:
    """The complete run that a night is to be seen beside: the published one if this is held, the one that was before
    if this is published; without either the one with the number before."""
    decision, name = outcome.decision, outcome.folder.name
    if decision is not None:
        before = decision["before"] if decision["current"] == name else decision["current"]
    else:
        stem, _, number = name.rpartition("-")
        before = f"{stem}-{int(number) - 1:04d}" if number.isdecimal() and len(number) == 4 else None
    folder = None if before is None else outcome.folder.parent / before
    return folder if folder is not None and (folder / "manifest.json").exists() else None


def last_run(store: Path, recipe: str) -> Path | None:
    """The last of a recipe's runs NAME-0001, NAME-0002, ..., ended or not."""
    return max((store / "runs").glob(f"{escape(recipe)}-[0-9][0-9][0-9][0-9]"), default=None)


def fill_columns(
    recipe: Recipe, recipe_folder: Path, store: Path, allow_code: bool, engine: Engine | None = None
) -> int:
    """Read what is new and make all columns that the recipe needs; choose nothing. Returns the pool's samples."""
    check(recipe, recipe_folder, allow_code)
    with working_copy(Path(store)) as here, store_lock(here, say), checking():
        mark_format(here)
        folder = here / "runs" / plain_name(f"{recipe.name}-columns")
        if allow_code:
            allow(folder)
        try:
            claim(folder, recipe, recipe_folder, allow_code)
            rows = fill(folder, Stages(folder, engine or Loop())).pool.rows
        except Exception as error:
            raise said(error, here) from error
        shutil.rmtree(folder)  # it chose nothing: what it made are the columns
    return rows


def check(recipe: Recipe, recipe_folder: Path, allow_code: bool) -> tuple[list[Maker], list[StepPlan]]:
    """Everything wrong that can be seen without reading the data through. Raises TamisError."""
    makers = declared_makers(recipe, recipe_folder, allow_code)
    check_columns(makers, recipe.kept, bool(recipe.target))
    names = by_name(makers)
    steps = resolve_steps(recipe, recipe_folder, allow_code, names)
    chunked = ["parent"] if any(source.chunk for source in recipe.pool) else []
    for step in steps:
        if step.where is not None:
            check_where(step.where, [*recipe.kept, *names, *chunked])
        taught = taught_by_target(makers, step.selector.inputs().fields)
        if step.needs_number and recipe.hold_out is None and taught:
            raise RecipeError(
                f"steps.{step.number} ({step.name}): its budget asks how many there are of the target's kind, and the "
                f"model of column {taught[0]!r} is trained on all of the target: add `hold_out: 0.25` to the recipe"
            )
        if step.selector.extra:
            require_extra(f"steps.{step.number} ({step.name})", step.selector.extra)
    for maker in makers:
        for extra in maker.kind.extras:
            require_extra(f"columns.{maker.column} ({maker.kind.verb}: {maker.kind.kind})", extra)
    if any(source.reads_images for source in [*recipe.pool, *recipe.beside]):
        require_extra("a pool of images", "vision", "PIL")
    for source in [*recipe.pool, *recipe.beside]:
        require_fields(source, find_files(source), remote=False)
    return makers, steps


def claim(folder: Path, recipe: Recipe, recipe_folder: Path, allow_code: bool, pool_of: str | None = None) -> None:
    """Write the run's request, or find that this run is already this recipe's.

    A complete run's name is taken for good (RunError); an incomplete one of another recipe has no result to lose."""
    asked = recipe.model_dump(mode="json", exclude={"engine"})  # the engine changes no decision
    makers = declared_makers(recipe, recipe_folder, allow_code)
    request = {
        "recipe": asked,
        "recipe_folder": str(recipe_folder.resolve()),
        **({} if pool_of is None else {"pool_of": pool_of}),
        "code": _code_digests(recipe, recipe_folder),
        "columns": {maker.name: maker.fingerprint for maker in makers},
        "names": sorted(by_name(makers)),
        "made_by": {
            "tamis": version("tamis"),
            "reader": READER_VERSION,
            "model": MODEL_VERSION,
            "ngrams": NGRAMS_VERSION,
            "minhash": MINHASH_VERSION,
        },
    }
    path = folder / "request.json"
    if not path.exists():
        _begin(folder, request)
        return
    known, stored = read_json(path), read_json(path)
    if not (folder / "manifest.json").exists():
        sweep(folder.parent.parent)  # it was killed, or failed
    known["recipe"] = Recipe.model_validate(known["recipe"]).model_dump(mode="json", exclude={"engine"})
    known["recipe"] |= {key: asked[key] for key in ("prices", "publish", "limits")}  # they change none either
    complete = (folder / "manifest.json").exists()
    matters = [
        "recipe",
        "code",
        "columns",
        "pool_of",
        *(["recipe_folder"] if request["code"] else []),
        *([] if complete else ["made_by"]),
    ]
    known.setdefault("columns", request["columns"])  # of an older version, which did not record them
    same = all(known.get(key) == request.get(key) for key in matters)
    if not same and not complete:
        say(f"run {folder.name!r} was begun with another recipe or version and never completed; starting over")
        path.unlink()  # first: a kill while the rest goes leaves what was begun by no recipe
        _begin(folder, request)
    elif not same:
        changed = [key for key in asked if known["recipe"].get(key) != asked[key]]
        what = f"another recipe (differs in: {', '.join(changed)})" if changed else _changed_files(known, request)
        raise RunTaken(f"run {folder.name!r}: the name is taken by {what}. Give this one its own: --run NAME.")
    elif not complete and stored != (now := {**request, "decided": stored.get("decided", {})}):
        write_record(path, now)  # the same, begun where its files then lay, or with other prices


def _begin(folder: Path, request: dict[str, Any]) -> None:
    """A new run. What lies in its folder without a request is left of one that was being taken away."""
    if folder.exists() and not (folder / "manifest.json").exists():
        shutil.rmtree(folder)
    write_record(folder / "request.json", {**request, "decided": decided_so_far(folder.parent.parent)})


def _changed_files(known: dict[str, Any], request: dict[str, Any]) -> str:
    if known.get("pool_of") != request.get("pool_of"):
        return (
            f"a run over the pool of {known['pool_of']}" if known.get("pool_of") else "a run over the pool of its day"
        )
    old = known.get("columns", {})
    changed = [name for name, made_of in request["columns"].items() if old.get(name) != made_of]
    if changed == ["labels"]:
        return "an earlier round: labels came since"
    return f"other files under column {changed[0]!r}" if changed else "another version of the user's code"


def _code_digests(recipe: Recipe, folder: Path) -> dict[str, str]:
    references = [settings["python"] for settings in recipe.columns.values() if "python" in settings]
    references += [step.name for step in recipe.steps_given if ":" in step.name]
    digests = {reference: digest_file(code_file(reference, folder)) for reference in sorted(set(references))}
    return digests | {step.name: package_of(step.name) for step in recipe.steps_given if step.name in plugged()}


def _still_same(folder: Path) -> None:
    """A complete run answers for the files that it saw; new ones need a run of their own, and so does a takedown."""
    run = open_run(folder)
    forgotten = forgotten_keys(run.store)
    if len(forgotten):  # else the selection need not be read
        wanted = pc.field("key").isin(forgotten)
        taken = pq.read_table(folder / "selection.parquet", columns=["key"], filters=wanted).num_rows
    else:
        taken = 0
    if taken:
        raise RunTaken(
            f"run {run.name!r} is complete, and {taken:,} of its samples were forgotten since. "
            "Give the new run its own name: --run NAME."
        )
    for sources, where in ((run.recipe.pool, run.store / "pool"), (run.recipe.beside, run.target_folder)):
        if not sources or (where.name == "pool" and run.pool_of is not None):
            continue
        groups = set(run.inputs["pool" if where.name == "pool" else "target"])
        known = {
            (record["origin"], file["path"], file["size"], file["mtime_ns"])
            for record in records_of(where)
            if record["group"] in groups
            for file in record["files"]
        }
        now = {
            (number, file.path, file.size, file.mtime_ns)
            for number, source in enumerate(sources)
            for file in find_files(source)
        }
        if known != now:
            new = sorted(Path(path).name for _, path, _, _ in now - known)
            gone = sorted(Path(path).name for _, path, _, _ in known - now)
            files = ", ".join((new + gone)[:3])
            raise RunTaken(
                f"run {run.name!r} is complete, and its {'pool' if where.name == 'pool' else 'target'} has changed "
                f"since ({files}). Give the new run its own name: --run NAME."
            )
