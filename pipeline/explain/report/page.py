"""The report: one HTML file that opens anywhere. No network, no script; texts are untrusted and escaped."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import yaml

from tamis.pipeline.choose.groups import lines as vanishing_lines
from tamis.pipeline.choose.history import lines as history_lines
from tamis.pipeline.emit.places import map_of
from tamis.pipeline.emit.proposals import objects_column, objects_of
from tamis.pipeline.explain.pages import write_page
from tamis.pipeline.explain.report import data
from tamis.pipeline.explain.report.charts import (
    curve_svg,
    histogram_svg,
    map_svg,
    rate_svg,
    recall_svg,
    scale_of,
)
from tamis.pipeline.explain.report.dropped import dropped
from tamis.pipeline.explain.show import funnel, notes, reach_line
from tamis.pipeline.files.atomic import read_json
from tamis.pipeline.progress import inert
from tamis.pipeline.store.costs import by_stage, money, noted
from tamis.pipeline.store.manifest import versions
from tamis.pipeline.store.query import column_folders, views
from tamis.pipeline.store.runs import Run, open_run


def write_report(folder: Path) -> None:
    """Write report.html of a run whose ledger and selection stand."""
    write_page("report.html", folder / "report.html", **contents(open_run(folder)))


def contents(run: Run) -> dict[str, Any]:
    """Everything that the page shows."""
    summaries = [run.summary(step.number) for step in run.steps]
    counts = {
        "pool": {"rows": run.pool.source_rows, "samples": run.pool.rows, "rejects": run.pool.rejects},
        "steps": summaries,
    }
    column = objects_column(run)
    gone = {field: {one["group"] for one in run.vanishing if one["field"] == field} for field in data.kept_fields(run)}
    with views(run) as con:
        drops = dropped(con, run)
        steps = [_step(con, run, summary, drops[summary["step"]]) for summary in summaries]
        compositions = [found for field in gone if (found := data.composition(con, field, gone[field]))]
        rejects = data.rejects(con) if run.pool.rejects else []
        last = len(run.steps) - 1 if run.steps else None
        chosen = data.examples(con, last, lambda ids: objects_of(run, column, ids) if column else {})
    scale = scale_of([group["rate"] for found in compositions for group in found["groups"]])
    for group in (group for found in compositions for group in found["groups"]):
        group["drawn"] = rate_svg(group, scale)
    stages = funnel(counts)
    most = max(count for _, count, _ in stages) or 1
    return {
        "run": run,
        "funnel": [(name, count, 100 * count / most, lost) for name, count, lost in stages],
        "scale": scale,
        **_provenance(run),
        "selected": summaries[-1]["kept"] if summaries else pq.read_metadata(run.folder / "selection.parquet").num_rows,
        "history": history_lines(run.history) if run.history else [],
        "vanishing": vanishing_lines(run.vanishing),
        "rejects": rejects,
        "reject_count": sum(run.pool.rejects.values()),
        "steps": steps,
        "columns": _columns(run),
        "compositions": compositions,
        "examples": chosen,
        "map": _map(run),
    }


def _provenance(run: Run) -> dict[str, Any]:
    """Recipe as it ran, versions, what it cost up to here, and when."""
    recipe = yaml.safe_dump(
        run.recipe.model_dump(exclude_defaults=True), sort_keys=False, allow_unicode=True, width=110
    )
    stages = by_stage(noted(run.folder))
    return {
        "recipe": inert(recipe),
        "versions": {name: told for name, told in versions().items() if told},
        "costs": stages,
        "price": money(stages, run.recipe.prices),
        "made": datetime.now(UTC).isoformat(sep=" ", timespec="minutes").replace("+00:00", " UTC"),
    }


def _map(run: Run) -> dict[str, Any] | None:
    """Where kept and dropped samples lie, drawn; None without a column of vectors."""
    ids = np.sort(pq.read_table(run.folder / "selection.parquet", columns=["sample_id"])["sample_id"].to_numpy())
    found = map_of(run, ids)
    return found and {**found, "drawn": map_svg(found["kept"], found["dropped"])}


COUNTED = (  # rows or objects by shard, in a column's record
    "objects", "texts_cut", "without_vector", "without_value", "images_gone", "crops_gone", "images_not_in_file",
    "images_of_ambiguous_name", "boxes_of_another_size", "boxes_not_finite", "boxes_of_unknown_class", "boxes_outside",
    "boxes_without_area", "boxes_not_sure", "boxes_clipped",
)  # fmt: skip


def _columns(run: Run) -> list[dict[str, Any]]:
    """Of each column of a model what made it, and what it could not do; of one trained here the curve of its loss."""
    records = [(name, read_json(folder / "column.json")) for name, folder in column_folders(run).items()]
    shown = []
    for name, record in records:
        called = record.get(record.get("maker"))
        if not isinstance(called, str):
            continue
        model = [
            ", ".join(map(str, [value] if isinstance(value, str) else value))
            for field in ("model", "pretrained", "path", "on", "words", "features")
            if isinstance(value := record.get(field), str | list)
        ]
        used = {**record, **record.get("used", {})}
        facts = {
            key: used[key]
            for key in ("dim", "precision", "batch", "weights", "context", "outliers")
            if used.get(key) is not None
        }
        lost = {key: sum(record[key].values()) for key in COUNTED if key in record}
        lost = {key: count for key, count in lost.items() if count or record["maker"] != "detect"}
        drift = record.get("scaled_decode_drift")
        if drift:
            lost["cosine of a shrinking decode to a full one, worst of 64"] = drift["worst_cosine"]
        told = {key.replace("_", " "): value for key, value in (facts | lost).items()}
        trained = used.get("trained")
        if trained:
            told |= {what: f"{trained[what]:,}" for what in ("parameters", "tokens", "texts", "steps")}
        curve = curve_svg(trained["curve"]) if trained else None
        shown.append({"name": name, "made_by": " ".join([called, *model]), "facts": told, "curve": curve})
    return shown


def _step(con: Any, run: Run, summary: dict[str, Any], drops: list[dict[str, Any]]) -> dict[str, Any]:
    looked_at_together = summary.get("ranked")  # then scores and ranks are of the picks alone
    spread = None if looked_at_together else data.histogram(con, summary["step"])
    lined = not looked_at_together and summary["last_kept"] is not None and summary["first_dropped"] is not None
    return {
        "summary": summary,
        "settings": run.recipe.steps[summary["step"]][summary["selector"]] or {},
        "notes": notes(summary),
        "histogram": histogram_svg(spread) if spread else None,
        "boundary": data.boundary(con, summary["step"]) if lined else None,
        "dropped": drops,
        "facts": summary.get("facts") or {},
        "found": _found(summary),
    }


def _found(summary: dict[str, Any]) -> dict[str, Any] | None:
    """How much of the target's kind was found, drawn; None where that was not told."""
    found = (summary.get("facts") or {}).get("found")
    if not found or "recall" not in found:
        return None
    marks = [(f"{summary['reasons'].get('chosen', 0):,} chosen", float(summary["reasons"].get("chosen", 0)))]
    curve = recall_svg([(summary["selector"], found["curve"])], marks) if "curve" in found else None
    groups = [{**one, "drawn": rate_svg({**one, "rate": one["value"]}, 1.0)} for one in found["by"]]
    return {**found, "drawn": curve, "groups": groups, "reached": reach_line(found)}
