"""Write the pages of this folder from the code: steps, columns, the command line, a recipe, Python, schemas, reasons.

    python docs/reference/make.py

A test holds the pages against it."""

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cyclopts import App

from tamis.pipeline import schemas
from tamis.pipeline.choose import selection
from tamis.pipeline.cli.app import app
from tamis.pipeline.cli.families import told_by
from tamis.pipeline.columns.reference import form_of, kinds, settings_of_kind
from tamis.pipeline.emit import labels
from tamis.pipeline.labels import rounds
from tamis.pipeline.recipe.outputs import EMITTERS
from tamis.pipeline.recipe.reference import MODELS, keys_of
from tamis.pipeline.recipe.source import FORMATS
from tamis.pipeline.schemas import LEDGER_REASONS, REJECT_REASONS
from tamis.pipeline.store import costs, whereabouts
from tamis.selectors.reference import Setting, example, first_line, settings_of, steps

HERE = Path(__file__).parent
PUBLIC = {
    "tamis.pipeline": ("pick", "run", "plan", "compare", "open_run", "why", "import_labels", "export_tasks"),
    "tamis.pipeline.results": ("Result", "Comparison"),
    "tamis.selectors.contract": ("Selector", "Scorer", "Filter", "Ranker", "Fitted"),
    "tamis.pipeline.columns.contract": ("ColumnKind",),
    "tamis.pipeline.conformance.check": ("check_selector",),
}
TABLES = (  # what, a line of it, where its fields stand
    ("pool/part-*.parquet, the view `pool`", "A row a sample; kept fields follow.", schemas, "POOL"),
    ("pool/rejects.parquet, the view `rejects`", "A row for each row that is no sample.", schemas, "REJECTS"),
    ("runs/RUN/selection.parquet, the view `selection`", "Best first; kept fields follow.", selection, "FIXED"),
    ("runs/RUN/ledger/step-NN, the view `ledger`", "A row for each sample that a step looked at.", schemas, "LEDGER"),
    ("runs/RUN/steps/spikes-NN, the view `spikes`", "Where unseen samples of the target land.", schemas, "SPIKES"),
    ("runs/RUN/costs.parquet, the view `costs`", "A row a task.", costs, "COSTS"),
    ("labels/round-*.parquet", "A row for each answer that was imported.", rounds, "ROUND"),
    ("runs/RUN/exports/labels.parquet", "What `emit: [labels]` writes.", labels, "LABELS"),
    ("removals/*.parquet", "What `tamis forget` withdrew from exports.", whereabouts, "REMOVALS"),
)
MADE = "<!-- Made by docs/reference/make.py from the code; changes go there. -->"


def pages() -> dict[str, str]:
    """Text by file name."""
    return {f"{name}.md": _page(title, first, lines()) for name, (title, first, lines) in WRITTEN.items()}


def _page(title: str, first: str, lines: Iterator[str]) -> str:
    return "\n".join([f"# {title}", MADE, "", first, "", *lines]).rstrip() + "\n"


def _steps() -> Iterator[str]:
    for name, kind in steps().items():
        yield from _entry(name, kind, settings_of(kind), f"`{example(name, kind)}`")
        budget = " or ".join(kind.budgets) or "no budget: it keeps or drops by rule"
        needs = ["a target"] * kind.needs_target + ["an evaluation"] * kind.needs_evaluation
        needs += ["labels"] * kind.needs_labels + ["a `where`"] * kind.needs_where
        yield f"Takes {budget}; `where`, `outside` and `guard` as every step."
        yield from [f"Needs {' and '.join(needs)}."] if needs else []
        yield ""


def _columns() -> Iterator[str]:
    for name, kind in kinds().items():
        yield from _entry(name, kind, settings_of_kind(kind), f"`{form_of(kind)}`")
        yield from [f"Needs the extra `tamis[{kind.extra}]`.", ""] if kind.extra else []


def _entry(name: str, kind: type, settings: list[Setting], form: str = "") -> Iterator[str]:
    yield f"## {name}"
    text = inspect.cleandoc(getattr(inspect.getmodule(kind), "__doc__", "") or first_line(kind))
    yield re.sub(r"<(?=[A-Za-z/!])", "&lt;", text)
    yield ""
    yield from [form, ""] if form else []
    if settings:
        yield from _table(settings)


def _table(settings: list[Setting]) -> Iterator[str]:
    yield "| setting | wanted | otherwise | |"
    yield "|---|---|---|---|"
    for one in settings:
        yield f"| `{one.name}` | {_cell(one.wanted)} | {_cell(one.otherwise)} | {_cell(one.meaning)} |"
    yield ""


def _verbs(of: App, above: str = "tamis") -> Iterator[str]:
    for name in of:
        inner = of[name]
        if name.startswith("-"):
            continue
        if inner.default_command is None:
            yield from _verbs(inner, f"{above} {name}")
            continue
        told = inspect.cleandoc(inner.default_command.__doc__ or "")
        first, _, rest = told.partition("\nParameters\n----------\n")
        yield f"## {above} {name}"
        yield first.partition("\nExamples\n")[0].strip()
        yield ""
        if found := list(_parameters(inner.default_command, rest.partition("\nExamples\n")[0])):
            yield "| | otherwise | |"
            yield "|---|---|---|"
            yield from found
            yield ""
        yield "```"
        yield from (line.strip() for line in told_by(inner.default_command.__doc__).splitlines()[1:])
        yield "```"
        yield ""


