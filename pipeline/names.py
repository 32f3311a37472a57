"""Which basenames the pool has more than once: a label file that gives no path can't mean one of those."""

from functools import lru_cache
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from tamis.pipeline.identity import sample_ids
from tamis.pipeline.ingest import Pool


def has_twice(pool: Pool, name: str) -> bool:
    """Whether more than one sample's key ends so. The pool's keys are read once a process, 8 bytes each."""
    found = _repeated(tuple(part.path for part in pool.parts))
    place = int(np.searchsorted(found, wanted := sample_ids("", [name])[0]))
    return place < len(found) and bool(found[place] == wanted)


@lru_cache(maxsize=2)
def _repeated(paths: tuple[object, ...]) -> npt.NDArray[np.uint64]:
    batches = (batch for path in paths for batch in pq.ParquetFile(path).iter_batches(columns=["key"]))
    hashes = [sample_ids("", [PurePosixPath(key).name for key in batch["key"].to_pylist()]) for batch in batches]
    names, counts = np.unique(np.concatenate(hashes or [np.zeros(0, np.uint64)]), return_counts=True)
    return names[counts > 1]
