"""The JSON Schema of a recipe: what editors complete, explain and check while it is written.

The recipe's own models give its frame; steps and columns come from their catalogs, with what each setting means. It
says what a recipe may look like; whether its files and columns are there is what `tamis plan` says."""

import inspect
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema

from tamis.pipeline.columns.catalog import SHORT
from tamis.pipeline.columns.reference import kinds, settings_of_kind
from tamis.pipeline.recipe.outputs import EMITTERS, OUTPUT_SETTINGS
from tamis.pipeline.recipe.recipe import Guard, Recipe
from tamis.pipeline.recipe.reference import MODELS, keys_of
from tamis.selectors.contract import Selector
from tamis.selectors.reference import Setting, first_line, settings_of, steps

DRAFT = "https://json-schema.org/draft/2020-12/schema"
AMOUNT = {"type": "number", "exclusiveMinimum": 0}
BUDGET = {
    "description": "how many may be chosen: rows, or a map of another unit; auto: as many as are of the kind",
    "anyOf": [
        {"type": "integer", "minimum": 1},
        {"const": "auto"},
        {"type": "object", "additionalProperties": AMOUNT, "minProperties": 1},
    ],
}  # fmt: skip
FRACTION = {
    "description": "share of what the step may choose from",
    "type": "number",
    "exclusiveMinimum": 0,
    "maximum": 1,
}


def schema() -> dict[str, Any]:
    """As JSON, of a whole recipe."""
    frame = Recipe.model_json_schema(ref_template="#/$defs/{model}")
    known, defs = frame["properties"], frame.setdefault("$defs", {})
    defs["Guard"] = Guard.model_json_schema()
    for kind in MODELS.values():
        if kind.__name__ in defs:
            _tell(defs[kind.__name__], kind)
    _tell(frame, Recipe)
    guards = {"anyOf": [{"$ref": "#/$defs/Guard"}, {"type": "array", "items": {"$ref": "#/$defs/Guard"}}]}
    known["guard"] |= guards
    known["steps"]["items"] = {
        "anyOf": [_step(name, kind, guards) for name, kind in _by_name().items()] + [_own_step()]
    }
    known["columns"]["additionalProperties"] = {"anyOf": [_column(kind) for kind in kinds().values()] + [_own_column()]}
    known["emit"]["items"] = {"anyOf": [{"enum": list(EMITTERS)}, *(_output(name) for name in OUTPUT_SETTINGS)]}
    keep = [
        {"type": "array", "items": {"type": "string"}},
        {"type": "object", "additionalProperties": {"type": "string"}},
    ]
    kept = defs["Source"]["properties"]["keep"]
    defs["Source"]["properties"]["keep"] = {"description": kept["description"], "anyOf": keep}
    frame["required"] = ["pool"]  # the name is the file's
    return {"$schema": DRAFT, "title": "tamis recipe", **{key: frame[key] for key in frame if key != "title"}}


def _by_name() -> dict[str, list[type[Selector]]]:
    """Steps under the names that a recipe uses; several methods of one name together."""
    found: dict[str, list[type[Selector]]] = {}
    for title, kind in steps().items():
        found.setdefault(title.partition(" ")[0], []).append(kind)
    return found


def _step(name: str, methods: list[type[Selector]], guards: dict[str, Any]) -> dict[str, Any]:
    properties = {"where": _text("condition in SQL: which samples the step is about"), "guard": guards}
    properties["outside"] = {"description": "what becomes of the others", "enum": ["keep", "drop"]}
    for kind in reversed(methods):
        budgets = kind.budgets
        properties |= {key: value for key, value in (("budget", BUDGET), ("fraction", FRACTION)) if key in budgets}
        properties |= _properties(settings_of(kind, ("step",)))
    inside: dict[str, Any] = {"type": ["object", "null"], "properties": properties, "additionalProperties": False}
    if len(methods) == 1 and (needed := [one.name for one in settings_of(methods[0]) if one.required]):
        inside |= {"type": "object", "required": needed}
    return _one_key(name, {"description": first_line(methods[0]), **inside})


def _own_step() -> dict[str, Any]:
    told = "a step of your own, FILE.py:NAME or MODULE:NAME; run with --allow-code"
    settings = {"type": ["object", "null"], "description": told}
    return {"type": "object", "patternProperties": {".:.": settings}, "additionalProperties": False, "minProperties": 1}


def _column(kind: Any) -> dict[str, Any]:
    settings = settings_of_kind(kind)
    asked = {"type": ["string", "array"]} if kind.verb in SHORT else {"const": kind.kind}
    properties = {kind.verb: {"description": first_line(kind), **asked}, **_properties(settings)}
    needed = [kind.verb, *(setting.name for setting in settings if setting.required)]
    return {"type": "object", "properties": properties, "required": needed, "additionalProperties": False}


def _own_column() -> dict[str, Any]:
    told = _text("a column of your own, FILE.py:NAME; run with --allow-code")
    return {"type": "object", "properties": {"python": told}, "required": ["python"]}


def _output(name: str) -> dict[str, Any]:
    settings = OUTPUT_SETTINGS[name].model_json_schema()
    _tell(settings, OUTPUT_SETTINGS[name])
    return _one_key(name, settings)


def _tell(schema: dict[str, Any], model: type[BaseModel]) -> None:
    """What the model is, and what each of its keys means."""
    schema["description"] = inspect.cleandoc(model.__doc__ or "").partition("\n")[0]
    for key in keys_of(model):
        schema["properties"][key.name]["description"] = key.meaning


def _one_key(name: str, value: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {name: value}, "required": [name], "additionalProperties": False}


def _text(told: str) -> dict[str, Any]:
    return {"description": told, "type": "string"}


def _properties(settings: list[Setting]) -> dict[str, Any]:
    return {setting.name: _property(setting) for setting in settings}


def _property(setting: Setting) -> dict[str, Any]:
    """Its type as JSON has it; any where it has none there."""
    try:
        wanted = TypeAdapter(setting.type).json_schema()
    except PydanticInvalidForJsonSchema:
        wanted = {}
    told = {"description": setting.meaning} if setting.meaning else {}
    return {**wanted, **told, **({} if setting.required else {"default": setting.default})}
