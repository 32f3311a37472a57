"""A store on object storage (any fsspec URL): worked on in a copy on this machine, which is put up as it grows.

The copy stays, so that the same machine goes on at the shard; another one goes on at the last file that was put up."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tamis.pipeline.files.atomic import fingerprint, store_lock
from tamis.pipeline.files.mirror import Mirror
from tamis.pipeline.files.remote_lock import BEAT_S, Lock, lease
from tamis.pipeline.files.urls import as_url, cache_folder
from tamis.pipeline.progress import say


@contextmanager
def working_copy(store: Path, run: str | None = None, also: tuple[str, ...] = ()) -> Iterator[Path]:
    """The store's folder on this machine, to be changed; of a URL a copy, put up as it grows and when the block ends.

    `run`: the run that is worked on, whose ledger and exports are fetched, too, as are those of what is published;
    `also`: what of every run is. Raises
    StoreError, RunFailed."""
    url = as_url(store)
    if url is None:
        yield Path(store).resolve()
        return
    with _copy_of(url) as (mirror, here), lease(mirror) as held:
        mirror.pull(run, also, published=True)
        with _putting_up(mirror, held):
            yield here


@contextmanager
def working_run(run: Path) -> Iterator[Path]:
    """A run's folder on this machine, in a store that is to be changed. Raises StoreError, RunFailed."""
    url = as_url(run)
    if url is None:
        yield run.resolve()
        return
    root, _, name = url.partition("/runs/")
    with working_copy(Path(root), name) as here:
        yield here / "runs" / name


def readable(place: Path, also: tuple[str, ...] = ()) -> Path:
    """A store's or a run's folder on this machine, for looking at; of a URL what it holds now. Raises StoreError."""
    url = as_url(place)
    if url is None:
        return place.resolve()  # links and `..` once, here: paths of the store are told from others by how they begin
    root, runs, run = url.partition("/runs/")
    with _copy_of(root) as (mirror, here):
        mirror.pull(run.partition("/")[0], also)
    return here / "runs" / run if runs else here


def put_up(url: str, path: Path) -> None:
    """Put up one file of a copy that was written beside what it holds, such as people's marks. Raises StoreError."""
    with _copy_of(url) as (mirror, here):
        mirror.put(path.relative_to(here).as_posix())


@contextmanager
def _copy_of(url: str) -> Iterator[tuple[Mirror, Path]]:
    here = cache_folder() / "stores" / fingerprint(url)
    with store_lock(here / ".held", say):  # one process of this machine at a time
        (here / ".lock").touch()  # which makes a store of a folder
        yield Mirror(url, here), here


@contextmanager
def _putting_up(mirror: Mirror, held: Lock) -> Iterator[None]:
    """Round after round while the block works, and once more when it ends, however it ends."""
    done, failed = threading.Event(), list[Exception]()

    def rounds() -> None:
        while not done.wait(BEAT_S):
            try:
                mirror.push(held.beat)
            except Exception as error:  # noqa: BLE001  told when the block ends
                failed.append(error)
                return

    at_work = threading.Thread(target=rounds, daemon=True)
    at_work.start()
    try:
        yield
    finally:
        done.set()
        at_work.join()
        if failed:
            raise failed[0]
        mirror.push(held.beat)
