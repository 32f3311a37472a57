"""Write the pages of this folder from the code: steps, columns, the command line.

    python docs/reference/make.py

A test holds the pages against it."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cyclopts import App

from tamis.pipeline.cli.app import app
from tamis.pipeline.cli.families import told_by
from tamis.pipeline.columns.reference import form_of, kinds, settings_of_kind
from tamis.pipeline.schemas import LEDGER_REASONS, REJECT_REASONS
from tamis.selectors.reference import Setting, first_line, settings_of, steps

HERE = Path(__file__).parent
MADE = "<!-- Made by docs/reference/make.py from the code; changes go there. -->"


def pages() -> dict[str, str]:
    """Text by file name."""
    return {
        "steps.md": _page(
            "Steps", "What a recipe's `steps` may have. `tamis selectors NAME` tells the same.", _steps()
        ),
        "columns.md": _page(
            "Columns", "What `columns` may have. `tamis columns VERB.KIND` tells the same.", _columns()
        ),
        "command-line.md": _page("Command line", "`tamis VERB --help` tells the same.", _verbs(app)),
        "reasons.md": _page("Reasons", "What ledgers and rejects say of a sample.", _reasons()),
    }


def _page(title: str, first: str, lines: Iterator[str]) -> str:
    return "\n".join([MADE, f"# {title}", first, "", *lines]).rstrip() + "\n"


def _steps() -> Iterator[str]:
    for name, kind in steps().items():
        yield from _entry(name, kind, settings_of(kind))
        budget = " or ".join(kind.budgets) or "no budget: it keeps or drops by rule"
        needs = ["a target"] * kind.needs_target + ["an evaluation"] * kind.needs_evaluation
        needs += ["labels"] * kind.needs_labels
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
        by_name = f"`--{shown}`" if one.kind is inspect.Parameter.KEYWORD_ONLY else f"`{shown.upper()}`"
        given = {inspect.Parameter.empty: "required", None: "", False: ""}
        default = given.get(one.default, f"`{one.default}`")
        default = "" if one.kind is inspect.Parameter.VAR_POSITIONAL else default
        yield f"| {by_name} | {default} | {_cell(meanings.get(name, ''))} |"


def _reasons() -> Iterator[str]:
    for title, known in (("In a ledger", LEDGER_REASONS), ("In rejects.parquet", REJECT_REASONS)):
        yield f"## {title}"
        yield "| reason | |"
        yield "|---|---|"
        yield from (f"| `{name}` | {_cell(meaning)} |" for name, meaning in known.items())
        yield ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def main() -> None:
    for name, text in pages().items():
        (HERE / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
