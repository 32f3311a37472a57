"""What the report shows, as plain values: histograms, composition by kept fields, the line between kept and dropped.

All of it is asked from the ledger and pool with SQL; nothing here is larger than a page."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tamis.pipeline.choose.groups import grouping
from tamis.pipeline.explain.report.thumbnails import colour_of, with_thumbnails
from tamis.pipeline.read.identity import hex_id
from tamis.pipeline.read.pool import Part
from tamis.pipeline.recipe.expressions import quoted
from tamis.pipeline.store.database import rows
from tamis.pipeline.store.runs import Run
from tamis.selectors.recall import share
from tamis.sql import text as sql_text

BINS = 48
MOST_GROUPS = 24  # of a kept field; the largest are shown, the others as one row
EACH_SIDE = 12  # samples shown on each side of the line
SHOWN_CHARS = 280
REJECTS = 4  # of each reason
EXAMPLES, SHEET = 12, 36  # texts, and images, that are shown of the selection


def histogram(con: Any, step: int) -> dict[str, Any] | None:
    """Kept and dropped counts by score bin; None where a step has no scores."""
    found = rows(con, sql_text("score_bins"), {"step": step, "bins": BINS})
    if not found or found[0]["low"] is None or found[0]["low"] == found[0]["high"]:
        return None
    low, high = found[0]["low"], found[0]["high"]
    kept, dropped = [0] * BINS, [0] * BINS
    for row in found:
        kept[row["bin"]], dropped[row["bin"]] = row["kept"], row["dropped"]
    return {"low": low, "high": high, "kept": kept, "dropped": dropped}


def composition(con: Any, field: str, vanishing: Collection[str] = ()) -> dict[str, Any] | None:
    """Groups of a kept field before and after, with keep rates and 95% intervals (Wilson 1927); `vanishing` are those
    that went without being asked to."""
    query = sql_text("composition").replace("$field", quoted(field))  # a name can't be bound; it is quoted
    found = rows(con, query)
    if not 2 <= len(found) <= 5000:
        return None
    pool, chosen = sum(row["pool"] for row in found), sum(row["selection"] for row in found)
    shown, rest = found[:MOST_GROUPS], found[MOST_GROUPS:]
    if rest:
        shown.append(
            {
                "name": f"{len(rest)} others",
                "pool": sum(r["pool"] for r in rest),
                "selection": sum(r["selection"] for r in rest),
            }
        )
    fair = chosen / pool if pool else 0.0
    groups = []
    for row in shown:
        low, high = wilson(row["selection"], row["pool"])
        groups.append(
            {
                "name": "∅" if row["name"] is None else str(row["name"]),
                "pool": row["pool"], "selection": row["selection"],
                "pool_share": row["pool"] / pool, "share": row["selection"] / chosen if chosen else 0.0,
                "rate": row["selection"] / row["pool"], "low": low, "high": high,
                "fair": fair, "vanishing": str(row["name"]) in vanishing,
            }
        )  # fmt: skip
    return {"field": field, "groups": groups, "fair": fair}


def wilson(kept: int, total: int) -> tuple[float, float]:
    """95% interval of a share."""
    told = share(kept, total, 1.96)
    return told.low, told.high


def kept_fields(run: Run) -> list[str]:
    """Kept fields worth grouping by."""
    return grouping(pq.read_schema(run.pool.parts[0].path))


def boundary(con: Any, step: int, each_side: int = EACH_SIDE) -> dict[str, list[dict[str, Any]]]:
    """The samples just kept and just dropped, nearest to the line first."""
    found = rows(con, sql_text("boundary"), {"step": step, "each_side": each_side})
    for row in found:
        row["text"] = shortened(row["text"])
        row["sample_id"] = hex_id(row["sample_id"])
    found = with_thumbnails(found)
    return {"kept": [row for row in found if row["kept"]], "dropped": [row for row in found if not row["kept"]]}


FIELDS = ("sample_id", "key", "text", "source", "position", "uri", "offset", "n_bytes", "content_hash", "width")


def stored_of(
    parts: Sequence[Part], ids: Sequence[int], fields: Sequence[str] | None = None
) -> dict[int, dict[str, Any]]:
    """Those samples of some shards as they are stored, by id; with these fields alone, where that is said."""
    wanted = pc.field("sample_id").isin(pa.array(ids, pa.uint64()))
    columns = None if fields is None else list(fields)
    tables = (pq.read_table(part.path, columns=columns, filters=wanted) for part in parts if ids)
    return {row["sample_id"]: row for table in tables for row in table.to_pylist()}


def of_ids(parts: Sequence[Part], ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Those samples as a page shows them, by id."""
    found = list(stored_of(parts, ids, FIELDS).values())
    for row in found:
        row["text"] = shortened(row["text"])
    return {row["sample_id"]: row for row in with_thumbnails(found)}


def examples(
    con: Any, last: int | None, objects: Callable[[list[int]], dict[int, list[dict[str, Any]]]]
) -> list[dict[str, Any]]:
    """The first samples of the selection, with what the `last` step tells of each. `objects` gives what was proposed in
    samples, by id, and is drawn into their pictures."""
    place = ", ".join(f"p.{quoted(name)}" for name in FIELDS)
    pool_has_images = rows(con, "select count(width) > 0 as some from pool")[0]["some"]
    most = SHEET if pool_has_images else EXAMPLES
    told = (
        "null" if last is None else f"(select detail from ledger l where l.step = {last} and l.sample_id = s.sample_id)"
    )
    query = f"select s.rank, s.score, {told} as detail, {place} from selection s join pool p using (sample_id)"
    query += f" order by s.rank limit {most}"
    found = rows(con, query)
    drawn = objects([row["sample_id"] for row in found])
    for row in found:
        row["text"], row["detail"] = shortened(row["text"]), shortened(row["detail"])
        classes = sorted({item["class"] for item in drawn.get(row["sample_id"], [])})
        row["classes"] = [(one, colour_of(one)) for one in classes]
    return with_thumbnails(found, drawn)


def rejects(con: Any) -> list[dict[str, Any]]:
    """Of each reason the first REJECTS that could not be read; the first of them tells how many there are."""
    found = rows(con, sql_text("reject_examples"), {"each": REJECTS})
    for row in found:
        row["place"] = row["source"] + (f":{row['position']}" if row["position"] is not None else "")
        row["detail"] = shortened(row["detail"])
    return found


def shortened(text: str | None) -> str:
    text = " ".join((text or "").split())
    return text if len(text) <= SHOWN_CHARS else text[: SHOWN_CHARS - 1] + "…"
