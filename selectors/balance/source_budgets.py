"""How many samples to take from each source for a target: few sources that together resemble it get the budget.

After Wang, Chen, Jamieson, Du 2023 (arXiv:2306.02556, "Improved Active Multi-Task Representation Learning via Lasso"),
as far as its abstract says, on a frozen embedding: each source has a vector w_m, the target t; nu = lasso(W, t). The
target's error falls as sum nu_m^2 / n_m, which a budget makes smallest with n_m in proportion to |nu_m|, and to
|nu_m| / sqrt(c_m) where a sample of m costs c_m. w_m is the mean vector of a source, less the mean of all, of unit
length, and nu is not negative: more of what looks like the target; with `predict: FIELD` it is a ridge regression of
that field from the vectors, and |nu| counts: more of what teaches the target's task. The penalty is the largest under
which halves of the target foretell each other nearly best. Within a source by chance; what the chosen sources can't
fill goes to others. One pass, O(dim) a sample, O(dim^2) with `predict`. Not for choosing samples of a source, and which
sources are chosen is not unique where they repeat each other."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tamis.selectors.budget import SCALES, Budget
from tamis.selectors.chance import uniform
from tamis.selectors.contract import Batches, Choice, Fitted, Floats, Inputs, Scorer
from tamis.selectors.learners.lasso import lasso
from tamis.selectors.vectors.columns import as_halves

PENALTIES = 10.0 ** np.arange(-4, 0.01, 0.25)  # times the smallest under which nothing is left
RIDGE = 1.0  # of the heads, on vectors of unit length
WHOLE = 2.0**24  # float16 is a whole number of 2^-24: sums are exact in any order
MOST_SOURCES = 5000  # their products are 200 MB
MOST_BYTES = 1 << 30  # of second moments


@dataclass(frozen=True, kw_only=True)
class SourceBudgets(Scorer):
    """column   of vectors
    by       the field that names a sample's source
    predict  a field that sources teach to predict, numbers or classes
    floor    least of each source, so that none is forgotten
    cap      most of each
    penalty  instead of the one that is found
    """

    by_chance: ClassVar[bool] = True
    budgets: ClassVar[tuple[str, ...]] = ("budget",)
    needs_target: ClassVar[bool] = True

    column: str
    by: str
    predict: str | None = None
    floor: int = 10
    cap: int | None = None
    penalty: float | None = None
    seed: int = 0
    step: int = 0

    def __post_init__(self) -> None:
        if self.floor < 0 or (self.cap is not None and self.cap < self.floor) or (self.penalty or 0) < 0:
            raise ValueError("floor must be 0 or more, cap no less than it, penalty 0 or more")

    @property
    def choice(self) -> str:
        return "quota"

    @property
    def priced_by(self) -> str:
        return self.by

    def inputs(self) -> Inputs:
        return Inputs((self.column, self.by, *(() if self.predict is None else (self.predict,))), pool_only=(self.by,))

    def fit(self, pool: Batches, targets: Sequence[Batches]) -> "FittedSourceBudgets":
        """Raises ValueError where the target holds no vectors, or no values to predict."""
        sources, halves = Moments(self.predict), Moments(self.predict)
        for batch in pool:
            sources.add(batch, self.column, _kinds(batch[self.by]).to_pylist())
        for target in targets:
            for batch in target:
                ids = batch["sample_id"].to_numpy()
                halves.add(batch, self.column, np.where(uniform(ids, 0, 0, "halves") < 0.5, "a", "b").tolist())
        names = sorted(name for name, count in sources.counts.items() if count)
        if len(names) > MOST_SOURCES:
            raise ValueError(f"{self.by!r} names {len(names):,} sources, more than {MOST_SOURCES:,}; group them")
        if not names:
            return FittedSourceBudgets(self, [], np.zeros(0), np.zeros(0, np.int64), 0.0, {})
        if not halves.counts:
            raise ValueError("the target has no sample with a vector")
        w, t = self._tasks(sources, halves, names)
        penalty = self._penalty(w, t) if self.penalty is None else self.penalty
        nu = lasso(w, t.mean(1), penalty, nonnegative=self.predict is None)
        rest = w @ nu - t.mean(1)
        open_ = float(rest @ rest / max(1e-12, t.mean(1) @ t.mean(1)))
        few = int((np.abs(nu) > 1e-9).sum())
        order = np.argsort(-np.abs(nu), kind="stable").tolist()
        facts = {
            "penalty": float(penalty), "left_unexplained": round(open_, 4),
            "said": [f"{few} of {len(names)} sources make up the target, but for {open_:.1%} of it"],
            "table": {
                "columns": ["source", "samples", "relevance"],
                "rows": [[names[place], sources.rows[names[place]], round(float(nu[place]), 4)] for place in order],
            },
        }  # fmt: skip
        sizes = np.array([sources.rows[name] for name in names])
        return FittedSourceBudgets(self, names, nu, sizes, float(penalty), facts)

    def _tasks(self, sources: "Moments", halves: "Moments", names: list[str]) -> tuple[Floats, Floats]:
        """[dim, sources], and [dim, 1 or 2] of the target's halves."""
        if self.predict is not None:
            kinds = sorted({kind for moments in (sources, halves) for _, kind in moments.products})
            t = [halves.head(name, kinds) for name in sorted(halves.counts)]
            return np.stack([sources.head(name, kinds) for name in names], 1), np.stack(t, 1)
        middle = np.mean([sources.mean(name) for name in names], axis=0)
        t = [halves.mean(name) - middle for name in sorted(halves.counts)]
        w = np.stack([sources.mean(name) - middle for name in names], 1)
        lengths = np.linalg.norm(w, axis=0)  # of another length a source far off would be the cheaper for the lasso
        return w / np.where(lengths > 0, lengths, 1), np.stack(t, 1)

    def _penalty(self, w: Floats, t: Floats) -> float:
        """The largest of those under which one half of the target is foretold from the other within 1% of the best."""
        first, second = t[:, 0], t[:, -1]
        most = float(np.abs(w.T @ t.mean(1)).max())
        tries = most * PENALTIES
        errors = []
        for penalty in tries:
            rests = [
                w @ lasso(w, one, penalty, nonnegative=self.predict is None) - two
                for one, two in ((first, second), (second, first))
            ]
            errors.append(sum(float(rest @ rest) for rest in rests))
        return float(tries[max(np.flatnonzero(np.array(errors) <= 1.01 * min(errors) + 1e-15))])


