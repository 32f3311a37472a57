"""`tamis runs`: the runs of a store, newest last, and those that have not ended."""

from pathlib import Path
from typing import Any, NamedTuple

from tamis.pipeline.files.atomic import read_json
from tamis.pipeline.progress import counted, joined, visible
from tamis.pipeline.store.current import standing
from tamis.pipeline.store.runs import PINNED, THINNED, existing_store

NAMED = 60  # characters of a run's steps
TO_THE_MINUTE = 16  # characters of when it ended
OF_COMPARE = "compare."  # what the names of runs begin with that `tamis compare` makes beside the given ones


class Listed(NamedTuple):
    """A run in one line; numbers are None where it has not ended."""

    name: str
    ended: str  # UTC; where it has not ended, how far it came
    selected: int | None
    pool: int | None
    seconds: float | None
    steps: list[str]


def listed(store: Path) -> list[Listed]:
    """Complete runs by when they ended, then the others by name. Raises StoreError where there is no store."""
    store = existing_store(store)
    folders = [path.parent for path in (store / "runs").glob("*/request.json")]
    whole = [folder for folder in folders if (folder / "manifest.json").exists()]
    whole.sort(key=lambda folder: (folder / "manifest.json").stat().st_mtime_ns)  # of one second's runs the later last
    ended = sorted(map(_ended, whole), key=lambda run: run.ended)
    others = [_begun(folder) for folder in folders if not (folder / "manifest.json").exists()]
    return [*ended, *sorted(others)]


def _ended(folder: Path) -> Listed:
    manifest = read_json(folder / "manifest.json")
    steps = manifest["steps"]
    selected = steps[-1]["kept"] if steps else manifest["pool"]["samples"]
    seconds = sum(stage["wall_s"] for stage in manifest.get("costs") or [])
    when = manifest["ended"].replace("T", " ")
    return Listed(
        folder.name, when, selected, manifest["pool"]["samples"], seconds, [step["selector"] for step in steps]
    )


def _begun(folder: Path) -> Listed:
    asked: list[dict[str, Any]] = read_json(folder / "request.json")["recipe"].get("steps") or []
    taken = len(list((folder / "steps").glob("step-*.json")))
    far = f"not ended, {taken} of {len(asked)} steps" if (folder / "inputs.json").exists() else "not ended, reading"
    return Listed(folder.name, far, None, None, None, [next(iter(step)) for step in asked])


def _states(store: Path) -> dict[str, str]:
    """What is to be known of a run besides: published or held, pinned, thinned."""
    found = {run: [state] for run, state in standing(store).items()}
    for file, state in ((PINNED, "pinned"), (THINNED, "thinned")):
        for path in sorted((store / "runs").glob(f"*/{file}")):
            found.setdefault(path.parent.name, []).append(state)
    return {run: ", ".join(states) for run, states in found.items()}


def told(store: Path, *, every: bool = False) -> str:
    """The same as a table, without what `tamis compare` made, unless `every`. Raises StoreError."""
    found = listed(store)
    own = found if every else [run for run in found if not run.name.startswith(OF_COMPARE)]
    aside, found = len(found) - len(own), own
    if not found:
        return f"{store}: no run yet; `tamis run RECIPE --store {store}` makes one"
    stands = _states(existing_store(store))
    rows: list[tuple[str, ...]] = [("run", "ended (UTC)", "selected", "of", "seconds", "state", "steps")]
    for run in found:
        numbers = ["" if number is None else f"{number:,}" for number in (run.selected, run.pool)]
        seconds = "" if run.seconds is None else f"{run.seconds:,.1f}"
        steps = visible(", ".join(run.steps)) or "none"
        steps = steps if len(steps) <= NAMED else steps[: NAMED - 1] + "…"
        ended = run.ended if run.selected is None else run.ended[:TO_THE_MINUTE]
        rows.append((visible(run.name), ended, *numbers, seconds, stands.get(run.name, ""), steps))
    if not stands:
        rows = [(*row[:-2], row[-1]) for row in rows]
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    left = (True, True, False, False, False, True, True)[: len(wide)]
    lines = [
        "  ".join(
            f"{word:{'<' if is_left else '>'}{w}}" for word, w, is_left in zip(row, wide, left, strict=True)
        ).rstrip()
        for row in rows
    ]
    if aside:
        lines.append(f"And {counted(aside, 'runs')} of `tamis compare`: --all lists them.")
    if any(run.selected is None for run in found):
        lines.append("What has not ended goes on with the same `tamis run`.")
    return joined(lines)
