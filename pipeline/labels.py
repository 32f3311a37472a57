"""`labels:` of a recipe: a CSV of key and label, what people have said of samples already, as a column `labels`.

Null: not labeled. An empty text: labeled, by a label that the file does not say (or by two that differ)."""

import csv
from pathlib import Path

from tamis.pipeline.errors import RecipeError


def read_labels(path: Path) -> tuple[dict[str, str], list[str]]:
    """Label by key, and keys with two labels that differ, which count as labeled without saying as what.

    Raises RecipeError where it is no such file."""
    labels: dict[str, str] = {}
    conflicts = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            if "key" not in (rows.fieldnames or []):
                raise RecipeError(f"labels {path}: wanted columns key and label, found {rows.fieldnames or 'none'}")
            for row in rows:
                key, label = row["key"], row.get("label") or ""
                if labels.setdefault(key, label) != label:
                    conflicts.append(key)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RecipeError(f"labels {path}: can't be read ({' '.join(str(error).split())[:160]})") from error
    for key in conflicts:
        labels[key] = ""
    return labels, sorted(set(conflicts))
