"""Proposed objects of candidates as flat arrays: one row an object, candidates by rising id."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from tamis.selectors.budget import Budget, Costs, Fraction
from tamis.selectors.chance import uniform
from tamis.selectors.contract import Batches
from tamis.selectors.vectors.columns import vector_type

Ids = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]
MOST_OBJECTS = 1_000_000  # held at once: 1 GB of 512 float16 numbers each; beyond, the largest classes are sampled
KIND = "a column of objects ({detect: ...})"


@dataclass(frozen=True)
class Images:
    """[candidates], by rising id."""

    ids: Ids
    costs: Costs  # in the budget's parts
    known: npt.NDArray[np.bool_]  # whether it is known what the image holds
    labeled: npt.NDArray[np.bool_]
    counts: Places  # objects proposed

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Objects:
    """[objects], by candidate, then as the detector gave them."""

    image: Places  # place of its candidate
    number: Places  # which of the candidate's objects, from 0
    kind: Places  # place of its class in `classes`
    classes: list[str]
    confidence: npt.NDArray[np.float32]
    box: npt.NDArray[np.float32]  # [objects, 4] xyxy, pixels
    feature: npt.NDArray[np.float16]  # [objects, dim]; dim 0 where none were asked for
    proposed: dict[str, int]  # objects of each class, those beyond MOST_OBJECTS too


def gather(
    pool: Batches,
    column: str,
    budget: Budget | Fraction,
    confidence: float | Mapping[str, float] = 0.0,
    features: bool = True,
    seed: int = 0,
) -> tuple[Images, Objects]:
    """All candidates and their objects of at least that confidence. Raises ValueError where it is no such column."""
    images: list[tuple[Any, ...]] = []
    held = _Held(seed)
    for batch in pool:
        column_ = batch[column]
        _check(column_.type, column, features)
        ids, counts = batch["sample_id"].to_numpy(), np.diff(_offsets(column_))
        labeled = batch["labels"].is_valid() if "labels" in batch.schema.names else pa.array(np.zeros(len(ids), bool))
        rows = held.add(ids, column_, confidence, features)
        images.append(
            (
                ids,
                budget.costs(batch),
                column_.is_valid().to_numpy(zero_copy_only=False),
                labeled.to_numpy(zero_copy_only=False),
                np.bincount(rows, minlength=len(counts)),
            )
        )
    if not images:
        images = [
            (np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros(0, bool), np.zeros(0, bool), np.zeros(0, int))
        ]
    arrays = [np.concatenate(some) for some in zip(*images, strict=True)]
    order = np.argsort(arrays[0], kind="stable")
    placed = Images(*(array[order] for array in arrays))
    return placed, held.objects(placed.ids)


def _check(kind: pa.DataType, column: str, features: bool) -> None:
    fields = {field.name for field in kind.value_type} if pa.types.is_list(kind) and _is_struct(kind) else set()
    if not {"box", "class", "confidence"} <= fields:
        raise ValueError(f"{column!r} is no column of objects, found {kind}; wanted {KIND}")
    if features and "feature" not in fields:
        raise ValueError(f"the objects of {column!r} have no features: add `features: {{embed: classic}}` to it")


def _is_struct(kind: pa.DataType) -> bool:
    return bool(pa.types.is_struct(kind.value_type))


def _offsets(column: Any) -> Places:
    """[rows + 1] first object of each row among the flattened ones; null rows hold none."""
    lengths = pa.compute.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False)
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


class _Held:
    """Objects seen so far; where they are too many, of the largest classes those with the smallest hashes."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.classes: dict[str, int] = {}
        self.proposed: dict[str, int] = {}
        self.parts: list[dict[str, Any]] = []
        self.count = 0

    def add(
        self, ids: Ids, column: Any, confidence: float | Mapping[str, float], features: bool
    ) -> npt.NDArray[np.int64]:
        """Take a batch's objects; returns the batch's row of each that is sure enough."""
        flat, offsets = column.flatten(), _offsets(column)
        rows = np.repeat(np.arange(len(ids)), np.diff(offsets))
        names = flat.field("class").to_pylist()
        sure = flat.field("confidence").to_numpy(zero_copy_only=False)
        wanted = [confidence.get(name, 0.0) for name in names] if isinstance(confidence, Mapping) else confidence
        keep = np.flatnonzero(sure >= np.asarray(wanted, np.float32))
        kinds = [self.classes.setdefault(names[row], len(self.classes)) for row in keep.tolist()]
        for row in keep.tolist():
            self.proposed[names[row]] = self.proposed.get(names[row], 0) + 1
        number = np.arange(len(rows)) - offsets[rows]
        part = {
            "id": ids[rows[keep]],
            "number": number[keep],
            "kind": np.array(kinds, np.int64),
            "confidence": sure[keep].astype(np.float32),
            "box": _lists(flat, "box")[keep].astype(np.float32),
            "feature": (_lists(flat, "feature") if features else np.zeros((len(rows), 0), np.float16))[keep],
        }
        self.parts.append(part)
        self.count += len(keep)
        if self.count > 1.5 * MOST_OBJECTS:
            self._trim()
        return rows[keep]

    def _trim(self) -> None:
        """Classes above a common size are cut to it, so that rare ones stay whole. The size is told from all that was
        seen, so it only falls, and what is left at the end doesn't depend on where cuts were made."""
        sizes = np.array([self.proposed[name] for name in self.classes])
        most = 0
        for done, size in enumerate(rising := np.sort(sizes)):  # what small classes leave, larger ones may have
            most = max(0, MOST_OBJECTS - int(rising[:done].sum())) // (len(rising) - done)
            if size > most:
                break
        ids, number, kind = (np.concatenate([part[name] for part in self.parts]) for name in ("id", "number", "kind"))
        chance = uniform(ids + number.astype(np.uint64), self.seed, 0, "objects")
        order = np.lexsort([chance, kind])
        first = np.concatenate([[0], np.cumsum(np.bincount(kind))])
        keep = np.zeros(len(order), bool)
        keep[order[np.arange(len(order)) - first[kind[order]] < most]] = True
        at = 0
        for part in self.parts:
            mine = keep[at : at + len(part["id"])]
            at += len(mine)
            part.update({name: values[mine] for name, values in part.items()})
        self.count = int(keep.sum())

    def objects(self, ids: Ids) -> Objects:
        if sum(self.proposed.values()) > MOST_OBJECTS:
            self._trim()
        if not self.parts:
            empty = {"id": np.zeros(0, np.uint64), "number": np.zeros(0, np.int64), "kind": np.zeros(0, np.int64)}
            empty |= {"confidence": np.zeros(0, np.float32), "box": np.zeros((0, 4), np.float32)}
            self.parts = [{**empty, "feature": np.zeros((0, 0), np.float16)}]
        names = sorted(self.classes)  # their order must not tell the order of rows
        renamed = np.array([names.index(name) for name in self.classes] or [0], np.int64)
        image = np.searchsorted(ids, np.concatenate([part["id"] for part in self.parts]))
        order = np.lexsort([np.concatenate([part["number"] for part in self.parts]), image])
        field = {name: self._in_order(name, order) for name in ("number", "kind", "confidence", "box", "feature")}
        return Objects(
            image[order], field["number"], renamed[field["kind"]], names, field["confidence"], field["box"],
            field["feature"], self.proposed,
        )  # fmt: skip

    def _in_order(self, name: str, order: Places) -> Any:
        """A field of all parts, which give it up one by one: features are not held twice."""
        place = np.argsort(order)
        first = self.parts[0][name]
        out, at = np.empty((len(order), *first.shape[1:]), first.dtype), 0
        for part in self.parts:
            some = part.pop(name)
            out[place[at : at + len(some)]] = some
            at += len(some)
        return out


def _lists(flat: Any, name: str) -> npt.NDArray[Any]:
    """[objects, size] of a field of fixed-size lists, which have no nulls."""
    column = flat.field(name)
    size = column.type.list_size
    return column.flatten().to_numpy(zero_copy_only=False).reshape(len(flat), size)


def row_hashes(vectors: npt.NDArray[Any]) -> Ids:
    """[rows] 64-bit hashes: equal rows, equal hash."""
    data = np.ascontiguousarray(vectors)
    return np.fromiter((xxhash.xxh3_64_intdigest(row.tobytes()) for row in data), np.uint64, len(data))


def struct_type(dim: int | None) -> pa.DataType:
    """One object of a column of objects."""
    fields = [
        pa.field("box", pa.list_(pa.float32(), 4)),  # xyxy, pixels of the image as displayed
        pa.field("class", pa.string()),
        pa.field("confidence", pa.float32()),
        pa.field("area", pa.float32()),  # share of the image
    ]
    return pa.struct(fields if dim is None else [*fields, pa.field("feature", vector_type(dim))])
