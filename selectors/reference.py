"""What a recipe may say, told from the code: each setting with its type, its default and what it means.

A setting's meaning stands in the docstring of the class that has it, one line a setting: its name, two spaces or more,
the meaning; lines that are indented go on with it. Settings that mean one thing in several classes are told once, in
the class that they inherit from."""

import dataclasses
import inspect
import re
from collections.abc import Mapping
from types import NoneType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from tamis.selectors.catalog import MORE, SELECTORS, find, findable, package_of, plugged, required
from tamis.selectors.contract import Selector
from tamis.selectors.hints import did_you_mean

TOLD = re.compile(r"^(\w+(?:, \w+)*) {2,}(\S.*)$")
OF_EACH = ("seed", "step")  # filled in
WORDS = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false", "dict": "map", "Any": "any"}


class Setting(NamedTuple):
    """One key that a step or a column may have."""

    name: str
    type: Any
    default: Any
    required: bool
    meaning: str

    @property
    def wanted(self) -> str:
        return in_words(self.type)

    @property
    def otherwise(self) -> str:
        """What holds where it is not given, in the words of a recipe."""
        if self.required:
            return "required"
        return "optional" if self.default is None else f"default {in_yaml(self.default)}"


def settings_of(kind: type, without: tuple[str, ...] = OF_EACH) -> list[Setting]:
    """The settings of a dataclass, required ones first, then in the order of its fields."""
    hints, meanings = get_type_hints(kind), meanings_of(kind)
    found = [
        Setting(field.name, hints[field.name], _default(field), required(field), meanings.get(field.name, ""))
        for field in dataclasses.fields(kind)
        if field.name not in without
    ]
    return sorted(found, key=lambda setting: not setting.required)


def meanings_of(kind: type) -> dict[str, str]:
    """By setting; the nearest class that tells of one counts."""
    found: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        names: list[str] = []
        for line in inspect.cleandoc(vars(one).get("__doc__") or "").splitlines():
            if told := TOLD.match(line):
                names = told[1].split(", ")
                found |= dict.fromkeys(names, told[2])
            elif names and line.startswith("  "):
                found |= {name: f"{found[name]} {line.strip()}" for name in names}
            else:
                names = []
    return found


def first_line(kind: type) -> str:
    """What it is, in a sentence."""
    module = inspect.getmodule(kind)
    return ((module and module.__doc__) or kind.__doc__ or "").strip().partition("\n")[0]


def in_words(wanted: Any) -> str:
    """A type as a recipe's author thinks of it."""
    if wanted is NoneType:
        return "nothing"
    if isinstance(wanted, type) and not get_args(wanted):
        return WORDS.get(wanted.__name__, wanted.__name__.lower())
    origin, inside = get_origin(wanted), get_args(wanted)
    if origin is Literal:
        return " | ".join(map(in_yaml, inside))
    if origin in (list, tuple):
        return f"list of {in_words(inside[0])}" if inside else "list"
    if origin is dict:
        return f"map of {in_words(inside[1])}" if inside else "map"
    if origin is Union or type(wanted).__name__ in ("Union", "UnionType"):
        return " or ".join(in_words(one) for one in inside if one is not NoneType)
    return in_words(inside[0]) if inside else WORDS.get(str(wanted).removeprefix("typing."), str(wanted))


def in_yaml(value: Any) -> str:
    """A default as a recipe would say it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(in_yaml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {in_yaml(one)}" for key, one in value.items()) + "}"
    return str(value)


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def steps() -> dict[str, type[Selector]]:
    """All steps by name, those whose settings choose between two methods under both; ours first."""
    found = dict(sorted({**SELECTORS, **MORE}.items()))
    for name in plugged():
        if kind := findable(name):
            found[name] = kind
    return found


SAMPLE = {"text": "NAME", "number": "0.5", "whole number": "10", "true or false": "true"}  # a value of each type


def example(title: str, kind: type[Selector]) -> str:
    """A step as a recipe has it, with what it can't be without; words in capitals are to be filled in."""
    given = {one.name: _sample(one) for one in settings_of(kind) if one.required}
    if " with " in title:  # of two methods of one name the one that a setting asks for
        asks, _, value = title.partition(" with ")[2].partition(": ")
        given |= {asks: value}
    given |= kind.shown_with
    given |= {"where": '"n_bytes > 200"'} if kind.needs_where else {}
    given |= {"budget": "1000"} if "budget" in kind.budgets else {}
    inside = ", ".join(f"{name}: {value}" for name, value in given.items())
    return f"- {title.partition(' ')[0]}: {{{inside}}}"


def _sample(setting: Setting) -> str:
    first = setting.wanted.partition(" or ")[0]
    if first.startswith("list of "):
        return f"[{SAMPLE.get(first.removeprefix('list of '), 'NAME')}]"
    if first.startswith("map of "):
        return f"{{NAME: {SAMPLE.get(first.removeprefix('map of '), 'NAME')}}}"
    return setting.name.upper() if first == "text" else SAMPLE.get(first, first.partition(" | ")[0])


def table_of(settings: list[Setting]) -> list[str]:
    """One line a setting, and its meaning below it."""
    lines = []
    for setting in settings:
        lines.append(f"  {setting.name}: {setting.wanted}, {setting.otherwise}")
        lines += [f"      {setting.meaning}"] if setting.meaning else []
    return lines


def described(name: str | None = None) -> str:
    """Every step in a line, or one with its settings, as text. Raises ValueError for a name that is none."""
    known = steps()
    if name is None:
        return "\n".join([*listed(known), *_broken(), "", "One with its settings: tamis selectors NAME"])
    wanted = {title: kind for title, kind in known.items() if name in (title, title.partition(" ")[0])}
    if not wanted:
        raise ValueError(f"no step {name!r}{did_you_mean(name, [title.partition(' ')[0] for title in known])}")
    told = []
    for title, kind in wanted.items():
        told += [f"{title}: {first_line(kind)}{_whose(title)}"]
        told += table_of(settings_of(kind))
        told += ["  where: condition in SQL, required"] * kind.needs_where
        told += [f"  in a recipe: {example(title, kind)}"]
        budget = " or ".join(kind.budgets) or "no budget: it keeps or drops by rule"
        told += [f"  also: {budget}; where, outside, guard, as every step", ""]
    return "\n".join(told[:-1])


def listed(kinds: Mapping[str, type]) -> list[str]:
    """A line for each, of its name and its first sentence."""
    wide = max(map(len, kinds))
    return [f"{name:<{wide}}  {first_line(kind)}{_whose(name)}" for name, kind in kinds.items()]


def _whose(step: str) -> str:
    """Of which package a step is, where it is not one of ours."""
    return f" (of {package_of(step)})" if step in plugged() else ""


def _broken() -> list[str]:
    """Steps of packages that can't be loaded."""
    lines = []
    for name in plugged():
        try:
            find(name)
        except ValueError as error:
            lines.append(f"{name}: of {package_of(name)}; {error}")
    return lines
