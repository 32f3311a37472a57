"""What a store has published: STORE/current.json names a run, and moves from one to the next whole or not at all.

Decisions are numbered records, STORE/publications/current/000012.json: about which run, by whom, why, and which one is
current from then on. The file that consumers read says no more than the last of them; a kill between the two is mended
by whoever holds the store next. On a disk a link, STORE/current, leads to the run's folder."""

import getpass
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tamis.pipeline.errors import DamageFound, RecipeError, StoreError
from tamis.pipeline.files.atomic import digest_file, fingerprint, parsed_record, read_json, write_record
from tamis.pipeline.files.inside import NotInside, inside
from tamis.pipeline.files.mirror import answered
from tamis.pipeline.files.urls import as_url, filesystem
from tamis.pipeline.recipe.publish import PLAIN, SWITCH
from tamis.pipeline.recipe.recipe import plain_name
from tamis.pipeline.store.runs import existing_store

FOLDER = "publications"
PUBLISHED, HELD, WITHDRAWN = "published", "held", "withdrawn"  # verdicts on a run
GUARDS = "guards"  # by whom, where no person decided
LISTS = ("removed", "added")  # what changed since the run that was current before


def switch_name(to: str) -> str:
    """The file's, without its suffix. Raises StoreError where it is no name."""
    if not PLAIN.fullmatch(to):
        raise StoreError(f"--to {to!r}: can't name a switch: up to 64 letters, digits, '-' and '_'")
    return "current" if to == SWITCH else f"current-{to}"


def switches(store: Path) -> list[str]:
    """Names of the switches on which anything was decided."""
    folder = store / FOLDER
    return sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def decisions(store: Path, to: str) -> list[Path]:
    """Records of a switch, the last one first."""
    return sorted((store / FOLDER / to).glob("[0-9]*.json"), reverse=True)


def last_decision(store: Path, to: str) -> dict[str, Any] | None:
    return next((read_decision(path) for path in decisions(store, to)), None)


def read_decision(path: Path) -> dict[str, Any]:
    """One record; what it names are runs of the store, and nothing else. Raises DamageFound."""
    told: dict[str, Any] = read_json(path)
    try:
        runs = [plain_name(told[name]) for name in ("run", "current", "before") if told[name] is not None]
        whole = bool(runs) and isinstance(told["number"], int) and isinstance(told["moved"], int | None)
    except (RecipeError, KeyError, TypeError) as error:
        raise DamageFound(f"{path}: damaged ({error}). Restore it from a copy.") from error
    if not whole:
        raise DamageFound(f"{path}: damaged (no numbers, or no run). Restore it from a copy.")
    return told


def decision_on(store: Path, to: str, run: str) -> dict[str, Any] | None:
    """The last decision on a complete run; one on another that had its name before is none."""
    mine = manifest_digest(store, run)
    if mine is None:
        return None
    every = (one for one in _since_it_began(store, to, run) if one["run"] == run)
    return next((one for one in every if one["manifest"] == mine), None)


def manifest_digest(store: Path, run: str) -> str | None:
    """What tells a run from another of its name; None where it has not ended."""
    path = store / "runs" / run / "manifest.json"
    return digest_file(path) if path.exists() else None


def decided_so_far(store: Path) -> dict[str, int]:
    """Decisions of each switch, for the request of a run that begins: none of them is about it."""
    return {to: next_number(store, to) - 1 for to in switches(store)}


def _decided_before(store: Path, run: str) -> dict[str, int]:
    path = store / "runs" / run / "request.json"
    return dict(read_json(path).get("decided", {})) if path.exists() else {}


def _since_it_began(store: Path, to: str, run: str) -> Iterator[dict[str, Any]]:
    """Decisions, the last first; years of those before it are not read."""
    before = _decided_before(store, run).get(to, 0)
    yield from (read_decision(path) for path in decisions(store, to) if int(path.stem) > before)


def current_run(store: Path, to: str = SWITCH) -> str | None:
    """The name of the run that is published."""
    last = last_decision(store, to)
    return None if last is None else last["current"]