def _parameters(verb: Any, text: str) -> Iterator[str]:
    told = re.findall(r"^(\w+)\n((?:    .*\n?)+)", text, re.MULTILINE)
    meanings = {name: " ".join(meaning.split()) for name, meaning in told}
    for name, one in inspect.signature(verb).parameters.items():
        shown = name.rstrip("_").replace("_", "-")
        told = next((more.name for more in getattr(one.annotation, "__metadata__", ()) if more.name), ())
        names = [told] if isinstance(told, str) else [*told] or [f"--{shown}"]
        by_name = f"`{shown.upper()}`"
        if one.kind is inspect.Parameter.KEYWORD_ONLY:
            by_name = ", ".join(f"`{called}`" for called in names)
        given = {inspect.Parameter.empty: "required", None: "", False: ""}
        default = given.get(one.default, f"`{one.default}`")
        default = "" if one.kind is inspect.Parameter.VAR_POSITIONAL else default
        yield f"| {by_name} | {default} | {_cell(meanings.get(name, ''))} |"


def _keys() -> Iterator[str]:
    for title, model in MODELS.items():
        yield f"## {title}"
        yield inspect.cleandoc(model.__doc__ or "").partition("\n")[0]
        yield ""
        yield from _table(keys_of(model))
    for title, known in (("Formats of a source", FORMATS), ("Outputs of `emit`", EMITTERS)):
        yield f"## {title}"
        yield from _named("name", known)


def _named(head: str, known: dict[str, str]) -> Iterator[str]:
    yield f"| {head} | |"
    yield "|---|---|"
    yield from (f"| `{name}` | {_cell(meaning)} |" for name, meaning in known.items())
    yield ""


def _python() -> Iterator[str]:
    for module, names in PUBLIC.items():
        yield f"## {module}"
        for name in names:
            thing = getattr(importlib.import_module(module), name)
            yield from _told(name, thing)
            if inspect.isclass(thing):
                for inner, member in vars(thing).items():
                    function = member.fget if isinstance(member, property) else member
                    if not inner.startswith("_") and inspect.isfunction(function) and function.__doc__:
                        yield from _told(f"{name}.{inner}", function, called=not isinstance(member, property))


def _told(name: str, thing: Any, called: bool = True) -> Iterator[str]:
    """Its signature, then its docstring with the examples fenced."""
    yield "```python"
    yield name + (_signature(thing) if called and inspect.isfunction(thing) else "")
    yield "```"
    fenced = False
    for line in inspect.cleandoc(thing.__doc__ or "").splitlines():
        code = line.startswith(">>>") or (fenced and bool(line))
        if code != fenced:
            yield "```"
            fenced = code
        yield line
    yield from ["```"] * fenced
    yield ""


def _signature(function: Any) -> str:
    told = inspect.signature(function)
    given = [one for name, one in told.parameters.items() if name != "self"]
    return re.sub(r"\b(?:pathlib|typing|collections\.abc|tamis\.[a-z_.]+)\.", "", str(told.replace(parameters=given)))


def _tables() -> Iterator[str]:
    for title, first, module, name in TABLES:
        yield f"## {title}"
        yield first
        yield ""
        told = re.split(r"\n[)\]]", inspect.getsource(module).partition(f"\n{name} = ")[2])[0]
        comments = dict(re.findall(r'pa\.field\("(\w+)".*?\),  # (.*)', told))
        yield "| field | type | |"
        yield "|---|---|---|"
        for field in getattr(module, name):
            null = "" if field.nullable else ", never null"
            yield f"| `{field.name}` | {_cell(str(field.type))}{null} | {_cell(comments.get(field.name, ''))} |"
        yield ""


def _reasons() -> Iterator[str]:
    for title, known in (("In a ledger", LEDGER_REASONS), ("In rejects.parquet", REJECT_REASONS)):
        yield f"## {title}"
        yield from _named("reason", known)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


WRITTEN = {
    "steps": ("Steps", "What a recipe's `steps` may have. `tamis selectors NAME` tells the same.", _steps),
    "columns": ("Columns", "What `columns` may have. `tamis columns VERB.KIND` tells the same.", _columns),
    "command-line": ("Command line", "`tamis VERB --help` tells the same.", lambda: _verbs(app)),
    "recipe": ("Keys of a recipe", "What a recipe may say. [recipe.md](../recipe.md) has an example.", _keys),
    "python": ("Python", "What Python code may call. [python.md](../python.md) says what for.", _python),
    "schemas": ("Tables", "Every table that a store holds, and what `tamis sql` calls it.", _tables),
    "reasons": ("Reasons", "What ledgers and rejects say of a sample.", _reasons),
}


def main() -> None:
    for name, text in pages().items():
        (HERE / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
