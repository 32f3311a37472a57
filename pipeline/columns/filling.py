"""Columns of vectors being filled: images through decoding workers and a model in one pass, texts batch by batch.

A column's batch size is settled once, recorded in its column.json and kept; when memory runs out it is halved there,
and the shard begins again. While one block is at the model the next ones are being decoded."""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tamis.pipeline.columns.notes import Notes, at_model
from tamis.pipeline.columns.torch_models import TooLarge
from tamis.pipeline.decode.decoders import Decoded, Decoders, Encoded
from tamis.pipeline.decode.plans import PLAIN, shape_of
from tamis.pipeline.decode.quality import MEASURES
from tamis.pipeline.errors import RecipeError
from tamis.pipeline.files.atomic import read_json, write_batches
from tamis.selectors.vectors.columns import as_array, as_column, vector_type

if TYPE_CHECKING:
    from tamis.pipeline.columns.embed.towers import Tower

COUNTED = ("batch", "halved_from", "texts_cut", "without_vector", "images_gone")  # of column.json alone
DRIFT_IMAGES = 64  # decoded both ways where the JPEG decoder shrinks, to say what that changes


class Filling(Notes):
    """One output of a column and its folder; the model is loaded when the first value is asked for."""

    def __init__(self, tower: "Tower", folder: Path, name: str) -> None:
        super().__init__(folder)
        self.tower, self.name = tower, name

    @property
    def value(self) -> str:
        """The values' name in the column's files."""
        return self.name.rpartition(".")[2]

    @cached_property
    def model(self) -> Any:
        with at_model:
            model = self.tower.model()
            self.note(**model.facts)
        return model

    @property
    def is_plain(self) -> bool:
        """Whether decoding workers make the values, and no model."""
        return self.tower.embedder in PLAIN

    @property
    def dims(self) -> int | None:
        return getattr(self.tower.settings, "dims", None)

    @property
    def type(self) -> pa.DataType:
        if self.measures:
            return pa.struct([(name, pa.float32()) for name in (self.value, *MEASURES[1:])])
        if self.is_plain:
            return vector_type(shape_of(self.plan)[0][0])
        return vector_type(min(self.dims or self.model.dim, self.model.dim))

    @property
    def measures(self) -> bool:
        """Whether the values are numbers in fields of their own; under way they are structs."""
        return self.tower.embedder == "image_quality"

    @property
    def plan(self) -> dict[str, Any]:
        """What decoding workers leave of each image for this column."""
        return PLAIN[self.tower.embedder] if self.is_plain else self.model.plan

    def without_vector(self, part: str) -> int:
        return int(read_json(self.record).get("without_vector", {}).get(part, 0))

    @property
    def batch(self) -> int:
        """Images at once: the recipe's, the recorded one, or what this machine is best at."""
        known = read_json(self.record).get("batch")
        if known is None:
            known = self.tower.settings.batch or self.model.best_batch()
            self.note(batch=known)
        return int(known)

    def halve(self) -> bool:
        """A smaller batch from here on; False where it can't be smaller."""
        before = self.batch
        if before > 1:
            self.note(batch=before // 2, halved_from=before)
        return before > 1

    def start(self, array: Any, lost: npt.NDArray[np.bool_] | None = None) -> Callable[[], pa.Array]:
        """Begin with a block of prepared images; the call gives the column's values. Raises TooLarge."""
        if not len(array):  # a block of rejects alone
            return lambda: pa.array([], self.type)
        if self.measures:
            fields = [pa.array(column) for column in np.ascontiguousarray(array.T)]
            gone = None if lost is None else pa.array(lost)
            told = pa.StructArray.from_arrays(fields, fields=list(self.type), mask=gone)
            return lambda: told
        if self.is_plain:
            made = as_column(array, lost=lost)
            return lambda: made
        coming = self.model.images(array, self.batch)
        return lambda: as_column(coming(), self.dims, lost)

    def of_batch(self, batch: pa.RecordBatch) -> pa.Array:
        """Values of a batch that needs no image: its texts, or its keys."""
        field = self.tower.reads[0]
        if field not in batch.schema.names:
            raise RecipeError(f"column {self.name}: the pool has no field {field!r}; add it to `keep`")
        given = batch[field].cast(pa.string()).to_pylist()
        if self.tower.kind == "keys":
            vectors, lost = self.model.keys(given)
        else:
            lost = np.array([not (text and text.strip()) for text in given], bool)
            vectors = np.zeros((len(given), self.model.dim), np.float32)
            if not lost.all():
                with at_model:
                    vectors[~lost] = self.model.texts([text for text in given if text and text.strip()])
        return as_column(vectors, self.dims, lost)

    def of_texts(self, part: str, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
        """The same, batch by batch, beside the samples' ids; texts that were cut are counted."""
        before = getattr(self.model, "cut", 0)
        for batch in batches:
            yield pa.table([batch["sample_id"], self.of_batch(batch)], ["sample_id", self.value])
        self.count("texts_cut", part, getattr(self.model, "cut", 0) - before)

    def write_part(self, name: str, digest: str, ids: Any, values: Any) -> None:
        """One whole part, made while its shard was decoded."""
        table = pa.table([ids, values], ["sample_id", self.value])
        self.write_batches(name, digest, table.to_batches())

    def write_batches(self, name: str, digest: str, batches: Iterable[Any]) -> None:
        """A part of the column, with what made it in its metadata. Not packed: vectors have nothing to gain by it."""
        fields = list(self.type) if self.measures else [pa.field(self.value, self.type)]
        schema = pa.schema([pa.field("sample_id", pa.uint64()), *fields], self.metadata(digest))
        nulls = [0]

        def counted() -> Iterator[Any]:
            for batch in batches:
                nulls[0] += batch[self.value].null_count
                yield _apart(batch, self.value) if self.measures else batch

        write_batches(self.folder / name, schema, counted(), compression="none", write_statistics=False)
        self.count("without_vector", name, nulls[0])

    def metadata(self, digest: str) -> dict[bytes, bytes]:
        told = {key: value for key, value in read_json(self.record).items() if key not in COUNTED}
        return {b"pool_part": digest.encode(), b"tamis": json.dumps(told, sort_keys=True).encode()}

    def classes(self, vectors: pa.Array) -> list[pa.Array]:
        """Best class of each image vector, its cosine, how far the second best is, and the first ten."""
        names, prompts = self._class_vectors
        images, there = as_array(vectors)
        cosines = images @ prompts.T
        from tamis.pipeline.columns.embed.towers import LISTED_CLASSES

        order = np.argsort(-cosines, axis=1, kind="stable")[:, :LISTED_CLASSES]
        rows = np.arange(len(images))
        best, second = cosines[rows, order[:, 0]], cosines[rows, order[:, min(1, len(names) - 1)]]
        chosen = np.array(names, object)[order[:, 0]]
        return [
            pa.array(chosen, pa.string(), mask=~there),
            pa.array(best, pa.float32(), mask=~there),
            pa.array(best - second, pa.float32(), mask=~there),
            _listed(np.array(names, object)[order], np.take_along_axis(cosines, order, 1), there),
        ]

    @cached_property
    def _class_vectors(self) -> tuple[list[str], npt.NDArray[np.float32]]:
        """Each class is the mean direction of its prompts' vectors, as published for CLIP (section 3.1.4)."""
        from tamis.pipeline.columns.embed.towers import read_classes

        classes = read_classes(self.tower.folder / self.tower.settings.classes)
        means = []
        with at_model:
            for prompts in classes.values():
                vectors = self.model.texts(prompts)
                means.append((vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).mean(0))
        made, _ = as_array(as_column(np.stack(means), self.dims))
        return list(classes), made


def _listed(names: npt.NDArray[Any], cosines: npt.NDArray[np.float32], there: npt.NDArray[np.bool_]) -> pa.Array:
    """[rows] lists of classes and cosines, best first; null where there is no vector."""
    pairs = [pa.array(names.ravel(), pa.string()), pa.array(cosines.ravel(), pa.float32())]
    flat = pa.StructArray.from_arrays(pairs, ["class", "cosine"])
    ends = pa.array(np.arange(len(there) + 1, dtype=np.int32) * names.shape[1])
    return pa.ListArray.from_arrays(ends, flat, mask=pa.array(~there))


def _apart(batch: Any, value: str) -> pa.Table:
    """The fields of structs as columns, null where the struct is."""
    told = pa.chunked_array(batch[value])
    told = told.combine_chunks() if told.num_chunks != 1 else told.chunk(0)
    names = [field.name for field in told.type]
    return pa.table([batch["sample_id"], *(pc.struct_field(told, [name]) for name in names)], ["sample_id", *names])


class ImagePass:
    """Blocks of images decoded once, for the pool's record and every column of theirs that is to be filled."""

    def __init__(self, fillings: list[Filling], hashed: bool = True) -> None:
        self.fillings = fillings
        self.decoders = Decoders([filling.plan for filling in fillings], hashed)
        self.waited = 0.0  # seconds in which nothing was decoded and the model had nothing to do
        self.began = time.monotonic()

    def __enter__(self) -> "ImagePass":
        return self

    def __exit__(self, *_: object) -> None:
        self.decoders.__exit__()

    def blocks(
        self, blocks: Iterable[tuple[Any, list[Encoded]]]
    ) -> Iterator[tuple[Any, list[list[Any]], list[pa.Array]]]:
        """(caller's, facts of each image, values by column) of each block, in order. Raises TooLarge."""
        pending: tuple[Any, Decoded, list[Callable[[], pa.Array]]] | None = None
        stream = self.decoders.blocks(blocks)
        while True:
            began = time.monotonic()
            about_and_decoded = next(stream, None)
            self.waited += time.monotonic() - began
            started = None
            if about_and_decoded is not None:
                about, decoded = about_and_decoded
                lost = np.array([len(fact) == 2 for fact in decoded.facts], bool)
                with at_model:
                    for filling, array in zip(self.fillings, decoded.arrays, strict=True):
                        self._say_drift(filling, decoded)
                        array[lost] = 0  # a lost image leaves nothing of the block before it
                    coming = [f.start(array, lost) for f, array in zip(self.fillings, decoded.arrays, strict=True)]
                started = (about, decoded, coming)
            if pending is not None:
                about, decoded, coming = pending
                made = [call() for call in coming]
                decoded.release()
                yield about, decoded.facts, made
            if started is None:
                return
            pending = started

    @property
    def share_waited(self) -> float:
        return self.waited / max(time.monotonic() - self.began, 1e-9)

    def _say_drift(self, filling: Filling, decoded: Decoded) -> None:
        """Once a column: how far a shrinking decoder moves vectors from those of a full decode."""
        if "scaled_to" not in filling.plan or "scaled_decode_drift" in read_json(filling.record):
            return
        some = [image for image, fact in zip(decoded.images, decoded.facts, strict=True) if len(fact) > 2][
            :DRIFT_IMAGES
        ]
        plain = {name: value for name, value in filling.plan.items() if name != "scaled_to"}
        vectors = []
        for plan in (filling.plan, plain):
            with Decoders([plan], hashed=False, workers=1) as decoders:
                for _, block in decoders.blocks([(None, some)]):
                    vectors.append(as_array(filling.start(block.arrays[0])())[0])
                    block.release()
        cosines = (vectors[0] * vectors[1]).sum(1) if len(vectors) == 2 and some else np.ones(1)
        filling.note(
            scaled_decode_drift={
                "images": len(some),
                "mean_cosine": round(float(cosines.mean()), 5),
                "worst_cosine": round(float(cosines.min()), 5),
            }
        )


def retried(fillings: list[Filling], work: Callable[[], Any], say: Callable[[str], None]) -> Any:
    """Do a shard's work; where memory runs out, again from its beginning with half the batch."""
    while True:
        try:
            return work()
        except TooLarge:
            halved = [filling for filling in fillings if not filling.is_plain and filling.halve()]
            if not halved:
                raise
            sizes = ", ".join(f"{filling.name}: {filling.batch}" for filling in halved)
            say(f"out of memory: the shard begins again with a smaller batch ({sizes})")
