"""A recipe's columns as what will be made: kinds with their settings, in the order in which they can be made."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from tamis.pipeline.columns.catalog import kind_of, others_code
from tamis.pipeline.columns.contract import ALL, ColumnKind, Output
from tamis.pipeline.columns.labels import GivenLabels
from tamis.pipeline.columns.models.loaded import model_of, reader_of
from tamis.pipeline.errors import RecipeError
from tamis.pipeline.files.atomic import fingerprint
from tamis.pipeline.read.names import repeated_names
from tamis.pipeline.read.pool import Pool
from tamis.pipeline.recipe.recipe import Recipe
from tamis.pipeline.schemas import POOL


@dataclass(frozen=True)
class Maker:
    """One column, or one output of it: its kind with settings, and what its values depend on. `of_target`: whether it
    is made of the target's samples, too."""

    name: str  # `look`, or `clip.image` where a column has several outputs
    kind: ColumnKind
    output: Output
    settings: dict[str, Any]  # JSON; equal settings, equal column
    of_all: dict[str, Any]  # the same for all outputs of the column: one model serves them
    folder: Path  # of the recipe: files that the settings name lie there
    of_target: bool = True

    @property
    def fingerprint(self) -> str:
        return fingerprint({"name": self.name, **self.settings})

    @property
    def column(self) -> str:
        """The name in the recipe."""
        return self.name.partition(".")[0]

    @property
    def value(self) -> str:
        """The main value's name in the column's files."""
        return self.name.rpartition(".")[2]

    @property
    def more(self) -> tuple[str, ...]:
        """Fields beside the main value, which steps call NAME_FIELD."""
        return tuple(name for name, _ in self.output.more)

    @property
    def reads(self) -> tuple[str, ...]:
        """Fields of the pool and columns, by the names that steps use."""
        return tuple(f"{self.column}{name}" if name.startswith(".") else name for name in self.output.reads)

    def schema(self, main: pa.DataType | None = None) -> pa.Schema:
        """Of the values; `main` where the output does not say."""
        return pa.schema(self.output.fields or [(self.value, self.output.main or main), *self.output.more])

    def model(self, learned: Path) -> Any:
        """What gives the values, loaded; `learned` is the folder of what the kind learned, if it learns."""
        settings = fingerprint([self.output.name, self.settings])
        return reader_of(
            self._of,
            lambda: self._load(learned),
            self.kind.heavy,
            settings,
            lambda loaded: self.kind.reader(loaded, self.output.name, self.folder),
        )

    def words(self, words: list[str]) -> pa.Array:
        """Vectors of words, where the kind `embeds_words`."""
        return self.kind.vectors_of(model_of(self._of, lambda: self._load(self.folder), self.kind.heavy), words)

    def _load(self, learned: Path) -> Any:
        return self.kind.load(learned if self.kind.learns else self.folder)

    @cached_property
    def _of(self) -> str:
        return fingerprint(self.of_all)


def declared_makers(recipe: Recipe, folder: Path, allow_code: bool) -> list[Maker]:
    """Makers of the recipe's `columns:` and `labels:`. Raises RecipeError, CodeNotAllowed."""
    makers = makers_of("labels", GivenLabels(recipe.labels), folder, recipe) if recipe.labels is not None else []
    for name, settings in recipe.columns.items():
        kind = kind_of(name, settings, folder, allow_code)
        start = next((maker.kind for maker in makers if maker.column == kind.follows), None)
        try:
            kind = kind.knowing([*POOL.names, *recipe.kept, *by_name(makers)])
            kind = kind.inheriting(start, set(settings)) if kind.follows is not None else kind
        except ValueError as error:
            raise RecipeError(f"columns.{name} ({kind.kind}): {error}") from error
        makers += makers_of(name, kind, folder, recipe, others_code(kind, settings, folder))
    return makers


