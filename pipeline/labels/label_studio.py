"""Label Studio's own exports: JSON with every annotation, and JSON_MIN and CSV with a row for each.

A task holds the data that tamis wrote (`key`, `sample_id`, `image` or `text`) and answers under the names of the
interface's controls. What is one answer of one control is taken; several choices, several controls, shapes that are no
boxes are labeled without a class, and listed."""

from collections.abc import Iterable, Iterator
from typing import Any

from tamis.pipeline.files.plain_json import load_json
from tamis.pipeline.labels.answers import Answer, Boxes, Corners

OF_TAMIS = ("key", "sample_id", "image", "text")
OF_ROWS = (  # of JSON_MIN and CSV, about the annotation
    "id", "annotation_id", "annotator", "created_at", "updated_at", "lead_time", "agreement", "history",
)  # fmt: skip
USUAL = ("label", "choice")  # names of the control: what tamis's own interface says, and what examples have
SHAPED = {"x", "points", "rle", "vertices", "radiusX", "start"}  # of values that speak of a part of the task
Row = dict[str, Any]


def of_tasks(tasks: list[Row], control: str | None) -> Iterator[Answer]:
    """The full export (JSON), or JSON_MIN."""
    if any("annotations" in task or isinstance(task.get("data"), dict) for task in tasks):
        drawn = any(
            "rectanglelabels" in result.get("value", {})
            for task in tasks
            for one in task.get("annotations") or []
            for result in one.get("result") or []
        )
        for task in tasks:
            key = _key(task["data"])
            for annotation in task.get("annotations") or []:
                if not annotation.get("was_cancelled"):
                    yield _of_annotation(key, annotation, control, drawn)
        return
    yield from of_rows(tasks, control)


def _of_annotation(key: str, annotation: Row, control: str | None, drawn: bool) -> Answer:
    """`drawn`: whether people draw boxes here, so that an empty annotation says that there is nothing."""
    who = _name(annotation.get("completed_by"))
    about = (who, annotation.get("created_at"), _minutes(annotation.get("lead_time")))
    by_control: dict[str, list[Row]] = {}
    for result in annotation.get("result") or []:
        if "value" in result:  # relations have none
            by_control.setdefault(str(result.get("from_name", "label")), []).append(result["value"])
    if not by_control:
        return _empty(key, about, drawn)
    return _settled(key, about, by_control, control)


def of_rows(rows: Iterable[Row], control: str | None) -> Iterator[Answer]:
    """JSON_MIN, or the rows of a CSV: each is one annotation, its answers beside the task's data."""
    some = list(rows)
    drawn = any(_is_structured(_said(value)) for row in some for value in row.values())
    for row in some:
        about = (_name(row.get("annotator")), row.get("created_at") or None, _minutes(row.get("lead_time")))
        given = {name: _said(value) for name, value in row.items() if name not in (*OF_TAMIS, *OF_ROWS)}
        told = {name: value for name, value in given.items() if _is_choices(value) or _is_structured(value)}
        usual = {name: value for name, value in given.items() if name in (*USUAL, control) and value}
        words = [name for name, value in given.items() if value and isinstance(value, str | list) and name not in usual]
        by_control = {name: _as_values(value) for name, value in {**told, **usual}.items() if value}
        if by_control:
            yield _settled(_key(row), about, by_control, control)
        elif words:
            named = ", ".join(words)
            yield _unclear(_key(row), about, f"an answer under {named}? name it with --control", left_out=True)
        else:
            yield _empty(_key(row), about, drawn)


About = tuple[str | None, str | None, float | None]


