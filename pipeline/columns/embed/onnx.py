"""`embed: onnx`: any image encoder in ONNX, through onnxruntime; its preprocessing stands in the recipe.

ONNX files hold weights and a graph of known operators, no code. Outputs of three dimensions (tokens) become vectors
by their first token or their mean."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from tamis.pipeline.columns.contract import Output
from tamis.pipeline.columns.embed.embedder import Embedder
from tamis.pipeline.columns.models.gate import check_onnx
from tamis.pipeline.columns.models.torch_models import Result, find_batch
from tamis.pipeline.decode.passes import TooLarge
from tamis.pipeline.decode.plans import PREPARE_VERSION, pixels_plan
from tamis.pipeline.errors import RecipeError
from tamis.pipeline.files.atomic import digest_of_input
from tamis.pipeline.recipe.extras import MissingExtra

ONNX_VERSION = 1  # raise when the same pixels would give another vector


@dataclass(frozen=True, kw_only=True)
class Onnx(Embedder):
    """model                        the file
    size                         [height, width] in pixels
    resize                       what becomes the size: the shortest side, then the middle is cut out; the longest, then
                                 the rest is filled; or squash both
    interpolation                of pixels while resizing
    fill                         grey that fills the rest, 0 to 255
    mean, std                    of the channels, on a scale of 0 to 1
    channels                     their order
    layout                       of the input: channels before or behind height and width
    output                       its name (default: the first)
    tokens                       how three dimensions become two
    dims                         keep the leading dimensions
    scaled_decode                let the JPEG decoder shrink (faster, other pixels)
    batch                        images at once
    """

    kind: ClassVar[str] = "onnx"
    extra: ClassVar[str] = "onnx"

    model: str
    size: list[int] = field(default_factory=lambda: [224, 224])
    resize: Literal["shortest", "longest", "squash"] = "shortest"
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bicubic"
    fill: int = 0
    mean: list[float] = field(default_factory=lambda: [0.485, 0.456, 0.406])
    std: list[float] = field(default_factory=lambda: [0.229, 0.224, 0.225])
    channels: Literal["rgb", "bgr"] = "rgb"
    layout: Literal["nchw", "nhwc"] = "nchw"
    output: str | None = None
    tokens: Literal["first", "mean"] = "first"
    dims: int | None = None
    scaled_decode: bool = False
    batch: int | None = None

    def __post_init__(self) -> None:
        if len(self.size) != 2 or min(self.size) < 1 or max(self.size) > 4096:
            raise ValueError(f"size: wanted [height, width] in pixels, found {self.size}")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ValueError("mean and std: wanted three numbers each, std above 0")

    def makes(self, images: bool) -> list[Output]:
        return [Output(way="images", vectors=True)]

    def fingerprinted(self, folder: Path) -> dict[str, Any]:
        if not (folder / self.model).is_file():
            raise RecipeError(f"onnx: no file {folder / self.model}")
        given = {key: value for key, value in asdict(self).items() if key != "batch"}
        return {
            **given,
            **digests_of(folder / self.model),
            "version": [ONNX_VERSION, PREPARE_VERSION],
        }

    def load(self, place: Path) -> "OnnxModel":
        return OnnxModel(self, place)


class OnnxModel:
    def __init__(self, settings: Onnx, folder: Path) -> None:
        self.settings = settings
        self.session = load_session(folder / settings.model)
        self.input = self.session.get_inputs()[0]
        names = [output.name for output in self.session.get_outputs()]
        if settings.output is not None and settings.output not in names:
            raise RecipeError(f"onnx {settings.model}: no output {settings.output!r} (known: {', '.join(names)})")
        self.output = settings.output or names[0]
        self.fixed = self.input.shape[0] if isinstance(self.input.shape[0], int) else None
        blank = np.zeros((self.fixed or 1, *settings.size, 3), np.uint8)
        self.dim = int(self._run(blank).shape[1])

    @property
    def plan(self) -> dict[str, Any]:
        wanted = self.settings
        return pixels_plan(wanted.size, wanted.resize, wanted.interpolation, wanted.fill, wanted.scaled_decode)

    @property
    def facts(self) -> dict[str, Any]:
        prepared = {
            **self.plan,
            "mean": self.settings.mean,
            "std": self.settings.std,
            "channels": self.settings.channels,
        }
        return {
            "dim": self.settings.dims or self.dim, "precision": "as the file", "devices": self.session.get_providers(),
            "preprocessing": prepared,
        }  # fmt: skip

    def images(self, array: npt.NDArray[np.uint8], batch: int) -> Result:
        made = [self._padded(array[i : i + batch]) for i in range(0, len(array), batch)]
        return lambda: np.concatenate(made)

    def best_batch(self) -> int:
        blank = np.zeros((1, *self.settings.size, 3), np.uint8)
        return self.fixed or find_batch(lambda size: self.images(np.repeat(blank, size, 0), size))

    def _padded(self, array: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """A file made for a fixed batch gets that many, the last ones blank."""
        if self.fixed is None or len(array) == self.fixed:
            return self._run(array)
        more = np.zeros((self.fixed - len(array), *array.shape[1:]), np.uint8)
        return self._run(np.concatenate([array, more]))[: len(array)]

    def _run(self, array: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        wanted = self.settings
        mean, std = (np.asarray(values, np.float32) for values in (wanted.mean, wanted.std))
        x = (array[..., ::-1] if wanted.channels == "bgr" else array).astype(np.float32) / 255
        x = (x - mean) / std
        x = x if wanted.layout == "nhwc" else x.transpose(0, 3, 1, 2)
        out = run_session(self.session, self.output, self.input, x, wanted.model)
        if out.ndim == 3:
            out = out[:, 0] if wanted.tokens == "first" else out.mean(1)
        return out.reshape(len(out), -1)


def digests_of(model: Path) -> dict[str, Any]:
    """Of the file, and of those beside it that hold weights of its. Raises RecipeError."""
    try:
        beside = check_onnx(model)
    except ValueError as error:
        raise RecipeError(f"onnx {model}: can't be loaded ({error})") from error
    told = {"model": "file", "digest": digest_of_input(model)}
    return {**told, "external": {path.name: digest_of_input(path) for path in beside}} if beside else told


def load_session(path: Path) -> Any:
    """An ONNX file on the best device at hand. Raises RecipeError."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtra("onnx", "onnx") from error
    from tamis.pipeline.machine import cores

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores()
    options.log_severity_level = 3
    wanted = [
        name
        for name in ("CUDAExecutionProvider", "CPUExecutionProvider")
        if name in onnxruntime.get_available_providers()
    ]
    try:
        check_onnx(path)
        return onnxruntime.InferenceSession(str(path), options, providers=wanted)
    except Exception as error:
        raise RecipeError(f"onnx {path}: can't be loaded ({' '.join(str(error).split())[:200]})") from error


def run_session(
    session: Any, output: str, given: Any, x: npt.NDArray[np.floating], name: str
) -> npt.NDArray[np.float32]:
    """One output for one input, in the type that the file wants. Raises TooLarge, RecipeError."""
    kind = np.float16 if given.type == "tensor(float16)" else np.float32
    try:
        (out,) = session.run([output], {given.name: np.ascontiguousarray(x, kind)})
    except Exception as error:
        if "allocate" in str(error):
            raise TooLarge(str(error)) from error
        raise RecipeError(f"onnx {name}: {' '.join(str(error).split())[:200]}") from error
    return np.asarray(out, np.float32)
