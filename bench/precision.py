"""Does the selection find the target's kind? Each of the 15 domains of the real text pool in turn.

    python bench/precision.py

200 documents of a domain are held back as target; the pool is everything else; the budget is the rest of that domain,
no deduplication. Precision is the share of the selection from that domain. KL reduction is measured on the published
features (10,000 SHA-256 buckets) for all, so that forms can be compared. Prints one table."""

import argparse
import json
import random
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from real_text import documents
from tamis.pipeline.progress import hushed
from tamis.pipeline.recipe.recipe import parse_recipe
from tamis.pipeline.starting import run_recipe
from tamis.selectors.match.importance_facts import divergence
from tamis.selectors.texts.ngrams import Ngrams

HELD_BACK = 200
FORMS: dict[str, dict[str, Any]] = {
    "random": {"random": {}},
    "published": {"importance_resampling": {"form": "published", "min_length": 0}},
    "tamis": {"importance_resampling": {}},
}
MEASURE = Ngrams(order=2, buckets=10_000, hash="sha256")


def counts(texts: list[str]) -> np.ndarray:
    total = np.zeros(MEASURE.buckets, np.int64)
    for first in range(0, len(texts), 1024):
        total += np.bincount(MEASURE.features(pa.array(texts[first : first + 1024]))[0], minlength=MEASURE.buckets)
    return total


def one_domain(domain: str, docs: list[dict[str, str]], base: Path, seed: int) -> dict[str, tuple[float, float]]:
    """(precision, KL reduction) of each form."""
    mine = [doc for doc in docs if doc["domain"] == domain]
    held = {doc["id"] for doc in random.Random(seed).sample(mine, HELD_BACK)}
    for name, inside in (("target", True), ("pool", False)):
        with (base / f"{name}.jsonl").open("w", encoding="utf-8") as out:
            out.writelines(json.dumps(doc, ensure_ascii=False) + "\n" for doc in docs if (doc["id"] in held) == inside)
    target = counts([doc["text"] for doc in mine if doc["id"] in held])
    before = divergence(target, counts([doc["text"] for doc in docs if doc["id"] not in held]))
    result = {}
    for form, step in FORMS.items():
        ((name, settings),) = step.items()
        recipe = parse_recipe(
            {
                "name": form, "seed": seed, "emit": [],
                "pool": [{"format": "jsonl", "path": "pool.jsonl", "key": "id", "keep": ["domain"]}],
                "target": [{"format": "jsonl", "path": "target.jsonl", "key": "id"}],
                "steps": [{name: {**settings, "budget": len(mine) - HELD_BACK}}],
            },
            base,
        )  # fmt: skip
        with hushed():
            outcome = run_recipe(recipe, base, base / "store")
        chosen = pq.read_table(outcome.folder / "selection.parquet", columns=["domain", "text"])
        precision = float(np.mean([found == domain for found in chosen["domain"].to_pylist()]))
        result[form] = precision, before - divergence(target, counts(chosen["text"].to_pylist()))
    shutil.rmtree(base / "store")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="of the draw of held-back documents")
    seed = parser.parse_args().seed
    docs = list(documents())
    domains = sorted({doc["domain"] for doc in docs})
    base = Path(tempfile.mkdtemp(prefix="tamis-precision-"))
    print("| domain | budget | " + " | ".join(f"{form}: precision | KL reduction" for form in FORMS) + " |")
    print("|---|---|" + "---|" * (2 * len(FORMS)))
    every = []
    for domain in domains:
        result = one_domain(domain, docs, base, seed)
        every.append([value for form in FORMS for value in result[form]])
        budget = sum(doc["domain"] == domain for doc in docs) - HELD_BACK
        print(f"| {domain} | {budget:,} | " + " | ".join(f"{value:.3f}" for value in every[-1]) + " |", flush=True)
    print("| **macro** | | " + " | ".join(f"**{value:.3f}**" for value in np.mean(every, axis=0)) + " |")
    print("| **worst** | | " + " | ".join(f"{value:.3f}" for value in np.min(every, axis=0)) + " |")
    shutil.rmtree(base)


if __name__ == "__main__":
    sys.exit(main())
