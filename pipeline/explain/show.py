"""A run's result in a terminal: the funnel, what it cost, and where everything lies."""

import sys
from pathlib import Path
from shutil import get_terminal_size, which
from textwrap import wrap
from typing import Any

from tamis.pipeline.choose.groups import lines as vanishing_lines
from tamis.pipeline.choose.history import lines as history_lines
from tamis.pipeline.emit.outputs import how_they_repeat
from tamis.pipeline.progress import joined, visible
from tamis.pipeline.schemas import KEEPING
from tamis.pipeline.store.runs import open_run
from tamis.selectors.budget import shown

BAR = 24
NAMED = 3  # reasons of a stage; the rest are told together
LEAST_BESIDE = 24  # characters beside the bars that reasons are written in; else they stand below
TELLS = 0.8  # of the candidates: a number that is larger only says that the score tells no kinds apart
LEAST_FOUND = 3  # groups of the target that are named


def funnel(manifest: dict[str, Any]) -> list[tuple[str, int, str]]:
    """(stage, rows left, what was lost there and why), from source rows to the selection."""
    pool = manifest["pool"]
    stages = [("source rows", pool["rows"], ""), ("pool", pool["samples"], _reasons(pool["rejects"]))]
    for step in manifest["steps"]:
        dropped = {reason: count for reason, count in step["reasons"].items() if reason not in KEEPING}
        passed = step["reasons"].get("passed_through", 0)
        told = [_reasons(dropped), f"{passed:,} passed through" if passed else ""]
        stages.append((step["selector"], step["kept"], ", ".join(filter(None, told))))
    selected = manifest.get("selected", pool["samples"])
    if not manifest["steps"] and selected < pool["samples"]:
        stages.append(("selection", selected, f"-{pool['samples'] - selected:,} set aside"))
    return stages


def _reasons(counts: dict[str, int]) -> str:
    """The largest few, and the rest in one."""
    largest = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    named = [f"-{count:,} {reason}" for reason, count in largest[:NAMED]]
    rest = largest[NAMED:]
    if len(rest) == 1:
        named.append(f"-{rest[0][1]:,} {rest[0][0]}")
    elif rest:
        named.append(f"-{sum(count for _, count in rest):,} for {len(rest)} more reasons")
    return ", ".join(named)


def summary(manifest: dict[str, Any]) -> str:
    """The funnel with bars, and notes on budgets and facts."""
    stages = funnel(manifest)
    most = max(rows for _, rows, _ in stages) or 1
    width = max(len(name) for name, _, _ in stages)
    lines = []
    columns = get_terminal_size((120, 24)).columns
    beside, below = columns - width - BAR - 17, max(LEAST_BESIDE, columns - width - 16)
    for name, rows, lost in stages:
        bar = "█" * max(round(BAR * rows / most), 1 if rows else 0)
        parts = _wrapped(lost, beside) if beside >= LEAST_BESIDE else []
        line = f"  {name:<{width}} {rows:>11,}  {bar:<{BAR}}"
        lines.append(f"{line}  {parts[0] if parts else ''}".rstrip())
        lines += [f"{'':<{width + BAR + 17}}{part}" for part in parts[1:]]
        lines += [f"{'':<{width + 16}}{part}" for part in ([] if parts else _wrapped(lost, below))]
    for step in manifest["steps"]:
        lines += [f"  {note}" for note in notes(step)]
    if any(step.get("weight", step["kept"]) != step["kept"] for step in manifest["steps"]):
        lines.append(f"  repeats: {how_they_repeat(manifest['recipe'].get('emit', ['parquet']))}")
    lines += [f"  {line}" for line in vanishing_lines(manifest.get("vanishing") or [])]
    if manifest.get("history"):
        lines += [f"  {line}" for line in history_lines(manifest["history"])]
    return joined(lines)


def _wrapped(lost: str, wide: int) -> list[str]:
    """Parted between reasons alone."""
    return [
        line.replace("\xa0", " ")
        for line in wrap(lost.replace(", ", ",\0").replace(" ", "\xa0").replace("\0", " "), wide)
    ]


