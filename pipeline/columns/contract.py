"""What a column kind is: frozen settings that say what they read and make, and a model that gives values.

A new kind is one file with a `ColumnKind` and its model, one line in catalog.py, its test, and its row in docs. There
are three ways of reading, each with one filler: rows of the pool with columns made before (fill_rows.py), images in one
decode (fill_images.py), and objects in images (fill_objects.py). A user's own kind is a class of the same form."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import pyarrow as pa

from tamis.pipeline.read.pool import Part

Way = Literal["rows", "images", "objects"]
Sources = Literal["pool", "target"]
ALL = ("*",)  # for `reads`: every field that the pool has
Fields = tuple[tuple[str, pa.DataType], ...]


@dataclass(frozen=True)
class Output:
    """What a kind makes, in a folder of its own. `name`: steps call it COLUMN.name; empty is a column's only output.

    `main`: type of the main value; None: the model's values tell. `more`: fields beside it, COLUMN_field for steps."""

    name: str = ""
    way: Way = "rows"
    main: pa.DataType | None = None
    more: Fields = ()
    fields: Fields = ()  # in place of both, under names of their own
    reads: tuple[str, ...] = ()  # by `rows`: fields of the pool, and columns as steps name them (`.image`: of this one)
    vectors: bool = False  # the main value is a vector of unit length, or null


class ColumnKind:
    """Base of all settings. A kind is a frozen dataclass whose fields are the recipe's keys beside the verb."""

    verb: ClassVar[str]  # `loss`
    kind: ClassVar[str]  # `causal_lm`
    renamed: ClassVar[dict[str, str]] = {}  # keys of the recipe that Python has other uses for -> fields
    of_target: ClassVar[bool] = True  # is made of the target's samples, too
    heavy: ClassVar[bool] = True  # a model runs: one shard at a time, on a GPU where there is one
    by_folds: ClassVar[bool] = False  # each sample is judged by what learned from others alone
    joins_by_name: ClassVar[bool] = False  # what it gives depends on which names the pool has more than once
    bits: ClassVar[bool] = False  # its vectors are bits that copies of an image share
    describes: ClassVar[bool] = False  # its setting `features` is an embedder, which describes what it finds
    told_if_empty: ClassVar[bool] = True  # a shard without one value is worth a line
    hint: ClassVar[str] = ""  # what that line asks
    extra: ClassVar[str] = ""  # of tamis, whose packages it needs

    def makes(self, images: bool) -> list[Output]:
        """All that it makes, the main one first; opens no file. `images`: whether the pool is of images."""
        raise NotImplementedError

    def fingerprinted(self, folder: Path) -> dict[str, Any]:
        """JSON that stands for all its values depend on: settings, what files hold, a version that is raised by hand.
        Raises RecipeError, ValueError."""
        raise NotImplementedError

    def made_of(self, folder: Path) -> dict[str, Any]:
        """The same with verb and kind: equal ones are equal columns."""
        return {"maker": self.verb, self.verb: self.kind, **self.fingerprinted(folder)}

    def made_of_output(self, output: str, folder: Path) -> dict[str, Any]:
        """What one output depends on besides."""
        return {}

    @property
    def extras(self) -> tuple[str, ...]:
        """All extras that it needs with these settings."""
        return (self.extra,) if self.extra else ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of vectors that it reads, or learns from."""
        return ()

    @property
    def taught_by(self) -> tuple[str, ...]:
        """Fields and columns of the pool that only its learning reads."""
        return ()

    @property
    def made_of_share(self) -> float:
        """Of the pool's samples, drawn by their ids, for which values are made; the others have none."""
        return 1.0

    @property
    def leading(self) -> int | None:
        """How many of the leading numbers of a vector are kept; None: all."""
        return None

    @property
    def at_once(self) -> int | None:
        """How many images, or windows of texts, the recipe wants at once; None: what this machine is best at."""
        return None

    @property
    def follows(self) -> str | None:
        """The column whose model this one's goes on from."""
        return None

    @property
    def learns(self) -> tuple[Sources, ...]:
        """What its model is learned from; empty: the user gives the model, or there is none."""
        return ()

    @property
    def embeds_words(self) -> bool:
        """Whether its model embeds texts, whatever the column reads."""
        return False

    def vectors_of(self, loaded: Any, words: list[str]) -> pa.Array:
        """Vectors of words as the column holds them, by its model; where it `embeds_words`."""
        raise NotImplementedError

    def knowing(self, names: Iterable[str]) -> "ColumnKind":
        """The settings, once the names are known that rows have: fields of the pool, and columns before this one.
        Raises ValueError."""
        return self

    def inheriting(self, start: "ColumnKind | None", given: set[str]) -> "ColumnKind":
        """The settings, with those of the kind that it `follows`, None where there is no such column; `given`: keys
        that the recipe says itself. Raises ValueError."""
        return self

    def class_numbers(self, folder: Path) -> dict[str, int]:
        """The number of each class, where a file numbers them; empty: any will do."""
        return {}

    def classes_of(self, folder: Path) -> list[str] | None:
        """Of `objects`: the only classes that may be; None: any."""
        return None

    def check(self, column: str, known: "dict[str, ColumnKind]") -> None:
        """What it needs of the columns before it, by name. Raises RecipeError."""

    def learn(self, lessons: "Lessons", final: Path) -> None:
        """Make the folder `final` with what the model learned, whole, unless it stands."""
        raise NotImplementedError

    def load(self, place: Path) -> Any:
        """The model; `place` is the recipe's folder, or that of what was learned. One a process."""
        raise NotImplementedError

    def reader(self, loaded: Any, output: str, folder: Path) -> Any:
        """What gives an output's values, by its way a `RowModel`, an `ImageModel` or a detector; `folder`: the
        recipe's. Columns that differ in settings of one output alone share what is loaded."""
        return loaded


