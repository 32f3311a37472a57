"""Proposed objects of one image, checked against it: inside, of some area, of a class that is asked for."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Boxes = npt.NDArray[np.float64]
SAME_SHAPE = 0.02  # two sizes whose shapes differ by more than this share are not of one image
SHARES = (1.0, 1.0)  # the size of boxes in shares of the image's sides
LEAST_PIXELS = 1e-3  # of a side; less is no area


class Found(NamedTuple):
    """What a detector or a file says of one image; a name is None where the class is not known.

    `size` is the (width, height) that the boxes are in; None: the image's own pixels."""

    boxes: Boxes  # [objects, 4] xyxy
    names: Sequence[str | None]
    confidence: Boxes  # [objects]
    size: tuple[float, float] | None = None


class Checked(NamedTuple):
    """The objects that stand, in pixels of the image as displayed."""

    boxes: npt.NDArray[np.float32]
    names: list[str]
    confidence: npt.NDArray[np.float32]
    areas: npt.NDArray[np.float32]  # shares of the image


def checked(
    found: Found,
    width: int,
    height: int,
    classes: Sequence[str] | None,
    least: Callable[[str], float],
    lost: Counter[str],
) -> Checked:
    """The objects that can be; what was dropped or clipped is added to `lost` by reason."""
    boxes, scaled = np.asarray(found.boxes, np.float64).reshape(-1, 4), True
    if found.size is not None:
        scale = np.array([width / found.size[0], height / found.size[1]])
        scaled = found.size == SHARES or abs(scale[0] / scale[1] - 1) <= SAME_SHAPE
        boxes = boxes * np.tile(scale, 2)
    inside = np.clip(boxes, 0, np.tile([width, height], 2))
    sides = inside[:, 2:] - inside[:, :2]
    wanted = None if classes is None else set(classes)
    known = [name is not None and (wanted is None or name in wanted) for name in found.names]
    sure = np.nan_to_num(np.asarray(found.confidence, np.float64), nan=-1)
    needed = [least(name or "") for name in found.names]
    reasons = [
        ("boxes_of_another_size", np.full(len(boxes), not scaled)),
        ("boxes_not_finite", ~np.isfinite(boxes).all(1)),
        ("boxes_of_unknown_class", ~np.array(known, bool)),
        ("boxes_outside", (boxes[:, 0] >= width) | (boxes[:, 1] >= height) | (boxes[:, 2] <= 0) | (boxes[:, 3] <= 0)),
        ("boxes_without_area", ((boxes[:, 2:] - boxes[:, :2]) < LEAST_PIXELS).any(1) | (sides < LEAST_PIXELS).any(1)),
        ("boxes_of_wrong_confidence", ~((sure >= 0) & (sure <= 1))),
        ("boxes_not_sure", sure < needed),
    ]
    keep = np.ones(len(boxes), bool)
    for reason, bad in reasons:
        if dropped := int((keep & bad).sum()):
            lost[reason] += dropped
        keep &= ~bad
    if clipped := int((keep & (np.abs(inside - boxes) > 1).any(1)).sum()):
        lost["boxes_clipped"] += clipped
    names = [name for name, stays in zip(found.names, keep, strict=True) if stays and name is not None]
    areas = sides[keep].prod(1) / (width * height)
    return Checked(inside[keep].astype(np.float32), names, sure[keep].astype(np.float32), areas.astype(np.float32))


def as_structs(objects: Sequence[Checked | None], kind: pa.DataType, features: pa.Array | None) -> pa.Array:
    """Lists of objects, one a row, null where nothing is known of the image. `features` are those of all objects in
    their order; an object whose crop could not be described has zeros."""
    there = [one for one in objects if one is not None]
    boxes = np.concatenate([one.boxes for one in there] or [np.zeros((0, 4), np.float32)])
    arrays = [
        pa.FixedSizeListArray.from_arrays(pa.array(boxes.ravel()), 4),
        pa.array([name for one in there for name in one.names], pa.string()),
        pa.array(np.concatenate([one.confidence for one in there] or [np.zeros(0, np.float32)])),
        pa.array(np.concatenate([one.areas for one in there] or [np.zeros(0, np.float32)])),
    ]
    if features is not None:
        size = features.type.list_size
        flat = features.values.slice(features.offset * size, len(features) * size).fill_null(0)
        arrays.append(pa.FixedSizeListArray.from_arrays(flat, size))
    structs = pa.StructArray.from_arrays(
        [array.cast(field.type) for array, field in zip(arrays, kind, strict=True)], fields=list(kind)
    )
    ends = np.cumsum([0, *(0 if one is None else len(one.names) for one in objects)])
    gone = pa.array([one is None for one in objects], pa.bool_())
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), structs, mask=gone)
