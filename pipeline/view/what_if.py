"""What another budget, or another place of a rule's line, would keep: reckoned from what is stored; no run is changed.

Exact for the step itself: a budget ends elsewhere in the order that the ledger tells, a line lies elsewhere among
numbers that columns hold. What later steps would make of samples that they have not seen is not known, and said."""

from dataclasses import dataclass
from fractions import Fraction as Exact
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import yaml

from tamis.pipeline.choose.decide import SKIPPED
from tamis.pipeline.errors import QueryError
from tamis.pipeline.recipe.plans import StepPlan
from tamis.pipeline.view.rows.asked import Asked
from tamis.pipeline.view.rows.fields import BINS, Words
from tamis.pipeline.view.rows.filters import Model
from tamis.pipeline.view.rows.frame import Frame, Mask, StepRows
from tamis.selectors.budget import SCALES, Budget
from tamis.selectors.catalog import findable
from tamis.selectors.lines import Line

BUDGET = "budget"
EACH_SIDE = 6  # samples shown at the line
MOST_GROUPS = 40
KEPT_BY_RULE = "chosen"
SIDES = {"kept": 1, "dropped": 0}  # of a line


class Try(Model):
    """A step's setting elsewhere; `by`: the field whose groups are told; `value` null: no such line."""

    step: int
    setting: str
    value: float | None = None
    by: str = ""
    shape: bool = False  # tell how the number is spread, too


@dataclass(frozen=True)
class Knob:
    """A setting that can be tried."""

    setting: str
    value: float | None
    low: float
    high: float
    whole: bool  # whole numbers alone
    unit: str
    line: Line | None = None

    def told(self) -> dict[str, Any]:
        found = {name: getattr(self, name) for name in ("setting", "value", "low", "high", "whole", "unit")}
        side = "" if self.line is None else "more than " if self.line.strict else "at least "
        if self.line and not self.line.is_least:
            side = "less than " if self.line.strict else "at most "
        return {**found, "side": side.strip(), "called": self._called()}

    def _called(self) -> str:
        """`limits.gopher_word_count.0` is a rule's least."""
        if self.line is None or len(self.line.setting) == 1:
            return self.setting
        return f"{self.line.setting[1]}, {'least' if self.line.is_least else 'most'}"


