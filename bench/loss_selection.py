"""Is what loss reduction selects worth more than what other methods select? The claim of CoLoR-Filter, end to end.

    python bench/loss_selection.py --target medical_qa

Pool: texts of 15 real domains, cut to 800 characters, about 3% of them of the target's domain. For each tau, every
method selects 1/tau of the pool's tokens (the same number); the same small model is trained on each selection from
scratch, and judged by its mean loss on 200 of the target's texts that nothing else saw. `random needs` is how many
times as many random tokens reach that loss, read off a curve of random selections (log-linear between its points; `>`
where the whole pool does not reach it). Recall: the share of the pool's texts of the target's domain among as many
texts with the best scores. Prints two tables."""

import argparse
import json
import random
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from real_text import documents
from tamis.pipeline.comparing.texts import Trainer, held_out_texts
from tamis.pipeline.comparing.training import needs
from tamis.pipeline.progress import hushed
from tamis.pipeline.recipe.recipe import parse_recipe
from tamis.pipeline.starting import run_recipe
from tamis.pipeline.store.runs import open_run

CHARS, TARGET, HELD_OUT, PLANTED = 800, 400, 200, 0.03
TAUS = (8, 16, 32)
METHODS: dict[str, dict[str, Any]] = {
    "random": {"random": {}},
    "lowest perplexity": {"perplexity": {"column": "nll_prior", "keep": "low"}},
    "conditional loss only": {"perplexity": {"column": "nll_target", "keep": "low"}},
    "linear classifier": {"threshold": {"column": "quality", "keep": "high"}},
    "importance resampling": {"importance_resampling": {"features": "ngrams"}},
    "loss reduction": {"loss_reduction": {"prior": "nll_prior", "conditional": "nll_target"}},
}


Record = dict[str, str]  # id, domain, text


def by_domain() -> dict[str, list[Record]]:
    """The real texts, cut, each domain's in an order of its own; an id means the same text in every experiment."""
    held: dict[str, list[str]] = {}
    for record in documents():
        held.setdefault(record["domain"], []).append(record["text"][:CHARS])
    chance = random.Random(0)
    for texts in held.values():
        chance.shuffle(texts)
    return {
        domain: [{"id": f"{domain}-{n}", "domain": domain, "text": text} for n, text in enumerate(texts)]
        for domain, texts in held.items()
    }


def make(base: Path, target: str, size: int, targets: int = TARGET, held_out: int = HELD_OUT) -> int:
    """Files of the experiment; returns how many of the target's texts are planted."""
    domains = by_domain()
    mine = domains.pop(target)
    pool = mine[targets + held_out :][: int(size * PLANTED)]  # small domains have fewer
    planted = len(pool)
    each = (size - planted) // len(domains)
    pool = pool + [record for records in domains.values() for record in records[:each]]
    random.Random(0).shuffle(pool)
    write(base / "pool.jsonl", pool)
    write(base / "target.jsonl", mine[:targets])
    write(base / "held_out.jsonl", mine[targets : targets + held_out])
    return planted


