"""`tamis explain`: which of the pool's fields go along with being dropped, and how strongly.

Mutual information of a field's groups and kept or dropped, as a share of what there is to know about kept or dropped
(normalised by its entropy), less what groups of that number explain by chance alone ((groups - 1) / 2n nats, Miller and
Madow). Says what goes along, not why: a step may not look at the field at all."""

import math
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tamis.pipeline.explain.report.data import wilson
from tamis.pipeline.progress import visible
from tamis.pipeline.recipe.expressions import quoted
from tamis.pipeline.schemas import POOL
from tamis.pipeline.store.database import rows
from tamis.pipeline.store.query import views
from tamis.pipeline.store.runs import Run
from tamis.sql import text as sql_text

MOST_GROUPS = 5000
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
    return "\n".join(["field              explains  from most to least dropped", *lines, "", verdict])


def _told(group: dict[str, Any]) -> str:
    dropped = 1 - group["kept"] / group["pool"]
    low, high = wilson(group["pool"] - group["kept"], group["pool"])
    return f"{visible(str(group['name']))} {dropped:.0%} dropped ({low:.0%} to {high:.0%} of {group['pool']:,})"


def _share(groups: list[dict[str, Any]]) -> float:
    total, kept = sum(group["pool"] for group in groups), sum(group["kept"] for group in groups)
    whole = _entropy(kept, total)
    if not whole:
        return 0.0
    left = sum(group["pool"] / total * _entropy(group["kept"], group["pool"]) for group in groups)
    return max(0.0, (whole - left - (len(groups) - 1) / (2 * total)) / whole)


def _entropy(some: int, total: int) -> float:
    share = some / total if total else 0.0
    return 0.0 if share in (0.0, 1.0) else -share * math.log(share) - (1 - share) * math.log(1 - share)
