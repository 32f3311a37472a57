"""`detect: onnx`: a YOLOX-style detector through onnxruntime: letterbox, decode the grid, drop overlapping boxes.

Ge et al. 2021, arXiv:2107.08430. Pixels are BGR of 0 to 255, the image in the top left corner of a grey page. Output
[images, cells, 5 + classes]: centre and log size of a box in units of its cell's stride, objectness, class
probabilities; confidence is the product of the last two."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from tamis.pipeline.columns.detect.boxes import Boxes, Found
from tamis.pipeline.columns.detect.file import read_class_names
from tamis.pipeline.columns.detect.objects import Detector, own_settings
from tamis.pipeline.columns.embed.onnx import digests_of, load_session, run_session
from tamis.pipeline.columns.models.torch_models import find_batch
from tamis.pipeline.decode.plans import PREPARE_VERSION, pixels_plan
from tamis.pipeline.errors import RecipeError

DETECT_ONNX_VERSION = 1  # raise when the same pixels would give other boxes
STRIDES = (8, 16, 32)  # pixels of a cell, on the three grids of the head
MOST_BOXES = 300  # of an image, the surest
COCO_80 = [
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class OnnxDetector(Detector):
    """model            the file
    size             [height, width] of its input
    classes          their names in order, or a file of them (default: COCO's 80)
    confidence       the least, one number or by class
    overlap          of two boxes of a class that share more (IoU) the surer stays
    channels, scale  what the input is like
    fill             grey that pads an image, 0 to 255
    decoded          whether the file decodes its grid itself
    batch            images at once
    features         an embedder, {embed: NAME, ...}, that describes each object's crop
    """

    kind: ClassVar[str] = "onnx"
    extra: ClassVar[str] = "onnx"
    default: ClassVar[float] = 0.3  # of classes that `confidence` doesn't name

    model: str
    size: list[int] = field(default_factory=lambda: [416, 416])
    classes: list[str] | str | None = None
    confidence: float | dict[str, float] = 0.3
    overlap: float = 0.45
    channels: Literal["bgr", "rgb"] = "bgr"
    scale: float = 1.0
    fill: int = 114
    decoded: bool = False
    batch: int | None = None
    features: Any = None

    def __post_init__(self) -> None:
        if len(self.size) != 2 or min(self.size) < 32 or any(side % 32 for side in self.size):
            raise ValueError(f"size: wanted [height, width], multiples of 32 pixels, found {self.size}")
        if not 0 < self.overlap <= 1:
            raise ValueError(f"overlap must be above 0 and at most 1, found {self.overlap}")

    def fingerprinted(self, folder: Path) -> dict[str, Any]:
        if not (folder / self.model).is_file():
            raise RecipeError(f"detect: onnx: no file {folder / self.model}")
        given = own_settings(self)
        return {
            **given,
            **digests_of(folder / self.model),
            "classes": self.classes_of(folder),
            "version": [DETECT_ONNX_VERSION, PREPARE_VERSION],
        }

    def classes_of(self, folder: Path) -> list[str]:
        if isinstance(self.classes, str):
            return read_class_names(folder / self.classes)
        return self.classes or COCO_80

    @property
    def at_once(self) -> int | None:
        return self.batch

    def load(self, place: Path) -> "OnnxDetectorModel":
        return OnnxDetectorModel(self, place)


class OnnxDetectorModel:
    def __init__(self, settings: OnnxDetector, folder: Path) -> None:
        self.settings = settings
        self.classes = settings.classes_of(folder)
        self.session = load_session(folder / settings.model)
        self.input = self.session.get_inputs()[0]
        self.output = self.session.get_outputs()[0].name
        self.fixed = self.input.shape[0] if isinstance(self.input.shape[0], int) else None
        shape = self._run(np.zeros((1, *settings.size, 3), np.uint8)).shape
        cells = sum((settings.size[0] // stride) * (settings.size[1] // stride) for stride in STRIDES)
        wanted = (cells, 5 + len(self.classes))
        if shape[1:] != wanted:
            raise RecipeError(
                f"detect: onnx: {settings.model} gives {list(shape[1:])} numbers an image; {settings.size} pixels and "
                f"{len(self.classes)} classes of a YOLOX-style detector are {list(wanted)}"
            )
        self.facts = {"devices": self.session.get_providers(), "classes": len(self.classes)}

    @property
    def plan(self) -> dict[str, Any]:
        return pixels_plan(self.settings.size, "corner", "bilinear", self.settings.fill)

    def best_batch(self) -> int:
        blank = np.zeros((1, *self.settings.size, 3), np.uint8)

        def trial(size: int) -> Callable[[], Any]:
            made = self._run(np.repeat(blank, size, 0))
            return lambda: made

        return self.fixed or find_batch(trial)

    def start(self, array: npt.NDArray[np.uint8], batch: int) -> Callable[[], list[Found]]:
        """The call gives, of each prepared image, its boxes in the page's pixels."""
        made = [self._run(array[first : first + batch]) for first in range(0, len(array), batch)]
        return lambda: [self._of_image(values) for some in made for values in some]

    def _run(self, array: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        count = len(array)
        if self.fixed is not None and count < self.fixed:
            array = np.concatenate([array, np.zeros((self.fixed - count, *array.shape[1:]), np.uint8)])
        x = (array[..., ::-1] if self.settings.channels == "bgr" else array).astype(np.float32) * self.settings.scale
        if self.fixed is not None and count > self.fixed:
            return np.concatenate([self._run(array[i : i + self.fixed]) for i in range(0, count, self.fixed)])
        return run_session(self.session, self.output, self.input, x.transpose(0, 3, 1, 2), self.settings.model)[:count]

    def _of_image(self, values: npt.NDArray[np.float32]) -> Found:
        settings = self.settings
        wanted = settings.confidence
        least = min([*wanted.values(), self.settings.default]) if isinstance(wanted, dict) else wanted
        sure = values[:, 4:5] * values[:, 5:]
        kinds = sure.argmax(1)
        confidence = sure[np.arange(len(sure)), kinds]
        rows = np.flatnonzero(confidence >= least)
        boxes = values[:, :4] if settings.decoded else decode(values[:, :4], settings.size)
        keep = rows[suppress(corners(boxes[rows]), confidence[rows], kinds[rows], settings.overlap)][:MOST_BOXES]
        return Found(
            corners(boxes[keep]).astype(np.float64),
            [self.classes[kind] for kind in kinds[keep]],
            confidence[keep].astype(np.float64),
        )


def decode(values: npt.NDArray[np.float32], size: list[int]) -> npt.NDArray[np.float32]:
    """[cells, 4] centre and size in pixels, from offsets and log sizes in units of strides, grid after grid."""
    places, strides = [], []
    for stride in STRIDES:
        y, x = np.mgrid[: size[0] // stride, : size[1] // stride]
        places.append(np.stack([x.ravel(), y.ravel()], 1))
        strides.append(np.full((x.size, 1), stride))
    place, stride_ = np.concatenate(places), np.concatenate(strides)
    sides = np.exp(np.minimum(values[:, 2:], 20)) * stride_
    return np.concatenate([(values[:, :2] + place) * stride_, sides], 1).astype(np.float32)


def corners(boxes: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """[boxes, 4] xyxy of centre and size."""
    return np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1)


def suppress(boxes: npt.NDArray[np.floating], confidence: Any, kinds: Any, overlap: float) -> npt.NDArray[np.int64]:
    """Places of the boxes that stay, surest first: of a class, none that shares more than `overlap`."""
    order = np.lexsort([np.arange(len(boxes)), -np.asarray(confidence)])
    kept: list[int] = []
    gone = np.zeros(len(boxes), bool)
    for place in order.tolist():
        if not gone[place]:
            kept.append(place)
            gone |= (kinds == kinds[place]) & (iou(boxes[place], boxes) > overlap)
    return np.array(kept, np.int64)


def iou(box: npt.NDArray[np.floating], boxes: npt.NDArray[np.floating]) -> Boxes:
    """[boxes] intersection over union with one box."""
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    shared = np.maximum(sides, 0).prod(1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1) + (box[2:] - box[:2]).prod() - shared
    return np.divide(shared, areas, out=np.zeros(len(boxes)), where=areas > 0)