def who() -> str:
    """Of this process, for the record."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def record_decision(store: Path, to: str, **told: Any) -> dict[str, Any]:
    """Write the next decision, then what consumers read. The store's lock is held, and the lists of what changed, if
    there are any, stand. `told`: run, recipe, verdict, by, why, current, before, and what it went by."""
    number = next_number(store, to)
    at = datetime.now(UTC).isoformat(timespec="seconds")
    decision = {"number": number, "at": at, "manifest": manifest_digest(store, told["run"]), **told}
    write_record(store / FOLDER / to / f"{number:06d}.json", decision, sealed=False)
    mend_switch(store, to)
    return decision


def next_number(store: Path, to: str) -> int:
    last = next(iter(decisions(store, to)), None)
    return 1 if last is None else int(last.stem) + 1


def list_path(store: Path, to: str, number: int, what: str) -> Path:
    return store / FOLDER / to / f"{number:06d}-{what}.parquet"


def changes_of(store: Path, run: str) -> list[Path]:
    """The lists of what a run's publication changed, where it was published after another."""
    for to in switches(store):
        mine = (one for one in _since_it_began(store, to, run) if one["current"] == run and one["changed"])
        if (one := next(mine, None)) is not None:
            return [list_path(store, to, one["number"], what) for what in LISTS]
    return []


def mend_switch(store: Path, to: str) -> None:
    """Let the file and the link say what the last decision says. The store's lock is held."""
    last = last_decision(store, to)
    if last is None or last["current"] is None:
        return
    if manifest_digest(store, last["current"]) != last["current_manifest"]:
        return  # it is gone, or not here yet: what stands stays
    path = store / f"{switch_name(to)}.json"
    wanted = _for_consumers(store, to, last["current"], last["moved"])
    if _held_in(path) != wanted:
        write_record(path, wanted, sealed=False)
    _link(store / switch_name(to), f"runs/{last['current']}")


def _held_in(path: Path) -> Any:
    """What is there; None where nothing is, or it is damaged: the records say what it is to say."""
    try:
        return read_json(path)
    except (FileNotFoundError, DamageFound):
        return None


def _for_consumers(store: Path, to: str, run: str, number: int) -> dict[str, Any]:
    """All places are below the store."""
    decision = read_json(store / FOLDER / to / f"{number:06d}.json")
    folder = store / "runs" / run
    files = read_json(folder / "manifest.json")["files"]
    lists = {what: path for what in LISTS if (path := list_path(store, to, number, what)).exists()}
    return {
        "run": run,
        "number": number,
        "at": decision["at"],
        "by": decision["by"],
        "why": decision["why"],
        "folder": f"runs/{run}",
        "manifest": {"path": f"runs/{run}/manifest.json", "digest": digest_file(folder / "manifest.json")},
        "selection": {"path": f"runs/{run}/selection.parquet", **files["selection.parquet"]},
        "exports": _exports(run, files),
        "since": decision["before"] if lists else None,
        "changes": {what: {"path": str(path.relative_to(store)), **_file(path)} for what, path in lists.items()},
    }


