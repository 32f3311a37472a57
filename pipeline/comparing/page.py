"""A comparison as a table for the terminal and as one HTML file that opens anywhere: no network, no script."""

from pathlib import Path
from typing import Any

import numpy as np

from tamis.pipeline.explain.pages import write_page
from tamis.pipeline.explain.report.charts import recall_svg
from tamis.pipeline.progress import joined, visible

MEASURES = {  # name: (heading, what it means, format, whether more is better)
    "target_nats": ("target nats", "what an n-gram of the held-out target costs under its own", "{:.3f}", False),
    "ngram_coverage": ("n-grams covered", "share of the target's n-grams that occur in it at all", "{:.1%}", True),
    "served": ("target served", "share of the target with a chosen sample as near as its own kind", "{:.1%}", True),
    "kind_found": ("kind found", "share of the held-out target that it would choose from the pool", "{:.0%}", True),
    "judge_target_nats": ("judge nats", "what an n-gram of `judge:` costs under its own", "{:.3f}", False),
    "judge_served": ("judge served", "share of `judge:` with a chosen sample as near as its own kind", "{:.1%}", True),
    "nearness": ("nearness", "mean cosine of a target sample to the nearest chosen one", "{:.3f}", True),
}  # fmt: skip
LOSS_OF = {"tokens": " nats a token", "labels": " of the held-out samples wrong, averaged over classes"}


def table(found: dict[str, Any]) -> str:
    """One line a selection, the best of each measure marked."""
    measures = _measures(found)
    losses = found.get("trained")
    heads = ["selection", "chosen", *(MEASURES[name][0] for name in measures), "duplicates", "seconds", "MB"]
    heads += loss_heads(losses) if losses else []
    lines = [heads]
    for member in found["members"]:
        row = [visible(member["name"]), f"{member['chosen']:,}"]
        row += [_cell(found, member, name) for name in measures]
        row += [f"{member['duplicates']:,}", f"{member['seconds']:,.1f}", megabytes(member)]
        told = trained_cells(losses["by"].get(member["name"]), len(loss_heads(losses))) if losses else []
        lines.append(row + told)
    wide = [max(len(line[place]) for line in lines) for place in range(len(heads))]
    shown = []
    for line in lines:
        cells = zip(line, wide, strict=True)
        shown.append("  ".join(t.ljust(w) if place == 0 else t.rjust(w) for place, (t, w) in enumerate(cells)))
    return joined([shown[0], "-" * len(shown[0]), *shown[1:], "", verdict(found)])


def loss_heads(losses: dict[str, Any]) -> list[str]:
    judge = ["judge loss"] if any("judge" in one for one in losses["by"].values()) else []
    return ["loss", "random needs", "oracle share", *judge]


def megabytes(member: dict[str, Any]) -> str:
    return f"{member['peak_bytes'] / 1e6:,.0f}" if member["peak_bytes"] else ""


def verdict(found: dict[str, Any]) -> str:
    """What to take from it, in a sentence or two."""
    measures = _measures(found)
    if not measures:
        return "There is no target to serve: compare sizes, composition and overlap."
    name = measures[0]
    best = _best(found, name)
    random = next((member for member in found["members"] if member["name"] == "random"), None)
    heading, _, form, _ = MEASURES[name]
    said = f"By {heading} {best['name']} serves the target best: {form.format(best[name])}"
    said += f", random {form.format(random[name])}." if random and random is not best else "."
    held = found["held_out"]
    judges = f"{held['samples']:,} of the target's {found['pool']['target']:,} samples"
    said += f" Judged by {judges}, which nothing was fitted to or chosen from."
    if not found["equal"]:
        said += " The selections are not of one size, and most measures grow with it."
    if losses := found.get("trained"):
        known = {member: one["loss"] for member, one in losses["by"].items() if member != "oracle"}
        winner = min(known, key=lambda member: known[member])
        said += f" Trained, {winner} has the lowest loss: {known[winner]:.3f}{LOSS_OF[losses['unit']]}."
    return said + _by_the_judge(found, best)


def _by_the_judge(found: dict[str, Any], best: dict[str, Any]) -> str:
    """What the selection that serves the target best does to texts of another kind."""
    name = next((name for name in ("judge_target_nats", "judge_served") if name in best), None)
    random = next((member for member in found["members"] if member["name"] == "random"), None)
    if name is None or random is None or random is best:
        return ""
    heading, _, form, more = MEASURES[name]
    mine, chance = best[name], random[name]
    halves = [one["intervals"].get(name) or 0.0 for one in (best, random)]
    noise = np.hypot(halves[0], halves[1])
    worse = mine < chance if more else mine > chance
    does = "It costs elsewhere" if worse else "It helps elsewhere, too"
    if abs(mine - chance) <= noise:
        does = "Elsewhere it is as good as random, within chance"
    texts = f"{found['judge']:,} samples of `judge:`, which nothing may choose"
    return f" {does}: {heading} {form.format(mine)}, random {form.format(chance)}, by {texts}."


