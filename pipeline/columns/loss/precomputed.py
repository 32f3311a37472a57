"""`loss: precomputed`: losses made elsewhere, joined to the pool by key; files as for precomputed vectors."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from tamis.pipeline.columns.contract import ColumnKind, Output, Told
from tamis.pipeline.columns.embed.precomputed import Precomputed, PrecomputedModel
from tamis.pipeline.errors import RecipeError


@dataclass(frozen=True, kw_only=True)
class PrecomputedLoss(ColumnKind):
    """path   Parquet, .npz, or .npy beside keys, as for precomputed vectors
    key    the field or array of keys
    value  that of the numbers
    match  the pool's field that the keys are matched with
    """

    verb: ClassVar[str] = "loss"
    kind: ClassVar[str] = "precomputed"
    heavy: ClassVar[bool] = False
    hint: ClassVar[str] = "; do the keys look alike?"

    path: str
    key: str = "key"
    value: str = "loss"
    match: str = "key"

    def makes(self, images: bool) -> list[Output]:
        return [Output(main=pa.float32(), reads=(self.match,))]

    @property
    def as_vectors(self) -> Precomputed:
        return Precomputed(path=self.path, key=self.key, vector=self.value, on=self.match)

    def fingerprinted(self, folder: Path) -> dict[str, Any]:
        return self.as_vectors.fingerprinted(folder)

    def load(self, place: Path) -> "PrecomputedLosses":
        return PrecomputedLosses(self, place)


class PrecomputedLosses:
    """One number a key."""

    def __init__(self, settings: PrecomputedLoss, folder: Path) -> None:
        self.match = settings.match
        self.model = PrecomputedModel(settings.as_vectors, folder, numbers=True)
        if self.model.dim != 1:
            raise RecipeError(f"precomputed: {settings.value!r} holds {self.model.dim} numbers a key, wanted one")
        self.facts: dict[str, Any] = {"values": self.model.facts["vectors"], "files": self.model.facts["files"]}

    def values(self, batch: pa.RecordBatch, told: Told) -> list[pa.Array]:
        """The losses, null where a key has none."""
        found, lost = self.model.keys(batch[self.match].cast(pa.string()).to_pylist())
        return [pa.array(found[:, 0], pa.float32(), mask=lost)]
