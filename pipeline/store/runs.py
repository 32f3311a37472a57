"""A run's folder and what it needs to be opened again from any process: the recipe as resolved, and its inputs.

`request.json` is written first and says what was asked; `inputs.json` says which shards the run sees; `manifest.json`
is written last and means that the run is complete."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tamis.pipeline.columns.declared import Maker, bound, column_names, declared_makers
from tamis.pipeline.columns.hashed import hashed_makers
from tamis.pipeline.columns.parts import column_folder
from tamis.pipeline.errors import DamageFound, RunError, StoreError
from tamis.pipeline.files.atomic import fingerprint, read_json
from tamis.pipeline.files.inside import NotInside, inside
from tamis.pipeline.files.remote import readable
from tamis.pipeline.files.sealed import SEALS
from tamis.pipeline.files.store_format import check_format
from tamis.pipeline.read.pool import Part, Pool, current_pool
from tamis.pipeline.read.walk import is_store
from tamis.pipeline.recipe.plans import StepPlan, resolve_step, resolve_steps
from tamis.pipeline.recipe.recipe import Recipe
from tamis.pipeline.recipe.user_code import allow, is_allowed

THINNED, PINNED = "thinned.json", "pinned.json"  # of an old run; of one that no rule takes away


@dataclass(frozen=True)
class Run:
    """A recipe applied to a store, in its folder STORE/runs/NAME."""

    folder: Path
    recipe: Recipe
    recipe_folder: Path
    code: dict[str, str]  # digests of the user's Python files that the recipe names
    columns: dict[str, str]  # fingerprints of the declared columns, when the run was begun
    names: frozenset[str]  # what steps may call columns and their fields
    of_held: bool = False  # its target is the part that is held out
    model_version: int | None = None  # by which what its steps learned is named; None: today's
    pool_of: str | None = None  # the run whose pool it sees, whatever came since

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def allow_code(self) -> bool:
        """Whether who started this process allowed the code that the recipe names; the store has no say in it."""
        return is_allowed(self.folder)

    @property
    def store(self) -> Path:
        return self.folder.parent.parent

    @cached_property
    def steps(self) -> list[StepPlan]:
        return resolve_steps(self.recipe, self.recipe_folder, self.allow_code, self.names)

    def step(self, number: int) -> StepPlan:
        """One step alone, so that a built-in one can be read beside a user's own without running that."""
        return resolve_step(self.recipe, number, self.recipe_folder, self.allow_code, self.names)

    @cached_property
    def inputs(self) -> dict[str, Any]:
        path = self.folder / "inputs.json"
        if not path.exists():
            raise RunError(f"run {self.folder}: it never got as far as reading its pool. Start it again.")
        return read_json(path)

    @cached_property
    def pool(self) -> Pool:
        return current_pool(self.store / "pool", self.inputs["pool"])

    @cached_property
    def beside(self) -> Pool | None:
        """All target sources, then those of the evaluation and of the judge; parts say which they came from."""
        if not self.inputs["target"]:
            return None
        return current_pool(self.target_folder, self.inputs["target"])

    @cached_property
    def target(self) -> Pool | None:
        """The target's sources alone."""
        return self._of_sources(lambda origin: origin < len(self.recipe.target)) if self.recipe.target else None

    @cached_property
    def evaluation(self) -> Pool | None:
        """What must not be trained on: the evaluation's sources, and the judge's."""
        return self._of_sources(lambda origin: origin >= len(self.recipe.target)) if self.recipe.kept_out else None

    @cached_property
    def judge(self) -> Pool | None:
        """The judge's sources alone."""
        return self._of_sources(lambda origin: origin >= self.recipe.judge_from) if self.recipe.judge else None

    def _of_sources(self, wanted: Callable[[int], bool]) -> Pool | None:
        if self.beside is None:
            return None
        return replace(self.beside, parts=[part for part in self.beside.parts if wanted(part.origin)])

    @property
    def target_folder(self) -> Path:
        """Of all that is read beside the pool, without what is held out."""
        share = self.recipe.hold_out
        if share is None:
            return self.whole_target_folder
        folder = self.divided_target(share, self.inputs["target"], held_part=self.of_held)
        before = self.whole_target_folder.with_name(
            fingerprint([self.whole_target_folder.name, "hold_out", share, self.inputs["target"]])
        )  # where a part was held out by content alone
        return before if self.complete and not self.of_held and not folder.exists() and before.exists() else folder

    def divided_target(self, share: float, groups: list[int], *, held_part: bool = False) -> Path:
        """Where the target lies without its held part, or that part; elsewhere once it has grown, for another part is
        held then."""
        whole = self.whole_target_folder
        asked = [whole.name, "held" if held_part else "families", share, groups]
        before = whole.with_name(fingerprint(asked))  # as it was, whichever of the sources were the target
        if not self.recipe.kept_out or (self.complete and before.exists() and not self.recipe.judge):
            return before
        return whole.with_name(fingerprint([*asked, len(self.recipe.target)]))

    @property
    def target_folders(self) -> list[Path]:
        """Where the target lies; where a part is held out, that part and the whole as well."""
        share, groups = self.recipe.hold_out, self.inputs["target"]
        if share is None:
            return [self.target_folder]
        return [self.target_folder, self.divided_target(share, groups, held_part=True), self.whole_target_folder]

    @cached_property
    def held(self) -> "Run | None":
        """The same run with the held part of its target as the target; what was learned is of the rest. None where
        nothing is held out."""
        if self.recipe.hold_out is None:
            return None
        view = replace(self, of_held=True)
        vars(view)["declared"] = self.declared
        return view

    @property
    def whole_target_folder(self) -> Path:
        asked = [source.model_dump(exclude_defaults=True) for source in self.recipe.beside]
        return self.store / "targets" / fingerprint(asked)

    @cached_property
    def asked(self) -> list[Maker]:
        """The recipe's columns, without what some of them learn from: all that is known before the inputs are read."""
        return declared_makers(self.recipe, self.recipe_folder, self.allow_code)

    @cached_property
    def declared(self) -> list[Maker]:
        """The recipe's columns; before the inputs are settled, as they were asked for."""
        if not (self.folder / "inputs.json").exists():
            return self.asked
        return bound(self.asked, self.pool, self.target.fingerprint if self.target else None)

    @cached_property
    def makers(self) -> list[Maker]:
        """All columns that the run needs: the declared ones, and the hashed texts that its steps ask for."""
        wanted = {}
        for step in self.steps:
            for maker in hashed_makers(step.selector.inputs()):
                wanted[maker.fingerprint] = maker
        return [*self.declared, *wanted.values()]

    def columns_base(self, of_target: bool) -> Path:
        return (self.target_folder if of_target else self.store) / "columns"

    def column(self, maker: Maker, of_target: bool = False) -> Path:
        return column_folder(self.columns_base(of_target), maker)

    def learned(self, maker: Maker) -> Path:
        """Where the model lies that a column's maker learned, if it learns any."""
        return self.store / "models" / maker.fingerprint

    def stored(self, name: str) -> Path:
        """A file or folder of the store that a manifest names. Raises DamageFound where it leads out of it."""
        try:
            return inside(self.store, name)
        except NotInside as error:
            raise DamageFound(f"{self.folder / 'manifest.json'}: {error}. Restore it, or run again.") from error

    def part(self, name: str) -> Part:
        return self.pool.parts[self.part_number(name)]

    def part_number(self, name: str) -> int:
        """A shard's place in the run's list."""
        return self._part_numbers[name]

    @cached_property
    def _part_numbers(self) -> dict[str, int]:
        return {part.name: number for number, part in enumerate(self.pool.parts)}

    def ledger(self, step: int) -> Path:
        return self.folder / "ledger" / f"step-{step:02d}"

    def step_record(self, step: int) -> Path:
        """Counts, line and facts of a step; written after its ledger. Apart from it, so that a folder is one table."""
        return self.folder / "steps" / f"step-{step:02d}.json"

    def spikes(self, step: int) -> Path:
        """What a step told of target samples that it has not seen; there where it could."""
        return self.folder / "steps" / f"spikes-{step:02d}.parquet"

    def summary(self, step: int) -> dict[str, Any]:
        """That record."""
        return read_json(self.step_record(step))

    @property
    def history(self) -> dict[str, Any] | None:
        """How what was new differs from what earlier runs saw; None where that was not asked, or is not yet known."""
        path = self.folder / "history.json"
        return read_json(path) if path.exists() else None

    @property
    def vanishing(self) -> list[dict[str, Any]]:
        """Groups of which hardly anything is left, as choose/groups.py has them."""
        path = self.folder / "groups.json"
        return read_json(path)["vanishing"] if path.exists() else []

    def work(self, step: int) -> Path:
        """Scores on their way to the ledger; gone when the run is complete."""
        return self.folder / ".work" / f"step-{step:02d}"

    @property
    def thinned(self) -> bool:
        """Whether `tamis gc` took away what answers for each sample that it dropped: ledger, exports, spikes."""
        return (self.folder / THINNED).exists()

    @property
    def complete(self) -> bool:
        return (self.folder / "manifest.json").exists()