def write(path: Path, records: list[Record]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    told = "".join(json.dumps(record) + "\n" for record in records)
    if not path.exists() or path.read_text(encoding="utf-8") != told:  # untouched, so that a stopped run goes on
        path.write_text(told, encoding="utf-8")


def select(base: Path, name: str, step: dict[str, Any], budget: dict[str, Any] | int, seed: int, tokens: str) -> Path:
    method, settings = next(iter(step.items()))
    recipe = {
        "name": name,
        "seed": seed,
        "pool": [{"format": "jsonl", "path": "pool.jsonl", "key": "id", "keep": ["domain"]}],
        "target": [{"format": "jsonl", "path": "target.jsonl"}],
        "columns": {
            "nll_prior": {"loss": "train", "on": "pool", "tokens": tokens, "size": "tiny", "seed": 0},
            "nll_target": {"loss": "train", "from": "nll_prior", "on": "target", "epochs": 1, "seed": 0},
            "quality": {"classify": "linear", "train": "target_vs_pool", "seed": 0},
        },
        "steps": [{method: {**settings, "budget": budget}}],
        "emit": [],
    }
    with hushed():
        return run_recipe(parse_recipe(recipe, base), base, base / "store").folder


def times_of(loss: float, budget: int, curve: list[tuple[int, float]]) -> str:
    """How many times `budget` random tokens reach `loss`."""
    sign, times = needs(loss, curve) or ("", 0.0)
    return f"{sign} {times * curve[0][0] / budget:.1f}".removeprefix("= ")


def auc(scores: np.ndarray, planted: np.ndarray) -> float:
    ranks = np.argsort(np.argsort(scores, kind="stable"), kind="stable")
    return float((ranks[planted].mean() - (planted.sum() - 1) / 2) / (len(scores) - planted.sum()))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--target", default="medical_qa")
    options.add_argument("--size", type=int, default=6000, help="texts of the pool")
    options.add_argument("--tokens", default="500k", help="that the prior is trained on")
    options.add_argument("--seeds", type=int, default=3)
    asked = options.parse_args()
    base = Path(tempfile.mkdtemp(prefix="tamis-loss-"))
    planted = make(base, asked.target, asked.size)
    began = time.monotonic()
    rows = []
    for method, step in METHODS.items():
        folder = select(base, f"recall-{method.replace(' ', '-')}", step, planted, 0, asked.tokens)
        if method == "random":
            print(
                f"columns: {time.monotonic() - began:.0f} s (training the prior on {asked.tokens} tokens, the conditional, all scores)",
                flush=True,
            )
        ledger = pq.read_table(
            next((folder / "ledger" / "step-00").glob("*.parquet")), columns=["sample_id", "score", "kept"]
        )
        pool = pq.read_table(base / "store" / "pool" / "part-00000.parquet", columns=["sample_id", "domain"])
        mine = dict(
            zip(pool["sample_id"].to_pylist(), [d == asked.target for d in pool["domain"].to_pylist()], strict=True)
        )
        truth = np.array([mine[i] for i in ledger["sample_id"].to_pylist()])
        scores = np.nan_to_num(ledger["score"].to_numpy(zero_copy_only=False), nan=-1e9)
        rows.append((method, truth[ledger["kept"].to_numpy(zero_copy_only=False)].mean(), auc(scores, truth)))
    print(f"\nPool {asked.size:,} texts, {planted} of {asked.target}; {planted} chosen\n")
    print("| method | share of the target's kind | area under the curve |\n|---|---:|---:|")
    for method, recall, area in rows:
        print(f"| {method} | {recall:.3f} | {area:.4f} |", flush=True)
    run = open_run(next((base / "store" / "runs").iterdir()))
    trainer = Trainer(run, "tiny", held_out_texts(base / "held_out.jsonl"))
    whole = [json.loads(line)["text"] for line in (base / "pool.jsonl").read_text().splitlines()]
    total = len(trainer.tokens(whole))
    curve = []
    tokens = total // TAUS[-1]
    while tokens <= total:
        found = [
            trainer.loss(random.Random(seed).sample(whole, len(whole)), tokens, seed)
            for seed in range(asked.seeds if tokens < total // 3 else 1)
        ]
        curve.append((tokens, float(np.mean(found))))
        print(f"random {tokens:>9,} tokens: {curve[-1][1]:.3f}", flush=True)
        tokens *= 2
    print(
        f"\nHeld-out loss of {asked.target}, mean of {asked.seeds} seeds (spread), and how many times as many random tokens reach it; pool {total:,} tokens\n"
    )
    print("| method |" + "".join(f" tau {tau}: {total // tau:,} tokens | random needs |" for tau in TAUS))
    print("|---|" + "---:|---:|" * len(TAUS))
    for method, step in METHODS.items():
        cells = []
        for tau in TAUS:
            budget = total // tau
            losses = []
            for seed in range(asked.seeds):
                name = f"{method.replace(' ', '-')}-{tau}-{seed}"
                folder = select(
                    base, name, step, {"tokens": int(budget * 1.02), "by": "nll_prior_tokens"}, seed, asked.tokens
                )
                texts = pq.read_table(folder / "selection.parquet", columns=["text"])["text"].to_pylist()
                losses.append(trainer.loss(texts, budget, seed))
            cells.append(
                f" {np.mean(losses):.3f} ({max(losses) - min(losses):.3f}) | {times_of(float(np.mean(losses)), budget, curve)} |"
            )
        print(f"| {method} |" + "".join(cells), flush=True)
    shutil.rmtree(base)


if __name__ == "__main__":
    main()