def _exports(run: str, files: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """By name; of one that is a folder the sum of its bytes, and a digest over its files'."""
    found: dict[str, dict[str, Any]] = {}
    for name in sorted({name.split("/")[1] for name in files if name.startswith("exports/")}):
        top = f"exports/{name}"
        mine = {file: told for file, told in files.items() if file == top or file.startswith(f"{top}/")}
        digests = [[file, told["digest"]] for file, told in sorted(mine.items())]
        digest = mine[top]["digest"] if top in mine else fingerprint(digests)
        size = sum(told["bytes"] for told in mine.values())
        found[name] = {"path": f"runs/{run}/{top}", "bytes": size, "digest": digest}
    return found


def _file(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "digest": digest_file(path)}


def _link(link: Path, target: str) -> None:
    """Where the disk has links; a consumer that can't follow one reads the file."""
    with suppress(OSError):
        if link.is_symlink() and os.readlink(link) == target:
            return
        if link.exists() and not link.is_symlink():
            return  # someone's own
        beside = link.with_name(f".{link.name}.{os.getpid()}.writing")
        beside.unlink(missing_ok=True)
        beside.symlink_to(target)
        os.replace(beside, link)


def published(store: Path, to: str = SWITCH) -> dict[str, Any]:
    """What consumers read, of a folder or a URL. Raises StoreError where nothing is published."""
    name, url = f"{switch_name(to)}.json", as_url(store)
    if url is None:
        existing_store(store)
    try:
        if url is None:
            held = (store / name).read_bytes()
        else:
            system, root = filesystem(url)
            system.invalidate_cache()
            held = answered(url, lambda: system.cat_file(f"{root}/{name}"))
    except FileNotFoundError as error:
        raise StoreError(
            f"{url or store}: nothing is published, for there is no {name}. A run does it at its end, with `publish:` "
            "in its recipe; `tamis approve RUN --why TEXT` at any time."
        ) from error
    told = parsed_record(held, store / name)
    wanted = {"run", "folder", "manifest", "selection", "exports", "changes"}
    if not isinstance(told, dict) or not wanted <= told.keys():
        raise DamageFound(f"{store / name}: says nothing of a run. Delete it: the next run writes it anew.")
    return told


def published_place(store: Path, export: str | None = None, to: str = SWITCH) -> str:
    """Where the published run lies, or one of its exports, or the list `removed` or `added`. Raises StoreError."""
    told = published(store, to)
    files = {"manifest.json": told["manifest"], "selection.parquet": told["selection"]}
    known = {name: one["path"] for name, one in {**files, **told["exports"], **told["changes"]}.items()}
    if export is not None and export not in known:
        raise StoreError(f"{store}: {told['run']!r}, which is published, has no {export!r}; it has {', '.join(known)}")
    place = told["folder"] if export is None else known[export]
    if (url := as_url(store)) is not None:
        return f"{url}/{place}"
    try:
        path = inside(store.absolute(), place)
    except NotInside as error:
        raise StoreError(f"{store / switch_name(to)}.json: {error}") from error
    if not path.exists():
        raise StoreError(
            f"{path}: is gone, though {switch_name(to)}.json names it. tamis approve RUN publishes another"
        )
    return str(path)


def standing(store: Path) -> dict[str, str]:
    """Of each run that stands and was decided on what is so now: published, held, withdrawn, or published before."""
    runs = {path.parent.name for path in (store / "runs").glob("*/request.json")}
    before = {run: _decided_before(store, run) for run in runs}
    found: dict[str, list[str]] = {}
    for to in switches(store):
        left, mine = {run: before[run].get(to, 0) for run in sorted(runs)}, {}
        for path in decisions(store, to):
            if not left or int(path.stem) <= min(left.values()):
                break
            one = read_decision(path)
            if left.get(one["run"], one["number"]) < one["number"]:  # not of another that had its name before
                mine[one["run"]] = "before" if one["verdict"] == PUBLISHED else one["verdict"]
                del left[one["run"]]
        current = current_run(store, to)
        if current is not None:
            mine[current] = PUBLISHED
        for run, what in mine.items():
            found.setdefault(run, []).append(what if to == SWITCH else f"{what} ({to})")
    return {run: ", ".join(states) for run, states in found.items()}


def kept_from_consumers(store: Path) -> set[str]:
    """Runs that were held, or withdrawn, and are published nowhere since."""
    kept = {run: state.split(", ") for run, state in standing(store).items()}
    return {run for run, states in kept.items() if all(one.startswith((HELD, WITHDRAWN)) for one in states)}


def needed_by_consumers(store: Path) -> set[str]:
    """Runs that are published, and those before them, which a consumer may be reading yet."""
    return set(_needed(store))


def _needed(store: Path) -> Iterator[str]:
    for to in switches(store):
        last = last_decision(store, to)
        if last is not None:
            yield from filter(None, (last["current"], last["before"]))
    for path in store.glob("current*.json"):  # also where its records are lost
        told = _held_in(path)
        yield from [str(told["run"])] if isinstance(told, dict) and "run" in told else []
