"""`tamis gc`: what a store holds that none of its runs needs, and deleting it.

What goes is what was found here, in the store's own folders: a record may say which of these are meant, and never
where they lie. A run needs the shards that it saw, the columns that it used, its target, and those models that its
ledger does not answer for; so taking a run's folder away, or thinning it, is what frees them. While a run has not ended
nothing that it may still use is freed."""

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from tamis.pipeline.errors import StoreError, TamisError
from tamis.pipeline.files.atomic import drop_old_seals, read_json, store_lock, write_record
from tamis.pipeline.files.inside import is_inside
from tamis.pipeline.files.mirror import is_copy
from tamis.pipeline.files.sealed import SEALS
from tamis.pipeline.files.store_format import check_format
from tamis.pipeline.progress import counted, joined, say
from tamis.pipeline.read.pool import record_paths, records_of, superseded
from tamis.pipeline.read.walk import is_store
from tamis.pipeline.store.current import FOLDER, LISTS, list_path, read_decision, switches
from tamis.pipeline.store.learned import answered_by_ledger, model_path, prepared_path
from tamis.pipeline.store.old_runs import Old, note_thinned, old_runs, shared
from tamis.pipeline.store.runs import THINNED, Run, open_run, stays

Inode = tuple[int, int]  # device and number


@dataclass(frozen=True)
class Unneeded:
    """Files or folders that can go together."""

    what: str
    paths: list[Path]
    group: Path | None = None  # the record of the pool's group that they are of: it is to say that they are gone
    thinned: Path | None = None  # the folder of the run that they are of: it is to say that they are gone

    def bytes(self, names: Counter[Inode]) -> int:
        """That are freed when it goes, after what `names` counts: a file with two names stays while one is left."""
        freed = 0
        for path in self.paths:
            for state in _files(path):
                inode = state.st_dev, state.st_ino
                names[inode] += 1
                freed += state.st_size if names[inode] == state.st_nlink else 0
        return freed


def collect(store: Path, delete: bool, allow_code: bool = False, old: Old | None = None) -> str:
    """Tell what no run needs, `old` runs among it where that is said, and delete it if asked. Raises StoreError."""
    store = store.absolute()
    if not is_store(store):
        raise StoreError(f"{store}: no store; it is the folder that `tamis run --store` was given")
    check_format(store)
    with store_lock(store, say):
        found = list(unneeded(store, allow_code, old))
        going = {path for one in found for path in (one.thinned, *one.paths) if path is not None}
        alike = [] if is_copy(store) else list(shared(store, going))
        names: Counter[Inode] = Counter()
        sizes = [one.bytes(names) for one in found]
        lines = [f"  {size / 1e6:>10,.1f} MB  {one.what}" for size, one in zip(sizes, found, strict=True)]
        if alike:
            size = sum(one.bytes for one in alike) / 1e6
            lines.append(f"  {size:>10,.1f} MB  files that several runs have: each stands once")
        whole = (sum(sizes) + sum(twin.bytes for twin in alike)) / 1e6
        if delete:
            for size, one in zip(sizes, found, strict=True):
                _take_away(store, one, size)
            for twin in alike:
                twin.stand_once()
            for what in () if is_copy(store) else ("pool", "columns", FOLDER):  # a copy has not all files
                for seals in sorted((store / what).rglob(SEALS)):
                    drop_old_seals(seals.parent)
    if not found and not alike:
        return f"{store}: everything is needed by a run"
    done = "deleted" if delete else "can go; --delete takes it away"
    return joined([*lines, f"  {whole:>10,.1f} MB  {done}"])


def unneeded(store: Path, allow_code: bool = False, old: Old | None = None) -> Iterator[Unneeded]:
    folders = [path.parent for path in sorted((store / "runs").glob("*/request.json"))]
    thin = {folder for folder in folders if (folder / THINNED).exists()}
    yield from _left_of_thinned(thin)
    going = set()
    if old is not None:
        for folder, whole in old_runs(store, old):
            if whole:
                going.add(folder.name)
                yield Unneeded(f"run {folder.name}: taken away", [folder])
            elif folder not in thin:
                yield Unneeded(f"run {folder.name}: thinned", _of_whole_runs_alone(folder), thinned=folder)
            thin.add(folder)
    yield from _lists(store, {folder.name for folder in folders} - going)
    runs = [open_run(folder, allow_code) for folder in folders if folder not in thin]
    begun = [run.name for run in runs if not run.complete]
    if begun:
        say(f"columns, models and shards stay, for these runs have not ended: {', '.join(begun)}")
    yield from _left_over(store, runs)
    if begun:
        return
    kept_groups = {group for run in runs for group in run.inputs["pool"]}
    yield from _groups(store, kept_groups)
    yield from _unlisted(store)
    manifests = [read_json(run.folder / "manifest.json") for run in runs]
    used = {store / column["folder"] for manifest in manifests for column in manifest["columns"]}
    yield from _columns(store / "columns", used)
    targets = {folder.name for run in runs if run.inputs["target"] for folder in run.target_folders}
    for folder in _folders(store / "targets"):
        if folder.name not in targets:
            yield Unneeded(f"target {folder.name}: of no run", [folder])
    try:
        models = {name for run in runs for name in _models(run)}
    except TamisError as error:  # a user's own selector is not to be run for this
        say(f"models stay: {error}")
        return
    if spare := [folder for folder in _folders(store / "models") if folder.name not in models]:
        yield Unneeded(f"{counted(len(spare), 'models')}: of no run, or its ledger answers for it", spare)


