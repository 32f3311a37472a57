"""Does `compare` say what is true? Its verdicts with and without the held-out part, on every domain of the real texts.

    python bench/held_out.py --folder held-out-work

Of each of the 15 domains 200 texts are the target and 300 more are kept apart as the truth; 90 others of it and 2,900 of
the other domains are the pool, and once the target's texts as well. Five methods choose 150. `before`: the target nats
of each selection on the target that it was fitted to; `after`: as compare tells them, on a part that nothing saw;
`truth`: on the 300 apart. Prints which method each names as best, by how much the best of the truth is missed, and by how
much `default` leads `without-the-target`, which may not choose the target's own texts."""

import argparse
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from loss_selection import by_domain, write

from tamis.pipeline.comparing.measures import NGRAMS, nats
from tamis.pipeline.comparing.selections import comparison
from tamis.pipeline.progress import hushed
from tamis.pipeline.recipe.recipe import parse_recipe
from tamis.pipeline.starting import run_recipe

TARGET, APART, PLANTED, OTHERS, BUDGET, CHARACTERS = 200, 300, 90, 2900, 150, 800
METHODS: dict[str, dict[str, Any]] = {
    "default": {"importance_resampling": {}},
    "without-the-target": {"importance_resampling": {"in_target": "exclude"}},
    "mean": {"importance_resampling": {"smoothing": 0.5, "weight": "mean"}},
    "published": {"importance_resampling": {"form": "published", "min_length": 0}},
    "classifier": {"threshold": {"column": "quality", "keep": "high"}},
}


def counted(texts: list[str]) -> np.ndarray:
    buckets, _, _ = NGRAMS.features(pa.array(texts, pa.string()))
    return np.bincount(buckets, minlength=NGRAMS.buckets)


def judged(folder: Path, domain: str, inside: bool) -> dict[str, dict[str, float]]:
    """By method, target nats before, after and in truth."""
    chance = random.Random(domain)
    records = {name: [{**one, "text": one["text"][:CHARACTERS]} for one in some] for name, some in by_domain().items()}
    mine = chance.sample(records.pop(domain), min(TARGET + APART + PLANTED, len(by_domain()[domain])))
    target, planted, apart = mine[:TARGET], mine[TARGET : TARGET + PLANTED], mine[TARGET + PLANTED :]
    others = chance.sample([one for some in records.values() for one in some], OTHERS)
    base = folder / f"{domain}-{inside}"
    base.mkdir(parents=True, exist_ok=True)
    write(
        base / "pool.jsonl",
        [*others, *planted, *([{**one, "id": f"t-{one['id']}"} for one in target] if inside else [])],
    )
    write(base / "target.jsonl", target)
    runs = []
    for name, step in METHODS.items():
        kind, settings = next(iter(step.items()))
        recipe = {
            "name": name, "emit": [], "steps": [{kind: {**settings, "budget": BUDGET}}],
            "pool": [{"format": "jsonl", "path": "pool.jsonl", "key": "id"}], "target": [{"format": "jsonl", "path": "target.jsonl", "key": "id"}],
            "columns": {"quality": {"classify": "linear"}} if name == "classifier" else {},
        }  # fmt: skip
        with hushed():
            runs.append(run_recipe(parse_recipe(recipe, base), base, base / "store").folder)
    with hushed():
        found = comparison(runs, None, None, None)
    texts = {
        name: pq.read_table(run / "selection.parquet")["text"].to_pylist()
        for name, run in zip(METHODS, runs, strict=True)
    }
    known, unknown = counted([one["text"] for one in target]), counted([one["text"] for one in apart])
    pool = counted([one["text"] for one in [*others, *planted]])
    seen = [(of > 0) | (pool > 0) for of in (known, unknown)]
    after = {member["name"]: member["target_nats"] for member in found["members"]}
    return {
        name: {
            "before": nats(known[seen[0]], counted(some)[seen[0]]), "after": after[name],
            "truth": nats(unknown[seen[1]], counted([text for text in some if text not in {one["text"] for one in apart}])[seen[1]]),
        }
        for name, some in texts.items()
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    folder = parser.parse_args().folder
    for inside in (False, True):
        print(f"\n{'the target lies in the pool, too' if inside else 'the target is apart'}\n")
        print(
            "| domain | before | after | truth | lost before | lost after | lead before | after | truth |\n|---|---|---|---|"
            + "---:|" * 5
        )
        lost: dict[str, list[float]] = {"before": [], "after": []}
        leads: list[list[float]] = []
        turned = right = 0
        for domain in sorted(by_domain()):
            told = judged(folder, domain, inside)
            whens = ("before", "after", "truth")
            best = {when: min(told, key=lambda name: told[name][when]) for when in whens}
            for when, held in lost.items():
                held.append(told[best[when]]["truth"] - told[best["truth"]]["truth"])
            leads.append([told["without-the-target"][when] - told["default"][when] for when in whens])
            turned += best["before"] != best["after"]
            right += best["after"] == best["truth"]
            cells = [*(f"{held[-1]:.3f}" for held in lost.values()), *(f"{lead:+.3f}" for lead in leads[-1])]
            print("| " + " | ".join([domain, *best.values(), *cells]) + " |", flush=True)
        off = np.abs(np.array(leads)[:, :2] - np.array(leads)[:, 2:]).mean(0)
        print(f"\n{turned} verdicts turned, {right} are now the truth's; nats lost by following them, mean: {np.mean(lost['before']):.3f} before, "
              f"{np.mean(lost['after']):.3f} after; the lead of `default` over `without-the-target` is off by {off[0]:.3f} before, {off[1]:.3f} after")  # fmt: skip


if __name__ == "__main__":
    main()