def notes(step: dict[str, Any]) -> list[str]:
    """What a person should know of a step besides its counts."""
    said = []
    budget, kept = step["budget"], step["kept"] - step["reasons"].get("passed_through", 0)
    repeated = step.get("weight", step["kept"]) != step["kept"]
    if step["unit"] == "rows" and budget is not None and kept < budget and not repeated:
        said.append(
            f"{step['selector']}: asked for {budget:,}, there were {step['eligible']:,} to choose from: {kept:,} kept"
        )
    elif step["unit"] != "rows" and budget is not None:
        spent, following = step["spent"], step["next_cost"]
        unit = step["unit"]
        rest = f"; the next would cost {shown(following, unit)}" if following is not None else "; nothing more to buy"
        if step.get("ranked"):
            rest = "; no other fits" if spent < budget else ""
        said.append(f"{step['selector']}: {shown(spent, unit)} of {shown(budget, unit)} {unit} spent{rest}")
    if (weighed := step.get("weight", kept)) != step["kept"]:
        said.append(f"{step['selector']}: {step['kept']:,} samples stand for {weighed:,.0f} by their weights")
    facts = step.get("facts") or {}
    said += [f"{step['selector']}: {visible(line)}" for line in facts.get("said", [])]
    if missing := [kind["class"] for kind in facts.get("coverage", []) if not kind["proposed"]]:
        said.append(f"{step['selector']}: of {', '.join(missing)} nothing was proposed; others have their share")
    said += [f"{step['selector']}: {visible(line)}" for line in found_lines(facts.get("found"))]
    if facts.get("kl_reduction") is not None:
        said.append(
            f"{step['selector']}: KL to the target {facts['kl_target_pool']:.3f} → "
            f"{facts['kl_target_selection']:.3f} nats (reduction {facts['kl_reduction']:.3f}; "
            f"a random subset of the same size {facts['kl_reduction_random']:.3f})"
        )
    return said


def found_lines(found: dict[str, Any] | None) -> list[str]:
    """How much of the target's kind a step finds, and how many there are."""
    if not found or "unknown" in found:
        return [found["unknown"]] if found else []
    number = found.get("number")
    if number is not None and number["none"]:
        said = f"nothing of the target's kind is there (at most {number['high']:,.0f}, "
        said += f"judged by {found['spikes']:,} samples of it)"
        first = [f"{one['key']} ({one['score']:+.3f}) {one['begins']}" for one in found.get("nearest", [])]
        return [said, *(f"nearest: {visible(told)}" for told in first), *_lengths(found)]
    recall = found["recall"]
    judged = f"judged by {found['spikes']:,} samples of it"
    lines = [f"finds {recall['value']:.0%} of the target's kind ({_percent(recall)}), {judged}"]
    if number is not None and number["value"] < TELLS * number["of"]:
        about = "at most about" if number["at_most"] else "about"
        told = f"there are {about} {number['value']:,.0f} of it ({number['low']:,.0f} to {number['high']:,.0f})"
        more = round(found["next"]["of_kind"])
        lines.append(told + (f", {more:,} of them among the next {found['next']['samples']:,}" if more > 0 else ""))
    elif "too_few" in found:
        barred = ", ".join(f"{count:,} {reason}" for reason, count in found.get("barred", {}).items())
        more = f" that it may choose ({barred})" if barred else ""
        lines.append(f"how many of it there are is told by {found['too_few']} samples of the target or more{more}")
    less = [one for one in found["by"] if one["high"] < recall["low"]]
    if less:
        least = sorted(less, key=lambda one: (one["value"], one["group"]))[:LEAST_FOUND]
        told = ", ".join(f"{visible(one['field'])} {visible(one['group'])} {one['value']:.0%}" for one in least)
        lines.append(f"finds less of {told}")
    return [*lines, *_lengths(found)]


def _lengths(found: dict[str, Any]) -> list[str]:
    if "longer" not in found:
        return []
    lengths = found["longer"]
    whose = f"those chosen {lengths['selection']:,}" if "selection" in lengths else f"the pool's {lengths['pool']:,}"
    told = f"the target's texts have {lengths['target']:,} tokens, {whose} (medians): if its kind is that short there"
    return [f"{told}, more of it is there than is told; cut both alike"]


def reach_line(found: dict[str, Any]) -> str | None:
    """How far down the order shares of the kind are found."""
    told = [f"{part:.0%} of the kind among the best {rank:,}" for part, rank in found.get("reach", []) if rank]
    return ", ".join(told) or None


def _percent(told: dict[str, float]) -> str:
    return f"{told['low']:.0%} to {told['high']:.0%}"


def paths(folder: Path) -> str:
    """Everything a run wrote for its user, with what it is."""
    run = open_run(folder)
    rows = [
        ("report", folder / "report.html"),
        ("selection", folder / "selection.parquet"),
        *[("export", path) for path in sorted((folder / "exports").glob("*"))],
        ("ledger", folder / "ledger"),
        ("manifest", folder / "manifest.json"),
        ("rejects", run.store / "pool" / "rejects.parquet"),
    ]
    return "\n".join(f"  {name:<10} {shortest(path)}" for name, path in rows if path.exists())


def command() -> str:
    """What to type for `tamis` in the shell that this was started from."""
    mine = Path(sys.executable).with_name("tamis")
    return "tamis" if which("tamis") == str(mine) or not mine.exists() else shortest(mine)


def shortest(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
