"""The recipe: one YAML file, a tree of frozen models, checked whole before anything starts.

An unknown key is an error that names it, its place and the nearest known one. YAML is read by the safe loader:
tags that would build objects are refused."""

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from tamis.pipeline.errors import RecipeError
from tamis.pipeline.files.patterns import literally, pattern_below
from tamis.pipeline.files.plain_yaml import load_yaml
from tamis.pipeline.files.urls import as_url
from tamis.pipeline.recipe.limits import RunLimits
from tamis.pipeline.recipe.model import Model
from tamis.pipeline.recipe.outputs import EMITTERS, OUTPUT_SETTINGS, emitted
from tamis.pipeline.recipe.publish import Publish, Shares
from tamis.pipeline.recipe.source import RESERVED, Chunk, Source
from tamis.selectors.hints import did_you_mean

SCHEMAS = ("main", "temp", "system", "memory", "pg_catalog", "information_schema")  # of DuckDB; columns may be some


class Prices(Model):
    """What a run's costs are reckoned at; they change no decision.

    processor_hour  price of an hour of one processor
    gpu_hour  price of an hour of one GPU
    gigabyte_written  price of a gigabyte that is written
    currency  told beside the sums
    """

    processor_hour: Annotated[float, Field(ge=0)] = 0.0
    gpu_hour: Annotated[float, Field(ge=0)] = 0.0
    gigabyte_written: Annotated[float, Field(ge=0)] = 0.0
    currency: str = ""


class Guard(Model):
    """Of each group with more than `rows` rows at least this share must be left, or the run is an error.

    by  what groups: source, a kept field, a column of classify: fasttext, or a list of them
    keep_at_least  share of a group's rows
    rows  groups with no more rows don't count
    """

    by: str | Annotated[list[str], Field(min_length=1)]
    keep_at_least: Annotated[float, Field(gt=0, le=1)]
    rows: Annotated[int, Field(ge=0)] = 100

    @property
    def fields(self) -> list[str]:
        return [self.by] if isinstance(self.by, str) else self.by


@dataclass(frozen=True)
class Step:
    """One step as the recipe gives it: the selector's name, its own settings, and what every step may have."""

    name: str
    settings: dict[str, Any]
    where: str | None = None
    outside: str | None = None  # of `where`: keep or drop
    guards: tuple[Guard, ...] = ()  # held against its candidates


