"""Rows that could not be read, on their way to their group's file: few in memory, whatever their number."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

import pyarrow as pa

from tamis.pipeline.files.atomic import batch_writer
from tamis.pipeline.read.blocks import Reject
from tamis.pipeline.schemas import REJECTS

HELD = 1 << 14  # some 10 MB


class Rejects:
    """Of one group; `held` are those that are not written yet, all of them unless `spill`."""

    def __init__(self, group: int, writer: Callable[[], Callable[[pa.Table], None]], *, spill: bool) -> None:
        self.counts: Counter[str] = Counter()
        self.held: list[Reject] = []
        self._group, self._writer, self._spill = group, writer, spill

    def extend(self, rejects: Iterable[Reject]) -> None:
        for reject in rejects:
            self.append(reject)

    def append(self, reject: Reject) -> None:
        self.held.append(reject)
        self.counts[reject.reason] += 1
        if self._spill and len(self.held) >= HELD:
            self.write()

    def write(self) -> None:
        rows = [{**reject._asdict(), "part_group": self._group} for reject in self.held]
        self._writer()(pa.Table.from_pylist(rows, REJECTS))
        self.held = []


@contextmanager
def collected(final: Path, group: int, *, spill: bool) -> Iterator[Rejects]:
    """The file is there when the block ends without an error, and there were any."""
    with ExitStack() as stack:

        @cache
        def writer() -> Callable[[pa.Table], None]:
            return stack.enter_context(batch_writer(final, REJECTS))

        rejects = Rejects(group, writer, spill=spill)
        yield rejects
        if rejects.held:
            rejects.write()
