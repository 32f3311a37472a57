"""A part of a column of objects: proposals of each image, checked, and what describes their crops.

Two streams, one behind the other, that never wait for a shard's end: images through the detector, then crops of all
images together through the embedder, so that both models are busy whatever an image holds."""

import json
from collections import Counter as Sums
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tamis.pipeline.columns.declared import Maker
from tamis.pipeline.columns.detect.boxes import Checked, Found, as_structs, checked
from tamis.pipeline.columns.detect.objects import Detector, Features
from tamis.pipeline.columns.fill_images import placed
from tamis.pipeline.columns.filling import Filling
from tamis.pipeline.columns.notes import Notes
from tamis.pipeline.decode.decoders import BLOCK_IMAGES, Decoded, Encoded
from tamis.pipeline.decode.passes import AtWork, ImagePass, retried
from tamis.pipeline.files.atomic import batch_writer
from tamis.pipeline.parallel import at_model
from tamis.pipeline.progress import Counter
from tamis.pipeline.read.names import Repeated
from tamis.pipeline.read.pool import Part
from tamis.selectors.objects.proposals import struct_type

Rows = list[dict[str, Any]]
QUIET = ("objects", "boxes_clipped", "images_in_file", "images_not_in_file", "boxes_not_sure", "without_value")
COUNTED = (  # images or objects by shard, in the column's record
    *QUIET, "images_gone", "crops_gone", "images_of_ambiguous_name", "boxes_of_another_size", "boxes_not_finite",
    "boxes_of_unknown_class", "boxes_outside", "boxes_without_area", "boxes_of_wrong_confidence",
)  # fmt: skip


class Row(NamedTuple):
    """One image with what was proposed in it; None where that is not known."""

    sample_id: int
    place: Encoded | None
    content_hash: bytes
    objects: Checked | None


class Proposing(Notes):
    """A detector at work for one column, as the image pass sees it."""

    heavy = True

    def __init__(self, maker: Maker, folder: Path) -> None:
        super().__init__(folder)
        self.maker, self.name = maker, maker.name
        self.detector = cast("Detector", maker.kind)  # kinds whose way is objects are

    @cached_property
    def model(self) -> Any:
        with at_model:
            model = self.maker.model(self.folder)
            self.use(model.facts)
        return model

    @cached_property
    def classes(self) -> list[str] | None:
        """The only ones that may be; None: any."""
        return self.detector.classes_of(self.maker.folder)

    @property
    def plan(self) -> dict[str, Any]:
        return dict(self.model.plan)

    @property
    def batch(self) -> int:
        """Images at once: the recipe's, the recorded one, or what this machine is best at."""
        known = self.known("detect_batch")
        if known is None:
            known = self.detector.at_once or self.model.best_batch()
            self.note(detect_batch=known)
        return int(known)

    def halve(self) -> bool:
        before = self.batch
        if before > 1:
            self.note(detect_batch=before // 2)
        return before > 1

    def look_at(self, decoded: Decoded) -> None:
        pass

    def start(self, array: Any, lost: npt.NDArray[np.bool_]) -> Callable[[], list[Found | None]]:
        """Begin with a block of prepared images; the call gives what was found in each."""
        call = self.model.start(array, self.batch) if len(array) else list
        gone = lost.tolist()
        return lambda: [None if bad else found for bad, found in zip(gone, call(), strict=True)]


def fill_objects(maker: Maker, folder: Path, part: Part, repeated: Repeated, say: Callable[[str], None]) -> None:
    """Write the part whole. `repeated` are the names that more than one sample of the pool has."""
    column = Proposing(maker, folder)
    features = None if column.detector.features is None else _describing(maker, column.detector.features, folder)
    at_work: list[AtWork] = [] if column.detector.from_file else [column]
    at_work += [] if features is None else [features]
    retried(at_work, lambda: _write(column, features, part, repeated, say), say)


def _describing(maker: Maker, features: Features, folder: Path) -> Filling:
    """What describes crops, at work for the same column."""
    made_of = features.kind.made_of(maker.folder)
    return Filling(
        Maker(maker.name, features.kind, features.output, made_of, made_of, maker.folder), folder, "features_used"
    )


def _write(
    column: Proposing, features: Filling | None, part: Part, repeated: Repeated, say: Callable[[str], None]
) -> None:
    lost: Sums[str] = Sums()
    counter = Counter(f"columns {column.name}", part.rows, "images")
    kind = struct_type(features.type.list_size if features else None)
    told = {b"pool_part": part.digest.encode(), b"tamis": json.dumps(column.model.facts, sort_keys=True).encode()}
    schema = pa.schema([("sample_id", pa.uint64()), (column.name, pa.list_(kind)), ("count", pa.int32())], told)
    from_file = column.detector.from_file
    rows = _from_file(column, part, repeated, lost) if from_file else _detected(column, part, lost)
    margin = column.detector.features.margin if features else 0.0
    described = _described(features, rows, margin, lost) if features else _plain(rows)
    unknown = 0
    # no compression or statistics: vectors have nothing to gain by them
    with batch_writer(column.folder / part.name, schema, compression="none", write_statistics=False) as write:
        for some, vectors in described:
            objects = [row.objects for row in some]
            counts = [0 if one is None else len(one.names) for one in objects]
            ids = pa.array([row.sample_id for row in some], pa.uint64())
            write(
                pa.record_batch([ids, as_structs(objects, kind, vectors), pa.array(counts, pa.int32())], schema.names)
            )
            unknown += sum(one is None for one in objects)
            lost["objects"] += sum(counts)
            counter.add(len(some), note=f"{lost['objects']:,} objects")
        counter.end()
        lost["without_value"] = unknown
        for reason in {*lost, *COUNTED}:  # before the part is there: a kill must not leave it without them
            column.count(reason, part.name, lost[reason])
    if dropped := {reason: count for reason, count in lost.items() if reason not in QUIET}:
        reasons = ", ".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in sorted(dropped.items()))
        say(f"{column.name} {part.name}: {lost['objects']:,} objects stand; {reasons}")
    if unknown == part.rows:
        say(f"{column.name} {part.name}: of not one of {part.rows:,} images is known what it holds; {_hint(column)}")