class Recipe(Model):
    """Pool, target, columns, steps and outputs.

    name  of the run; the file's name unless told
    seed  of all chance
    pool  sources of what is chosen from
    target  sources of samples that the selection should resemble; needed where a step says so
    evaluation  sources of what must not be trained on
    judge  sources of another kind than the target's, that compare judges by, too; kept out of every selection
    hold_out  share of the target, by content, that nothing learns from: steps are judged by it
    columns  what is computed for each sample, by name
    labels  CSV of key and label, or STORE/labels: samples that people labeled already; a column `labels`
    label_classes  what people may answer, for tasks
    against  kept: choose beside what earlier complete runs of this recipe chose
    steps  selectors in order; each sees what the ones before kept
    guard  shares of groups that must be left of the pool, or the run is an error
    emit  in which formats the selection is written
    publish  when STORE/current.json names the run for consumers; {} is always
    strict  the first row that can't be read ends the run
    engine  auto is prefect where its API is configured, else local
    prices  what runs cost is told in money, too
    limits  what a run may spend before it ends, to go on with the next
    """

    name: str
    seed: Annotated[int, Field(ge=0)] = 0
    pool: Annotated[list[Source], Field(min_length=1)]
    target: list[Source] = []
    evaluation: list[Source] = []
    judge: list[Source] = []
    hold_out: Annotated[float, Field(gt=0, lt=1)] | None = None
    columns: dict[str, dict[str, Any]] = {}
    labels: str | None = None
    label_classes: list[str] = []
    against: Literal["kept"] | None = None
    steps: list[dict[str, Any]] = []
    guard: dict[str, Any] | list[dict[str, Any]] | None = None
    emit: list[str | dict[str, dict[str, Any]]] = ["parquet"]
    publish: Publish | None = None
    strict: bool = False
    engine: Literal["auto", "local", "prefect", "ray"] = "auto"
    prices: Prices | None = None
    limits: RunLimits | None = None

    @property
    def beside(self) -> list[Source]:
        """What is read beside the pool: the target's sources, then the evaluation's, then the judge's."""
        return [*self.target, *self.kept_out]

    @property
    def judge_from(self) -> int:
        """The number of the judge's first source among those beside the pool."""
        return len(self.target) + len(self.evaluation)

    @property
    def kept_out(self) -> list[Source]:
        """What must not be trained on."""
        return [*self.evaluation, *self.judge]

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        try:
            return plain_name(name)
        except RecipeError as error:
            raise ValueError(str(error)) from error

    @field_validator("columns")
    @classmethod
    def _plain_columns(cls, columns: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name in columns:
            if not name.isidentifier() or name.casefold() in (*RESERVED, *SCHEMAS):
                raise ValueError(f"{name!r} can't name a column: use another word of letters, digits and _")
        if len({name.casefold() for name in columns}) < len(columns):
            raise ValueError("two columns differ only in upper and lower case; rename one")
        return columns

    @model_validator(mode="after")
    def _columns_are_not_fields(self) -> "Recipe":
        kept = {name.casefold() for source in self.pool for name in source.keep}
        if self.labels is not None and "labels" in {*kept, *map(str.casefold, self.columns)}:
            raise ValueError("labels: a kept field or column has that name, too; rename it")
        for name in self.columns:
            if name.casefold() in kept:
                raise ValueError(f"columns.{name}: a kept field has that name, too; rename one of them")
        return self

    @model_validator(mode="after")
    def _cost_has_prices(self) -> "Recipe":
        if self.limits is not None and self.limits.cost is not None and self.prices is None:
            raise ValueError("limits: cost is reckoned by `prices`, and there are none")
        return self

    @model_validator(mode="after")
    def _something_to_hold_out(self) -> "Recipe":
        if self.hold_out is not None and not self.target:
            raise ValueError("hold_out: a share of the target, and there is no `target`")
        return self

    @model_validator(mode="after")
    def _published_by_what_there_is(self) -> "Recipe":
        if self.publish is not None and self.publish.of_ngrams and self.reads_images:
            raise ValueError("publish: target_nats and kl count n-grams of texts, and the pool is of images")
        if self.publish is not None and self.publish.target_nats is not None and not self.target:
            raise ValueError("publish: target_nats is what the target costs, and there is no `target`")
        return self

    @model_validator(mode="after")
    def _one_image_each(self) -> "Recipe":
        writes_hf = any(emitted(entry)[0] == "hf" for entry in self.emit)
        if writes_hf and self.reads_images and any("image" in source.keep for source in self.pool):
            raise ValueError("emit hf writes the field `image`; keep yours under another name: {my_image: image}")
        return self

    @model_validator(mode="after")
    def _boxes_are_of_images(self) -> "Recipe":
        for name in ("coco", "cvat"):
            if any(emitted(entry)[0] == name for entry in self.emit) and not self.reads_images:
                raise ValueError(f"emit {name}: boxes are of images, and the pool has none")
        if any(emitted(entry)[0] == "fiftyone" for entry in self.emit) and not self.reads_images:
            raise ValueError("emit fiftyone: FiftyOne shows images, and the pool has none; `atlas` shows texts")
        return self

    @field_validator("emit")
    @classmethod
    def _known_emitters(cls, emit: list[str | dict[str, dict[str, Any]]]) -> list[str | dict[str, dict[str, Any]]]:
        for entry in emit:
            if isinstance(entry, dict) and len(entry) != 1:
                raise ValueError(f"an output with settings is a map with one key, found {entry!r}")
            name, settings = emitted(entry)
            if name not in EMITTERS:
                raise ValueError(f"no output {name!r}{did_you_mean(name, EMITTERS)}; known: {', '.join(EMITTERS)}")
            known = OUTPUT_SETTINGS[name].model_fields if name in OUTPUT_SETTINGS else {}
            for key in settings:
                if key not in known:
                    raise ValueError(f"{name}: unknown setting {key!r} (known: {', '.join(known) or 'none'})")
            if name in OUTPUT_SETTINGS:
                OUTPUT_SETTINGS[name].model_validate(settings)
        names = [emitted(entry)[0] for entry in emit]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{twice[0]} is asked for twice; a run writes each output once")
        return emit

    @field_validator("guard")
    @classmethod
    def _guards_are_whole(cls, guard: Any) -> Any:
        _guards(guard)
        return guard

    @field_validator("steps", mode="before")
    @classmethod
    def _one_key_maps(cls, steps: Any) -> Any:
        if steps is not None and not isinstance(steps, list):
            raise ValueError(f"wanted a list of steps, found {steps!r}")
        for number, step in enumerate(steps or []):
            if not (isinstance(step, dict) and len(step) == 1 and isinstance(next(iter(step)), str)):
                raise ValueError(f"step {number} must be a map with one key, such as `- random: {{budget: 100}}`")
            settings = next(iter(step.values()))
            if settings is not None and not isinstance(settings, dict):
                raise ValueError(f"step {number} ({next(iter(step))}): settings must be a map, found {settings!r}")
            _guards((settings or {}).get("guard"))
        return steps or []

    @property
    def kept(self) -> set[str]:
        return {name for source in self.pool for name in source.keep}

    @property
    def reads_images(self) -> bool:
        return any(source.reads_images for source in self.pool)

    @property
    def guards(self) -> list[Guard]:
        return _guards(self.guard)

    @property
    def steps_given(self) -> list[Step]:
        given = []
        for step in self.steps:
            name, settings = next(iter(step.items()))
            settings = dict(settings or {})
            where, outside = settings.pop("where", None), settings.pop("outside", None)
            guards = tuple(_guards(settings.pop("guard", None)))
            given.append(Step(name=name, where=where, outside=outside, guards=guards, settings=settings))
        return given


def _guards(given: Any) -> list[Guard]:
    """One, a list of them, or none. Raises ValueError."""
    some = given if isinstance(given, list) else [] if given is None else [given]
    try:
        return [Guard.model_validate(one) for one in some]
    except ValidationError as error:
        wanted = "{by: source, keep_at_least: 0.01}, a share above 0, or a list of such, `rows: 100` beside it"
        raise ValueError(f"guard: wanted {wanted}, found {given!r}") from error


def plain_name(name: str) -> str:
    """The name, if it can name a folder inside another. Raises RecipeError."""
    if not name or name.startswith(".") or "/" in name or "\0" in name:
        raise RecipeError(f"{name!r} can't name a folder; use letters, digits, '-' and '_'")
    return name


def load_recipe(path: Path, overrides: tuple[str, ...] = (), changes: dict[str, Any] | None = None) -> Recipe:
    """Read and check a recipe. Paths in it are taken relative to its folder and made absolute. `overrides` are texts,
    as of `--set`; `changes` the same as places and values."""
    path = Path(path)
    try:
        value = load_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"recipe {path}: {error.strerror}. Make one with `tamis init PATH`.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        problem = " ".join(str(error).split())
        raise RecipeError(f"recipe {path}: not plain YAML: {problem}") from error
    if not isinstance(value, dict):
        raise RecipeError(f"recipe {path}: wanted a map with the key `pool`, found {type(value).__name__}")
    for override in overrides:
        value = overridden(value, settings_of((override,)))
    value = overridden(value, changes or {})
    return parse_recipe({"name": path.stem, **value}, folder=path.parent, where=f"recipe {path}")


def parse_recipe(value: dict[str, Any], folder: Path, where: str = "recipe") -> Recipe:
    """Check a recipe given as a map; `folder` is what its paths are relative to."""
    if "publish" in value and value["publish"] is None:  # the bare key asks for it, too
        value = {**value, "publish": {}}
    try:
        recipe = Recipe.model_validate(value)
    except ValidationError as error:
        raise RecipeError(f"{where}: {_explain(error)}") from error
    return recipe.model_copy(
        update={
            "pool": [_absolute(source, folder) for source in recipe.pool],
            "target": [_absolute(source, folder) for source in recipe.target],
            "evaluation": [_absolute(source, folder) for source in recipe.evaluation],
            "judge": [_absolute(source, folder) for source in recipe.judge],
            "labels": None if recipe.labels is None else literally(pattern_below(folder, recipe.labels)),
        }
    )


def _absolute(source: Source, folder: Path) -> Source:
    paths = [as_url(path) or pattern_below(folder, path) for path in source.paths]
    return source.model_copy(update={"path": paths})


def settings_of(texts: tuple[str, ...]) -> dict[str, Any]:
    """KEY=VALUE as places and values, which are YAML. Raises RecipeError."""
    found = {}
    for text in texts:
        place, equals, value = text.partition("=")
        if not equals:
            raise RecipeError(f"--set {text}: wanted KEY=VALUE, for instance --set seed=1")
        try:
            found[place] = load_yaml(value)
        except yaml.YAMLError as error:
            raise RecipeError(f"--set {text}: not plain YAML") from error
    return found


def overridden(value: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The recipe with other values: `seed`, `steps.0.random.budget`; dots walk maps and lists. Raises RecipeError."""
    changed = deepcopy(value)
    for place, wanted in changes.items():
        *walk, last = place.split(".")
        node: Any = changed
        try:
            for number, key in enumerate(walk):
                if isinstance(node, dict) and key not in node and walk[:1] == ["steps"] and number == 2:
                    there = ", ".join(map(repr, node))
                    raise RecipeError(f"--set {place}: step {walk[1]} is {there}, not {key!r}")
                node = node[int(key)] if isinstance(node, list) else node.setdefault(key, {})
            if isinstance(node, list):
                node[int(last)] = wanted
            else:
                node[last] = wanted
        except (ValueError, IndexError, TypeError, AttributeError) as error:
            many = len(changed.get("steps") or [])
            more = f"; its steps are 0 to {many - 1}" if walk[:1] == ["steps"] and many else ""
            raise RecipeError(f"--set {place}={wanted}: the recipe has no such place{more}") from error
    return changed


def _explain(error: ValidationError) -> str:
    """The first problems as `place: what is wrong`, at most three; one wrong word often causes several."""
    lines = []
    for problem in error.errors()[:3]:
        location = problem["loc"]
        place = ".".join(str(part) for part in location) or "top level"
        if problem["type"] == "extra_forbidden":
            known = _fields_at(location[:-1])
            lines.append(f"{place}: unknown key{did_you_mean(str(location[-1]), known)} (known: {', '.join(known)})")
        elif problem["type"] == "missing":
            lines.append(f"{place}: missing")
        else:
            message = problem["msg"].removeprefix("Value error, ")
            found = f", found {problem['input']!r}" if problem["type"] != "value_error" else ""
            lines.append(f"{place}: {message}{found}")
    return "; ".join(lines)


def _fields_at(location: tuple[int | str, ...]) -> list[str]:
    if location[-1:] == ("chunk",):
        return list(Chunk.model_fields)
    if location[:1] == ("limits",):
        return list(RunLimits.model_fields)
    if location[:1] == ("publish",):
        return list(Shares.model_fields if "share" in location else Publish.model_fields)
    of_source = location[:1] in (("pool",), ("target",), ("evaluation",), ("judge",))
    return list(Source.model_fields if of_source else Recipe.model_fields)
