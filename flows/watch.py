"""New files begin a run: the recipe's sources are looked at every so often, in folders and in buckets.

A file counts once it stands still: two looks see the same files with the same sizes and times. What was there at the
start is that run's; a look that finds nothing new costs a listing, and leaves no trace at the server."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from uuid import UUID

from prefect.client.orchestration import get_client

from tamis.pipeline.errors import TamisError
from tamis.pipeline.progress import counted, say
from tamis.pipeline.read.sources import find_files
from tamis.pipeline.recipe.recipe import Recipe

Seen = frozenset[tuple[int, str, int, int]]  # source, path, size, time


class Looker:
    """Remembers what began the last run, and what the last look saw. Made before the first run, which takes what lies
    there then."""

    def __init__(self, recipe: Recipe) -> None:
        self.sources = [*recipe.pool, *recipe.beside]
        self.seen: Seen | None = self._look()
        self.ran: Seen = self.seen or frozenset()

    def new(self) -> int:
        """How many files are new or changed since a run took them, once they stand still."""
        now = self._look()
        whole, self.seen = now is not None and now == self.seen, now
        return len({(source, path) for source, path, _, _ in now ^ self.ran}) if whole and now is not None else 0

    def taken(self) -> None:
        """What the last look saw is a run's from here on."""
        self.ran = self.seen or self.ran

    def nothing_ran(self) -> None:
        """What lies there is no run's yet."""
        self.ran = frozenset()

    def _look(self) -> Seen | None:
        """None where there is nothing yet, or a bucket does not answer."""
        found = set()
        for number, source in enumerate(self.sources):
            try:
                found |= {(number, file.path, file.size, file.mtime_ns) for file in find_files(source)}
            except TamisError:
                return None
        return frozenset(found)


def _begun(deployment: UUID) -> bool:
    """Whether a run is to begin; none does while the deployment is paused."""
    with get_client(sync_client=True) as client:
        if client.read_deployment(deployment).paused:
            return False
        client.create_flow_run_from_deployment(deployment)
        return True


@contextmanager
def watching(looker: Looker, every: timedelta, deployment: UUID) -> Iterator[None]:
    """Look while the block goes on, and begin a run of the deployment when there is something new."""
    over = threading.Event()

    def looks() -> None:
        while not over.wait(every.total_seconds()):
            try:
                if (new := looker.new()) and _begun(deployment):
                    say(f"{counted(new, 'files')} new or changed: a run begins")
                    looker.taken()
            except Exception as error:  # noqa: BLE001  a disk or a server that is away is there again at another look
                say(f"looking for new files: {' '.join(str(error).split())[:200]}")

    thread = threading.Thread(target=looks, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(1)
