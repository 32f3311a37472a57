"""What the page asks to see: filters as masks over the frame, and counts under all filters but a chart's own.

A drag changes one filter: the others' masks are kept, so that it costs one comparison, and one count a chart."""

import json
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from tamis.pipeline.errors import QueryError
from tamis.pipeline.view.rows.asked import Asked
from tamis.pipeline.view.rows.fields import BINS, Numbers, Words
from tamis.pipeline.view.rows.frame import RANK, Frame, Mask, Rows

MOST_NAMES = 60  # of a field's values that a chart lists
FEW = 20  # rows of a value, of which a share says little
HELD_MASKS, HELD_VIEWS = 24, 8
T = TypeVar("T")


class Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class OfField(Model):
    """Values of a field: some of its words, or numbers from `least` to `most`; `none`: and those without one."""

    words: list[str] | None = Field(None, max_length=5000)
    least: float | None = None
    most: float | None = None
    none: bool = False


class Ask(Model):
    """All that the page asks for at once."""

    fields: dict[str, OfField] = {}
    words: str = Field("", max_length=1000)
    condition: str = Field("", max_length=10_000)
    lasso: list[tuple[float, float]] = Field([], max_length=2000)
    marked: bool = False
    charts: list[str] = Field([], max_length=60)
    by_share: bool = False  # a chart's values: those of which the largest part is left first
    sort: str = RANK
    down: bool = False


class Answer(Model):
    """A list of rows, and how they are made up."""

    number: int
    matching: int
    kept: int
    rows: int
    charts: dict[str, Any]


