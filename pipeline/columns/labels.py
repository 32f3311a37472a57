"""`labels:` of a recipe: what people have said of samples already, as a column `labels`: a CSV of key and label, or a
store's folder of imported rounds (STORE/labels), which may not be there yet.

Null: not labeled. An empty text: labeled, by a label that the file does not say, by two that differ, or by one that is
held out for measuring: it is not asked again, and nothing learns from it."""

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from tamis.pipeline.columns.contract import ColumnKind, NoModel, Output, Told
from tamis.pipeline.columns.detect.rounds import round_rows, rounds
from tamis.pipeline.errors import RecipeError
from tamis.pipeline.files.atomic import digest_of_input, fingerprint

LABELS_VERSION = 3  # raise when the same rounds would give other values


@dataclass(frozen=True)
class GivenLabels(ColumnKind):
    """path: a CSV, or a folder of rounds, which may not be there yet."""

    verb: ClassVar[str] = "labels"
    kind: ClassVar[str] = "given"
    heavy: ClassVar[bool] = False
    told_if_empty: ClassVar[bool] = False

    path: str

    def makes(self, images: bool) -> list[Output]:
        return [Output(main=pa.string(), more=(("confirmed", pa.bool_()),), reads=("key",))]

    def made_of(self, folder: Path) -> dict[str, Any]:
        """Raises RecipeError."""
        path = Path(self.path)
        if not path.is_file() and path.name != "labels":
            raise RecipeError(f"labels {path}: no such file; wanted a CSV of key and label, or STORE/labels")
        if path.is_file():
            digest = digest_of_input(path)
        else:
            digest = fingerprint({one.name: digest_of_input(one) for one in rounds(path)})
        return {"maker": "labels", "digest": digest, "version": LABELS_VERSION}

    def load(self, place: Path) -> "LabelsModel":
        return LabelsModel(read_labels(Path(self.path)))


class LabelsModel(NoModel):
    def __init__(self, labels: "Labels") -> None:
        self.labels = labels

    def values(self, batch: pa.RecordBatch, told: Told) -> list[pa.Array]:
        """The label, and whether the sample was asked again and answered."""
        ids, keys = batch["sample_id"].to_pylist(), batch["key"].to_pylist()
        said = [self.labels.of(sample_id, key) for sample_id, key in zip(ids, keys, strict=True)]
        return [pa.array(said, pa.string()), pa.array([sample_id in self.labels.confirmed for sample_id in ids])]


@dataclass(frozen=True)
class Labels:
    """Labels by key, or of imported rounds by id; and what is to be told of them."""

    by_key: dict[str, str]
    by_id: dict[int, str]
    conflicts: list[str]  # keys with two labels that differ, which count as labeled without saying as what
    confirmed: set[int]  # samples of which two rounds gave the label that holds

    def __len__(self) -> int:
        return len(self.by_key) + len(self.by_id)

    def of(self, sample_id: int, key: str) -> str | None:
        return self.by_id.get(sample_id, self.by_key.get(key))


def read_labels(path: Path) -> Labels:
    """Raises RecipeError where it is no such file."""
    if not path.is_file():
        told = [row for some in round_rows(path) for row in some]
        given = Counter((row["sample_id"], row["label"]) for row in told)
        by_id = {row["sample_id"]: "" if row["held_out"] else row["label"] for row in told}
        last = {row["sample_id"]: row["label"] for row in told}
        return Labels({}, by_id, [], {sample_id for sample_id, label in last.items() if given[sample_id, label] > 1})
    labels: dict[str, str] = {}
    conflicts = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True, skipinitialspace=True)
            rows.fieldnames = [name.strip() for name in rows.fieldnames or []]
            if sorted(name for name in rows.fieldnames if name in ("key", "label")) != ["key", "label"]:
                found = ", ".join(rows.fieldnames) or "none"
                raise RecipeError(f"labels {path}: wanted one column key and one column label, found {found}")
            for row in rows:
                key, label = row["key"], (row.get("label") or "").strip()
                if not key:
                    raise RecipeError(f"labels {path}: line {rows.line_num} has no key")
                if labels.setdefault(key, label) != label:
                    conflicts.append(key)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RecipeError(f"labels {path}: can't be read ({' '.join(str(error).split())[:160]})") from error
    for key in conflicts:
        labels[key] = ""
    return Labels(labels, {}, sorted(set(conflicts)), set())