def makers_of(
    name: str, kind: ColumnKind, folder: Path, recipe: Recipe, code: dict[str, str] | None = None
) -> list[Maker]:
    """One maker for each output of a kind; `code` stands for others' code that it is. Raises RecipeError."""
    try:
        of_all = {**kind.made_of(folder), **(code or {})}
        outputs = [(one, kind.made_of_output(one.name, folder)) for one in kind.makes(recipe.reads_images)]
    except ValueError as error:
        raise RecipeError(f"columns.{name} ({kind.kind}): {error}") from error
    for one, _ in outputs:
        if one.way != "rows" and not recipe.reads_images:
            raise RecipeError(f"columns.{name} ({kind.kind}): reads images, and the pool has none")
        if (one.name or name) in dict(one.more):
            raise RecipeError(
                f"columns.{name}: {kind.kind} has a field of that name beside its value; rename the column"
            )
    return [
        Maker(f"{name}.{one.name}" if one.name else name, kind, one, {**of_all, **more}, of_all, folder)
        for one, more in outputs
    ]


def bound(makers: list[Maker], pool: Pool, target: str | None) -> list[Maker]:
    """The makers with what else their values depend on among their settings: what their models learn from, columns that
    they read, and the pool's repeated names where they join by names."""
    done: list[Maker] = []
    what: dict[str, Any] = {"pool": pool.fingerprint, "target": target}
    for maker in makers:
        kind = maker.kind
        more: dict[str, Any] = {}
        before = by_name(done)
        named = [column for column in (kind.follows, *kind.columns) if column is not None]
        if kind.joins_by_name and (names := repeated_names(pool).fingerprint):
            more["repeated_names"] = names
        if kind.learns:
            more["learned_from"] = {"asked": maker.fingerprint, **{name: what[name] for name in kind.learns}}
            taught = [column for column in kind.taught_by if column in before]  # a field is the pool's
            more["learned_from"] |= {column: before[column].maker.fingerprint for column in [*named, *taught]}
        elif read := columns_read(maker, before):
            of_others = {name: before[name].maker for name in read if before[name].maker.column != maker.column}
            more |= {"made_from": {name: one.fingerprint for name, one in of_others.items()}} if of_others else {}
        settings, of_all = {**maker.settings, **more}, {**maker.of_all, **more}
        done.append(replace(maker, settings=settings, of_all=of_all, of_target=_of_target(maker, before)))
    return done


def _of_target(maker: Maker, before: "dict[str, Field]") -> bool:
    """What is made of columns that a target has not is not made of it."""
    read = [name for name in columns_read(maker, before) if name not in maker.kind.taught_by]
    return maker.kind.of_target and all(before[name].maker.of_target for name in read)


def columns_read(maker: Maker, known: "dict[str, Field]") -> list[str]:
    """Names of the columns that its values are made from."""
    asked = dict.fromkeys([*maker.reads, *maker.kind.taught_by])
    return [name for name in asked if name in known and known[name].maker.name != maker.name]


def taught_by_target(makers: list[Maker], names: Iterable[str]) -> list[str]:
    """Columns among these names, and of those that they are made of, whose models learned from the target and judge its
    samples all the same."""
    known = by_name(makers)
    open_, seen = [name for name in names if name in known], set[str]()
    while open_:
        name = open_.pop()
        if known[name].maker.column not in seen:
            seen.add(known[name].maker.column)
            open_ += columns_read(known[name].maker, known)
    taught = (maker for maker in makers if "target" in maker.kind.learns and not maker.kind.by_folds)
    return sorted({maker.column for maker in taught} & seen)


def waves(makers: Iterable[Maker]) -> list[list[Maker]]:
    """The makers by turns: each reads columns of earlier turns alone."""
    turns: list[list[Maker]] = []
    turn_of: dict[str, int] = {}
    makers = list(makers)
    known = by_name(makers)
    for maker in makers:
        turn = max((1 + turn_of[known[name].maker.name] for name in columns_read(maker, known)), default=0)
        turn_of[maker.name] = turn
        turns += [[]] * (turn + 1 - len(turns))
        turns[turn] = [*turns[turn], maker]
    return turns


