"""`classify: fasttext`: the probability of a label, from a fastText model that the user gives.

A text is read as one line, whole."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from tamis.pipeline.columns.contract import ColumnKind, Output, Told
from tamis.pipeline.errors import RecipeError
from tamis.pipeline.files.atomic import digest_of_input
from tamis.pipeline.recipe.extras import MissingExtra

CLASSIFY_VERSION = 2  # raise when the same text would get another probability
FASTTEXT_MAGIC = (793712314).to_bytes(4, "little")


@dataclass(frozen=True, kw_only=True)
class FastText(ColumnKind):
    """model  a .bin or .ftz file of fastText
    label  whose probability, with or without `__label__`; without a label, that of the likeliest one, which
           `NAME_best` tells
    """

    verb: ClassVar[str] = "classify"
    kind: ClassVar[str] = "fasttext"
    extra: ClassVar[str] = "fasttext"

    model: str
    label: str | None = None

    def makes(self, images: bool) -> list[Output]:
        return [Output(main=pa.float32(), more=(("best", pa.string()),), reads=("text",))]

    def fingerprinted(self, folder: Path) -> dict[str, Any]:
        path = folder / self.model
        if not path.is_file():
            raise RecipeError(f"fasttext: no file {path}")
        with path.open("rb") as file:
            if file.read(4) != FASTTEXT_MAGIC:
                raise RecipeError(f"fasttext: {path} is no model of fastText")
        return {**asdict(self), "model": "file", "digest": digest_of_input(path), "version": CLASSIFY_VERSION}

    def load(self, place: Path) -> "FastTextModel":
        return FastTextModel(self, place)


class FastTextModel:
    def __init__(self, settings: FastText, folder: Path) -> None:
        try:
            import fasttext
        except ImportError as error:
            raise MissingExtra("classify: fasttext", "fasttext") from error
        try:
            self.model = fasttext.load_model(str(folder / settings.model))
        except (OSError, ValueError, RuntimeError, MemoryError) as error:
            raise RecipeError(f"fasttext {settings.model}: can't be loaded ({error})") from error
        self.label = None if settings.label is None else "__label__" + settings.label.removeprefix("__label__")
        known = sorted(label for label, _ in self._labels("a"))
        if self.label is not None and self.label not in known:
            shown = ", ".join(label.removeprefix("__label__") for label in known[:12])
            raise RecipeError(
                f"fasttext {settings.model}: no label {settings.label!r} (there are {len(known)}: {shown} …)"
            )
        self.facts: dict[str, Any] = {"labels": len(known)}

    def _labels(self, line: str) -> list[tuple[str, float]]:
        labels, chances = self.model.predict(line, k=-1, threshold=-1.0)
        return list(zip(labels, map(float, chances), strict=True))

    def values(self, batch: pa.RecordBatch, told: Told) -> list[pa.Array]:
        """The label's probability, and which label is likeliest; null for a blank text."""
        chances: list[float | None] = []
        best: list[str | None] = []
        for text in batch["text"].to_pylist():
            line = (text or "").replace("\n", " ")  # fastText takes one line, and parts words by white space of its own
            found = self._labels(line) if line.strip() else []
            likeliest = max(found, key=lambda one: (one[1], one[0]), default=None)
            mine = [chance for label, chance in found if label == (self.label or likeliest[0])] if likeliest else []
            chances.append(min(1.0, mine[0]) if mine else 0.0 if found else None)
            best.append(likeliest[0].removeprefix("__label__") if likeliest else None)
        return [pa.array(chances, pa.float32()), pa.array(best, pa.string())]
