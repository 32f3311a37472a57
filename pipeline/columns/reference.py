"""Which columns a recipe may have, told from the code."""

from contextlib import suppress

from tamis.pipeline.columns.catalog import SHORT, class_of, known_kinds
from tamis.pipeline.columns.contract import ColumnKind
from tamis.pipeline.errors import RecipeError
from tamis.selectors.hints import did_you_mean
from tamis.selectors.reference import Setting, listed, settings_of, table_of

FOUND_OUT = ("seed", "reads")  # filled in


def kinds() -> dict[str, type[ColumnKind]]:
    """All of them by VERB.KIND, in the order of the verbs; a package's that can't be loaded is left out."""
    found: dict[str, type[ColumnKind]] = {}
    for verb, of_verb in sorted(known_kinds().items()):
        for name, kind in sorted(of_verb.items()):
            with suppress(RecipeError):
                found[f"{verb}.{name}"] = class_of(kind)
    return found


def settings_of_kind(kind: type[ColumnKind]) -> list[Setting]:
    """Under the recipe's names."""
    names = {field: key for key, field in kind.renamed.items()}
    short = SHORT.get(kind.verb, ("", ""))[1]
    found = settings_of(kind, FOUND_OUT)
    return [setting._replace(name=names.get(setting.name, setting.name)) for setting in found if setting.name != short]


def form_of(kind: type[ColumnKind]) -> str:
    """How a recipe asks for it."""
    if kind.verb in SHORT:
        value = next(setting for setting in settings_of(kind, ()) if setting.name == SHORT[kind.verb][1])
        return f"{{{kind.verb}: {value.name.upper()}}}, {value.name}: {value.meaning}"
    return f"{{{kind.verb}: {kind.kind}, ...}}"


def described(name: str | None = None) -> str:
    """Every kind in a line, or one with its settings, as text. Raises RecipeError for a name that is none."""
    known = kinds()
    if name is None:
        return "\n".join([*listed(known), "", "One with its settings: tamis columns VERB.KIND"])
    wanted = {title: kind for title, kind in known.items() if name in (title, kind.verb, kind.kind)}
    if not wanted:
        hint = did_you_mean(name, [*known, *(kind.kind for kind in known.values())])
        raise RecipeError(f"no column {name!r}{hint}")
    told = []
    for title, kind in wanted.items():
        told += [*listed({title: kind}), f"  {form_of(kind)}", *table_of(settings_of_kind(kind))]
        told += [f"  needs the extra tamis[{kind.extra}]"] if kind.extra else []
        told += [""]
    return "\n".join(told[:-1])