def check_columns(makers: list[Maker], kept: set[str], has_target: bool) -> None:
    """What columns need of each other and of the rest of the recipe. Raises RecipeError."""
    names = [name.casefold() for name in kept] + [maker.column.casefold() for maker in makers]
    for maker in makers:
        for field in maker.more:
            if f"{maker.name}_{field}".casefold() in names:
                raise RecipeError(
                    f"columns.{maker.name}: its field {maker.name}_{field} has another's name; rename one"
                )
    known: list[Maker] = []
    for maker in makers:
        if "target" in maker.kind.learns and not has_target:
            raise RecipeError(f"columns.{maker.name}: learns from the target: add `target:` to the recipe")
        before = by_name(known)
        for column in maker.kind.columns:
            if column not in before:
                raise RecipeError(f"columns.{maker.name}: no column {column!r} before it")
            if not before[column].holds_vectors:
                raise RecipeError(f"columns.{maker.name}: features: {column!r} holds no vectors")
        for name in maker.kind.taught_by:
            if name in POOL.names and not pa.types.is_integer(POOL.field(name).type):
                raise RecipeError(f"columns.{maker.name}: train: {name!r} holds no numbers")
            if name in before and before[name].holds_vectors:
                raise RecipeError(f"columns.{maker.name}: train: {name!r} holds vectors; wanted numbers")
        maker.kind.check(maker.name, {name: field.maker.kind for name, field in before.items()})
        for field in (*maker.reads, *maker.kind.taught_by):
            if field not in (*ALL, *POOL.names, *kept) and field not in before:
                raise RecipeError(
                    f"columns.{maker.name}: the pool has no field {field!r}, and there is no column of that name "
                    f"before it; add it to `keep` (there are: {', '.join(sorted({*kept, *before})) or 'none'})"
                )
        known.append(maker)


@dataclass(frozen=True)
class Field:
    """One field of a column's files."""

    maker: Maker
    field: str

    @property
    def holds_vectors(self) -> bool:
        return self.maker.output.vectors and self.field == self.maker.value


def by_name(makers: list[Maker]) -> dict[str, Field]:
    """Fields by the names that steps use: `look`, `clip.image`, `nll_tokens`; `clip` alone is its first output."""
    named: dict[str, Field] = {}
    for maker in makers:
        named[maker.name] = Field(maker, maker.value)
        named.setdefault(maker.column, Field(maker, maker.value))
        named |= {f"{maker.name}_{name}": Field(maker, name) for name in maker.more}
    return named


def vectors_of(makers: list[Maker], name: str) -> Maker:
    """The maker of the column of vectors of that name. Raises RecipeError."""
    found = by_name(makers).get(name)
    if found is None or not found.holds_vectors:
        known = [maker.name for maker in makers if maker.output.vectors]
        raise RecipeError(f"no column {name!r} of vectors (there are: {', '.join(known) or 'none'})")
    return found.maker


def column_names(recipe: Recipe, folder: Path) -> set[str]:
    """What steps may call the recipe's columns, as far as the recipe alone tells; runs no code and opens no file."""
    named = {"labels": GivenLabels(recipe.labels).makes(recipe.reads_images)} if recipe.labels is not None else {}
    for name, settings in recipe.columns.items():
        kind = None if "python" in settings else kind_of(name, settings, folder, allow_code=False)
        named[name] = [Output()] if kind is None else kind.makes(recipe.reads_images)
    names = set(named)
    for name, outputs in named.items():
        for output in outputs:
            whole = f"{name}.{output.name}" if output.name else name
            names |= {whole, *(f"{whole}_{field}" for field, _ in output.more)}
    return names
