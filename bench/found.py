"""Is the number of the target's kind that a step tells the true one, and the recall?

    python bench/found.py --folder found-work

`texts`: each of 15 domains as the target (200 texts of it), and 0, 30, 150 or 1,000 others of it among 6,000 texts of
the other domains; `large`: shares of 0, 0.1%, 1%, 10% and 30% of a pool of up to 30,000; importance resampling with
`budget: auto`. `classifier`: the same pools of 6,000 with `classify: linear` and a `threshold`; `loss`: five domains with
`loss_reduction`, a quarter of the target held out, and the prior's slice of the pool left out. `photos`: Caltech-101, the
six largest classes, 40 photos of each as the target, with none and with all others of it in the pool, by codes and by a
discriminator of classic features. Prints, for each, what was told against what is true of the samples that the step
could choose. A stopped run goes on where it was; every cell is kept in --folder."""

import argparse
import json
import random
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from loss_selection import by_domain, write

from real_text import DATA
from tamis.pipeline.progress import hushed
from tamis.pipeline.recipe.recipe import parse_recipe
from tamis.pipeline.starting import run_recipe
from tamis.pipeline.store.query import ask
from tamis.pipeline.store.runs import open_run

SIZE, LARGE, TARGET = 6000, 30_000, 200
LOSS_DOMAINS = ("cli_tldr", "fiction_gutenberg", "law_dc", "medical_qa", "spec_rust")
CLASSES, EXAMPLES = 6, 40
Cell = dict[str, Any]
IMPORTANCE = {"importance_resampling": {"budget": "auto"}}
PARTS = ("texts", "large", "classifier", "loss", "photos")


