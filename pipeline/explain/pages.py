"""HTML files that open anywhere: one frame (page.html) and style, no network, no script; every value is escaped."""

from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from tamis.pipeline.files.atomic import atomic_path


def write_page(template: str, final: Path, *, sealed: bool = True, **values: Any) -> None:
    """Fill a template of this folder; it has `style` and `version` besides the given values. `sealed` where it lies in
    a run's folder."""
    from jinja2 import Environment, FunctionLoader
    from markupsafe import Markup

    here = files("tamis.pipeline.explain")
    loader = FunctionLoader(lambda name: (here / name).read_text(encoding="utf-8"))
    page = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True).get_template(template)
    style = Markup((here / "page.css").read_text(encoding="utf-8"))
    with atomic_path(final, sealed=sealed) as path:
        path.write_text(page.render(style=style, version=version("tamis"), **values), encoding="utf-8")
