"""A store of small nights: files that come, a recipe that publishes, runs in turn."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tamis.pipeline.progress import hushed
from tamis.pipeline.recipe.recipe import Recipe, parse_recipe
from tamis.pipeline.starting import Outcome, run_next
from tests_support import write_jsonl

WORDS = [
    "wine",
    "bread",
    "river",
    "stone",
    "paper",
    "cloud",
    "garden",
    "engine",
    "letter",
    "music",
    "winter",
    "harbour",
]


def texts(first: str, count: int, part: str = "a") -> list[dict[str, Any]]:
    """Records with keys of their own; no two texts alike."""
    return [
        {
            "id": f"{first}{n:03d}",
            "part": part,
            "text": f"{first} {n} " + " ".join(WORDS[(n + i) % 12] for i in range(9)),
        }
        for n in range(count)
    ]


class Nights:
    """A folder with a pool that grows, and a store."""

    def __init__(self, folder: Path, **recipe: Any) -> None:
        self.folder, self.store = folder, folder / "store"
        (folder / "pool").mkdir()
        self.recipe: dict[str, Any] = {
            "name": "nightly",
            "pool": [{"format": "jsonl", "path": "pool/*.jsonl", "key": "id", "keep": ["part"]}],
            "steps": [{"exact_dedup": {}}, {"random": {"budget": 20}}],
            "emit": ["keys", "jsonl"],
            "publish": {"rows": 10},
            **recipe,
        }

    def comes(self, name: str, records: list[dict[str, Any]]) -> Path:
        return write_jsonl(self.folder / "pool" / f"{name}.jsonl", records)

    def night(self, **changes: Any) -> Outcome:
        """A change to None takes the key away."""
        with hushed():
            return run_next(self.parsed(**changes), self.folder, self.store)

    def parsed(self, **changes: Any) -> Recipe:
        asked = {key: value for key, value in {**self.recipe, **changes}.items() if value is not None}
        return parse_recipe(asked, self.folder)

    @property
    def current(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.store / "current.json").read_text())
        return found

    def records(self, to: str = "current") -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in sorted((self.store / "publications" / to).glob("*.json"))]


def chosen(folder: Path) -> set[tuple[str, float]]:
    """Keys and weights of a selection."""
    table = pq.read_table(folder / "selection.parquet", columns=["key", "weight"])
    return set(zip(table["key"].to_pylist(), table["weight"].to_pylist(), strict=True))


def listed(path: Path) -> set[tuple[str, float]]:
    table = pq.read_table(path)
    return set(zip(table["key"].to_pylist(), table["weight"].to_pylist(), strict=True))
