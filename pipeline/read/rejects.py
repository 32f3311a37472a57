"""Rows that could not be read, on their way to their group's file: few in memory, whatever their number."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from tamis.pipeline.files.atomic import batch_writer
from tamis.pipeline.read.blocks import Reject
from tamis.pipeline.schemas import REJECTS

HELD = 1 << 14  # some 10 MB


class Rejects:
    """Of one group; `held` are those that are not written yet, all of them unless `spill`."""

    def __init__(self, group: int, write: Callable[[pa.Table], None], *, spill: bool) -> None:
        self.counts: Counter[str] = Counter()
        self.held: list[Reject] = []
        self._group, self._write, self._spill = group, write, spill

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
        self._write(pa.Table.from_pylist(rows, REJECTS))
        self.held = []


@contextmanager
def collected(final: Path, group: int, *, spill: bool) -> Iterator[Rejects]:
    """The file is there when the block ends without an error."""
    with batch_writer(final, REJECTS) as write:
        rejects = Rejects(group, write, spill=spill)
        yield rejects
        rejects.write()