def _hint(column: Proposing) -> str:
    if not column.detector.from_file:
        return "are the images still there?"
    names = column.model.names[:1]
    return f"do the names look alike? The file has {names[0]!r}" if names else "the file names no image"


def _from_file(column: Proposing, part: Part, repeated: Repeated, lost: Sums[str]) -> Iterator[list[Row]]:
    for batch, images in placed(part, ("key", "height")):
        rows: Rows = batch.select(["sample_id", "key", "width", "height", "content_hash"]).to_pylist()
        found = column.model.of_keys([row["key"] for row in rows], repeated, lost)
        yield [_row(column, row, image, one, lost) for row, image, one in zip(rows, images, found, strict=True)]


def _detected(column: Proposing, part: Part, lost: Sums[str]) -> Iterator[list[Row]]:
    """Proposals of a model; an image that is gone, or is not what was read, has none."""
    side = column.plan["size"]
    with ImagePass([column]) as work:
        stream = (((batch, images), images) for batch, images in placed(part, ("height",)))
        for (batch, images), facts, (values,) in work.blocks(stream):
            rows: Rows = batch.select(["sample_id", "width", "height", "content_hash"]).to_pylist()
            out = []
            for row, fact, one in zip(rows, facts, values, strict=True):
                found: Found | None = one if len(fact) > 2 and bytes.fromhex(fact[3]) == row["content_hash"] else None
                if found is None and row["width"] is not None:
                    lost["images_gone"] += 1
                if found is not None:  # the page holds the image in its corner, as large as fits
                    scale = min(side[1] / row["width"], side[0] / row["height"])
                    found = found._replace(size=(row["width"] * scale, row["height"] * scale))
                out.append((row, found))
            yield [_row(column, row, image, found, lost) for (row, found), image in zip(out, images, strict=True)]


def _row(column: Proposing, row: dict[str, Any], image: Encoded | None, found: Found | None, lost: Sums[str]) -> Row:
    objects = None
    if found is not None and row["width"] is not None:
        objects = checked(found, row["width"], row["height"], column.classes, column.detector.least_of, lost)
    return Row(row["sample_id"], image, row["content_hash"], objects)


def _plain(rows: Iterator[list[Row]]) -> Iterator[tuple[list[Row], None]]:
    for some in rows:
        yield some, None


def _described(
    features: Filling, rows: Iterator[list[Row]], margin: float, lost: Sums[str]
) -> Iterator[tuple[list[Row], pa.Array]]:
    """The same with the features of all their objects; crops come in full blocks, whatever the images hold."""

    def blocks() -> Iterator[tuple[tuple[list[Row] | None, list[bytes]], list[Encoded]]]:
        for some in rows:
            crops = [(crop, row.content_hash) for row in some for crop in _crops(row, margin)]
            for first in range(0, max(1, len(crops)), BLOCK_IMAGES):
                mine = crops[first : first + BLOCK_IMAGES]
                whole = some if first + BLOCK_IMAGES >= len(crops) else None
                yield (whole, [content for _, content in mine]), [crop for crop, _ in mine]

    held: list[pa.Array] = []
    with ImagePass([features]) as work:
        for (some, contents), facts, (vectors,) in work.blocks(blocks()):
            gone = [
                len(fact) == 2 or bytes.fromhex(fact[3]) != content
                for fact, content in zip(facts, contents, strict=True)
            ]
            if any(gone):
                lost["crops_gone"] += sum(gone)
                vectors = pa.compute.if_else(pa.array(gone), pa.scalar(None, vectors.type), vectors)  # noqa: PLW2901
            held.append(vectors)
            if some is not None:
                yield some, pa.concat_arrays(held)
                held = []


def _crops(row: Row, margin: float) -> list[Encoded]:
    if row.objects is None or row.place is None:
        return []
    boxes = row.objects.boxes.astype(np.float64)
    more = (boxes[:, 2:] - boxes[:, :2]) * margin
    grown = np.concatenate([boxes[:, :2] - more, boxes[:, 2:] + more], 1)
    return [replace(row.place, box=tuple(box)) for box in grown.tolist()]