OF_THINNED = (  # what stands of a run that was thinned: what answers questions about it, and what people left there
    "request.json", "inputs.json", "manifest.json", "selection.parquet", "report.html", "costs.parquet", "groups.json",
    "history.json", "steps", "marks", "marks.json", PINNED, THINNED, SEALS,
)  # fmt: skip


def stays(name: str) -> bool:
    """Whether a file of a run's folder stands once the run was thinned."""
    top, _, rest = name.partition("/")
    return top in OF_THINNED and not rest.startswith("spikes-")


@lru_cache(maxsize=8)
def _open(folder: Path, _changed_ns: int) -> Run:
    request = read_json(folder / "request.json")
    try:
        recipe, recipe_folder = Recipe.model_validate(request["recipe"]), Path(request["recipe_folder"])
    except (ValidationError, LookupError, TypeError) as error:
        by = request.get("made_by", {}).get("tamis", "another version") if isinstance(request, dict) else "?"
        told = error.errors()[0]["loc"] if isinstance(error, ValidationError) else error.args
        raise RunError(
            f"run {folder}: was made by tamis {by}, and this one, {version('tamis')}, does not know its "
            f"{'.'.join(map(str, told))}. Use that version."
        ) from error
    return Run(
        folder=folder,
        recipe=recipe,
        recipe_folder=recipe_folder,
        code=request["code"],
        columns=request.get("columns", {}),
        names=frozenset(request.get("names") or column_names(recipe, recipe_folder)),  # older runs have none on record
        model_version=request.get("made_by", {}).get("model"),
        pool_of=request.get("pool_of"),
    )


