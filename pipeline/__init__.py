"""The data's path: read, store, make columns, select, write, explain. Nothing here knows Prefect.

Doors for Python, loaded when asked for; no module beside this file bears the name of one.

    from tamis.pipeline import pick, run, plan, compare, open_run, why, published, diff, import_labels, export_tasks

    doors.py     one function for each thing that people ask of tamis
    results.py   what those functions give back
    given.py     data that is in memory, as a file
    quick.py     the common case without a recipe
    draft.py     a recipe for your data, for `tamis init`
    forecast.py  what a run would do, for `tamis plan`
    first_look.py  what a part of a pool tells of a run
    starting.py  starting a run: check, claim its folder, carry it through
    curate.py    a whole run as a table of contents
    making.py    a run's columns made, turn by turn
    errors.py    what can go wrong
    schemas.py   every stored table, with a comment for each field
    parallel.py  an ordered map over threads, bounded
    progress.py  bars on a terminal, lines elsewhere
    machine.py   what this process may use of its machine
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tamis.pipeline.doors import (
        compare,
        diff,
        export_tasks,
        import_labels,
        open_run,
        pick,
        plan,
        published,
        run,
        why,
    )

__all__ = ["compare", "diff", "export_tasks", "import_labels", "open_run", "pick", "plan", "published", "run", "why"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from tamis.pipeline import doors

        return getattr(doors, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
