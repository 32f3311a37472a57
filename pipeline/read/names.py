"""Names that the pool has more than once: a label file can't mean one sample by them."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from tamis.pipeline.files.atomic import fingerprint
from tamis.pipeline.read.identity import sample_ids
from tamis.pipeline.read.pool import Pool
from tamis.pipeline.read.sources import IMAGE_SUFFIXES


@dataclass(frozen=True)
class Repeated:
    """Hashes of keys (of several namespaces) and of basenames that more than one sample has, sorted."""

    keys: npt.NDArray[np.uint64]
    basenames: npt.NDArray[np.uint64]

    def __contains__(self, key: str) -> bool:
        """Whether more than one sample has this key."""
        return _has(self.keys, key)

    def has_basename(self, name: str) -> bool:
        """Whether more than one sample's key ends so."""
        return _has(self.basenames, name)

    @property
    def fingerprint(self) -> str:
        """Empty where no name is repeated."""
        held = [self.keys.tolist(), self.basenames.tolist()]
        return fingerprint(held) if len(self.keys) or len(self.basenames) else ""


LAYOUT = ("images", "labels", "annotations", "jpegimages", "obj_train_data", "obj_valid_data", "obj_test_data")


def parts_of(name: str) -> tuple[str, ...]:
    """A name's folders and base, without those that a data set's layout puts between images and what is said of them:
    `labels/train/1` and `images/train/1` are both `train/1`."""
    folders = name.strip("/").split("/")
    return (*(part for part in folders[:-1] if part.casefold() not in LAYOUT), folders[-1])


def stem_of(name: str) -> str:
    """Without the suffix of an image or of its label file; a dot in a key is not one."""
    suffix = PurePosixPath(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in (*IMAGE_SUFFIXES, ".txt", ".xml") else name


def one_ends_the_other(a: tuple[str, ...], b: tuple[str, ...]) -> bool:
    least = min(len(a), len(b))
    return a[-least:] == b[-least:]


NOTHING = Repeated(np.zeros(0, np.uint64), np.zeros(0, np.uint64))


def _has(hashes: npt.NDArray[np.uint64], name: str) -> bool:
    place = int(np.searchsorted(hashes, wanted := sample_ids("", [name])[0]))
    return place < len(hashes) and bool(hashes[place] == wanted)


def repeated_names(pool: Pool) -> Repeated:
    """The pool's keys are read once a process, 16 bytes each."""
    return _repeated(tuple(part.path for part in pool.parts))


@lru_cache(maxsize=2)
def _repeated(paths: tuple[Path, ...]) -> Repeated:
    keys, basenames = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint64)]
    for path in paths:
        for batch in pq.ParquetFile(path).iter_batches(columns=["key"]):
            some = batch["key"].to_pylist()
            keys.append(sample_ids("", some))
            basenames.append(sample_ids("", [PurePosixPath(key).name for key in some]))
    return Repeated(_twice(np.concatenate(keys)), _twice(np.concatenate(basenames)))


def _twice(hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    names, counts = np.unique(hashes, return_counts=True)
    return names[counts > 1]
