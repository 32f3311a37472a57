"""Texts of kinds that differ by their words, and vectors of kinds, for tests of what finds one among the others."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tamis.selectors.contract import BESIDE
from tamis.selectors.vectors.columns import as_column
from tests_support import write_jsonl

WORDS = {
    "sea": "wave salt boat harbour tide sail",
    "law": "court judge appeal statute clause party",
    "kitchen": "oven flour butter simmer onion pan",
}


def planted(draw: np.random.Generator, kind: str, words: int) -> str:
    """So many words, two in three of them the kind's own."""
    return " ".join(draw.choice([*WORDS[kind].split(), "the", "of", "and"], words))


def batch_of(vectors: np.ndarray, name: str, beside: bool = False) -> pa.RecordBatch:
    """As a ranker is given them, of the pool or beside it."""
    first = 0 if beside else 1000
    ids = pa.array(np.arange(first, first + len(vectors), dtype=np.uint64))
    columns = {"sample_id": ids, "key": [f"{name}{n}" for n in range(len(vectors))], "v": as_column(vectors)}
    return pa.record_batch({**columns, **({BESIDE: pa.nulls(len(vectors), pa.string())} if beside else {})})


def kinds_of_vectors(folder: Path) -> dict[str, Any]:
    """A recipe's parts: 150 samples p0 to p149 of five kinds, 30 each, and six of a target, t0 to t5, of the first
    two."""
    chance = np.random.default_rng(0)
    kinds = chance.normal(size=(5, 8))
    names = [f"p{n}" for n in range(150)] + [f"t{n}" for n in range(6)]
    of = [n // 30 for n in range(150)] + [n % 2 for n in range(6)]
    write_jsonl(folder / "pool.jsonl", [{"id": name, "text": f"text {name}"} for name in names[:150]])
    write_jsonl(folder / "target.jsonl", [{"id": name, "text": f"wanted {name}"} for name in names[150:]])
    np.savez(folder / "v.npz", key=np.array(names), v=kinds[of] + 0.3 * chance.normal(size=(156, 8)))
    return {
        "pool": [{"format": "jsonl", "path": "pool.jsonl", "key": "id"}],
        "target": [{"format": "jsonl", "path": "target.jsonl", "key": "id"}],
        "columns": {"v": {"embed": "precomputed", "path": "v.npz", "vector": "v"}},
        "emit": ["keys"],
    }
