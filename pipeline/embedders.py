"""`embed:` in a recipe: name to maker of vectors. Settings are checked here; a model is loaded when it is needed."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from tamis.pipeline.atomic import fingerprint
from tamis.pipeline.classic import CLASSIC_VERSION, PLAN
from tamis.pipeline.embed_onnx import Onnx, OnnxModel
from tamis.pipeline.embed_open_clip import ClipModel, OpenClip
from tamis.pipeline.embed_precomputed import Precomputed, PrecomputedModel
from tamis.pipeline.embed_sentences import SentenceModel, SentenceTransformers
from tamis.pipeline.errors import RecipeError
from tamis.selectors.catalog import build_class

Kind = Literal["images", "texts", "keys", "classes"]


@dataclass(frozen=True)
class Classic:
    """HOG and colour statistics; no settings, no weights."""

    def fingerprinted(self, _folder: Path) -> dict[str, Any]:
        return {**PLAN, "version": CLASSIC_VERSION}


EMBEDDERS: dict[str, type] = {
    "classic": Classic,
    "onnx": Onnx,
    "open_clip": OpenClip,
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
    of: str  # stands for settings and files: other weights under the old name are another model

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
    """The outputs of column `name`, and what its vectors depend on. Raises RecipeError."""
    kind = settings.get("embed")
    if kind not in EMBEDDERS:
        raise RecipeError(f"columns.{name}: no embedder {kind!r}; known: {', '.join(sorted(EMBEDDERS))}")
    given = {key: value for key, value in settings.items() if key != "embed"}
    try:
        built = build_class(EMBEDDERS[kind], given)
        made_of = {"embed": kind, **built.fingerprinted(folder)}
    except ValueError as error:
        raise RecipeError(f"columns.{name} ({kind}): {error}") from error
    of = fingerprint(made_of)
    if kind == "open_clip":
        outputs = _clip_outputs(name, built, folder, images, of)
        if built.classes:
            made_of["classes"] = fingerprint(read_classes(folder / built.classes))
    elif kind == "sentence_transformers":
        outputs = [Tower("", "texts", kind, built, folder, ("text",), of)]
    elif kind == "precomputed":
        outputs = [Tower("", "keys", kind, built, folder, (built.on,), of)]
    else:
        outputs = [Tower("", "images", kind, built, folder, (), of)]
    if not images and any(tower.kind in ("images", "classes") for tower in outputs):
        raise RecipeError(f"columns.{name} ({kind}): reads images, and the pool has none")
    return outputs, made_of


def _clip_outputs(name: str, built: OpenClip, folder: Path, images: bool, of: str) -> list[Tower]:
    wanted = built.outputs or (["image", "text"] if images else ["text"])
    outputs = []
    if "image" in wanted:
        outputs.append(Tower("image", "images", "open_clip", built, folder, (), of))
    if "text" in wanted:
        outputs.append(Tower("text", "texts", "open_clip", built, folder, ("text",), of))
    if built.classes:
        if "image" not in wanted:
            raise RecipeError(f"columns.{name}: classes need the output `image`")
        outputs.append(Tower("class", "classes", "open_clip", built, folder, (), of))
    return outputs


def read_classes(path: Path) -> dict[str, list[str]]:
    """Prompts by class, from YAML: `cat: [a photo of a cat, ...]`, or `cat: a photo of a cat`. Raises RecipeError."""
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
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
