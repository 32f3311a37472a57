"""`{python: FILE.py:NAME, ...}`: a user's own column, a function of a batch or a `ColumnKind` with settings."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from tamis.pipeline.columns.contract import ALL, ColumnKind, NoModel, Output, Told
from tamis.pipeline.errors import RecipeError
from tamis.pipeline.files.atomic import digest_file
from tamis.pipeline.recipe.user_code import code_file, load_object
from tamis.selectors.catalog import build_class


def user_kind(name: str, reference: str, settings: dict[str, Any], folder: Path) -> ColumnKind:
    """The kind that a reference to the user's code stands for; that code is run here. Raises RecipeError."""
    found = load_object(reference, folder)
    if isinstance(found, type) and issubclass(found, ColumnKind):
        try:
            built: ColumnKind = build_class(found, settings)
        except ValueError as error:
            raise RecipeError(f"columns.{name} ({reference}): {error}") from error
        return built
    if settings:
        raise RecipeError(f"columns.{name}: {reference} is a function, which has no settings: {', '.join(settings)}")
    return UserFunction(reference, folder)


@dataclass(frozen=True)
class UserFunction(ColumnKind):
    """A function: record batch of the pool's fields -> array of numbers, one a row."""

    verb: ClassVar[str] = "python"
    kind: ClassVar[str] = "function"
    heavy: ClassVar[bool] = False
    told_if_empty: ClassVar[bool] = False

    reference: str
    folder: Path

    def makes(self, images: bool) -> list[Output]:
        return [Output(main=pa.float64(), reads=ALL)]

    def made_of(self, folder: Path) -> dict[str, Any]:
        digest = digest_file(code_file(self.reference, self.folder))
        return {"maker": "python", "function": self.reference, "digest": digest}

    def load(self, place: Path) -> "UserModel":
        return UserModel(self)


class UserModel(NoModel):
    def __init__(self, settings: UserFunction) -> None:
        self.reference = settings.reference
        self.function = load_object(settings.reference, settings.folder)

    def values(self, batch: pa.RecordBatch, told: Told) -> list[pa.Array]:
        """What the function gives. Raises RecipeError where that is not one value a row."""
        given = self.function(batch)
        array = given if isinstance(given, pa.Array) else pa.array(given)
        if len(array) != batch.num_rows:
            raise RecipeError(f"column: {self.reference} gave {len(array)} values for {batch.num_rows} rows")
        return [array.cast(pa.float64())]
