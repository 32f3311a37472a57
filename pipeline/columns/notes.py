"""What a column tells of itself beside its settings, in its column.json: how its model was used, and what it could not
do."""

import threading
from pathlib import Path
from typing import Any

from tamis.pipeline.files.atomic import read_json, write_record

_one = threading.RLock()


class Notes:
    """A column's folder and its record."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def record(self) -> Path:
        return self.folder / "column.json"

    def known(self, name: str) -> Any:
        """What was noted under a name, or None."""
        return read_json(self.record).get(name)

    def note(self, **facts: Any) -> None:
        with _one:
            known = read_json(self.record)
            if any(known.get(name) != fact for name, fact in facts.items()):
                write_record(self.record, {**known, **facts}, sealed=False)

    def use(self, facts: dict[str, Any], who: str = "used") -> None:
        """What its model tells of itself."""
        if facts:
            self.note(**{who: facts})

    def count(self, what: str, part: str, rows: int) -> None:
        """Rows of a part of which something is to be told: `texts_cut`, `without_vector`, `images_gone`."""
        with _one:
            known = read_json(self.record).get(what, {})
            if known.get(part, 0) != rows:
                self.note(**{what: {**known, part: rows}})