class Moments:
    """Sums over the samples of each source: counts, vectors, and where something is predicted second moments."""

    def __init__(self, predict: str | None) -> None:
        self.predict = predict
        self.rows: dict[str, int] = {}  # samples
        self.counts: dict[str, int] = {}  # of these with a vector, and a value where one is predicted
        self.sums: dict[str, npt.NDArray[np.int64]] = {}
        self.squares: dict[str, Floats] = {}
        self.products: dict[tuple[str, str], Floats] = {}  # by source and class; numbers have the class ""

    def add(self, batch: pa.RecordBatch, column: str, names: list[str]) -> None:
        vectors, there = as_halves(batch[column])
        values = [""] * len(names) if self.predict is None else batch[self.predict].to_pylist()
        there &= np.array([value is not None and value == value for value in values], bool)  # noqa: PLR0124  NaN
        kinds = np.array(names, object)
        for name in sorted(set(kinds.tolist())):
            mine = kinds == name
            self.rows[name] = self.rows.get(name, 0) + int(mine.sum())
            some = vectors[mine & there].astype(np.float64)
            if not len(some):
                continue
            self.counts[name] = self.counts.get(name, 0) + len(some)
            self.sums[name] = self.sums.get(name, 0) + (some * WHOLE).astype(np.int64).sum(0)
            if self.predict is not None:
                self._more(name, some, [values[row] for row in np.flatnonzero(mine & there).tolist()])

    def _more(self, name: str, vectors: Floats, values: list[Any]) -> None:
        if (len(self.squares) + 1) * vectors.shape[1] ** 2 * 8 > MOST_BYTES:
            raise ValueError(f"predict: {len(self.squares)} sources of {vectors.shape[1]} dimensions are too many")
        self.squares[name] = self.squares.get(name, 0.0) + vectors.T @ vectors
        numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
        for kind in [""] if numbers else sorted({str(value) for value in values}):
            y = np.array(values, float) if numbers else np.array([str(value) == kind for value in values], float)
            key = (name, kind)
            self.products[key] = self.products.get(key, 0.0) + vectors.T @ y

    def mean(self, name: str) -> Floats:
        return np.asarray(self.sums[name] / WHOLE / self.counts[name])

    def head(self, name: str, kinds: list[str]) -> Floats:
        """[dim x classes] ridge regression of the source's values on its vectors."""
        if name not in self.squares:
            return np.zeros(0)
        square = self.squares[name] + RIDGE * np.eye(len(self.squares[name]))
        zero = np.zeros(len(square))
        asked = np.stack([self.products.get((name, kind), zero) for kind in kinds], 1)
        return np.asarray(np.linalg.solve(square, asked).ravel())


