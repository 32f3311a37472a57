"""`tamis compare RECIPE --budgets 0.5,1,3`: what the choice is worth by how strict it is, beside random of each size.

The recipe is run with so many times its budget, each compared as always: by the held-out part of the target, and by
training where it is asked for. A choice is worth least where nearly everything is taken, and where there is not enough
of the kind."""

from pathlib import Path
from typing import Any

from tamis.pipeline.comparing.members import OF_POOL
from tamis.pipeline.comparing.page import MEASURES
from tamis.pipeline.comparing.selections import comparison
from tamis.pipeline.errors import RecipeError
from tamis.pipeline.explain.pages import write_page
from tamis.pipeline.explain.report.charts import lines_svg
from tamis.pipeline.progress import hushed, joined, say
from tamis.pipeline.recipe.recipe import Recipe, load_recipe
from tamis.pipeline.starting import run_recipe

MOST = 12  # budgets


def by_budget(path: Path, store: Path, budgets: str, allow_code: bool = False, **how: Any) -> dict[str, Any]:
    """The comparison at each of the budgets, times the recipe's own; `how` as of `comparison`. Raises RecipeError."""
    recipe = load_recipe(path)
    found = []
    for times in _times(budgets):
        name = recipe.name if times == 1 else f"{recipe.name}-x{times:g}"
        changed = _with_budget(recipe, times).model_copy(update={"name": name, "publish": None})
        say(f"running {path.name} with {times:g} times its budget")
        with hushed():
            run = run_recipe(changed, path.absolute().parent, store, name, allow_code).folder
        found.append({"times": times, **comparison([run], store, allow_code=allow_code, **how)})
    return {"recipe": recipe.name, "curve": found}


def _times(budgets: str) -> list[float]:
    try:
        found = sorted({float(text) for text in budgets.split(",")})
    except ValueError:
        found = []
    if not found or not 0 < found[0] <= found[-1] < float("inf") or len(found) > MOST:
        raise RecipeError(
            f"--budgets {budgets}: wanted up to {MOST} numbers above 0, such as 0.5,1,3,10: times the recipe's own"
        )
    return found


def _with_budget(recipe: Recipe, times: float) -> Recipe:
    """The last step that chooses takes so many times as much. Raises RecipeError."""
    steps = [dict(step) for step in recipe.steps]
    for step in reversed(steps):
        name, settings = next(iter(step.items()))
        for key in ("budget", "fraction"):
            given = (settings or {}).get(key)
            if given is not None:
                step[name] = {**settings, key: _scaled(given, times, key)}
                return recipe.model_copy(update={"steps": steps})
    raise RecipeError("--budgets: no step of the recipe has a budget or a fraction")


def _scaled(given: Any, times: float, key: str) -> Any:
    if isinstance(given, dict):
        unit = next(
            (unit for unit in given if unit not in ("by", "prices", "max_epochs", "image", "object", "each")), ""
        )
        return {**given, unit: _scaled(given.get(unit), times, unit)}
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise RecipeError(f"--budgets: {key}: {given!r} is no number to take times something")
    if key == "fraction":
        return min(1.0, given * times)
    return max(1, round(given * times)) if isinstance(given, int) else given * times


def lines_of(found: dict[str, Any]) -> list[tuple[str, str, dict[str, list[tuple[float, float]]]]]:
    """Heading and format of each measure that all budgets have, and of each selection (times, value)."""
    curve = found["curve"]
    told = [(name, MEASURES[name][0], MEASURES[name][2]) for name in MEASURES if _has(curve, name)]
    shown = []
    for name, heading, form in told:
        values = [(one["times"], _name(found, member["name"]), member[name]) for one in curve for member in _of(one)]
        shown.append((heading, form, _by_name(values)))
    if all("trained" in one for one in curve):
        losses = [
            (one["times"], _name(found, name), told["loss"])
            for one in curve for name, told in one["trained"]["by"].items() if name != OF_POOL
        ]  # fmt: skip
        shown.append(("loss after training", "{:.3f}", _by_name(losses)))
    return shown


def _of(one: dict[str, Any]) -> list[dict[str, Any]]:
    return [member for member in one["members"] if member["name"] != OF_POOL]


def _has(curve: list[dict[str, Any]], name: str) -> bool:
    return all(name in member for one in curve for member in _of(one))


def _name(found: dict[str, Any], name: str) -> str:
    """One name for the recipe at all budgets."""
    mine = name == found["recipe"] or name.startswith(f"{found['recipe']}-x")
    return found["recipe"] if mine else name


def _by_name(values: list[tuple[float, str, float]]) -> dict[str, list[tuple[float, float]]]:
    found: dict[str, list[tuple[float, float]]] = {}
    for times, name, value in values:
        found.setdefault(name, []).append((times, value))
    return found


def table(found: dict[str, Any]) -> str:
    """A line a budget, of each measure the recipe's value and the others'."""
    measures = lines_of(found)
    names = list(measures[0][2]) if measures else [found["recipe"]]
    heads = ["times", "chosen", *(f"{heading}: {name}" for heading, _, _ in measures for name in names)]
    lines = [heads]
    for place, one in enumerate(found["curve"]):
        row = [f"{one['times']:g}", f"{one['members'][0]['chosen']:,}"]
        row += [form.format(by[name][place][1]) for _, form, by in measures for name in names]
        lines.append(row)
    wide = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    shown = ["  ".join(cell.rjust(width) for cell, width in zip(line, wide, strict=True)) for line in lines]
    return joined([shown[0], "-" * len(shown[0]), *shown[1:]])


def write_curve(found: dict[str, Any], path: Path) -> None:
    """The same as a page, a figure for each measure."""
    measures = [(heading, lines_svg(by, form)) for heading, form, by in lines_of(found)]
    write_page("curve.html", path, recipe=found["recipe"], measures=measures, table=table(found), sealed=False)
