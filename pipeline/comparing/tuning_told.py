"""What `tamis tune` tried, as a table, in a sentence or two, and the recipe with what it found."""

from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np
import yaml

from tamis.pipeline.comparing.page import MEASURES
from tamis.pipeline.comparing.variants import AS_IT_STANDS
from tamis.pipeline.files.plain_yaml import load_yaml
from tamis.pipeline.progress import joined, visible
from tamis.pipeline.recipe.recipe import overridden


def table(found: dict[str, Any]) -> str:
    """One line a variant, the best first, and what to take from it."""
    heading, _, form, _ = MEASURES[found["measure"]]
    heads = ["variant", "chosen", heading, "better by"]
    heads += ["loss", "trainings", "better by"] if found["train"] else []
    lines = [heads]
    for one in found["tried"]:
        row = [visible(one["name"]), f"{one['chosen']:,}", form.format(one["value"]), _by(one["gain"])]
        if found["train"]:
            losses = one["losses"]
            row += [f"{np.mean(losses):.3f}", str(len(losses))] if losses else ["", "0"]
            row.append(_by(one["loss_gain"]))
        lines.append(row)
    wide = [max(len(line[place]) for line in lines) for place in range(len(heads))]
    shown = [
        "  ".join(cell.ljust(width) if place == 0 else cell.rjust(width) for place, (cell, width) in enumerate(pairs))
        for pairs in (list(zip(line, wide, strict=True)) for line in lines)
    ]
    return joined([shown[0], "-" * len(shown[0]), *shown[1:], "", verdict(found)])


def _by(told: tuple[float, float | None] | None) -> str:
    if told is None:
        return ""
    better, half = told
    return f"{better:+.4f}" + ("" if half is None else f" ± {half:.4f}")


def verdict(found: dict[str, Any]) -> str:
    """Whether anything is better, in a sentence or two."""
    held = found["held_out"]
    what = f"loss of {found['train']} models" if found["train"] else MEASURES[found["measure"]][0]
    judges = f"Judged by {held['samples']:,} samples of the target, which nothing was fitted to or chosen from."
    if found["better"]:
        told = (
            f"{found['best']} is better than the recipe as it stands by {_by((found['gain'], found['half']))} ({what})."
        )
        return f"{told} {judges}" + _many(found)
    if found["best"] == AS_IT_STANDS:
        return f"Nothing that was tried is better than the recipe as it stands ({what}). {judges}"
    told = f"{found['best']} comes first, but can't be told from the recipe as it stands"
    told += f": {_by((found['gain'], found['half']))} ({what})"
    return f"{told}. Leave it as it is, or give it more target samples. {judges}"


def _many(found: dict[str, Any]) -> str:
    """The best of many is partly luck, but where what told it did not choose it."""
    if found["searched"]:
        return " Half of them steered the search, the other half tells what it found."
    count = len(found["tried"]) - 1
    return f" It is the best of {count}, so expect a little less." if count > 1 else ""


def as_yaml(found: dict[str, Any]) -> str:
    """The recipe with the found settings; comments stay where it stands."""
    path = Path(found["recipe"])
    value = overridden(load_yaml(path.read_text(encoding="utf-8")), found["changes"])
    told = "\n".join(f"# {line}" for line in wrap(verdict(found), 100))
    return f"# {path.name}, with what `tamis tune` found.\n{told}\n{yaml.safe_dump(value, sort_keys=False)}"
