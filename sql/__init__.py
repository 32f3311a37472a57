"""Queries by name, one statement a file, and the connection that runs them."""

from importlib.resources import files


def text(name: str) -> str:
    """The text of sql/NAME.sql."""
    return (files("tamis.sql") / f"{name}.sql").read_text(encoding="utf-8")