class WhatIf:
    """Of one run's frame."""

    def __init__(self, frame: Frame) -> None:
        self._frame, self._asked = frame, Asked(frame)
        self._numbers: dict[str, npt.NDArray[np.float64]] = {}
        self._knobs: dict[int, tuple[list[Knob], str]] = {}
        self._ordered: dict[int, tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = {}

    @cached_property
    def knobs(self) -> list[dict[str, Any]]:
        """For each step its settings that can be tried, or why none can."""
        run = self._frame.seen.run
        found = []
        for number, rows in enumerate(self._frame.steps if run else ()):
            knobs, reason = self._of_step(number)
            found.append({"step": number, "name": rows.name, "knobs": [one.told() for one in knobs], "reason": reason})
        return found

    def _of_step(self, number: int) -> tuple[list[Knob], str]:
        if number not in self._knobs:
            self._knobs[number] = self._found(number)
        return self._knobs[number]

    def _found(self, number: int) -> tuple[list[Knob], str]:
        run, rows = self._frame.seen.run, self._frame.steps[number]
        assert run is not None
        if findable(rows.selector) is None:
            return [], "it is code of your own: run it to see"
        plan = run.step(number)
        if plan.budget is not None:
            reason = self._closed(plan, run.summary(number))
            return ([], reason) if reason else ([self._budget(plan, rows)], "")
        candidates, lines = rows.kept >= 0, plan.selector.lines()
        if not all(self._stored(line) for line in lines if line.value is not None):
            return [], "it compares numbers that are stored nowhere: run it to see"
        found = []
        for line in lines:
            numbers = self._of_line(number, line)
            some = numbers[candidates & np.isfinite(numbers)]
            if line.value is None or not len(some):
                continue
            low, high = (float(one) for one in np.quantile(some, [0.005, 0.98]))  # a few far ones would press it flat
            name = ".".join(map(str, line.setting))
            whole = bool((some == np.round(some)).all()) and line.value == round(line.value)
            low, high = min(low, line.value), max(high, line.value * 2 if line.is_least else line.value)
            found.append(Knob(name, line.value, low, high, whole, "", line))
        return found, "" if found else "its settings are no line across a stored number: run it to see"

    @staticmethod
    def _closed(plan: StepPlan, summary: dict[str, Any]) -> str:
        """Why another budget can't be told from the ledger; empty: it can."""
        if plan.selector.ranks:
            return "it picks samples together, so that another budget picks others: run it to see"
        if plan.choice != "budget" or plan.selector.in_turn:
            return "groups or targets share its budget: run it to see"
        if plan.budget is not None and plan.budget.epochs != 1:
            return "samples may count several times: run it to see"
        return "" if summary["eligible"] else "it had no candidates"

    def _budget(self, plan: StepPlan, rows: StepRows) -> Knob:
        run = self._frame.seen.run
        assert run is not None
        summary = run.summary(plan.number)
        scale = SCALES[summary["unit"]]
        most = self._costs(plan, rows)[1].sum() / scale
        return Knob(BUDGET, summary["budget"] / scale, 0, float(most), scale == 1, summary["unit"])

    def _costs(self, plan: StepPlan, rows: StepRows) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Rows that could be chosen, best first, and what each costs in the budget's parts."""
        if plan.number not in self._ordered:
            self._ordered[plan.number] = self._in_order(plan, rows)
        return self._ordered[plan.number]

    def _in_order(self, plan: StepPlan, rows: StepRows) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        there = np.flatnonzero(rows.rank >= 0)
        order = there[np.argsort(rows.rank[there], kind="stable")]
        budget = plan.budget
        if not isinstance(budget, Budget) or budget.field is None:
            one = pa.record_batch({"sample_id": pa.array([0], pa.uint64())})
            return order, np.full(len(order), int(budget.costs(one)[0]) if isinstance(budget, Budget) else 1, np.int64)
        return order, budget.costs(self._frame.stored(budget.field, order))

    def _stored(self, line: Line) -> bool:
        return line.of_score or bool(line.expression) or line.field in self._frame.names

    def _of_line(self, step: int, line: Line) -> npt.NDArray[np.float64]:
        """[rows] the number that it is drawn across; NaN where it is not stored."""
        if line.of_score:
            return self._frame.steps[step].score
        if line.expression:
            if line.expression not in self._numbers:
                self._numbers[line.expression] = self._asked.numbers(line.expression)
            return self._numbers[line.expression]
        field = self._frame.field(line.field) if line.field in self._frame.names else None
        if isinstance(field, Words):  # of booleans
            known = np.array([{"true": 1.0, "false": 0.0}.get(name, np.nan) for name in field.names])
            return known[field.codes]
        return np.full(self._frame.rows, np.nan) if field is None else field.values.astype(np.float64)

    def tried(self, asked: Try) -> dict[str, Any]:
        """What the step would keep, against what it kept; raises QueryError where that can't be told."""
        frame, run = self._frame, self._frame.seen.run
        if run is None or not 0 <= asked.step < len(frame.steps):
            raise QueryError(f"what if: there is no step {asked.step}")
        knobs, reason = self._of_step(asked.step)
        knob = next((one for one in knobs if one.setting == asked.setting), None)
        if knob is None:
            raise QueryError(f"what if: {reason or f'no setting {asked.setting!r} to try'}")
        others = [one for one in knobs if one.line and one is not knob]
        if (asked.value is None and not others) or (knob.line is None and (asked.value or 0) < 0):
            raise QueryError(f"what if: {asked.setting} takes a number" + ("" if knob.line else " of 0 or more"))
        rows, plan = frame.steps[asked.step], run.step(asked.step)
        now, edge = (
            self._by_budget(plan, rows, asked) if knob.line is None else self._by_lines(rows, plan, knob.line, asked)
        )
        was = rows.kept == 1
        last = asked.step == len(frame.steps) - 1
        return {
            "kept": int(now.sum()), "was": int(was.sum()), "came": int((now & ~was).sum()),
            "went": int((was & ~now).sum()), "last": last, "stays": int((now & ~frame.dropped).sum()),
            "groups": self._groups(asked.by, was, now), "edge": edge, "yaml": self._recipe(plan, knob, asked.value),
            "shape": self._shape(rows, knob) if asked.shape and knob.line else None,
        }  # fmt: skip

    def _by_budget(self, plan: StepPlan, rows: StepRows, asked: Try) -> tuple[Mask, dict[str, list[int]]]:
        order, costs = self._costs(plan, rows)
        most = int(Exact(str(asked.value)) * SCALES[plan.budget.unit if plan.budget else "rows"])  # as recipes are read
        taken = _affordable(costs, most)
        kept = (rows.kept == 1) & (rows.rank < 0)  # what a rule lets pass
        kept[order[taken]] = True
        ends = int(np.flatnonzero(taken)[-1]) + 1 if taken.any() else 0
        inside = order[:ends][taken[:ends]][::-1][:EACH_SIDE]
        return kept, {"kept": inside.tolist(), "dropped": order[ends : ends + EACH_SIDE].tolist()}

    def _by_lines(self, rows: StepRows, plan: StepPlan, moved: Line, asked: Try) -> tuple[Mask, dict[str, list[int]]]:
        """What the step's own lines drop is looked at anew; all else stays as it is."""
        lines = plan.selector.lines()
        codes = [self._frame.reasons.index(name) for name in _reasons(lines) if name in self._frame.reasons]
        mine = (rows.kept >= 0) & np.isin(rows.reason, codes)
        kept = (rows.kept == 1) & ~mine
        bad = np.zeros(self._frame.rows, bool)
        for line in lines:
            value = asked.value if line.setting == moved.setting else line.value
            if value is not None:
                bad |= line.drops(self._of_line(asked.step, line), value)
        kept |= mine & ~bad
        numbers = self._of_line(asked.step, moved)
        far = np.where(mine & np.isfinite(numbers), np.abs(numbers - (asked.value or 0)), np.inf)
        sides = {"kept": kept & mine, "dropped": moved.drops(numbers, asked.value) & mine}
        return kept, {side: _nearest(np.where(mask, far, np.inf)) for side, mask in sides.items()}

    def _shape(self, rows: StepRows, knob: Knob) -> dict[str, Any]:
        """How the number is spread over the step's candidates, kept against dropped."""
        assert knob.line is not None
        numbers = self._of_line(rows.number, knob.line)
        there = (rows.kept >= 0) & np.isfinite(numbers)
        low, high = knob.low, knob.high if knob.high > knob.low else knob.low + 1
        sides = {side: np.clip(numbers[there & (rows.kept == is_)], low, high) for side, is_ in SIDES.items()}
        counts = {side: np.histogram(some, BINS, (low, high))[0].tolist() for side, some in sides.items()}
        return {"low": low, "high": high, **counts}

    def _groups(self, by: str, was: Mask, now: Mask) -> list[dict[str, Any]]:
        """The largest groups of a field: how many the step kept, and would."""
        field = self._frame.field(by) if by else None
        if not isinstance(field, Words):
            return []
        before, after = (np.bincount(field.codes[mask], minlength=field.size) for mask in (was, now))
        order = np.lexsort((-after, -before))[:MOST_GROUPS]
        return [
            {"name": field.names[n], "was": int(before[n]), "now": int(after[n])}
            for n in order.tolist()
            if before[n] or after[n]
        ]

    def _recipe(self, plan: StepPlan, knob: Knob, value: float | None) -> str:
        """The step as a recipe would say it."""
        run = self._frame.seen.run
        assert run is not None
        settings = dict(run.recipe.steps[plan.number][plan.name] or {})
        told: Any = int(value) if value is not None and value == int(value) else value
        if knob.line is None:
            given = settings.get(BUDGET)
            settings.pop("fraction", None)
            settings[BUDGET] = {**given, plan.budget.unit: told} if isinstance(given, dict) and plan.budget else told
        elif len(knob.line.setting) == 1:
            settings[str(knob.line.setting[0])] = told
        else:
            settings = _deeper(settings, plan, knob.line, told)
        return yaml.safe_dump([{plan.name: settings}], sort_keys=False, allow_unicode=True, width=110)


def _deeper(settings: dict[str, Any], plan: StepPlan, line: Line, value: Any) -> dict[str, Any]:
    """A pair of bounds by name: `limits: {RULE: [least, most]}`."""
    outer, rule, place = line.setting
    pair: list[float | None] = [None, None]
    for one in plan.selector.lines():
        if one.setting[:2] == line.setting[:2]:
            pair[int(one.setting[2])] = one.value
    pair[int(place)] = value
    return {**settings, str(outer): {**settings.get(str(outer), {}), str(rule): pair}}


def _reasons(lines: Any) -> list[str]:
    """Of what the lines drop, and of what they let through."""
    return list(dict.fromkeys([KEPT_BY_RULE, *(line.reason for line in lines)]))


def _affordable(costs: npt.NDArray[np.int64], most: int) -> npt.NDArray[np.bool_]:
    """[candidates, best first] which a budget buys: all until one costs too much; then those of SKIPPED further ones
    that still fit."""
    spent = np.cumsum(costs)
    taken = spent <= most
    ends = int(taken.sum())
    left = most - (int(spent[ends - 1]) if ends else 0)
    for place in range(ends, min(len(costs), ends + SKIPPED + 1)):
        if costs[place] <= left:
            taken[place] = True
            left -= int(costs[place])
    return taken


def _nearest(far: npt.NDArray[np.float64]) -> list[int]:
    some = np.argpartition(far, min(EACH_SIDE, len(far) - 1))[:EACH_SIDE] if len(far) else np.zeros(0, np.int64)
    return [int(row) for row in some[np.argsort(far[some], kind="stable")] if np.isfinite(far[row])]
