"""The command line's families of verbs, in the order in which people meet them, and how a verb joins one."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Group, Parameter

CHOOSE = Group("Choose", sort_key=1)
LOOK = Group("Look", sort_key=2)
PUBLISH = Group("Publish", sort_key=3)
LABEL = Group("Label", sort_key=4)
STORE = Group("Store", sort_key=5)
OPERATE = Group("Operate", sort_key=6)

Verb = Callable[..., None]
Flag = Annotated[bool, Parameter(show_default=False)]
Out = Annotated[Path, Parameter(name=["--out", "-o"])]
Settings = Annotated[list[str] | None, Parameter(name="--set")]


def told_by(text: str | None) -> str:
    """The examples of a docstring, one a line, as help shows them behind the parameters."""
    _, heading, rest = (text or "").partition("Examples\n")
    lines = [line.strip() for line in rest.splitlines()[1:]] if heading else []
    return "\n".join(["Examples:", *(f"  {line}" for line in lines if line)]) if lines else ""


def family(**settings: Any) -> App:
    """An App in our manner: no negatives, plain text, and Ctrl-C for whoever started it."""
    return App(
        help_format="plaintext",
        result_action="return_value",
        suppress_keyboard_interrupt=False,
        default_parameter=Parameter(negative=(), negative_iterable=()),
        **settings,
    )


def join(app: App, group: Group | None, *verbs: Verb, name: str | None = None) -> None:
    """In the order in which they join."""
    for verb in verbs:
        more: dict[str, Any] = {} if group is None else {"group": group}
        place = len(list(app))
        app.command(verb, name, help_epilogue=told_by(verb.__doc__), sort_key=place, **more)
