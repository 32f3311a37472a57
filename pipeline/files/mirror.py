"""A folder of this machine and the URL that it is a copy of: fetching what is new there, putting up what is new here.

There is no rename on object storage, so order makes things whole: digests go up first, a record after the files that it
speaks of, a run's after those of pool and columns, its manifest last of all."""

import hashlib
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tamis.pipeline.errors import StoreError
from tamis.pipeline.files.atomic import atomic_path, parsed_record, read_json, write_json
from tamis.pipeline.files.inside import NotInside, inside
from tamis.pipeline.files.sealed import SEALS
from tamis.pipeline.files.urls import filesystem, version_of, without_secrets
from tamis.pipeline.progress import say

STATE = ".remote.json"  # of the copy: what is known to be the same there
RECORDS = (".json", SEALS)  # what speaks of other files
PUBLISHED = re.compile(r"current(-[^/]+)?\.json")
OF_A_RUN = ("ledger", "exports", "report.html")  # of other runs than the one at work these stay there


class Mirror:
    """A folder, and the URL that it is a copy of."""

    def __init__(self, url: str, here: Path) -> None:
        self.url, self.here = url, here
        self.system, self.root = filesystem(url)
        self.known: dict[str, list[Any]] = read_json(here / STATE) if (here / STATE).exists() else {}

    def pull(self, run: str | None, also: tuple[str, ...] = (), *, published: bool = False) -> None:
        """Fetch what is new there: of one run all, with `published` of those that are, of every run what `also` names.
        If another machine has worked on it since, what was never put up from here goes."""
        there = self._listing()
        whole = {run, *(self._published(there) if published else ())}
        told = {name: version_of(info) for name, info in there.items()}
        for name, version in told.items():
            if name not in self.known and self._put_up_before(name, version):
                self._remember(name, version)
        seen = {name: version for name, version in told.items() if _wanted(name, whole, also)}
        if self.known.keys() - told or any(self.known.get(name, [""])[0] != version for name, version in seen.items()):
            for name in self._local() - self.known.keys():
                (self.here / name).unlink(missing_ok=True)
        for name in sorted(self.known.keys() - told):
            (self.here / name).unlink(missing_ok=True)
            del self.known[name]
        for name, version in sorted(seen.items()):
            if not self._same(name, version):
                place = self.here / name
                try:
                    with atomic_path(place, sealed=False) as beside:
                        self.call(partial(self.system.get_file, f"{self.root}/{name}", str(beside)))
                except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
                    raise StoreError(f"store {self.url}: {name} is a file there and a folder, too") from error
                self._remember(name, version)
        write_json(self.here / STATE, self.known, sealed=False)

    def _published(self, there: dict[str, Any]) -> set[str]:
        """Runs that current.json and its like name."""
        found = set()
        for name in filter(PUBLISHED.fullmatch, there):
            held = self.call(partial(self.system.cat_file, f"{self.root}/{name}"))
            found.add(str(parsed_record(held, self.here / name)["run"]))
        return found

    def push(self, alive: Callable[[], None]) -> None:
        """Put up what is new here, and take away there what went. `alive` is called between files."""
        alive()
        records = [name for name in self._local() if name.endswith(RECORDS)]
        files = [name for name in self._local() if not name.endswith(RECORDS)]  # looked for after who speaks of them
        gone = sorted(self.known.keys() - self._local(), key=lambda name: (not name.endswith("/manifest.json"), name))
        manifests = [name for name in gone if name.endswith("/manifest.json")]
        for name in manifests:  # of a run that goes: before what it speaks of is any other
            self._take_away(name)
        for name in in_order([*files, *records]):
            self._put(name)
            alive()
        for name in gone[len(manifests) :]:  # after what is put up, which may say that it is gone
            self._take_away(name)
        write_json(self.here / STATE, self.known, sealed=False)

    def _take_away(self, name: str) -> None:
        self.call(partial(self.system.rm_file, f"{self.root}/{name}"), absent=True)
        del self.known[name]

    def put(self, name: str) -> None:
        """Put up one file."""
        self._put(name)
        write_json(self.here / STATE, self.known, sealed=False)

    def _put(self, name: str) -> None:
        place = self.here / name
        try:
            stamp = _stamp(place)
        except FileNotFoundError:  # it went since we looked
            return
        if self.known.get(name, [None, None])[1] != stamp:
            self.call(lambda: self.system.put_file(str(place), f"{self.root}/{name}"))
            self.system.invalidate_cache()
            info = self.call(lambda: self.system.info(f"{self.root}/{name}"))
            self.known[name] = [version_of(info), stamp]

    def _same(self, name: str, version: str) -> bool:
        known, place = self.known.get(name), self.here / name
        return bool(known and known[0] == version and place.exists() and known[1] == _stamp(place))

    def _put_up_before(self, name: str, version: str) -> bool:
        """Whether a killed process put this up and could not note it: the tag of what goes up at once is its MD5."""
        place = self.here / name
        if not place.is_file():
            return False
        return version.strip('"') == hashlib.md5(place.read_bytes(), usedforsecurity=False).hexdigest()

    def _remember(self, name: str, version: str) -> None:
        self.known[name] = [version, _stamp(self.here / name)]

    def _local(self) -> set[str]:
        """All files of the copy that belong up there."""
        found = set()
        for path in self.here.rglob("*"):
            name = path.relative_to(self.here).as_posix()
            if not _is_own(name) and not path.is_symlink() and path.is_file():
                found.add(name)
        return found

    def _listing(self) -> dict[str, dict[str, Any]]:
        self.system.invalidate_cache()
        found = self.call(lambda: self.system.find(self.root, detail=True), absent=True) or {}
        infos = {path[len(self.root) :].removeprefix("/"): info for path, info in found.items()}
        infos = {name: info for name, info in infos.items() if not name.startswith(".lock/")}
        foreign = sorted(name for name in infos if not self._may_lie_here(name))
        if foreign:
            say(
                f"store {self.url}: {len(foreign):,} objects are left alone, for a store has no files of such names: "
                f"{foreign[0]}"
            )
        return {name: info for name, info in infos.items() if name not in set(foreign)}

    def _may_lie_here(self, name: str) -> bool:
        """Whether an object's name is one of a file in the copy, and none that the copy needs for itself."""
        try:
            inside(self.here, name)
        except NotInside:
            return False
        return not _is_own(name)

    def call(self, function: Callable[[], Any], absent: bool = False) -> Any:
        try:
            return answered(self.url, function)
        except FileNotFoundError:
            if absent:
                return None
            raise


