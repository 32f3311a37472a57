"""Which of some classes an image looks like most, by the vectors of prompts that name them.

Each class is the mean direction of its prompts' vectors, as published for CLIP (Radford et al. 2021, section 3.1.4)."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import yaml

from tamis.pipeline.columns.contract import NoModel, Told
from tamis.pipeline.columns.embed.vectors import TEXT_ROWS, TextModel
from tamis.pipeline.errors import RecipeError
from tamis.pipeline.files.plain_yaml import load_yaml
from tamis.selectors.vectors.columns import as_array, as_column

CLASS_VERSION = 2  # raise when the same vectors would get other classes or fields
LISTED_CLASSES = 10  # of an image, best first
CLASS_FIELDS = (  # beside the best class
    ("cosine", pa.float32()),
    ("margin", pa.float32()),  # to the second best
    ("best", pa.list_(pa.struct([("class", pa.string()), ("cosine", pa.float32())]))),
)


class BestClasses(NoModel):
    """Told from the image vectors of the column itself."""

    def __init__(self, model: TextModel, classes: dict[str, list[str]], dims: int | None) -> None:
        self.names = list(classes)
        means = []
        for prompts in classes.values():
            vectors = model.texts(prompts)
            means.append((vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).mean(0))
        self.prompts, _ = as_array(as_column(np.stack(means), dims))

    def values(self, batch: pa.RecordBatch, told: Told) -> list[pa.Array]:
        """Best class of each image vector, its cosine, how far the second best is, and the first ten."""
        column = batch[".image"]
        parts = [self._some(column.slice(first, TEXT_ROWS)) for first in range(0, max(1, len(column)), TEXT_ROWS)]
        return [pa.concat_arrays(arrays) for arrays in zip(*parts, strict=True)]

    def _some(self, vectors: pa.Array) -> list[pa.Array]:
        images, there = as_array(vectors)
        cosines = images @ self.prompts.T
        order = np.argsort(-cosines, axis=1, kind="stable")[:, :LISTED_CLASSES]
        rows = np.arange(len(images))
        best, second = cosines[rows, order[:, 0]], cosines[rows, order[:, min(1, len(self.names) - 1)]]
        names = np.array(self.names, object)
        return [
            pa.array(names[order[:, 0]], pa.string(), mask=~there),
            pa.array(best, pa.float32(), mask=~there),
            pa.array(best - second, pa.float32(), mask=~there),
            _listed(names[order], np.take_along_axis(cosines, order, 1), there),
        ]


def _listed(names: npt.NDArray[Any], cosines: npt.NDArray[np.float32], there: npt.NDArray[np.bool_]) -> pa.Array:
    """[rows] lists of classes and cosines, best first; null where there is no vector."""
    pairs = [pa.array(names.ravel(), pa.string()), pa.array(cosines.ravel(), pa.float32())]
    flat = pa.StructArray.from_arrays(pairs, ["class", "cosine"])
    ends = pa.array(np.arange(len(there) + 1, dtype=np.int32) * names.shape[1])
    return pa.ListArray.from_arrays(ends, flat, mask=pa.array(~there))


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
