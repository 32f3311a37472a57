"""`labels:` of a recipe: what people have said of samples already, as a column `labels`: a CSV of key and label, or a
store's folder of imported rounds (STORE/labels), which may not be there yet.

Null: not labeled. An empty text: labeled, by a label that the file does not say, by two that differ, or by one that is
held out for measuring: it is not asked again, and nothing learns from it."""

import csv
from pathlib import Path

from tamis.pipeline.errors import RecipeError
from tamis.pipeline.label_rounds import round_rows


def read_labels(path: Path) -> tuple[dict[str, str], list[str]]:
    """Label by key, and keys with two labels that differ, which count as labeled without saying as what.

    Raises RecipeError where it is no such file."""
    if not path.is_file():
        told = [row for some in round_rows(path) for row in some]
        return {row["key"]: "" if row["held_out"] else row["label"] for row in told}, []
    labels: dict[str, str] = {}
    conflicts = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            if "key" not in (rows.fieldnames or []):
                raise RecipeError(f"labels {path}: wanted columns key and label, found {rows.fieldnames or 'none'}")
            for row in rows:
                key, label = row["key"], row.get("label") or ""
                if not key:
                    raise RecipeError(f"labels {path}: line {rows.line_num} has no key")
                if labels.setdefault(key, label) != label:
                    conflicts.append(key)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RecipeError(f"labels {path}: can't be read ({' '.join(str(error).split())[:160]})") from error
    for key in conflicts:
        labels[key] = ""
    return labels, sorted(set(conflicts))
