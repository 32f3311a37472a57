"""What are repeats worth, where the budget is larger than what a pool holds of the target's kind?

    python bench/how_often.py --folder how-often-work

Pool: 6,000 texts of 15 domains, cut to 800 characters, 90 of them of the target's domain; target: 200 others of it. The
budget is 3 and 10 times the tokens of these 90. Importance resampling fills it with texts that are all different, with
the number that it finds repeated (`max_epochs: auto`), and with half and a quarter of it taken 2 and 4 times; set
selection with texts that are all different, and with each up to 16 times; the oracle repeats the 90. A model of 1 million parameters is trained from scratch on equal tokens of each and judged by its loss on
100 texts of the domain that nothing else saw. Oracle share: 0 is random, 1 the oracle. A stopped run goes on where it
was; every cell is kept in --folder. Prints two tables."""

import argparse
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from loss_selection import by_domain, write

from tamis.pipeline.comparing.texts import Trainer, held_out_texts
from tamis.pipeline.progress import hushed
from tamis.pipeline.recipe.recipe import parse_recipe
from tamis.pipeline.starting import run_recipe
from tamis.pipeline.store.runs import Run, open_run
from tamis.selectors.match.importance import ImportanceResampling

SIZE, TRUE, TARGET, HELD_OUT = 6000, 90, 200, 100
EPOCHS = 16  # of a text of a set
DOMAINS = ("cli_tldr", "fiction_gutenberg", "law_dc", "medical_qa", "spec_rust")
METHODS = ("random", "all different", "twice", "four times", "number found", "set", "set, repeated", "oracle")


def pool(base: Path, domain: str) -> list[str]:
    """Files of the experiment; returns the true texts."""
    domains = by_domain()
    mine = domains.pop(domain)
    planted = mine[TARGET + HELD_OUT :][:TRUE]
    others = random.Random(domain).sample([one for some in domains.values() for one in some], SIZE - len(planted))
    write(base / "pool.jsonl", [*planted, *others])
    write(base / "target.jsonl", mine[:TARGET])
    write(base / "held_out.jsonl", mine[TARGET : TARGET + HELD_OUT])
    return [one["text"] for one in planted]


def chosen(base: Path, name: str, step: dict[str, Any]) -> Run:
    recipe = {
        "name": name, "emit": [], "steps": [step],
        "pool": [{"format": "jsonl", "path": "pool.jsonl", "key": "id"}],
        "target": [{"format": "jsonl", "path": "target.jsonl", "key": "id"}],
    }  # fmt: skip
    with hushed():
        return open_run(run_recipe(parse_recipe(recipe, base), base, base / "store").folder)


def texts(run: Run, times: int = 1) -> list[str]:
    table = pq.read_table(run.folder / "selection.parquet", columns=["text", "weight"])
    pairs = zip(table["text"].to_pylist(), table["weight"].to_pylist(), strict=True)
    return [text for text, weight in pairs for _ in range(times * round(weight))]


def cell(base: Path, domain: str, times: int, seed: int) -> dict[str, Any]:
    true = pool(base, domain)
    whole = chosen(base, "whole", {"importance_resampling": {"budget": SIZE}})
    trainer = Trainer(whole, "tiny", held_out_texts(base / "held_out.jsonl"))
    tokens = dict(zip(texts(whole), counted(whole), strict=True))
    budget = times * sum(tokens[text] for text in true)

    def by_importance(name: str, amount: int, **more: Any) -> Run:
        return chosen(base, f"{name}-{times}", {"importance_resampling": {"budget": {"tokens": amount, **more}}})

    def as_set(name: str, **more: Any) -> Run:
        return chosen(base, f"{name}-{times}", {"set_selection": {"budget": {"tokens": budget}, **more}})

    found = by_importance("found", budget, max_epochs="auto")
    sets = {
        "random": drawn(whole, tokens, budget, seed),
        "all different": texts(by_importance("different", budget)),
        "twice": texts(by_importance("twice", budget // 2), 2),
        "four times": texts(by_importance("four", budget // 4), 4),
        "number found": texts(found),
        "set": texts(as_set("set")),
        "set, repeated": texts(as_set("again", max_epochs=EPOCHS)),
        "oracle": true * (times + 1),
    }  # fmt: skip
    amount = min(trainer.count(some) for name, some in sets.items() if name != "oracle")
    losses = {name: trainer.loss(some, amount, seed) for name, some in sets.items()}
    number = found.summary(0)["facts"]["found"]["number"]
    return {"tokens": amount, "losses": losses, "number": number, "distinct": found.summary(0)["kept"]}


def counted(run: Run) -> list[int]:
    """Tokens of each text of the selection, as budgets count them."""
    held = pq.read_table(run.folder / "selection.parquet", columns=["text"])["text"].to_pylist()
    return ImportanceResampling().map.features(pa.array(held, pa.string()))[2].tolist()


def drawn(run: Run, tokens: dict[str, int], budget: int, seed: int) -> list[str]:
    """Random texts up to the budget."""
    some = texts(run)
    random.Random(seed).shuffle(some)
    ends = np.cumsum([tokens[text] for text in some])
    return some[: int(np.searchsorted(ends, budget, side="right"))]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--folder", type=Path, required=True)
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--times", type=int, nargs="*", default=[3, 10])
    asked = options.parse_args()
    folder = asked.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    for times in asked.times:
        rows: dict[str, list[dict[str, Any]]] = {}
        for domain in DOMAINS:
            for seed in range(asked.seeds):
                known = folder / f"{domain}-x{times}-{seed}.json"
                if not known.exists():
                    known.write_text(json.dumps(cell(folder / domain, domain, times, seed)))
                rows.setdefault(domain, []).append(json.loads(known.read_text()))
            print(f"{domain} x{times}", flush=True)
        print("\n".join(table(rows, times)), flush=True)


def table(rows: dict[str, list[dict[str, Any]]], times: int) -> list[str]:
    heads = METHODS[1:-1]
    lines = [f"\n{times} times the tokens of the true texts\n"]
    lines.append(f"| target | found of {TRUE} (90%) | tokens | random | oracle | " + " | ".join(heads) + " |")
    lines.append("|---|---|---:|---:|---:|" + "---:|" * len(heads))
    every = []
    for domain, cells in rows.items():
        mean = {name: np.mean([one["losses"][name] for one in cells]) for name in METHODS}
        share = {name: (mean["random"] - mean[name]) / (mean["random"] - mean["oracle"]) for name in heads}
        every.append(share)
        number = cells[0]["number"]
        told = [f"{share[name]:.2f}" for name in heads]
        number_told = f"{number['value']:.0f} ({number['low']:.0f} to {number['high']:.0f})"
        lines.append(
            f"| {domain} | {number_told} | {cells[0]['tokens']:,} | {mean['random']:.3f} | {mean['oracle']:.3f} | "
            + " | ".join(told) + " |"
        )  # fmt: skip
    for what, of in (("mean", np.mean), ("worst", np.min)):
        lines.append(
            f"| {what} | | | | | " + " | ".join(f"{of([one[name] for one in every]):.2f}" for name in heads) + " |"
        )
    return lines


if __name__ == "__main__":
    main()
