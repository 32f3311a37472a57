"""A column of images being filled: what decoding workers and a model give, block by block.

A column's batch size is settled once, recorded in its column.json and kept; when memory runs out it is halved there,
and the shard begins again."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tamis.pipeline.columns.contract import ColumnKind, ImageModel
from tamis.pipeline.columns.declared import Maker
from tamis.pipeline.columns.notes import Notes
from tamis.pipeline.columns.parts import Write, part_schema, part_writer
from tamis.pipeline.decode.decoders import Decoded, Decoders
from tamis.pipeline.parallel import at_model
from tamis.selectors.vectors.columns import as_array, as_column, vector_type

DRIFT_IMAGES = 64  # decoded both ways where the JPEG decoder shrinks, to say what that changes


class Filling(Notes):
    """One output of a column and its folder, at work in an image pass; the model is loaded when first asked for."""

    def __init__(self, maker: Maker, folder: Path, used: str = "used") -> None:
        super().__init__(folder)
        self.used = used  # where the record tells of the model
        self.maker, self.name = maker, maker.name
        self.heavy = maker.kind.heavy

    @property
    def kind(self) -> ColumnKind:
        return self.maker.kind

    @cached_property
    def model(self) -> ImageModel:
        with at_model:
            model: ImageModel = self.maker.model(self.folder)
            self.use(model.facts, self.used)
        return model

    @property
    def dims(self) -> int | None:
        """The leading numbers that are kept of a vector; None: all."""
        return self.kind.leading

    @property
    def type(self) -> pa.DataType:
        """Of the values; of several fields a struct, while they are under way."""
        if self.maker.output.main is not None:
            return pa.struct(list(self.maker.schema()))
        return vector_type(min(self.dims or self.model.dim, self.model.dim))

    @property
    def plan(self) -> dict[str, Any]:
        """What decoding workers leave of each image for this column."""
        return self.model.plan

    @property
    def batch(self) -> int:
        """Images at once: the recipe's, the recorded one, or what this machine is best at."""
        known = self.known("batch")
        if known is None:
            known = self.kind.at_once or self.model.best_batch()
            self.note(batch=known)
        return int(known)

    def halve(self) -> bool:
        """A smaller batch from here on; False where it can't be smaller."""
        before = self.batch
        if before > 1:
            self.note(batch=before // 2, halved_from=before)
        return before > 1

    def start(self, array: Any, lost: npt.NDArray[np.bool_]) -> Callable[[], pa.Array]:
        """Begin with a block of prepared images; the call gives the column's values. Raises TooLarge."""
        if not len(array):  # a block of rejects alone
            return lambda: pa.array([], self.type)
        coming = self.model.images(array, self.batch if self.heavy else len(array))
        if not self.heavy:  # the array is the next block's soon
            made = self._values(coming(), lost)
            return lambda: made
        return lambda: self._values(coming(), lost)

    def _values(self, found: npt.NDArray[np.float32], lost: npt.NDArray[np.bool_]) -> pa.Array:
        if self.maker.output.main is None:
            return as_column(found, self.dims, lost)
        fields = [pa.array(column) for column in np.ascontiguousarray(found.T)]
        return pa.StructArray.from_arrays(fields, fields=list(self.type), mask=pa.array(lost))

    def look_at(self, decoded: Decoded) -> None:
        """Once a column: how far a shrinking decoder moves vectors from those of a full decode."""
        if "scaled_to" not in self.plan or self.known("scaled_decode_drift") is not None:
            return
        some = [image for image, fact in zip(decoded.images, decoded.facts, strict=True) if len(fact) > 2]
        some = some[:DRIFT_IMAGES]
        plain = {name: value for name, value in self.plan.items() if name != "scaled_to"}
        vectors = []
        for plan in (self.plan, plain):
            with Decoders([plan], hashed=False, workers=1) as decoders:
                for _, block in decoders.blocks([(None, some)]):
                    lost = np.array([len(fact) == 2 for fact in block.facts], bool)
                    vectors.append(as_array(self.start(block.arrays[0], lost)())[0])
                    block.release()
        cosines = (vectors[0] * vectors[1]).sum(1) if len(vectors) == 2 and some else np.ones(1)
        told = {"mean_cosine": round(float(cosines.mean()), 5), "worst_cosine": round(float(cosines.min()), 5)}
        self.note(scaled_decode_drift={"images": len(some), **told})

    def write_part(self, name: str, digest: str, ids: pa.ChunkedArray, values: pa.ChunkedArray) -> None:
        """One whole part, made while its shard was decoded."""
        with self.writer(name, digest) as write:
            write(pa.table([ids, *self.fields(values)], ["sample_id", *self.maker.schema(self.type).names]))
            self.count(self.without, name, values.null_count)  # before the part is there

    def writer(self, name: str, digest: str) -> AbstractContextManager[Write]:
        """As a context: a function that takes batches of ids and fields."""
        schema = part_schema(self.maker.schema(self.type), digest, self.model.facts)
        return part_writer(self.folder, name, schema)

    @property
    def without(self) -> str:
        """What a row without a value is counted as."""
        return "without_vector" if self.maker.output.vectors else "without_value"

    def fields(self, values: Any) -> Iterable[Any]:
        """The values as the fields of the column's files: structs apart, null where the struct is."""
        if self.maker.output.main is None:
            return [values]
        told = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
        told = told.chunk(0) if isinstance(told, pa.ChunkedArray) else told
        return [pc.struct_field(told, [name]) for name in self.maker.schema().names]
