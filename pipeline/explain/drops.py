"""`tamis explain`: which of the pool's fields go along with being dropped, and how strongly.

Mutual information of a field's groups and kept or dropped, less what groups of these sizes tell on average where as
many samples are kept by chance (as in adjusted mutual information, Vinh, Epps, Bailey 2010), as a share of what there
is to know about kept or dropped, its entropy. Chance is drawn up to 4,000 times; 0 where one of these draws tells as
much. Says what goes along, not why: a step may not look at the field at all."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tamis.pipeline.explain.report.data import wilson
from tamis.pipeline.progress import joined, visible
from tamis.pipeline.recipe.expressions import quoted
from tamis.pipeline.schemas import POOL
from tamis.pipeline.store.database import rows
from tamis.pipeline.store.query import views
from tamis.pipeline.store.runs import Run
from tamis.sql import text as sql_text

MOST_GROUPS = 5000
DRAWS, DRAWN = 4000, 4_000_000  # by chance: at most, and numbers in all
MOST_DRAWN_OF = 100_000_000  # samples; of more a part, for sums of a billion can't be drawn
SURE = 3.72  # standard deviations above chance: one in 10,000 of a normal distribution
BINS = 8  # of a number, by quantiles
SHOWN_FIELDS, SHOWN_GROUPS = 8, 3
SIZES = ("n_bytes", "width", "height")  # of the pool's own fields, those worth asking


def explained(run: Run) -> list[dict[str, Any]]:
    """Fields by the share of the decision that they explain, most first, each with its groups."""
    schema = pq.read_schema(run.pool.parts[0].path)
    fields = [f for f in schema if f.name in SIZES or f.name not in POOL.names]
    found = []
    with views(run) as con:
        for field in fields:
            if pa.types.is_string(field.type) or pa.types.is_boolean(field.type):
                query = sql_text("explain_groups")
            elif pa.types.is_integer(field.type) or pa.types.is_floating(field.type):
                query = sql_text("explain_bins")
            else:
                continue
            groups = rows(con, query.replace("$field", quoted(field.name)), {"most": MOST_GROUPS, "bins": BINS})
            if len(groups) > 1:
                found.append({"field": field.name, "share": _share(groups), "groups": groups})
    return sorted(found, key=lambda one: (-one["share"], one["field"]))


def explain(run: Run) -> str:
    """The same as text, one line a field."""
    found = explained(run)
    if not found:
        return "The pool has no fields to explain it by; `keep` some in the recipe."
    lines = []
    for one in found[:SHOWN_FIELDS]:
        some = [group for group in one["groups"] if group["pool"] >= 5] or one["groups"]
        some = sorted(some, key=lambda group: (group["kept"] / group["pool"], -group["pool"]))
        ends = some if len(some) <= 2 * SHOWN_GROUPS else [*some[:SHOWN_GROUPS], *some[-SHOWN_GROUPS:]]
        told = ", ".join(_told(group) for group in ends)
        lines.append(f"{visible(one['field']):<20} {one['share']:>6.1%}  {told}")
    best = found[0]
    verdict = (
        f"{visible(best['field'])} goes along with {best['share']:.0%} of what was decided."
        if best["share"] >= 0.01
        else "None of the fields goes along with what was decided."
    )
    return joined(["field              explains  from most to least dropped", *lines, "", verdict])


def _told(group: dict[str, Any]) -> str:
    dropped = 1 - group["kept"] / group["pool"]
    low, high = wilson(group["pool"] - group["kept"], group["pool"])
    return f"{visible(str(group['name']))} {dropped:.0%} dropped ({low:.0%} to {high:.0%} of {group['pool']:,})"


def _share(groups: list[dict[str, Any]]) -> float:
    sizes, kept = (np.array([group[what] for group in groups], np.int64) for what in ("pool", "kept"))
    whole = _entropy(sizes.sum(), kept.sum())
    if not whole:
        return 0.0
    told = _divergence(sizes, kept)
    draws = min(DRAWS, DRAWN // len(groups))
    chance = np.random.default_rng(0)
    fewer = max(1, int(sizes.sum()) // MOST_DRAWN_OF)
    some = sizes // fewer
    many = min(int(kept.sum()) // fewer, int(some.sum()))
    drawn = chance.multivariate_hypergeometric(some, many, draws, method="marginals")
    by_chance = np.array([_divergence(some, row) for row in drawn])
    mean = by_chance.mean()
    sure = told > by_chance.max() and told > mean + SURE * by_chance.std()
    return float(told - mean) / whole if sure else 0.0


def _divergence(sizes: npt.NDArray[np.int64], kept: npt.NDArray[np.int64]) -> float:
    """Nats that groups of these sizes tell of kept and dropped."""
    return _entropy(sizes.sum(), kept.sum()) - _entropy(sizes, kept)


def _entropy(sizes: npt.NDArray[np.int64] | np.int64, kept: npt.NDArray[np.int64] | np.int64) -> float:
    """Nats to be known of kept and dropped in groups of these sizes, summed over all samples."""
    whole, some = np.asarray(sizes, np.float64), np.asarray(kept, np.float64)
    rest = whole - some
    logs = [part * np.log(np.maximum(part, 1)) for part in (whole, some, rest)]  # 0 of none
    return float((logs[0] - logs[1] - logs[2]).sum())