def text_pool(base: Path, domain: str, true: int, size: int) -> None:
    """Files of one cell; small domains have fewer than asked for."""
    chance = random.Random(f"{domain} {true} {size}")
    domains = by_domain()
    mine = chance.sample(domains.pop(domain), len(by_domain()[domain]))
    target = mine[: min(TARGET, len(mine) // 2)]
    planted = mine[len(target) :][:true]
    others = chance.sample([one for some in domains.values() for one in some], size - len(planted))
    write(base / "pool.jsonl", [*planted, *others])
    write(base / "target.jsonl", target)


def told(base: Path, of_kind: str, recipe: dict[str, Any]) -> Cell:
    """What a run tells, beside what is true of the samples that it could choose; `of_kind`: the kind, as SQL."""
    with hushed():
        recipe = {"name": "found", "emit": [], **recipe}
        run = open_run(run_recipe(parse_recipe(recipe, base), base, base / "store").folder)
    query = f"""
        select count(*) filter (where reason <> 'in_training_slice') as true, count(*) filter (where kept) as hits
        from ledger join pool using (sample_id) where {of_kind}"""
    truth = next(row for batch in ask(run, query) for row in batch.to_pylist())
    summary = run.summary(len(run.steps) - 1)
    found = summary["facts"]["found"]
    return {**truth, "kept": summary["kept"], **{name: found.get(name) for name in ("number", "recall", "spikes")}}


def of_texts(base: Path, domain: str, true: int, size: int, **more: Any) -> Cell:
    shutil.rmtree(base / "store", ignore_errors=True)
    text_pool(base, domain, true, size)
    recipe = {
        "pool": [{"format": "jsonl", "path": "pool.jsonl", "key": "id", "keep": ["domain"]}],
        "target": [{"format": "jsonl", "path": "target.jsonl", "key": "id"}],
        "steps": [IMPORTANCE],
    }
    return told(base, f"domain = '{domain}'", recipe | more)


CLASSIFIER = {"columns": {"quality": {"classify": "linear"}}, "steps": [{"threshold": {"column": "quality", "keep": "high", "budget": "auto"}}]}  # fmt: skip
LOSS = {
    "hold_out": 0.25,
    "columns": {"prior": {"loss": "train", "on": "pool", "tokens": "200k"}, "theirs": {"loss": "train", "from": "prior", "on": "target"}},
    "steps": [{"loss_reduction": {"prior": "prior", "conditional": "theirs", "exclude_training": True, "budget": "auto"}}],
}  # fmt: skip


def cells(part: str, folder: Path) -> Iterator[tuple[str, str, Callable[[Path], Cell]]]:
    """(group, name, how to make it)"""
    if part == "photos":
        yield from photo_cells(folder)
        return
    domains = LOSS_DOMAINS if part == "loss" else sorted(by_domain())
    more = {"classifier": CLASSIFIER, "loss": LOSS}.get(part, {})
    for domain in domains:
        if part == "large":
            there = len(by_domain()[domain]) - TARGET
            for share in (0, 0.001, 0.01, 0.1, 0.3):
                size = LARGE if not share else min(LARGE, int(there / share))
                if size >= 3000:
                    made = lambda base, d=domain, t=int(size * share), s=size: of_texts(base, d, t, s)  # noqa: E731
                    yield f"{share:.1%} of up to {LARGE:,}", f"{domain}-{share}", made
        else:
            for true in (0, 150) if part == "loss" else (0, 30, 150, 1000):
                made = lambda base, d=domain, t=true: of_texts(base, d, t, SIZE, **more)  # noqa: E731
                yield f"{true:,} of {SIZE:,}", f"{domain}-{true}", made


def photo_cells(folder: Path) -> Iterator[tuple[str, str, Callable[[Path], Cell]]]:
    photos = folder / "caltech"
    if not photos.exists():
        with tarfile.open(DATA / "img_caltech101_112px.tar") as tar:
            tar.extractall(folder, filter="data")
        (folder / "101_ObjectCategories").rename(photos)
    sizes = {one.name: len(list(one.iterdir())) for one in photos.iterdir() if one.name != "BACKGROUND_Google"}
    for name in sorted(sizes, key=lambda name: -sizes[name])[:CLASSES]:
        for present in (False, True):
            for ratio in ("codes", "logistic"):
                made = lambda base, n=name, p=present, r=ratio: of_photos(base, photos, n, p, r)  # noqa: E731
                yield (
                    f"{ratio}, {'all others of it' if present else 'none'} in the pool",
                    f"{name}-{present}-{ratio}",
                    made,
                )


def of_photos(base: Path, photos: Path, name: str, present: bool, ratio: str) -> Cell:
    every = sorted((photos / name).iterdir())
    mine = random.Random(name).sample(every, len(every))
    place = base / f"{name}-{present}"
    if not place.exists():  # else both estimators of one pool share its column
        shutil.rmtree(base, ignore_errors=True)
        _link(place / "examples", mine[:EXAMPLES])
        for kind in sorted(photos.iterdir()):
            left = sorted(kind.iterdir()) if kind.name != name else mine[EXAMPLES:] if present else []
            _link(place / "pool" / kind.name, left)
    recipe = {
        "name": ratio, "emit": [],
        "pool": [{"format": "images", "path": str(place / "pool" / "*" / "*")}],
        "target": [{"format": "images", "path": str(place / "examples" / "*")}],
        "columns": {"look": {"embed": "classic"}},
        "steps": [{"importance_resampling": {"features": "look", "ratio": ratio, "budget": "auto"}}],
    }  # fmt: skip
    return told(place, f"contains(uri, '/{name}/')", recipe)


def _link(folder: Path, files: list[Path]) -> None:
    folder.mkdir(parents=True)
    for file in files:
        (folder / file.name).symlink_to(file)


def line(group: str, found: list[Cell]) -> str:
    """One row of the table."""
    true = np.array([one["true"] for one in found], float)
    value, low, high = (np.array([one["number"][name] for one in found]) for name in ("value", "low", "high"))
    none = sum(one["number"]["none"] for one in found)
    some = true > 0
    if not some.any():
        return f"| {group} | {len(found)} | {none} of {len(found)} | at most {high.max():.0f} | | | | |"
    ratio, width = value[some] / true[some], (high - low)[some] / true[some]
    inside = (low <= true) & (true <= high)
    recalls = [(one["hits"] / one["true"], one["recall"]) for one in found if one["true"] and not one["number"]["none"]]
    slack = [1.645 * np.sqrt(max(r * (1 - r), 0.01) / one["true"]) for (r, _), one in zip(recalls, [one for one in found if one["true"]], strict=False)]  # fmt: skip
    held = np.mean([told["low"] - s <= r <= told["high"] + s for (r, told), s in zip(recalls, slack, strict=True)])
    off = np.mean([abs(r - told["value"]) for r, told in recalls])
    return (
        f"| {group} | {len(found)} | {none} of {len(found)} | {np.median(ratio):.2f} ({ratio.min():.2f} to {ratio.max():.2f}) | {np.mean(np.abs(ratio - 1) <= 0.25):.0%} "
        f"| {inside.mean():.0%} | {np.mean(width):.2f} | {held:.0%}, off by {off:.3f} |"
    )  # fmt: skip


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--folder", type=Path, required=True)
    options.add_argument("--parts", nargs="*", default=PARTS, choices=PARTS)
    asked = options.parse_args()
    folder = asked.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    for part in asked.parts:
        groups: dict[str, list[Cell]] = {}
        for group, name, made in cells(part, folder):
            known = folder / f"{part}-{name}.json"
            if not known.exists():
                known.write_text(json.dumps(made(folder / part)))
            groups.setdefault(group, []).append(json.loads(known.read_text()))
        print(
            f"\n{part}\n\n| of the kind | cells | none told | told / true: median (all) | within a quarter | 90% intervals hold it | width / true | recall held |"
        )
        print("|---|---:|---:|---|---:|---:|---:|---|")
        for group, found in groups.items():
            print(line(group, found), flush=True)


if __name__ == "__main__":
    main()