def _settled(key: str, about: About, by_control: dict[str, list[Row]], control: str | None) -> Answer:
    shapes = [value for values in by_control.values() for value in values if SHAPED & set(value)]
    boxes, left = _boxes_of(shapes)
    asked = {control: by_control[control]} if control in by_control else by_control
    chosen = {
        name: [one for value in values for one in _choices(name, value, control)] for name, values in asked.items()
    }
    chosen = {name: some for name, some in chosen.items() if some}
    if len(chosen) > 1:
        return _unclear(key, about, f"several controls ({', '.join(chosen)}): name one with --control", boxes)
    if chosen:
        (some,) = chosen.values()
        if len(set(some)) > 1:
            return _unclear(key, about, f"several choices ({', '.join(some)})", boxes)
        return Answer(key, some[0], *about, boxes, left)
    if boxes is not None:
        return Answer(key, boxes.label, *about, boxes, left)
    kinds = {name for values in asked.values() for value in values for name in value} - {"start", "end", "text"}
    return _unclear(key, about, left or f"neither a choice nor a box ({', '.join(sorted(kinds)) or 'a text'})")


def _empty(key: str, about: About, drawn: bool) -> Answer:
    if drawn:
        return Answer(key, "", *about, Boxes((), (), (1, 1)))
    return _unclear(key, about, "an empty answer", left_out=True)


def _unclear(key: str, about: About, why: str, boxes: Boxes | None = None, left_out: bool = False) -> Answer:
    return Answer(key, "", *about, boxes, why, left_out)


def _choices(name: str, value: Row, control: str | None) -> list[str]:
    """What was chosen for the whole task; or typed, where no class was known."""
    if SHAPED & set(value):  # of a region
        return []
    typed = value.get("text") if set(value) == {"text"} and name in (*USUAL, control) else None
    some = value.get("choices") or (typed if isinstance(typed, list) else [typed] if typed else [])
    return [str(one).strip() for one in some if not isinstance(one, list)]


def _boxes_of(shapes: list[Row]) -> tuple[Boxes | None, str]:
    """Boxes in shares, all of them or none; and what of the shapes is not read."""
    corners: list[Corners] = []
    names: list[str] = []
    left: list[str] = []
    for value in shapes:
        name = value.get("rectanglelabels")
        if name is None and not any(kind in value for kind in ("points", "rle", "vertices", "radiusX", "start")):
            left.append("answers about a region")  # its shape is told by another result
        elif not name or len(name) != 1 or value.get("rotation"):
            kind = "a turned box" if value.get("rotation") else "a box of several classes" if name else "other shapes"
            return None, f"its shapes are not read ({kind})"
        else:
            x, y = float(value["x"]) / 100, float(value["y"]) / 100
            corners.append((x, y, x + float(value["width"]) / 100, y + float(value["height"]) / 100))
            names.append(str(name[0]).strip())
    told = f"{', '.join(dict.fromkeys(left))} are not read" if left else ""
    return (Boxes(tuple(corners), tuple(names), (1, 1)) if corners else None), told


def _said(value: Any) -> Any:
    """A cell of CSV holds JSON where it is no plain word."""
    if isinstance(value, str) and value.strip()[:1] in ("[", "{"):
        try:
            return load_json(value)
        except ValueError:
            return value
    return value


def _is_choices(value: Any) -> bool:
    return isinstance(value, dict) and "choices" in value


def _is_structured(value: Any) -> bool:
    """Shapes and spans, each with its class; a plain list of words may be the task's own data."""
    return isinstance(value, list) and any(isinstance(one, dict) and SHAPED & set(one) for one in value)


def _as_values(value: Any) -> list[Row]:
    """An answer of a row as the full export has it."""
    if isinstance(value, dict):
        return [value]
    if isinstance(value, list):
        return [one if isinstance(one, dict) else {"choices": [one]} for one in value]
    return [{"choices": [value]}]


def _key(data: Row) -> str:
    return str(data.get("sample_id") or data["key"])


def _name(who: Any) -> str | None:
    if isinstance(who, dict):
        return str(who.get("email") or who.get("id"))
    return None if who in (None, "") else str(who)


def _minutes(seconds: Any) -> float | None:
    try:
        return round(float(seconds) / 60, 4)
    except (TypeError, ValueError, OverflowError):
        return None
