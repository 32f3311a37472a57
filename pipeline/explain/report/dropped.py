"""What each step dropped, as the report shows it: a few samples of every reason, duplicates beside the one kept.

Of each reason some samples as if by chance, and where the step scored them those nearest to being kept."""

from typing import Any

from tamis.pipeline.explain.report.data import FIELDS, of_ids, shortened
from tamis.pipeline.explain.report.thumbnails import with_thumbnails
from tamis.pipeline.recipe.expressions import quoted
from tamis.pipeline.schemas import LEDGER_REASONS
from tamis.pipeline.store.database import rows
from tamis.pipeline.store.runs import Run
from tamis.selectors.contract import Selector
from tamis.sql import text as sql_text

EACH = 6  # of a reason by chance, and as many nearest to the line
AT_THE_LINE = "below_cut"  # those nearest to being kept are shown at the line
ALIKE = "near_duplicate"  # its score is how alike a pair is: the least alike came nearest to staying


def dropped(con: Any, run: Run) -> dict[int, list[dict[str, Any]]]:
    """By step its reasons, the most frequent first: `reason`, `many`, `meaning`, `takes` (what a rule asks), `shown`
    (rows of samples), and `pairs` (whether another sample stands beside each)."""
    query = sql_text("dropped_examples")
    found = {step.number: rows(con, query, {"step": step.number, "each": EACH}) for step in run.steps}
    wanted = {
        step: [_ids(con, run.step(step).selector, step, reason) for reason in reasons]
        for step, reasons in found.items()
    }
    decided = _decisions(con, wanted)
    samples = _samples(con, run, {row["related_id"] for row in decided.values()} | {one for _, one in decided})
    told: dict[int, list[dict[str, Any]]] = {}
    for step, reasons in found.items():
        told[step] = []
        for reason, ids in zip(reasons, wanted[step], strict=True):
            name = reason["reason"]
            shown = [_row(samples, decided[step, one], near) for one, near in ids.items() if one in samples]
            told[step].append({
                "reason": name, "many": reason["many"], "meaning": LEDGER_REASONS.get(name, ""), "shown": shown,
                "takes": run.step(step).selector.takes(name), "pairs": any(row["winner"] for row in shown),
            })  # fmt: skip
    return told


def _ids(con: Any, selector: Selector, step: int, reason: dict[str, Any]) -> dict[int, bool]:
    """Samples to show, and whether for their nearness to the line."""
    name, bounds = reason["reason"], selector.line(reason["reason"])
    if bounds is not None:
        asked = {"step": step, "reason": name, "each": EACH, "least": bounds[0], "most": bounds[1]}
        nearest = rows(con, sql_text("nearest_to_line"), asked)
    elif name == AT_THE_LINE or not reason["spread"]:
        nearest = []
    else:
        nearest = reason["lowest"] if name == ALIKE else reason["highest"]
    ids = dict.fromkeys([one["sample_id"] for one in nearest], True)
    return ids | {one: False for one in reason["drawn"] if one not in ids}


def _decisions(con: Any, wanted: dict[int, list[dict[int, bool]]]) -> dict[tuple[int, int], dict[str, Any]]:
    """What the ledger says of them, by step and sample."""
    found = {}
    for step, of_reasons in wanted.items():
        if ids := sorted({one for ids in of_reasons for one in ids}):
            query = f"select * from ledger where step = {step} and sample_id in ({', '.join(map(str, ids))})"
            for row in rows(con, query):
                found[step, row["sample_id"]] = row
    return found


def _samples(con: Any, run: Run, ids: set[int | None]) -> dict[int, dict[str, Any]]:
    """As a page shows them; those that are not the pool's from what is read beside it."""
    wanted = sorted(one for one in ids if one is not None)
    if not wanted:
        return {}
    fields, ids_named = ", ".join(map(quoted, FIELDS)), ", ".join(map(str, wanted))  # numbers, so that scans use them
    found = rows(con, f"select {fields} from pool where sample_id in ({ids_named})")
    for row in found:
        row["text"] = shortened(row["text"])
    samples = {row["sample_id"]: row for row in with_thumbnails(found)}
    elsewhere = [one for one in wanted if one not in samples]
    return samples | (of_ids(run.beside.parts, elsewhere) if elsewhere and run.beside else {})


def _row(samples: dict[int, dict[str, Any]], decision: dict[str, Any], near: bool) -> dict[str, Any]:
    winner = samples.get(decision["related_id"] or -1)
    told = {"near": near, "score": decision["score"], "detail": decision["detail"], "winner": winner}
    return {**samples[decision["sample_id"]], **told}
