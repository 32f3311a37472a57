"""The data's path: read, store, make columns, select, write, explain. Nothing here knows Prefect.

Doors for Python, loaded when asked for; no module beside this file bears the name of one.

    from tamis.pipeline import pick, run, plan, compare, open_run, why, import_labels, export_tasks
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tamis.pipeline.doors import compare, export_tasks, import_labels, open_run, pick, plan, run, why

__all__ = ["compare", "export_tasks", "import_labels", "open_run", "pick", "plan", "run", "why"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from tamis.pipeline import doors

        return getattr(doors, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