def trained_cells(one: dict[str, Any] | None, count: int = 3) -> list[str]:
    """Of one selection; `count` of them where it was not trained on."""
    if one is None:  # random of the pool is told, not trained on
        return [""] * count
    sign, times = one["random_needs"] or ("", None)
    needed = "" if times is None else f"{sign}{times:.1f}x".lstrip("=")
    share = "" if one["oracle_share"] is None else f"{one['oracle_share']:.0%}"
    judge = [_with_half(one["judge"], one["judge_interval"])] if "judge" in one else []
    return [_with_half(one["loss"], one["interval"]), needed, share, *judge]


def _with_half(value: float, half: float | None) -> str:
    return f"{value:.3f}" + ("" if half is None else f" ± {half:.3f}")


def write_comparison(found: dict[str, Any], path: Path) -> None:
    measures = _measures(found)
    members = []
    for member in found["members"]:
        cells = [
            {
                "text": _cell(found, member, name).rstrip("*"),
                "wide": _width(found, member, name),
                "best": _is_best(found, name, member),
            }
            for name in measures
        ]
        members.append({**member, "cells": cells, "megabytes": megabytes(member)})
    heads = [MEASURES[name] for name in measures]
    losses = found.get("trained")
    trained = {}
    if losses:
        count = len(loss_heads(losses))
        trained = {one["name"]: trained_cells(losses["by"].get(one["name"]), count) for one in members}
    curves = [
        (one["name"], one["found"]["curve"])
        for one in found["members"]
        if one["name"] != "oracle" and (one.get("found") or {}).get("curve")
    ]
    most = max((member["chosen"] for member in found["members"]), default=0)
    drawn = recall_svg(curves, [(f"{most:,} chosen", float(most))]) if curves else None
    shown = {
        "verdict": verdict(found),
        "measures": measures,
        "forms": {name: MEASURES[name][2] for name in measures},
        "trained": trained,
        "loss_heads": loss_heads(losses) if losses else [],
        "drawn": drawn,
        "numbers": _numbers(found),
    }
    write_page("compare.html", path, sealed=False, found=found, members=members, heads=heads, **shown)


def _numbers(found: dict[str, Any]) -> list[dict[str, str]]:
    """What each selection's choice says of how many there are of the target's kind."""
    rows = []
    for member in found["members"]:
        number = (member.get("found") or {}).get("number")
        if number:
            most = "at most " if number["at_most"] else ""
            told = "none" if number["none"] else f"{most}{number['value']:,.0f}"
            rows.append(
                {
                    "name": member["name"],
                    "number": told,
                    "low": f"{number['low']:,.0f}",
                    "high": f"{number['high']:,.0f}",
                }
            )
    return rows


def _measures(found: dict[str, Any]) -> list[str]:
    return [name for name in MEASURES if any(name in member for member in found["members"])]


def _best(found: dict[str, Any], name: str) -> dict[str, Any]:
    """The best selection by a measure; the oracle is no contestant."""
    some = [member for member in found["members"] if member["name"] != "oracle" and name in member]
    return max(some, key=lambda member: member[name] if MEASURES[name][3] else -member[name])


def _is_best(found: dict[str, Any], name: str, member: dict[str, Any]) -> bool:
    """As good as the best by what is shown of it; nobody is where all are."""
    form = MEASURES[name][2]
    if name not in member:
        return False
    told = {form.format(one[name]) for one in found["members"] if one["name"] != "oracle" and name in one}
    best = form.format(_best(found, name)[name])
    return len(told) > 1 and member["name"] != "oracle" and form.format(member[name]) == best


def _cell(found: dict[str, Any], member: dict[str, Any], name: str) -> str:
    if name not in member:
        return ""
    half = member["intervals"].get(name)
    spread = " ± " + MEASURES[name][2].format(half) if half else ""
    return MEASURES[name][2].format(member[name]) + spread + ("*" if _is_best(found, name, member) else "")


def _width(found: dict[str, Any], member: dict[str, Any], name: str) -> int:
    """Percent of the bar: from the worst of all to the best."""
    if name not in member:
        return 0
    values = [one[name] for one in found["members"] if name in one]
    low, high = min(values), max(values)
    share = (member[name] - low) / (high - low) if high > low else 1.0
    return round(100 * (share if MEASURES[name][3] else 1 - share))
