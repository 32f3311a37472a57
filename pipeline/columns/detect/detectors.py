"""`detect:` in a recipe: name to what proposes objects, and what describes each. Settings are checked here; a model is
loaded when it is needed."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tamis.pipeline.columns.detect.file import FileBoxes, FileModel
from tamis.pipeline.columns.detect.onnx import OnnxDetector, OnnxDetectorModel
from tamis.pipeline.columns.detect.open_vocabulary import OpenVocabulary, OpenVocabularyModel
from tamis.pipeline.columns.embed.towers import Tower, towers
from tamis.pipeline.errors import RecipeError
from tamis.pipeline.files.atomic import fingerprint
from tamis.selectors.catalog import build_class

DETECTORS: dict[str, type] = {"file": FileBoxes, "onnx": OnnxDetector, "open_vocabulary": OpenVocabulary}
MODELS: dict[str, Callable[[Any, Path], Any]] = {
    "file": FileModel,
    "onnx": OnnxDetectorModel,
    "open_vocabulary": OpenVocabularyModel,
}
FIELDS = ("count",)  # beside the objects themselves
MARGIN = 0.1  # of a box's sides, added on each side of the crop that is described
FEATURES_VERSION = 1  # raise when the same box would be described otherwise


@dataclass(frozen=True)
class Detector:
    """One column of objects: what proposes them, and the tower that describes their crops, if any."""

    kind: str
    settings: Any
    folder: Path
    features: Tower | None
    margin: float
    of: str = ""  # stands for settings and files

    def least_of(self, name: str) -> float:
        """The confidence that an object of a class needs."""
        wanted = self.settings.confidence
        return float(wanted.get(name, self.settings.default) if isinstance(wanted, dict) else wanted)

    def model(self) -> Any:
        """The loaded model, or the file's boxes; one a process."""
        key = (self.kind, self.of)
        if key not in _LOADED:
            while len(_LOADED) >= MOST_LOADED:
                _LOADED.pop(next(iter(_LOADED)))
            _LOADED[key] = MODELS[self.kind](self.settings, self.folder)
        return _LOADED[key]


_LOADED: dict[tuple[str, str], Any] = {}
MOST_LOADED = 3  # detectors, or files of boxes, in memory at once


def detector_of(name: str, settings: dict[str, Any], folder: Path, images: bool) -> tuple[Detector, dict[str, Any]]:
    """The detector of column `name`, and what its objects depend on, files by what they hold. Raises RecipeError."""
    kind, rest = settings["detect"], {key: value for key, value in settings.items() if key != "detect"}
    if not isinstance(kind, str) or kind not in DETECTORS:
        raise RecipeError(f"columns.{name}: no detector {kind!r}; known: {', '.join(sorted(DETECTORS))}")
    if not images:
        raise RecipeError(f"columns.{name} ({kind}): finds objects in images, and the pool has none")
    given = rest.pop("features", None)
    try:
        built = build_class(DETECTORS[kind], rest)
        made_of = {"detect": kind, **built.fingerprinted(folder)}
    except ValueError as error:
        raise RecipeError(f"columns.{name} ({kind}): {error}") from error
    of = fingerprint(made_of)
    tower, margin = None, MARGIN
    if given is not None:
        tower, margin, described = _features(name, given, folder)
        made_of["features"] = {**described, "margin": margin, "version": FEATURES_VERSION}
    return Detector(kind, built, folder, tower, margin, of), made_of


def _features(name: str, given: Any, folder: Path) -> tuple[Tower, float, dict[str, Any]]:
    """What describes a crop: any embedder of images."""
    if not isinstance(given, dict) or "embed" not in given:
        raise RecipeError(f"columns.{name}: features: wanted {{embed: NAME, ...}}, found {given!r}")
    rest = dict(given)
    margin = rest.pop("margin", MARGIN)
    if isinstance(margin, bool) or not isinstance(margin, (int, float)) or not 0 <= margin <= 2:
        raise RecipeError(f"columns.{name}: features: margin must be a share from 0 to 2, found {margin!r}")
    named, described = towers(f"{name}.features", rest, folder, images=True)
    if rest.get("scaled_decode"):
        raise RecipeError(
            f"columns.{name}: features: scaled_decode: crops are cut from images of full size; leave it out"
        )
    of_images = [tower for tower in named if tower.kind == "images"]
    if not of_images:
        raise RecipeError(f"columns.{name}: features: {given['embed']} does not describe images")
    return of_images[0], float(margin), described
