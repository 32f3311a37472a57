"""`embed:` in a recipe: name to maker of vectors. Settings are checked here; a model is loaded when it is needed."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import yaml

from tamis.pipeline.columns.embed.onnx import Onnx, OnnxModel
from tamis.pipeline.columns.embed.open_clip import ClipModel, OpenClip
from tamis.pipeline.columns.embed.precomputed import Precomputed, PrecomputedModel
from tamis.pipeline.columns.embed.sentences import SentenceModel, SentenceTransformers
from tamis.pipeline.decode.classic import CLASSIC_VERSION
from tamis.pipeline.decode.perceptual_hash import HASH_VERSION
from tamis.pipeline.decode.plans import PLAIN
from tamis.pipeline.decode.quality import QUALITY_VERSION
from tamis.pipeline.errors import RecipeError
from tamis.pipeline.files.atomic import fingerprint
from tamis.pipeline.files.plain_yaml import load_yaml
from tamis.selectors.catalog import build_class

Kind = Literal["images", "texts", "keys", "classes"]
EMBEDS_WORDS = ("open_clip", "sentence_transformers")  # whose models take texts, whatever the column reads
CLASS_VERSION = 2  # raise when the same vectors would get other classes or fields
LISTED_CLASSES = 10  # of an image, best first
CLASS_FIELDS = [  # beside the best class
    ("cosine", pa.float32()),
    ("margin", pa.float32()),  # to the second best
    ("best", pa.list_(pa.struct([("class", pa.string()), ("cosine", pa.float32())]))),
]


@dataclass(frozen=True)
class Classic:
    """HOG and colour statistics; no settings, no weights."""

    def fingerprinted(self, _folder: Path) -> dict[str, Any]:
        return {**PLAIN["classic"], "version": CLASSIC_VERSION}


@dataclass(frozen=True)
class PerceptualHash:
    """64 bits of the lowest frequencies."""

    def fingerprinted(self, _folder: Path) -> dict[str, Any]:
        return {**PLAIN["perceptual_hash"], "version": HASH_VERSION}


@dataclass(frozen=True)
class ImageQuality:
    """Sharpness, brightness and contrast; `measure: image` in a recipe, for it makes no vectors."""

    def fingerprinted(self, _folder: Path) -> dict[str, Any]:
        return {**PLAIN["image_quality"], "version": QUALITY_VERSION}


EMBEDDERS: dict[str, type] = {
    "classic": Classic,
    "image_quality": ImageQuality,
    "onnx": Onnx,
    "open_clip": OpenClip,
    "perceptual_hash": PerceptualHash,
    "precomputed": Precomputed,
    "sentence_transformers": SentenceTransformers,
}
MODELS: dict[str, Callable[[Any, Path], Any]] = {
    "onnx": OnnxModel,
    "open_clip": ClipModel,
    "precomputed": PrecomputedModel,
    "sentence_transformers": SentenceModel,
}


@dataclass(frozen=True)
class Tower:
    """One output of an embedder: what it reads of a sample, and its settings; `""` is the only output of its column."""

    output: str
    kind: Kind
    embedder: str
    settings: Any
    folder: Path
    reads: tuple[str, ...]
    of: str = ""  # stands for settings and files: other weights under the old name are another model

    def model(self) -> Any:
        """The loaded model, one for all outputs of equal settings in this process."""
        key = (self.embedder, self.of)
        if key not in _LOADED:
            if len(_LOADED) >= MOST_LOADED:
                _LOADED.pop(next(iter(_LOADED)))
            _LOADED[key] = MODELS[self.embedder](self.settings, self.folder)
        return _LOADED[key]


_LOADED: dict[tuple[str, str], Any] = {}
MOST_LOADED = 2  # models in memory at once


def towers(name: str, settings: dict[str, Any], folder: Path, images: bool) -> tuple[list[Tower], dict[str, Any]]:
    """The outputs of column `name`, and what its vectors depend on, files by what they hold. Raises RecipeError."""
    named = outputs(name, settings, folder, images)
    built = named[0].settings
    try:
        made_of = {"embed": named[0].embedder, **built.fingerprinted(folder)}
    except ValueError as error:
        raise RecipeError(f"columns.{name} ({named[0].embedder}): {error}") from error
    of = fingerprint(made_of)
    if getattr(built, "classes", None):
        made_of["classes"] = fingerprint([CLASS_VERSION, read_classes(folder / built.classes)])
    return [replace(tower, of=of) for tower in named], made_of


def outputs(name: str, settings: dict[str, Any], folder: Path, images: bool) -> list[Tower]:
    """The same as the recipe alone tells; no file is looked at. Raises RecipeError."""
    if "measure" in settings and "embed" in settings:
        raise RecipeError(f"columns.{name}: `embed` and `measure` are two columns; give each a name")
    if settings.get("measure") == "image":
        settings = {**settings, "embed": "image_quality"}
    kind = settings.get("embed")
    if kind not in EMBEDDERS or (kind == "image_quality" and "measure" not in settings):
        known = ", ".join(sorted(set(EMBEDDERS) - {"image_quality"}))
        raise RecipeError(f"columns.{name}: no embedder {kind!r}; known: {known}")
    try:
        given = {key: value for key, value in settings.items() if key not in ("embed", "measure")}
        built = build_class(EMBEDDERS[kind], given)
    except ValueError as error:
        raise RecipeError(f"columns.{name} ({kind}): {error}") from error
    for setting in ("dims", "batch"):
        if (number := getattr(built, setting, None)) is not None and number < 1:
            raise RecipeError(f"columns.{name} ({kind}): {setting} must be 1 or more, found {number}")
    if kind == "open_clip":
        named = _clip_outputs(name, built, folder, images)
    elif kind == "sentence_transformers":
        named = [Tower("", "texts", kind, built, folder, ("text",))]
    elif kind == "precomputed":
        named = [Tower("", "keys", kind, built, folder, (built.on,))]
    else:
        named = [Tower("", "images", kind, built, folder, ())]
    if not images and any(tower.kind in ("images", "classes") for tower in named):
        raise RecipeError(f"columns.{name} ({kind}): reads images, and the pool has none")
    return named


def _clip_outputs(name: str, built: OpenClip, folder: Path, images: bool) -> list[Tower]:
    wanted = built.outputs or (["image", "text"] if images else ["text"])
    if built.classes and "image" not in wanted:
        raise RecipeError(f"columns.{name}: classes need the output `image`")
    named = []
    if "image" in wanted:
        named.append(Tower("image", "images", "open_clip", built, folder, ()))
    if "text" in wanted:
        named.append(Tower("text", "texts", "open_clip", built, folder, ("text",)))
    if built.classes:
        named.append(Tower("class", "classes", "open_clip", built, folder, ()))
    return named


def read_classes(path: Path) -> dict[str, list[str]]:
    """Prompts by class, from YAML: `cat: [a photo of a cat, ...]`, or `cat: a photo of a cat`. Raises RecipeError."""
    try:
        found = load_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"classes {path}: {' '.join(str(error).split())[:160]}") from error
    wanted = "wanted a map of class to prompts, such as `cat: [a photo of a cat, a drawing of a cat]`"
    if not isinstance(found, dict) or not found:
        raise RecipeError(f"classes {path}: {wanted}")
    classes = {str(name): [given] if isinstance(given, str) else given for name, given in found.items()}
    for name, prompts in classes.items():
        if not (isinstance(prompts, list) and prompts and all(isinstance(prompt, str) for prompt in prompts)):
            raise RecipeError(f"classes {path}: {name!r}: {wanted}")
    return classes
