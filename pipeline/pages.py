"""HTML files that open anywhere: one template, one style, no network, no script; every value is escaped."""

from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from tamis.pipeline.atomic import atomic_path


def write_page(template: str, final: Path, **values: Any) -> None:
    """Fill a template of this folder; it has `style` and `version` besides the given values."""
    from jinja2 import Environment
    from markupsafe import Markup

    here = files("tamis.pipeline")
    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        (here / template).read_text(encoding="utf-8")
    )
    style = Markup((here / "page.css").read_text(encoding="utf-8"))
    with atomic_path(final) as path:
        path.write_text(page.render(style=style, version=version("tamis"), **values), encoding="utf-8")