class Lessons(Protocol):
    """What there is to learn from."""

    def parts(self, of: Sources) -> list[Part]:
        """Shards of the pool or the target. Raises RunFailed where there are none."""

    def batches(self, of: Sources) -> Iterator[pa.RecordBatch]:
        """Their rows with all that the kind reads, and of the pool what teaches it."""

    def targets(self) -> list[Iterator[pa.RecordBatch]]:
        """The target's rows, source by source."""

    def words(self, column: str, words: list[str]) -> pa.Array:
        """Vectors of words, by the model of a column before this one that embeds them."""

    def learned_by(self, column: str) -> Path:
        """The folder of what a column before this one learned."""


@dataclass
class Told:
    """What goes with the batches of a pass: `shared` by all columns of one batch, so that texts are tokenized once;
    `counts` of what something is to be told, such as `texts_cut`."""

    shared: dict[Any, Any] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)


class RowModel(Protocol):
    """Gives values by rows."""

    @property
    def facts(self) -> dict[str, Any]:
        """What is worth recording of the model: weights, precision."""

    def values(self, batch: pa.RecordBatch, told: Told) -> list[pa.Array]:
        """Arrays of the output's fields, [rows] each, null where there is none."""


class ImageModel(Protocol):
    """Gives numbers of images that decoding workers prepared."""

    @property
    def facts(self) -> dict[str, Any]:
        """As of a `RowModel`."""

    @property
    def dim(self) -> int:
        """Numbers an image."""

    @property
    def plan(self) -> dict[str, Any]:
        """What the workers leave of each image (decode/plans.py)."""

    def best_batch(self) -> int:
        """Images at once that this machine is best at."""

    def images(self, array: Any, batch: int) -> Any:
        """Begin with [images, ...]; the call of what is returned gives [images, dim] float32. Raises TooLarge."""


class NoModel:
    """For kinds that only compute: nothing is loaded, nothing is recorded."""

    facts: dict[str, Any] = {}  # noqa: RUF012  never written
