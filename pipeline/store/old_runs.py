"""Old runs: which of a store's may be thinned to what answers questions about them, or taken away whole.

Never what is published, what was so before, or what is pinned; and what people marked stays, as does what a later run
of its recipe leaves out by `against: kept`. Files of equal bytes, in whichever runs, stand once on a disk that has
links."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tamis.pipeline.errors import RecipeError, RunError, StoreError
from tamis.pipeline.files.atomic import digest_file, read_json, store_lock, write_record
from tamis.pipeline.files.inside import NotInside, inside
from tamis.pipeline.progress import say
from tamis.pipeline.recipe.recipe import plain_name
from tamis.pipeline.store.current import needed_by_consumers, who
from tamis.pipeline.store.runs import PINNED, THINNED, existing_store

Fate = Literal["thin", "remove"]
OF_OLD = ("ledger/", "exports/", "report.html")  # of every run: a copy of a store has to have what is to go
LEAST_BYTES = 4096  # of a file that is worth a link: a disk gives no less


@dataclass(frozen=True)
class Old:
    """What counts as old, and what becomes of it."""

    keep_runs: int | None = None  # of each recipe so many of the newest are not
    older_than: timedelta | None = None  # nor what ended since then
    fate: Fate = "thin"

    def __post_init__(self) -> None:
        """Raises RecipeError."""
        if self.keep_runs is not None and self.keep_runs < 1:
            raise RecipeError(f"keep_runs {self.keep_runs}: wanted 1 or more")


def old_runs(store: Path, old: Old) -> Iterator[tuple[Path, bool]]:
    """Folders of complete runs that are old, and whether each goes whole; thinned ones only where they do."""
    needed = needed_by_consumers(store)
    by_recipe: dict[str, list[tuple[str, str, Path]]] = {}
    for path in sorted((store / "runs").glob("*/manifest.json")):
        folder = path.parent
        thinned = folder / THINNED
        if thinned.exists() and old.fate == "thin":
            continue
        if not (folder / "request.json").exists():
            continue  # no run of ours
        ended = read_json(thinned if thinned.exists() else path)["ended"]
        recipe = read_json(folder / "request.json")["recipe"]
        by_recipe.setdefault(recipe["name"], []).append((ended, folder.name, folder))
    line = None if old.older_than is None else (datetime.now(UTC) - old.older_than).isoformat(timespec="seconds")
    for some in by_recipe.values():
        newest_first = sorted(some, reverse=True)
        for ended, name, folder in newest_first[old.keep_runs or 0 :]:
            if (line is None or ended < line) and name not in needed and not (folder / PINNED).exists():
                yield folder, old.fate == "remove" and not _asked_for(folder)


def _asked_for(folder: Path) -> bool:
    """Whether later runs, or people, need something of it."""
    recipe = read_json(folder / "request.json")["recipe"]
    return recipe.get("against") == "kept" or (folder / "marks.json").exists() or (folder / "marks").is_dir()


def note_thinned(folder: Path, names: list[str], size: int) -> None:
    """Before anything of it goes: from here on nobody takes it for a whole run."""
    told = {"at": _now(), "ended": read_json(folder / "manifest.json")["ended"], "went": names, "bytes": size}
    write_record(folder / THINNED, told, sealed=False)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def pin(store: Path, name: str, *, pinned: bool) -> str:
    """Let no rule take a run away, or let it again. Raises StoreError, RunError."""
    store = existing_store(store)
    try:
        folder = inside(store / "runs", plain_name(name))
    except NotInside as error:
        raise StoreError(str(error)) from error
    if not (folder / "manifest.json").exists():
        raise RunError(f"store {store}: no run {name!r} that has ended. `tamis runs {store}` lists them.")
    with store_lock(store, say):
        if pinned:
            write_record(folder / PINNED, {"at": _now(), "by": who()}, sealed=False)
        else:
            (folder / PINNED).unlink(missing_ok=True)
    return f"{name}: " + ("pinned; no rule takes it away" if pinned else "not pinned any more")


class Twin(NamedTuple):
    """A file of a run whose bytes another file has, too."""

    path: Path
    other: Path
    bytes: int
    digest: str

    def stand_once(self) -> None:
        """Both names lead to one file from here on, if that is as it was written; nothing of a run is ever written in
        place."""
        if digest_file(self.other) != self.digest:
            say(f"{self.other}: damaged; {self.path} stays a file of its own")
            return
        beside = self.path.with_name(f".{self.path.name}.{os.getpid()}-twin.writing")
        beside.unlink(missing_ok=True)
        try:
            os.link(self.other, beside)
        except OSError as error:
            say(f"{self.path}: stays a file of its own ({error.strerror})")
            return
        os.replace(beside, self.path)


def shared(store: Path, without: set[Path]) -> Iterator[Twin]:
    """Files of whole runs that an earlier one, or the same, has under another name; `without` runs that go."""
    first: dict[tuple[int, str], Path] = {}
    for manifest in sorted((store / "runs").glob("*/manifest.json")):
        folder = manifest.parent
        if folder in without or (folder / THINNED).exists():
            continue
        files: dict[str, dict[str, Any]] = read_json(manifest)["files"]
        for name, told in sorted(files.items()):
            path = folder / name
            if told["bytes"] < LEAST_BYTES or not _is_plain(store, path):
                continue
            other = first.setdefault((told["bytes"], told["digest"]), path)
            if other is not path and not os.path.samefile(other, path):
                yield Twin(path, other, told["bytes"], told["digest"])


def _is_plain(store: Path, path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and path.resolve().is_relative_to(store.resolve())
