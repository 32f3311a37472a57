"""The one place that knows all column kinds: verb and name in a recipe to settings, and how they are read.

`{embed: open_clip, model: ...}`: the verb's value names the kind, other keys are its settings. Of verbs with one kind
alone (SHORT) the value is a setting: `{sql: EXPR}`. An installed package adds kinds as entry points `tamis.columns`,
named VERB.KIND."""

from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from tamis.pipeline.columns.classify.benchmarks import Benchmarks
from tamis.pipeline.columns.classify.fasttext import FastText
from tamis.pipeline.columns.classify.huggingface import HuggingFace
from tamis.pipeline.columns.classify.linear import Linear
from tamis.pipeline.columns.classify.topic import Topic
from tamis.pipeline.columns.contract import ColumnKind
from tamis.pipeline.columns.detect.file import FileBoxes
from tamis.pipeline.columns.detect.objects import MARGIN, Features
from tamis.pipeline.columns.detect.onnx import OnnxDetector
from tamis.pipeline.columns.detect.open_vocabulary import OpenVocabulary
from tamis.pipeline.columns.embed.classic import Classic
from tamis.pipeline.columns.embed.onnx import Onnx
from tamis.pipeline.columns.embed.open_clip import OpenClip
from tamis.pipeline.columns.embed.perceptual_hash import PerceptualHash
from tamis.pipeline.columns.embed.precomputed import Precomputed
from tamis.pipeline.columns.embed.sentences import SentenceTransformers
from tamis.pipeline.columns.loss.causal_lm import CausalLM
from tamis.pipeline.columns.loss.image_text import ImageTextLM
from tamis.pipeline.columns.loss.kenlm import KenLM
from tamis.pipeline.columns.loss.precomputed import PrecomputedLoss
from tamis.pipeline.columns.loss.trained import TrainedLM
from tamis.pipeline.columns.measure.image import ImageQuality
from tamis.pipeline.columns.measure.joined import Join
from tamis.pipeline.columns.measure.sql import SqlColumn
from tamis.pipeline.columns.measure.text import TextMeasures
from tamis.pipeline.columns.user import user_kind
from tamis.pipeline.errors import QueryError, RecipeError
from tamis.pipeline.files.atomic import digest_file
from tamis.pipeline.recipe.user_code import code_file, need_permission
from tamis.selectors.catalog import build_class

KINDS: list[type[ColumnKind]] = [
    Benchmarks,
    CausalLM,
    Classic,
    FastText,
    FileBoxes,
    HuggingFace,
    ImageQuality,
    ImageTextLM,
    Join,
    KenLM,
    Linear,
    Onnx,
    OnnxDetector,
    OpenClip,
    OpenVocabulary,
    PerceptualHash,
    Precomputed,
    PrecomputedLoss,
    SentenceTransformers,
    SqlColumn,
    TextMeasures,
    Topic,
    TrainedLM,
]
SHORT = {
    "benchmarks": ("ranked", "by"),
    "join": ("file", "path"),
    "sql": ("expression", "expression"),
    "topic": ("keywords", "words"),
}
NOUNS = {"embed": "embedder", "detect": "detector"}  # of others the verb itself
GROUP = "tamis.columns"


def known_kinds() -> dict[str, dict[str, type[ColumnKind] | EntryPoint]]:
    """Of each verb its kinds by name: ours, then those of installed packages, which are imported when asked for."""
    known: dict[str, dict[str, type[ColumnKind] | EntryPoint]] = {}
    for kind in KINDS:
        known.setdefault(kind.verb, {})[kind.kind] = kind
    for verb, name, entry in plugged():
        known.setdefault(verb, {}).setdefault(name, entry)
    return known


@lru_cache(maxsize=1)
def plugged() -> list[tuple[str, str, EntryPoint]]:
    """Verb, kind and entry point of what packages add."""
    found = [(*entry.name.partition(".")[::2], entry) for entry in entry_points(group=GROUP)]
    return sorted(found, key=lambda one: one[:2])


