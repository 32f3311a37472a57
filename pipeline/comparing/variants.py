"""What `tamis tune` tries: a recipe as it stands, with other values, and other recipes; checked before any runs."""

import json
import math
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tamis.pipeline.comparing.simplex import DIGITS, Weights, first_trials
from tamis.pipeline.comparing.texts import check_model
from tamis.pipeline.errors import RecipeError
from tamis.pipeline.files.plain_yaml import load_yaml
from tamis.pipeline.recipe.recipe import Recipe, load_recipe
from tamis.pipeline.starting import check

AS_IT_STANDS = "as it stands"
MOST = 64
PLACES = ("steps", "columns", "seed")
SIZES = ("budget", "fraction")  # of selections: a larger one serves a target better, whatever chose it


@dataclass
class Variant:
    """One way to set the recipe."""

    name: str
    path: Path
    changes: dict[str, Any]  # places and values
    recipe: Recipe
    values: npt.NDArray[np.float64] | None = None  # [parts] of the first round's measure, lower is better
    losses: list[float] | None = None  # [seeds]
    rounds: int = 0  # that it came through
    chosen: int = 0  # samples


class Over(NamedTuple):
    place: str
    values: list[Any]

    @property
    def searched(self) -> bool:
        """Whether its values are found, round after round."""
        return self.values == [SEARCH]


SEARCH, SEARCHED = "search", "combine.weights"


def _over(text: str) -> Over:
    """KEY=VALUE,VALUE as a place and its values. Raises RecipeError."""
    place, equals, values = text.partition("=")
    try:
        found = load_yaml(f"[{values}]")
    except Exception as error:
        raise RecipeError(
            f"--over {text}: not plain YAML; put what has commas or quotes of its own into double quotes"
        ) from error
    if not equals or not place or not found:
        raise RecipeError(f"--over {text}: wanted KEY=VALUE,VALUE, such as steps.0.importance_resampling.ngrams=1,2,3")
    if place.split(".")[0] not in PLACES:
        raise RecipeError(f"--over {text}: tries {', '.join(PLACES)}, and places below them")
    if any(size in place.split(".") for size in SIZES):
        raise RecipeError(f"--over {text}: selections of different sizes can't be held against each other")
    over = Over(place, found)
    if SEARCH in found and not (over.searched and place.endswith(f".{SEARCHED}")):
        raise RecipeError(f"--over {text}: `search` finds the weights of a step: steps.0.{SEARCHED}=search")
    return over


def search_of(asked: list[str]) -> str | None:
    """The place whose values are searched, if any. Raises RecipeError."""
    over = [_over(text) for text in asked]
    if not any(one.searched for one in over):
        return None
    if len(over) > 1:
        raise RecipeError("--over: a search tries many values already; give it a command of its own")
    return over[0].place


def tried_at(path: Path, place: str, trials: Weights) -> list[Variant]:
    """One for each row of weights, rounded. Raises RecipeError."""
    return [_varied(path, {place: [round(one, DIGITS) for one in row]}) for row in trials.tolist()]


def weighed(base: Recipe, place: str) -> int:
    """How many scores the step at a searched place has. Raises RecipeError."""
    number = place.split(".")[1]
    steps = base.steps_given
    step = steps[int(number)] if number.isdecimal() and int(number) < len(steps) else None
    if step is None or step.name != "combine":
        raise RecipeError(f"--over {place}=search: step {number} is {step.name if step else 'not there'}, not combine")
    scores = step.settings.get("scores")
    if not isinstance(scores, list) or len(scores) < 2:
        raise RecipeError(f"--over {place}=search: wanted two scores or more, of which weights are searched")
    return len(scores)


def _varied(path: Path, changes: dict[str, Any]) -> Variant:
    name = ", ".join(f"{place.rpartition('.')[2]} {json.dumps(value)}" for place, value in changes.items())
    try:
        return Variant(name, path, changes, load_recipe(path, changes=changes))
    except RecipeError as error:
        raise RecipeError(f"tune: with {name}: {error}") from error


def variants_of(path: Path, asked: list[str], others: list[Path]) -> list[Variant]:
    """The recipe as it stands, all combinations of other values, and the other recipes. Raises RecipeError."""
    over = [one for one in (_over(text) for text in asked) if not one.searched]
    count = math.prod(len(one.values) for one in over) if over else 0
    if count + len(others) > MOST:
        raise RecipeError(f"tune: {count + len(others):,} variants; at most {MOST}: fewer values, or places in turn")
    base = load_recipe(path)
    found = [Variant(AS_IT_STANDS, path, {}, base)]
    for values in product(*(one.values for one in over)) if over else ():
        changes = {one.place: value for one, value in zip(over, values, strict=True)}
        varied = _varied(path, changes)
        if varied.recipe != base:
            found.append(varied)
    if place := search_of(asked):
        found += tried_at(path, place, first_trials(weighed(base, place)))
    found += [Variant(other.stem, other, {}, load_recipe(other)) for other in others]
    if len(found) < 2:
        raise RecipeError("tune: nothing to try; add --over KEY=VALUE,VALUE, or other recipes")
    names = [one.name for one in found]
    if len(set(names)) < len(names):
        raise RecipeError(f"{next(name for name in names if names.count(name) > 1)!r}: given twice")
    if not base.target:
        raise RecipeError("tune: the recipe has no `target`, so nothing says what a setting is worth")
    return found


def checked(variants: list[Variant], column: str | None, train: str | None, seeds: int, allow_code: bool) -> None:
    """All that can be checked before the first run. Raises RecipeError."""
    if seeds < 2:
        raise RecipeError(f"--seeds {seeds}: wanted 2 or more; of one training nothing tells what is chance")
    if train is not None:
        check_model(train)
    if column is not None and column not in variants[0].recipe.columns:
        raise RecipeError(f"--column {column}: the recipe as it stands has no such column")
    for one in variants:
        if one.recipe.hold_out:
            raise RecipeError("hold_out: tune holds a part of the target out itself; take it out of the recipe")
        try:
            check(one.recipe, one.path.absolute().parent, allow_code)
        except RecipeError as error:
            raise RecipeError(f"tune: {one.name}: {error}") from error