def answered(url: str, function: Callable[[], Any]) -> Any:
    """What a bucket says. Raises StoreError, FileNotFoundError."""
    try:
        return function()
    except FileNotFoundError:
        raise
    except Exception as error:  # each system has errors of its own
        told = " ".join(without_secrets(f"{type(error).__name__}: {error}").split())[:200]
        place = without_secrets(url)
        raise StoreError(f"store {place}: {told}. Mend it and run the same command: it goes on.") from error


def is_copy(store: Path) -> bool:
    """Whether a store's folder is the copy of one on object storage."""
    return (store / STATE).exists()


def _is_own(name: str) -> bool:
    """Of the copy alone: what is on its way, and what is known of the other side."""
    return name.startswith((".tmp/", ".held/", ".lock", STATE)) or "/.work/" in name or name.endswith(".writing")


def in_order(names: list[str]) -> list[str]:
    """As they are put up: digests, files, then the records that speak of them, those of runs later, their manifests,
    then decisions about runs, and last of all what tells consumers which one is published."""

    def turn(name: str) -> tuple[bool, bool, int, bool, bool, str]:
        record, of_run = name.endswith((".json", ".partial")), name.startswith("runs/")
        decides = 2 if PUBLISHED.fullmatch(name) else int(record and name.startswith("publications/"))
        return not name.endswith(SEALS), record, decides, of_run, name.endswith("/manifest.json"), name

    return sorted(names, key=turn)


def _wanted(name: str, whole: set[str | None], also: tuple[str, ...]) -> bool:
    top, *rest = name.split("/", 2)
    if top != "runs" or len(rest) < 2 or rest[0] in whole or rest[1].split("/")[0] not in OF_A_RUN:
        return True
    return rest[1].startswith(also)


def _stamp(path: Path) -> list[int]:
    state = path.stat()
    return [state.st_size, state.st_mtime_ns]