def kind_of(name: str, settings: dict[str, Any], folder: Path, allow_code: bool) -> ColumnKind:
    """The kind that column `name` asks for, with its settings. Raises RecipeError, CodeNotAllowed."""
    if isinstance(reference := settings.get("python"), str):
        need_permission(reference, allow_code)
        return user_kind(name, reference, {key: value for key, value in settings.items() if key != "python"}, folder)
    known = known_kinds()
    verbs = [verb for verb in known if verb in settings]
    if not verbs:
        wanted = ", ".join(f"{{{verb}: ...}}" for verb in known)
        raise RecipeError(f"columns.{name}: wanted {wanted} or {{python: FILE.py:NAME}}, found {settings!r}")
    if len(verbs) > 1:
        raise RecipeError(f"columns.{name}: `{verbs[0]}` and `{verbs[1]}` are two columns; give each a name")
    verb = verbs[0]
    rest = {key: value for key, value in settings.items() if key != verb}
    if verb in SHORT:
        asked, field = SHORT[verb]
        if field in rest:
            raise RecipeError(f"columns.{name}: {field}: it stands behind `{verb}:` already")
        rest = {field: settings[verb], **rest}
    else:
        asked = settings[verb]
    if not isinstance(asked, str) or asked not in known[verb]:
        names = ", ".join(sorted(known[verb]))
        raise RecipeError(f"columns.{name}: no {NOUNS.get(verb, verb)} {asked!r}; known: {names}")
    return _built(name, class_of(known[verb][asked]), rest, folder)


def others_code(kind: ColumnKind, settings: dict[str, Any], folder: Path) -> dict[str, str]:
    """What stands for code that is not ours: a user's file by its digest, an installed package by its version."""
    if kind.verb == "python":
        return {}  # that kind tells it itself
    if isinstance(reference := settings.get("python"), str):
        return {"code": f"{reference.rpartition(':')[2]} {digest_file(code_file(reference, folder))}"}
    held = next((entry.dist for verb, name, entry in plugged() if (verb, name) == (kind.verb, kind.kind)), None)
    return {} if held is None else {"code": f"{held.name} {held.version}"}


def class_of(found: type[ColumnKind] | EntryPoint) -> type[ColumnKind]:
    if not isinstance(found, EntryPoint):
        return found
    try:
        given = found.load()
    except Exception as error:  # whatever a package does while it is imported
        raise RecipeError(f"{found.value}: can't be loaded: {error}") from error
    if not (isinstance(given, type) and issubclass(given, ColumnKind)):
        raise RecipeError(f"{found.value}: wanted a class of tamis.pipeline.columns.contract.ColumnKind")
    if f"{given.verb}.{given.kind}" != found.name:
        raise RecipeError(
            f"{found.value}: its verb and kind are {given.verb}.{given.kind}, its entry point {found.name}"
        )
    return given


def _built(name: str, kind: type[ColumnKind], settings: dict[str, Any], folder: Path) -> ColumnKind:
    given = {kind.renamed.get(key, key): value for key, value in settings.items()}
    if kind.describes and given.get("features") is not None:
        given["features"] = features_of(name, given["features"], folder)
    try:
        built: ColumnKind = build_class(kind, given)
    except (ValueError, QueryError) as error:
        raise RecipeError(f"columns.{name} ({kind.kind}): {error}") from error
    for setting, number in (("dims", built.leading), ("batch", built.at_once)):
        if number is not None and number < 1:
            raise RecipeError(f"columns.{name} ({kind.kind}): {setting} must be 1 or more, found {number}")
    return built


def features_of(name: str, given: Any, folder: Path) -> Features:
    """What describes a crop: any embedder of images. Raises RecipeError."""
    if not isinstance(given, dict) or "embed" not in given:
        raise RecipeError(f"columns.{name}: features: wanted {{embed: NAME, ...}}, found {given!r}")
    rest = dict(given)
    margin = rest.pop("margin", MARGIN)
    if isinstance(margin, bool) or not isinstance(margin, (int, float)) or not 0 <= margin <= 2:
        raise RecipeError(f"columns.{name}: features: margin must be a share from 0 to 2, found {margin!r}")
    kind = kind_of(f"{name}.features", rest, folder, allow_code=False)
    if rest.get("scaled_decode"):
        raise RecipeError(
            f"columns.{name}: features: scaled_decode: crops are cut from images of full size; leave it out"
        )
    outputs = [output for output in kind.makes(images=True) if output.way == "images" and output.vectors]
    if not outputs:
        raise RecipeError(f"columns.{name}: features: {given['embed']} does not describe images")
    return Features(kind, outputs[0], float(margin))
