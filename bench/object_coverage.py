"""Which images to annotate for detection: what object coverage and its rivals bring under the same budgets.

    python bench/object_coverage.py

COCO-256 (256 photos, 76 classes) with proposals of YOLOX-nano, the same with the true boxes as proposals, and FOD-A
(1,130 video frames, 31 classes) with the true boxes. Counted are true objects. A `view` is a distinct instance: in FOD-A
frames in which the box overlaps the view's first by at least half; in COCO each box. The rarest quartile are the
quarter of classes with the fewest true objects. Random: mean of 50 seeds and the range of 90% of them. The check
downstream: logistic regression on classic features of the true boxes in chosen images, macro-averaged accuracy on the
boxes of all others, 5 seeds. All see the same column: classic features of crops or, for k_center and typical_clusters,
of whole images."""

import argparse
import tempfile
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from real_data import unpacked

from tamis.pipeline.choose.batches import side_by_side
from tamis.pipeline.progress import hushed
from tamis.pipeline.recipe.recipe import parse_recipe
from tamis.pipeline.starting import run_recipe
from tamis.pipeline.store.runs import open_run
from tamis.selectors.budget import Budget
from tamis.selectors.catalog import build
from tamis.selectors.contract import Inputs
from tamis.selectors.objects.proposals import Objects, gather

SHARES, SEEDS, RANDOM_SEEDS = (0.05, 0.1, 0.2), 5, 50
SAME_VIEW = 0.5  # IoU with the first box of a view
METHODS: dict[str, dict[str, Any]] = {
    "object_coverage": {"column": "objects"},
    "class_round_robin": {"column": "objects"},
    "k_center": {"column": "look"},
    "typical_clusters": {"column": "look"},
    "detection_entropy": {"column": "objects"},
}


