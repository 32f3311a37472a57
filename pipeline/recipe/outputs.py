"""What a recipe may `emit`, and the settings of those outputs that have some."""

from typing import Annotated, Any

from pydantic import Field, field_validator

from tamis.pipeline.recipe.model import Model

EMITTERS = {
    "parquet": "the selection as selection.parquet, best first, with `weight`",
    "jsonl": "the same as JSON lines",
    "csv": "the same as CSV; nothing in it is a formula to a spreadsheet",
    "keys": "one key a line",
    "uids": "uids.npy as DataComp's tools read it: the kept field `uid`, else the content hash",
    "webdataset": "tars of the files' own bytes, with captions and JSON",
    "hf": "a dataset for `datasets.load_from_disk`",
    "label_studio": "tasks and labels.xml for Label Studio",
    "cvat": "images and boxes as CVAT reads them",
    "coco": "images and boxes as COCO has them",
    "labels": "labels to train with, their weights, and who gave them",
    "atlas": "every sample and what became of it, for Embedding Atlas",
    "fiftyone": "every image and what became of it, for FiftyOne",
    "splits": "train, validation and test that share nothing",
}


class Webdataset(Model):
    """Settings of the output `webdataset`.

    per_shard  samples of a tar
    shuffle  by the recipe's seed; else best first
    """

    per_shard: Annotated[int, Field(ge=1)] = 10_000
    shuffle: bool = False


class LabelStudio(Model):
    """Settings of the output `label_studio`: an image's address is `url` and its path below `root`.

    root  the server's LOCAL_FILES_DOCUMENT_ROOT, or what the url stands for
    url  what an image's address begins with
    """

    root: str = "/"
    url: str = "/data/local-files/?d="


class Splits(Model):
    """Settings of the output `splits`.

    shares  each split's share
    by  field whose values stay together
    """

    shares: dict[str, Annotated[float, Field(gt=0)]] = {"train": 0.8, "validation": 0.1, "test": 0.1}
    by: str | None = None

    @field_validator("shares")
    @classmethod
    def _plain_splits(cls, shares: dict[str, float]) -> dict[str, float]:
        for name in shares:
            if not name.isidentifier() or name == "splits":
                raise ValueError(f"{name!r} can't name a split: use another word of letters, digits and _")
        if not shares:
            raise ValueError("wanted splits and their shares, such as {train: 0.9, test: 0.1}")
        return shares


OUTPUT_SETTINGS: dict[str, type[Model]] = {
    "webdataset": Webdataset,
    "label_studio": LabelStudio,
    "splits": Splits,
}


def emitted(entry: str | dict[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    """Name and settings of one entry of `emit`."""
    return (entry, {}) if isinstance(entry, str) else next(iter(entry.items()))
