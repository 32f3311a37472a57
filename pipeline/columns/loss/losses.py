"""Losses of language models as columns: for each text the mean nats a token, and how many tokens that is of."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tamis.pipeline.columns.embed.precomputed import Precomputed, PrecomputedModel
from tamis.pipeline.columns.loss.causal_lm import CausalLM, LossModel
from tamis.pipeline.columns.loss.trained import SIZES, TrainedLM
from tamis.pipeline.errors import RecipeError
from tamis.pipeline.files.atomic import read_json
from tamis.selectors.rows import hashes_of


class Losses:
    """A causal model that the user gave."""

    def __init__(self, settings: CausalLM, folder: Path) -> None:
        place = folder / settings.model
        self._settle(place if place.is_dir() else settings.model, settings.context, settings.max_tokens, settings)

    def _settle(self, place: str | Path, context: int | None, most: int, settings: CausalLM | TrainedLM) -> None:
        self.model = LossModel(place, context, settings.stride, most, settings.precision)
        self.counts: dict[str, int] = {}

    @property
    def facts(self) -> dict[str, Any]:
        return self.model.facts

    def values(self, batch: pa.RecordBatch, shared: dict[Any, Any]) -> list[pa.Array]:
        """Losses, null where there is none, and numbers of tokens."""
        if self.model.cuts_like not in shared:
            shared[self.model.cuts_like] = self.model.tokens([text or "" for text in batch["text"].to_pylist()])
        tokens = shared[self.model.cuts_like]
        self.counts = {"texts_cut": tokens.cut}
        losses, counts = self.model.losses(tokens)
        return [pa.array(losses, pa.float32(), mask=counts == 0), pa.array(counts, pa.int32())]


@dataclass(frozen=True, kw_only=True)
class PrecomputedLoss:
    """path: Parquet, .npz, or .npy beside keys, as for precomputed vectors; key: the field or array of keys; value:
    that of the numbers; match: the pool's field that the keys are matched with."""

    path: str
    key: str = "key"
    value: str = "loss"
    match: str = "key"

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.match,)

    @property
    def as_vectors(self) -> Precomputed:
        return Precomputed(path=self.path, key=self.key, vector=self.value, on=self.match)

    def fingerprinted(self, folder: Path) -> dict[str, Any]:
        return self.as_vectors.fingerprinted(folder)


class PrecomputedLosses:
    """Losses made elsewhere, joined by key."""

    def __init__(self, settings: PrecomputedLoss, folder: Path) -> None:
        self.match = settings.match
        self.model = PrecomputedModel(settings.as_vectors, folder, numbers=True)
        if self.model.dim != 1:
            raise RecipeError(f"precomputed: {settings.value!r} holds {self.model.dim} numbers a key, wanted one")
        self.facts: dict[str, Any] = {"values": self.model.facts["vectors"], "files": self.model.facts["files"]}
        self.counts: dict[str, int] = {}

    def values(self, batch: pa.RecordBatch, _shared: dict[Any, Any]) -> list[pa.Array]:
        """The losses, null where a key has none."""
        found, lost = self.model.keys(batch[self.match].cast(pa.string()).to_pylist())
        return [pa.array(found[:, 0], pa.float32(), mask=lost)]


class TrainedLosses(Losses):
    """One that was trained here, in `learned`."""

    def __init__(self, settings: TrainedLM, learned: Path) -> None:
        self.told = read_json(learned / "model.json")
        self.slice = np.load(learned / "slice.npy", allow_pickle=False)
        most = settings.max_tokens or SIZES[settings.size].context - 1  # one window, with its mark
        self._settle(learned / "lm", None, most, settings)

    @property
    def facts(self) -> dict[str, Any]:
        return {**self.model.facts, "max_tokens": self.model.max_tokens, "trained": self.told}

    def values(self, batch: pa.RecordBatch, shared: dict[Any, Any]) -> list[pa.Array]:
        """The same, and whether the model was trained on this content."""
        return [*super().values(batch, shared), pa.array(np.isin(hashes_of(batch), self.slice))]