def _lists(store: Path, runs: set[str]) -> Iterator[Unneeded]:
    """What changed between two runs of which none is there any more; the decisions stay."""
    found = []
    for to in switches(store):
        for path in sorted((store / FOLDER / to).glob("[0-9]*-removed.parquet")):
            number = int(path.name.partition("-")[0])
            record = store / FOLDER / to / f"{number:06d}.json"
            if not record.exists():
                continue  # a kill came between; the next decision writes them anew
            decision = read_decision(record)
            if not {decision["current"], decision["before"]} & runs:
                found += [path for what in LISTS if (path := list_path(store, to, number, what)).exists()]
    if found:
        yield Unneeded(f"{counted(len(found), 'lists')} of what changed between runs that are gone", found)


def _of_whole_runs_alone(folder: Path) -> list[Path]:
    """Files and folders of a run that do not stand once it was thinned."""
    inside_steps = [path for path in sorted(folder.glob("steps/*")) if not stays(f"steps/{path.name}")]
    return [*(path for path in sorted(folder.iterdir()) if not stays(path.name)), *inside_steps]


def _left_of_thinned(folders: set[Path]) -> Iterator[Unneeded]:
    """What a kill left of runs that were being thinned."""
    for folder in sorted(folders):
        if paths := _of_whole_runs_alone(folder):
            yield Unneeded(f"run {folder.name}: the rest of what it was thinned by", paths)


def _left_over(store: Path, runs: list[Run]) -> Iterator[Unneeded]:
    """What killed processes left behind."""
    work = [run.folder / ".work" for run in runs if run.complete and (run.folder / ".work").exists()]
    writing = [path for path in store.rglob(".*.writing") if not any(folder in path.parents for folder in work)]
    spilled = list((store / ".tmp").iterdir()) if is_inside(store, store / ".tmp") and (store / ".tmp").is_dir() else []
    if paths := [*work, *writing, *spilled]:
        yield Unneeded(f"{len(paths):,} unfinished files of killed processes", paths)


def _groups(store: Path, kept: set[int]) -> Iterator[Unneeded]:
    """Groups of the pool that no run sees, and on which no rejects of those that one sees lean."""
    pool = store / "pool"
    pairs = list(zip(record_paths(pool), records_of(pool), strict=True))
    shards = _shards(store)
    kept = kept | {other for _, record in pairs if record["group"] in kept for other in record["leans_on"]}
    every = [record for _, record in pairs]
    merged = superseded(every, every)
    for path, record in pairs:
        names = {part["name"] for part in record["parts"]}
        there = [one for one in shards if one.name in names]
        stands = "replaces" in record and record["group"] not in merged  # for what the next run reads
        if record["group"] not in kept and not stands and there:
            yield Unneeded(f"pool group {record['group']} ({counted(len(names), 'shards')}): of no run", there, path)


def _unlisted(store: Path) -> Iterator[Unneeded]:
    """Shards without a record, and what was noted of them: whoever wrote them was killed before they counted."""
    pool = store / "pool"
    listed = {part["name"] for record in records_of(pool) for part in record["parts"]}
    partial = (pool / ".groups").glob("*.partial")
    if paths := [*(path for path in _shards(store) if path.name not in listed), *partial]:
        yield Unneeded(f"{len(paths):,} files of shards that killed processes never ended", paths)


def _shards(store: Path) -> list[Path]:
    """Of the pool, and the columns' parts."""
    return [*sorted((store / "pool").glob("part-*.parquet")), *sorted((store / "columns").rglob("part-*.parquet"))]


def _columns(base: Path, used: set[Path]) -> Iterator[Unneeded]:
    for record in sorted(base.rglob("column.json")):
        folder = record.parent
        if folder != base and not any(path.is_relative_to(folder) for path in used):
            yield Unneeded(f"column {folder.relative_to(base)}: of no run", [folder])


def _models(run: Run) -> Iterator[str]:
    spare = answered_by_ledger(run)
    for number in range(len(run.recipe.steps)):
        paths = [model_path(run, number)]
        if run.step(number).selector.prepared is not None:
            paths.append(prepared_path(run, number))
        yield from (path.parent.name for path in paths if path not in spare)
    for maker in run.makers:
        yield maker.fingerprint


def _folders(base: Path) -> list[Path]:
    return sorted(path for path in base.iterdir() if path.is_dir()) if base.exists() else []


def _files(path: Path) -> Iterator[os.stat_result]:
    folder = path.is_dir() and not path.is_symlink()
    files: list[Path] = [one for one in path.rglob("*") if one.is_file()] if folder else [path]
    yield from (one.lstat() for one in files if one.exists())


def _take_away(store: Path, one: Unneeded, size: int) -> None:
    if one.group is not None:  # said before they go: a kill between leaves shards that nobody asks for
        record: dict[str, Any] = read_json(one.group)
        files: dict[str, Any] = {"files": []} if "replaces" in record else {}  # another stands for it, and has them all
        write_record(one.group, {**record, **files, "gone": True})
    if one.thinned is not None:
        note_thinned(one.thinned, [path.name for path in one.paths], size)
    for path in one.paths:
        if not is_inside(store, path.parent):
            raise StoreError(f"{path}: leads out of the store by a link; nothing of it is deleted")
        if path.is_dir() and not path.is_symlink():
            _remove(store, path)
        else:  # of a link the link
            path.unlink(missing_ok=True)


def _remove(store: Path, folder: Path) -> None:
    """Moved out of the way at once: of a half of a column, a model or a target something would be taken for whole."""
    place = store / ".tmp"
    if not is_inside(store, place):  # a link that leads elsewhere
        shutil.rmtree(folder)
        return
    place.mkdir(exist_ok=True)
    apart = Path(mkdtemp(dir=place))
    folder.rename(apart / "gone")
    shutil.rmtree(apart)