class Data:
    """One pool with proposals: candidates as batches, and the truth by candidate."""

    def __init__(self, name: str, work: Path, recipe: dict[str, Any], model: bool) -> None:
        self.name, self.of_model = name, model
        features = {"embed": "classic"}
        columns = {
            "look": features,
            "objects": {**recipe["objects"], "features": features},
            "truth": {**recipe["truth"], "features": features},
        }
        given = parse_recipe({"name": "columns", "pool": recipe["pool"], "columns": columns, "emit": []}, work)
        with hushed():
            run = open_run(run_recipe(given, work, work / "store").folder)
        self.batches = [
            batch for part in run.pool.parts
            for batch in side_by_side(run, part, Inputs(("look", "objects", "truth", "key")), of_target=False)
        ]  # fmt: skip
        images, self.truth = gather(self.batches, "truth", Budget(0))
        self.ids = images.ids
        keys = {
            i: k
            for batch in self.batches
            for i, k in zip(batch["sample_id"].to_pylist(), batch["key"].to_pylist(), strict=True)
        }
        self.keys = [keys[i] for i in self.ids.tolist()]
        self.view = views(self.truth, self.keys) if name == "FOD-A" else np.arange(len(self.truth.image))
        sizes = np.bincount(self.truth.kind)
        self.rare = np.argsort(sizes, kind="stable")[: max(1, len(sizes) // 4)]

    def chosen(self, method: str, budget: int, seed: int) -> np.ndarray:
        """[candidates] whether it is chosen."""
        if method == "random":
            picks = np.random.default_rng(seed).choice(len(self.ids), budget, replace=False)
            return np.isin(np.arange(len(self.ids)), picks)
        selector = build(method, METHODS[method], seed)
        if hasattr(selector, "rank"):
            return np.asarray(selector.rank(iter(self.batches), Budget(budget)).ranks > 0)
        scores = np.concatenate([selector.score(batch) for batch in self.batches])
        ids = np.concatenate([batch["sample_id"].to_numpy() for batch in self.batches])
        return np.isin(self.ids, ids[np.lexsort([ids, -scores])[:budget]])

    def measured(self, chosen: np.ndarray) -> dict[str, float]:
        """Of true objects: share of rare classes with one, views of rare classes and of all, entropy of classes."""
        mine = chosen[self.truth.image]
        kinds, counts = self.truth.kind, np.bincount(self.truth.kind[mine], minlength=len(self.truth.classes))
        seen, every = _by_kind(kinds[mine], self.view[mine]), _by_kind(kinds, self.view)
        rare = self.rare.tolist()
        share = counts[counts > 0] / max(1, counts.sum())
        return {
            "rare classes": float((counts[self.rare] > 0).mean()),
            "rare views": sum(seen.get(k, 0) for k in rare) / sum(every[k] for k in rare),
            "classes": float((counts > 0).mean()),
            "views": sum(seen.values()),
            "objects": int(counts.sum()),
            "balance": float(-(share * np.log(share)).sum() / np.log(len(counts))),
        }

    def downstream(self, chosen: np.ndarray) -> float:
        """Macro-averaged accuracy on the boxes of images that were not chosen."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.metrics import recall_score

        mine = chosen[self.truth.image]
        x, y = self.truth.feature.astype(np.float32), self.truth.kind
        if len(np.unique(y[mine])) < 2 or mine.all():
            return 0.0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            head = LogisticRegression(C=10, class_weight="balanced", max_iter=300).fit(x[mine], y[mine])
            return float(
                recall_score(
                    y[~mine], head.predict(x[~mine]), labels=np.unique(y[~mine]), average="macro", zero_division=0
                )
            )


def _by_kind(kinds: np.ndarray, views: np.ndarray) -> Counter[int]:
    return Counter(kind for kind, _ in {*zip(kinds.tolist(), views.tolist(), strict=True)})


def views(truth: Objects, keys: list[str]) -> np.ndarray:
    """[objects] which view of its class each is: frames in order, a new one where the box has moved away."""
    from tamis.pipeline.columns.detect.onnx import iou

    found = np.zeros(len(truth.image), np.int64)
    order = sorted(range(len(found)), key=lambda row: (int(truth.kind[row]), keys[truth.image[row]]))
    current, first, kind = 0, None, -1
    for row in order:
        if truth.kind[row] != kind or iou(first, truth.box[row][None])[0] < SAME_VIEW:
            current, first, kind = current + 1, truth.box[row], int(truth.kind[row])
        found[row] = current
    return found


def table(data: Data) -> None:
    total = len(data.ids)
    every = data.measured(np.ones(total, bool))
    print(
        f"\n### {data.name}\n{total:,} images, {every['objects']:,} true objects of {len(data.truth.classes)} classes, "
        f"{every['views']:,} views\n"
    )
    print("| budget | method | rare classes | rare views | classes | views | objects | balance | head's accuracy |")
    print("|---|---|---:|---:|---:|---:|---:|---:|---:|")
    for share in SHARES:
        budget = round(share * total)
        for method in ["random", *METHODS]:
            if method == "detection_entropy" and not data.of_model:
                continue
            many = RANDOM_SEEDS if method == "random" else SEEDS
            sets = [data.chosen(method, budget, seed) for seed in range(many)]
            found = [data.measured(one) for one in sets]
            accuracy = [data.downstream(one) for one in sets[:SEEDS]]
            cells = [_cell([one[what] for one in found], what, method == "random") for what in found[0]]
            told = f"{np.mean(accuracy):.3f} ± {np.std(accuracy):.3f}"
            print(f"| {share:.0%}: {budget} | {method} | {' | '.join(cells)} | {told} |", flush=True)


def _cell(values: list[float], what: str, spread: bool) -> str:
    shape = "{:,.0f}" if what in ("views", "objects") else "{:.2f}"
    told = shape.format(np.mean(values))
    if spread:
        low, high = np.percentile(values, [5, 95])
        told += f" ({shape.format(low)}-{shape.format(high)})"
    return told


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    coco, fod, models = unpacked("det_coco256_384px"), unpacked("det_fod_a"), unpacked("models")
    labels = str(coco / "object_detection" / "labels")
    names = str(coco / "object_detection" / "config.yaml")
    photos = [{"format": "images", "path": str(coco / "images")}]
    true_coco = {"detect": "file", "path": labels, "classes": names}
    true_fod = {"detect": "file", "path": str(fod / "Annotations")}
    yolox = {"detect": "onnx", "model": str(models / "yolox_nano.onnx")}
    frames = [{"format": "images", "path": str(fod / "JPEGImages")}]
    for name, recipe in {
        "COCO-256, proposals of YOLOX-nano": {"pool": photos, "objects": yolox, "truth": true_coco},
        "COCO-256, true boxes as proposals": {"pool": photos, "objects": true_coco, "truth": true_coco},
        "FOD-A": {"pool": frames, "objects": true_fod, "truth": true_fod},
    }.items():
        with tempfile.TemporaryDirectory() as work:
            table(Data(name, Path(work), recipe, model=recipe["objects"] is yolox))


if __name__ == "__main__":
    main()
