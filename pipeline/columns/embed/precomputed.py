"""`embed: precomputed`: vectors made elsewhere, joined to the pool by key, never by position.

Parquet with a key and a vector field; `.npz` beside Parquet of the same stem and row order (DataComp); `.npy` beside a
text file of keys; `.npz` that holds keys itself. An index of 64-bit ids is kept in memory, 16 bytes a vector; vectors
are read a file at a time. A key with two vectors is an error; samples without one get null, and are counted."""

from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tamis.pipeline.columns.contract import ColumnKind, Output, Told
from tamis.pipeline.errors import RecipeError
from tamis.pipeline.files.patterns import matching
from tamis.pipeline.read.identity import sample_ids
from tamis.selectors.vectors.columns import as_column

PRECOMPUTED_VERSION = 1
FILES_HELD = 4  # of vectors, in memory; DataComp's shards hold 10,000


@dataclass(frozen=True, kw_only=True)
class Precomputed(ColumnKind):
    """path    files or a glob (.parquet, .npz, .npy)
    key     the field of keys in Parquet, or the array in .npz
    vector  the field or array of vectors
    on      the pool's field that the keys are matched with
    dims    keep the leading ones
    """

    verb: ClassVar[str] = "embed"
    kind: ClassVar[str] = "precomputed"
    heavy: ClassVar[bool] = False
    hint: ClassVar[str] = "; do the keys look alike?"

    path: str
    key: str = "key"
    vector: str = "vector"
    on: str = "key"
    dims: int | None = None

    def makes(self, images: bool) -> list[Output]:
        return [Output(reads=(self.on,), vectors=True)]

    def fingerprinted(self, folder: Path) -> dict[str, Any]:
        files = [Path(name) for path in self.files(folder) for name in (path, _keys_file(path)) if name is not None]
        stamps = [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files]
        return {**asdict(self), "files": stamps, "version": PRECOMPUTED_VERSION}

    def files(self, folder: Path) -> list[Path]:
        some = matching(folder, self.path)
        npz = {path.stem for path in some if path.suffix.lower() == ".npz"}
        found = [
            path
            for path in some
            if path.suffix.lower() in (".npz", ".npy") or (path.suffix.lower() == ".parquet" and path.stem not in npz)
        ]
        if not found:
            raise RecipeError(f"precomputed: {folder / self.path} finds no .parquet, .npz or .npy file")
        return found

    @property
    def leading(self) -> int | None:
        return self.dims

    def load(self, place: Path) -> "PrecomputedModel":
        return PrecomputedModel(self, place)


class PrecomputedModel:
    """Vectors by key; with `numbers`, one number a key."""

    def __init__(self, settings: Precomputed, folder: Path, numbers: bool = False) -> None:
        self.settings, self.numbers = settings, numbers
        self.files = settings.files(folder)
        ids, files, places = [], [], []
        self._counts: list[int] = []
        for number, path in enumerate(self.files):
            keys = _keys(path, settings)
            self._counts.append(len(keys))
            ids.append(sample_ids("", keys))
            files.append(np.full(len(keys), number, np.int32))
            places.append(np.arange(len(keys), dtype=np.int32))
        self._ids, self._files, self._places = (np.concatenate(some) for some in (ids, files, places))
        order = np.argsort(self._ids, kind="stable")
        self._ids, self._files, self._places = self._ids[order], self._files[order], self._places[order]
        twice = np.flatnonzero(self._ids[1:] == self._ids[:-1])
        if len(twice):
            where = self.files[self._files[twice[0]]]
            raise RecipeError(
                f"precomputed: {len(twice):,} keys have two vectors, the first in {where}, row {self._places[twice[0]]}"
            )
        self.dim = self._read(0).shape[1]

    @property
    def facts(self) -> dict[str, Any]:
        return {"dim": self.settings.dims or self.dim, "vectors": len(self._ids), "files": len(self.files)}

    def values(self, batch: pa.RecordBatch, told: Told) -> list[pa.Array]:
        """The vectors, null where a key has none."""
        vectors, lost = self.keys(batch[self.settings.on].cast(pa.string()).to_pylist())
        return [as_column(vectors, self.settings.dims, lost)]

    def keys(self, keys: list[str | None]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """[keys, dim], and [keys] which of them have none."""
        wanted = sample_ids("", [key or "" for key in keys])
        place = np.minimum(np.searchsorted(self._ids, wanted), len(self._ids) - 1)
        lost = (self._ids[place] != wanted) | np.array([key is None for key in keys], bool)
        out = np.zeros((len(keys), self.dim), np.float32)
        for number in np.unique(self._files[place[~lost]]).tolist():
            rows = np.flatnonzero(~lost & (self._files[place] == number))
            vectors = self._read(number)
            if vectors.shape[1] != self.dim:
                raise RecipeError(
                    f"precomputed: {self.files[number]} has {vectors.shape[1]} dimensions, others {self.dim}"
                )
            out[rows] = vectors[self._places[place[rows]]]
        return out, lost

    def _read(self, number: int) -> Any:
        vectors = _vectors(self.files[number], self.settings.vector, self.files[number].stat().st_mtime_ns)
        if self.numbers and vectors.ndim == 1:
            vectors = vectors[:, None]
        if vectors.ndim != 2:
            raise RecipeError(f"precomputed: {self.files[number]}: wanted [rows, dim], found {list(vectors.shape)}")
        if len(vectors) != self._counts[number]:
            raise RecipeError(
                f"precomputed: {self.files[number]}: {self._counts[number]:,} keys, {len(vectors):,} vectors"
            )
        return vectors


def _keys_file(path: Path) -> Path | None:
    """Where the keys of a file of vectors lie: beside it, under its stem."""
    if path.suffix.lower() == ".parquet":
        return None
    beside = [path.with_suffix(suffix) for suffix in (".parquet", ".txt") if path.with_suffix(suffix).exists()]
    return beside[0] if beside else None


def _keys(path: Path, settings: Precomputed) -> list[str]:
    beside = _keys_file(path)
    try:
        if path.suffix.lower() == ".parquet" or (beside and beside.suffix == ".parquet"):
            return [str(key) for key in pq.read_table(beside or path, columns=[settings.key])[settings.key].to_pylist()]
        if beside:
            return beside.read_text(encoding="utf-8").removesuffix("\n").split("\n")
        with np.load(path, allow_pickle=False) as held:
            return [key.decode() if isinstance(key, bytes) else str(key) for key in held[settings.key].tolist()]
    except (OSError, KeyError, ValueError, TypeError, IndexError, pa.ArrowException) as error:
        raise RecipeError(
            f"precomputed: no keys {settings.key!r} for {path} ({' '.join(str(error).split())[:160]})"
        ) from error


@lru_cache(maxsize=FILES_HELD)
def _vectors(path: Path, name: str, _mtime_ns: int) -> npt.NDArray[Any]:
    try:
        if path.suffix.lower() == ".npy":
            found = np.load(path, mmap_mode="r", allow_pickle=False)
        elif path.suffix.lower() == ".npz":
            with np.load(path, allow_pickle=False) as held:
                found = held[name]
        else:
            column = pq.read_table(path, columns=[name])[name].combine_chunks()
            if pa.types.is_floating(column.type) or pa.types.is_integer(column.type):
                found = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
            else:
                found = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
    except (OSError, KeyError, ValueError, AttributeError, pa.ArrowException) as error:
        raise RecipeError(
            f"precomputed: no vectors {name!r} in {path} ({' '.join(str(error).split())[:160]})"
        ) from error
    return found