class Filters:
    """Masks and orders of one frame; safe to ask from several threads."""

    def __init__(
        self,
        frame: Frame,
        lasso: Callable[[list[tuple[float, float]]], Mask],
        marked: Callable[[], npt.NDArray[np.uint64]],
    ) -> None:
        self.frame, self._lasso, self._marked = frame, lasso, marked
        self._asked = Asked(frame)
        self._masks: OrderedDict[str, Mask] = OrderedDict()
        self._views: OrderedDict[int, Rows] = OrderedDict()
        self._totals: dict[str, Any] = {}
        self._lock = threading.RLock()
        self._count = 0

    def answer(self, ask: Ask) -> Answer:
        """Raises QueryError."""
        masks = self._of(ask)
        whole = _all(masks.values())
        charts = {name: chart for name in ask.charts if (chart := self._chart(name, masks, whole, ask)) is not None}
        order = self.frame.order(ask.sort, down=ask.down)
        rows = order if whole is None else order[whole[order]]
        matching = len(rows)
        dropped = int(np.count_nonzero(self.frame.dropped if whole is None else self.frame.dropped & whole))
        return Answer(
            number=self._hold(rows), matching=matching, kept=matching - dropped, rows=self.frame.rows, charts=charts
        )

    def mask(self, ask: Ask) -> Mask:
        """[rows] which match."""
        whole = _all(self._of(ask).values())
        return np.ones(self.frame.rows, bool) if whole is None else whole

    def rows(self, number: int) -> Rows | None:
        """Of an earlier answer; None where it is no longer held."""
        with self._lock:
            return self._views.get(number)

    def _hold(self, rows: Rows) -> int:
        with self._lock:
            self._count += 1
            self._views[self._count] = rows
            while len(self._views) > HELD_VIEWS:
                self._views.popitem(last=False)
            return self._count

    def _of(self, ask: Ask) -> dict[str, Mask]:
        """A mask for each filter; of a field by its name, of the others by a name that no field has."""
        found: dict[str, Mask] = {}
        for name, one in ask.fields.items():
            found[name] = self._held(f"field {name} {one.model_dump_json()}", partial(self._field, name, one))
        for word in words_of(ask.words):
            found[f"\0word {word}"] = self._held(f"word {word}", partial(self._asked.found, word))
        if ask.condition:
            found["\0condition"] = self._held(f"sql {ask.condition}", lambda: self._asked.holds(ask.condition))
        if len(ask.lasso) > 2:
            found["\0lasso"] = self._held(f"lasso {json.dumps(ask.lasso)}", lambda: self._lasso(ask.lasso))
        if ask.marked:
            found["\0marked"] = self.frame.mask_of(self._marked())
        return found

    def _held(self, key: str, make: Callable[[], Mask]) -> Mask:
        with self._lock:
            if key in self._masks:
                self._masks.move_to_end(key)
                return self._masks[key]
        mask = make()
        with self._lock:
            self._masks[key] = mask
            while len(self._masks) > HELD_MASKS:
                self._masks.popitem(last=False)
        return mask

    def _field(self, name: str, asked: OfField) -> Mask:
        field = self.frame.field(name)
        if field is None:
            raise QueryError(f"no field {name!r} to filter by")
        if isinstance(field, Words):
            wanted = {*(asked.words or ())}
            return np.array([one in wanted for one in field.names], bool)[field.codes]
        mask = np.ones(self.frame.rows, bool) if asked.none else np.isfinite(field.values)
        if asked.least is not None:
            mask &= ~(field.values < asked.least)
        if asked.most is not None:
            mask &= ~(field.values > asked.most)
        return mask

    def _chart(self, name: str, masks: dict[str, Mask], whole: Mask | None, ask: Ask) -> dict[str, Any] | None:
        field = self.frame.field(name)
        if field is None:
            return None
        own = _all(mask for one, mask in masks.items() if one != name) if name in masks else whole
        kept, dropped = self._counts(name, field, own)
        every = sum(self._counts(name, field, None))
        if isinstance(field, Numbers):
            return {
                "kind": "numbers", "low": field.low, "high": field.high,
                "kept": kept[:BINS].tolist(), "dropped": dropped[:BINS].tolist(), "all": every[:BINS].tolist(),
                "none": int(kept[BINS] + dropped[BINS]),
            }  # fmt: skip
        wanted = {*(ask.fields[name].words or ())} if name in ask.fields else set()
        in_turn = name == "step" and not ask.by_share
        return {"kind": "words", **_listed(field.names, kept, dropped, every, wanted, ask.by_share, in_turn)}

    def _counts(self, name: str, field: Words | Numbers, mask: Mask | None) -> tuple[Any, Any]:
        """[values] kept and dropped of each."""
        if mask is None and name in self._totals:
            return self._totals[name]
        pairs = field.codes.astype(np.uint32) * 2 + self.frame.dropped
        counts = np.bincount(pairs if mask is None else pairs[mask], minlength=2 * field.size)
        found = counts[::2], counts[1::2]
        if mask is None:
            self._totals[name] = found
        return found


def words_of(text: str) -> list[str]:
    """What is looked for: each word, wherever it stands; what stands in double quotes as one."""
    return list(dict.fromkeys(quoted or word for quoted, word in re.findall(r'"([^"]+)"?|(\S+)', text)))


def _all(masks: Iterable[Mask]) -> Mask | None:
    """Where all hold; None: nothing is asked."""
    found: Mask | None = None
    for mask in masks:
        found = mask if found is None else found & mask
    return found


def _listed(
    names: list[str], kept: Any, dropped: Any, every: Any, wanted: set[str], by_share: bool, in_turn: bool
) -> dict[str, Any]:
    """The values with the most rows, or the largest part of their rows, of few rows last; or as they stand. Those asked
    for are among them."""
    there = kept + dropped
    keys = np.where(every < FEW, -1, 1) + there / np.maximum(every, 1) if by_share else there
    keys = -np.arange(len(names)) if in_turn else keys
    order = [n for n in np.lexsort((-every, -keys)).tolist() if every[n]]
    first = order[:MOST_NAMES]
    first += [n for n in order[MOST_NAMES:] if names[n] in wanted]
    return {
        "names": [names[n] for n in first], "kept": kept[first].tolist(), "dropped": dropped[first].tolist(),
        "all": every[first].tolist(), "more": len(order) - len(first),
    }  # fmt: skip