@dataclass(frozen=True)
class FittedSourceBudgets(Fitted):
    settings: SourceBudgets
    sources: list[str]
    relevance: npt.NDArray[np.float64]  # [sources] nu
    sizes: npt.NDArray[np.int64]  # [sources] samples
    penalty: float
    facts: dict[str, Any] = field(default_factory=dict)

    def tell(self, choice: Choice) -> dict[str, Any]:
        return self.facts

    def score(self, batch: pa.RecordBatch) -> Floats:
        return uniform(batch["sample_id"].to_numpy(), self.settings.seed, self.settings.step, "source_budgets")

    def groups(self, batch: pa.RecordBatch) -> pa.Array:
        return _kinds(batch[self.settings.by])

    def quotas(self, budget: Budget) -> dict[str, int]:
        """Rows wanted of each source. Raises ValueError for a source without a price."""
        known = dict(budget.prices)
        if known and (missing := [name for name in self.sources if name not in known]):
            raise ValueError(f"the budget has no price for {missing[0]!r}")
        costs = [math.ceil(known[name] * SCALES[budget.unit] - 1e-6) if known else 1 for name in self.sources]
        most = self.sizes if self.settings.cap is None else np.minimum(self.sizes, self.settings.cap)
        counts = allocate(np.abs(self.relevance), budget.amount, np.array(costs, float), self.settings.floor, most)
        return dict(zip(self.sources, counts.tolist(), strict=True))


SourceBudgets.fitted = FittedSourceBudgets


def _kinds(values: pa.Array) -> pa.Array:
    """Sources as text; samples that name none are one, too."""
    return pc.fill_null(pc.cast(values, pa.string()), "")


def allocate(
    weights: Floats, total: int, costs: Floats, floor: int, most: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """[sources] whole numbers in proportion to weights / sqrt(costs), from `floor` to `most`, whose cost is at most the
    total; what rounding leaves goes to the largest remainders, and what all with a weight can't take to those without.
    Floors that can't be paid are lowered alike."""
    if not len(weights):
        return np.zeros(0, np.int64)
    scaled = weights / weights.max() if weights.max() > 0 else np.ones(len(weights))
    wanted = np.maximum(scaled, 1e-9) / np.sqrt(np.maximum(costs, 1e-12))
    least = np.minimum(floor, most)
    while least.any() and (least * costs).sum() > total:
        least = np.maximum(0, least - 1)
    low, high = 0.0, float((most + 1).max() / wanted.min())
    for _ in range(200):  # the scale at which the budget is spent
        middle = (low + high) / 2
        low, high = (middle, high) if (np.clip(middle * wanted, least, most) * costs).sum() <= total else (low, middle)
    exact = np.clip(low * wanted, least, most)
    counts = np.floor(exact + 1e-9).astype(np.int64)
    by_remainder = np.lexsort([np.arange(len(wanted)), counts - exact])
    while len(more := by_remainder[(counts < most)[by_remainder] & (costs[by_remainder] <= total - counts @ costs)]):
        counts[more[0]] += 1
        by_remainder = np.append(by_remainder[by_remainder != more[0]], more[0])  # the next time after all others
    return counts