def open_run(folder: Path | str, allow_code: bool = False) -> Run:
    """The run in a folder. Raises RunError where there is none. Cached: tasks of one process share it."""
    folder = readable(Path(folder)).resolve()
    if allow_code:
        allow(folder)
    request = folder / "request.json"
    if not request.exists():
        raise RunError(f"run {folder}: no such run (wanted a folder STORE/runs/NAME). `tamis runs STORE` lists them.")
    inputs = folder / "inputs.json"
    check_format(folder.parent.parent)
    seen = max(path.stat().st_mtime_ns for path in (request, inputs) if path.exists())
    return _open(folder, seen)


def open_complete(folder: Path | str, allow_code: bool = False, *, thinned_too: bool = False) -> Run:
    """The same, for readers of results: with their ledgers, unless `thinned_too`. Raises RunError where the run has not
    ended, or was thinned."""
    run = open_run(folder, allow_code)
    if not run.complete:
        raise RunError(f"run {folder}: not complete. The same `tamis run` goes on from where it stopped.")
    if run.thinned and not thinned_too:
        raise RunError(
            f"run {folder}: was thinned by `tamis gc`, and its ledger and exports are gone. `why`, `sql`, `report`, "
            "`diff` and `verify` tell what stands."
        )
    return run


def existing_store(store: Path) -> Path:
    """Its absolute path, if it is one that this version reads. Raises StoreError."""
    if not is_store(store):
        raise StoreError(f"{store}: no store; it is the folder that `tamis run --store` was given")
    check_format(store)
    return store.absolute()
