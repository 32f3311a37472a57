"""`loss:`, `classify:`, `topic:` and `measure: text` in a recipe: name to what gives each sample some numbers.

Settings are checked here; a model is loaded, or trained, when it is needed. The first number is the column's own,
others are called NAME_FIELD: `nll_tokens`, `nll_in_training_slice`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from tamis.pipeline.columns.classify.given import FastText, FastTextModel, HuggingFace, HuggingFaceModel
from tamis.pipeline.columns.classify.linear import Linear, LinearModel
from tamis.pipeline.columns.classify.topic import Topic, TopicModel
from tamis.pipeline.columns.loss.causal_lm import CausalLM
from tamis.pipeline.columns.loss.image_text import ImageTextLM, ImageTextModel
from tamis.pipeline.columns.loss.kenlm import KenLM, KenLMModel
from tamis.pipeline.columns.loss.losses import Losses, PrecomputedLoss, PrecomputedLosses, TrainedLosses
from tamis.pipeline.columns.loss.trained import TrainedLM
from tamis.pipeline.columns.measure.joined import Join, Joined
from tamis.pipeline.columns.measure.text import TextMeasures, TextMeasuring
from tamis.pipeline.decode.locate import PLACE
from tamis.pipeline.errors import RecipeError
from tamis.selectors.catalog import build_class
from tamis.selectors.texts.measures import ALL_NAMES

LOSS = [("tokens", pa.int32())]
TRAINED = [*LOSS, ("in_training_slice", pa.bool_())]
Facts = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """One kind of judge: its settings, what its column holds beside the main number, and which fields it reads."""

    settings: type
    more: list[tuple[str, pa.DataType]]
    reads: tuple[str, ...] = ("text",)
    main: pa.DataType = field(default_factory=pa.float32)


KINDS: dict[str, dict[str, Kind]] = {
    "loss": {
        "causal_lm": Kind(CausalLM, LOSS),
        "image_text_lm": Kind(
            ImageTextLM,
            [*LOSS, ("without_image", pa.float32()), ("grounding", pa.float32())],
            ("text", "width", *PLACE),
        ),
        "kenlm": Kind(KenLM, [*LOSS, ("perplexity", pa.float64())]),
        "precomputed": Kind(PrecomputedLoss, [], ()),
        "train": Kind(TrainedLM, TRAINED, ("text", "content_hash")),
    },
    "classify": {
        "fasttext": Kind(FastText, [("best", pa.string())]),
        "huggingface": Kind(HuggingFace, []),
        "linear": Kind(Linear, [], ()),
    },
    "join": {"file": Kind(Join, [], (), pa.float64())},
    "measure": {"text": Kind(TextMeasures, [(name, pa.float32()) for name in ALL_NAMES[1:]])},
    "topic": {"keywords": Kind(Topic, [], ())},
}


def verb_of(settings: dict[str, Any]) -> str | None:
    """Which of these a column's settings ask for."""
    return next((verb for verb in KINDS if verb in settings), None)


class Model(Protocol):
    """A judge's model, loaded."""

    facts: Facts  # what is worth recording of it
    counts: dict[str, int]  # of what something is to be told: `texts_cut`

    def values(self, batch: pa.RecordBatch, shared: dict[Any, Any]) -> list[pa.Array]:
        """The column's numbers; `shared` is kept for all judges of one batch, so that texts are tokenized once."""


@dataclass(frozen=True)
class Judge:
    """One such column: how it is made, and from where its model may be loaded."""

    verb: str  # loss, classify, join, measure, topic
    kind: str
    settings: Any
    folder: Path  # of the recipe
    schema: pa.Schema
    reads: tuple[str, ...]
    learns: tuple[str, ...] = field(default=())  # of pool, target; empty: the user gives the model

    @property
    def start(self) -> str | None:
        """The column whose model this one's goes on from."""
        return getattr(self.settings, "start", None)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that must be declared, and filled or trained, before this one."""
        more = tuple(getattr(self.settings, "columns", ()))
        return more if self.start is None else (self.start, *more)

    def model(self, learned: Path) -> Model:
        """The loaded model, one a process while its settings and files stand."""
        key = (self.verb, self.kind, repr(self.settings), str(learned))
        if key not in _LOADED:
            while len(_LOADED) >= MOST_LOADED:
                _LOADED.pop(next(iter(_LOADED)))
            _LOADED[key] = MODELS[type(self.settings)](self.settings, learned if self.learns else self.folder)
        return _LOADED[key]


_LOADED: dict[Any, Model] = {}
MOST_LOADED = 8  # models in memory at once: all that judge one batch


def judge_of(name: str, settings: dict[str, Any], folder: Path) -> Judge:
    """The judge that a recipe's column asks for, from its settings alone. Raises RecipeError."""
    verb = verb_of(settings) or "loss"
    if verb == "join":
        settings = {"join": "file", "path": settings["join"], **{k: v for k, v in settings.items() if k != verb}}
    if verb == "topic":
        settings = {"topic": "keywords", "words": settings["topic"], **{k: v for k, v in settings.items() if k != verb}}
    kind = settings[verb]
    if not isinstance(kind, str) or kind not in KINDS[verb]:
        known = sorted([*KINDS[verb], *(["image"] if verb == "measure" else [])])  # that one comes with the decode
        raise RecipeError(f"columns.{name}: no {verb} {kind!r}; known: {', '.join(known)}")
    found = KINDS[verb][kind]
    if name in dict(found.more):
        raise RecipeError(f"columns.{name}: {kind} has a field of that name beside its value; rename the column")
    given = {("start" if key == "from" else key): value for key, value in settings.items() if key != verb}
    try:
        built = build_class(found.settings, given)
    except ValueError as error:
        raise RecipeError(f"columns.{name} ({kind}): {error}") from error
    reads = (*found.reads, *getattr(built, "reads", ()))
    schema = pa.schema([(name, found.main), *found.more])
    return Judge(verb, kind, built, folder, schema, reads, tuple(getattr(built, "learns", ())))


MODELS: dict[type, Any] = {
    CausalLM: Losses,
    FastText: FastTextModel,
    HuggingFace: HuggingFaceModel,
    ImageTextLM: ImageTextModel,
    Join: Joined,
    KenLM: KenLMModel,
    Linear: LinearModel,
    PrecomputedLoss: PrecomputedLosses,
    TextMeasures: TextMeasuring,
    Topic: TopicModel,
    TrainedLM: TrainedLosses,
}  # each is called with settings and the folder that its files lie in
