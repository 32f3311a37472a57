"""What a person marked while looking: a wrong drop, a wrong keep, a label, a note. Kept beside the run, in marks.json.

A run is not changed by them. They go out as a table, as keys for `tamis forget`, or as answers for `tamis label
import`."""

import csv
import io
import re
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError

from tamis.pipeline.errors import DamageFound
from tamis.pipeline.files.atomic import atomic_path, read_json, write_json
from tamis.pipeline.files.remote import put_up
from tamis.pipeline.files.sheets import for_sheets
from tamis.pipeline.view.rows.filters import Model
from tamis.pipeline.view.rows.seen import Seen

Kind = Literal["wrong_drop", "wrong_keep", "none"]
Export = Literal["csv", "forget", "labels"]
FILES: dict[Export, str] = {"csv": "marks.csv", "forget": "forget.txt", "labels": "labels.csv"}
MOST_MARKED = 10_000  # at once
ID = re.compile("[0-9a-f]{16}")


class Mark(Model):
    """Of one sample."""

    key: str
    mark: Kind = "none"
    label: str = Field(default="", max_length=200)
    note: str = Field(default="", max_length=2000)
    at: str = ""  # UTC

    @property
    def empty(self) -> bool:
        return self.mark == "none" and not self.label and not self.note


class Marks:
    """By sample's id in hex."""

    def __init__(self, seen: Seen) -> None:
        self.folder = seen.run.folder if seen.run else seen.store
        self._url = seen.url
        self._lock = threading.Lock()
        self._held = self._read()

    @property
    def path(self) -> Path:
        return self.folder / "marks.json"

    def _read(self) -> dict[str, Mark]:
        if not self.path.exists():
            return {}
        try:
            held = {name: Mark.model_validate(one) for name, one in read_json(self.path)["marks"].items()}
            if all(ID.fullmatch(name) for name in held):
                return held
            raise ValueError("an id is none")
        except (ValidationError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise DamageFound(f"{self.path}: no marks that this version reads. Move it away, or restore it.") from error

    def __len__(self) -> int:
        return len(self._held)

    def of(self, sample_id: str) -> dict[str, Any] | None:
        mark = self._held.get(sample_id)
        return None if mark is None else mark.model_dump()

    def ids(self) -> npt.NDArray[np.uint64]:
        return np.array([int(one, 16) for one in self._held], np.uint64)

    def set(self, samples: Sequence[tuple[str, str]], changes: dict[str, str]) -> int:
        """Change marks of (id, key)s; one that says nothing is taken away. Returns how many there are."""
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        with self._lock:
            held = dict(self._held)
            for sample_id, key in samples:
                before = held.get(sample_id) or Mark(key=key)
                mark = Mark.model_validate({**before.model_dump(), **changes, "at": now})
                held[sample_id] = mark
                if mark.empty:
                    del held[sample_id]
            write_json(self.path, {"marks": {name: one.model_dump() for name, one in held.items()}}, sealed=False)
            self._put_up(self.path)
            self._held = held
        return len(self._held)

    def _put_up(self, path: Path) -> None:
        """Where the store is a copy of one on object storage, which others look at, too."""
        if self._url:
            put_up(self._url, path)

    def export(self, kind: Export) -> tuple[Path, str, int]:
        """Write what others take; returns where, the text, and of how many samples."""
        text = {"csv": self._table, "forget": self._keys, "labels": self._labels}[kind]()
        final = self.folder / "marks" / FILES[kind]
        final.parent.mkdir(exist_ok=True)
        with atomic_path(final, sealed=False) as path:
            path.write_text(text, encoding="utf-8", newline="")
        self._put_up(final)
        return final, text, self._count(kind)

    def _count(self, kind: Export) -> int:
        held = self._held.values()
        labels = sum(bool(one.label) for one in held)
        return {"csv": len(held), "forget": len(self._wrong) - self.left_out, "labels": labels}[kind]

    def _table(self) -> str:
        return _csv(
            ["sample_id", "key", "mark", "label", "note", "at"],
            [[name, one.key, one.mark, one.label, one.note, one.at] for name, one in self._held.items()],
        )

    def _keys(self) -> str:
        """Of wrong keeps, one a line, as `tamis forget --file` takes them; a key of several lines can't be one."""
        return "".join(f"{key}\n" for key in self._wrong if len(key.splitlines()) == 1)

    @property
    def _wrong(self) -> list[str]:
        return [one.key for one in self._held.values() if one.mark == "wrong_keep"]

    @property
    def left_out(self) -> int:
        """Keys of wrong keeps that have several lines."""
        return sum(len(key.splitlines()) != 1 for key in self._wrong)

    def _labels(self) -> str:
        told = [[name, one.key, one.label, one.at] for name, one in self._held.items() if one.label]
        return _csv(["sample_id", "key", "label", "labeled_at"], told)


def _csv(head: list[str], rows: list[list[str]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL)  # a bare carriage return ends a line, too
    writer.writerow(head)
    writer.writerows([for_sheets(value) for value in row] for row in rows)
    return out.getvalue()
