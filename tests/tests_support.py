"""What several test files share: the basic recipe, a writer of JSON lines, a run's bytes."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tamis.pipeline.run import Outcome

ROOT = Path(__file__).resolve().parent.parent
Runner = Callable[..., Outcome]

BASIC: dict[str, Any] = {
    "pool": [{"format": "jsonl", "path": "pool.jsonl", "key": "id", "text": "text", "keep": ["part"]}],
    "target": [{"format": "jsonl", "path": "target.jsonl", "text": "text"}],
    "steps": [{"exact_dedup": {}}, {"importance_resampling": {"features": "ngrams", "budget": 100}}],
    "emit": ["parquet", "jsonl"],
}


def write_jsonl(path: Path, records: Iterable[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    return path


def result_bytes(folder: Path) -> dict[str, bytes]:
    """Ledger and selection of a run, by file."""
    files = [*sorted((folder / "ledger").rglob("*.parquet")), folder / "selection.parquet"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
