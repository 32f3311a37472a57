"""What a recipe's keys are, told from its models: each with its type, its default and what it means.

Meanings stand in the models' docstrings, in the form of `tamis.selectors.reference`."""

from typing import get_type_hints

from pydantic import BaseModel

from tamis.pipeline.recipe.limits import Limits, RunLimits
from tamis.pipeline.recipe.outputs import OUTPUT_SETTINGS
from tamis.pipeline.recipe.publish import Publish, Shares
from tamis.pipeline.recipe.recipe import Guard, Prices, Recipe
from tamis.pipeline.recipe.source import Chunk, Source
from tamis.selectors.reference import Setting, meanings_of

MODELS: dict[str, type[BaseModel]] = {  # by where they stand in a recipe
    "A recipe": Recipe, "A source, of pool, target, evaluation and judge": Source, "chunk": Chunk,
    "a source's limits": Limits, "limits": RunLimits,
    "guard": Guard, "publish": Publish, "publish: share": Shares, "prices": Prices,
    **{f"emit: {name}": kind for name, kind in OUTPUT_SETTINGS.items()},
}  # fmt: skip


def keys_of(model: type[BaseModel]) -> list[Setting]:
    """In the order of its fields; a default that is empty counts as none."""
    meanings, hints = meanings_of(model), get_type_hints(model)
    found = []
    for name, field in model.model_fields.items():
        default = None if isinstance(field.default, BaseModel) or field.default in ([], {}, "") else field.default
        found.append(Setting(name, hints[name], default, field.is_required(), meanings.get(name, "")))
    return found
