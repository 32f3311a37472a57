"""One sample's story: where it came from, what each step made of it and why, and what it would have taken."""

import re
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tamis.pipeline.errors import QueryError
from tamis.pipeline.explain.neighbours import nearest_targets
from tamis.pipeline.explain.report.data import of_ids
from tamis.pipeline.explain.show import found_lines, funnel, reach_line
from tamis.pipeline.files.atomic import read_json
from tamis.pipeline.progress import joined, visible
from tamis.pipeline.read.identity import hex_id
from tamis.pipeline.schemas import LEDGER_REASONS, POOL, REJECT_REASONS
from tamis.pipeline.store.learned import fitted_of
from tamis.pipeline.store.query import hex_number, keys_of_file, ledger_rows, pool_rows, reject_rows
from tamis.pipeline.store.runs import THINNED, Run
from tamis.pipeline.store.set_aside import reasons_of
from tamis.selectors.budget import shown
from tamis.selectors.catalog import findable

SHOWN_PARTS = 6  # n-grams named for, and as many against
SHOWN_CHARS = 160
SHOWN_KEYS = 5
NOT_MET, OUT_OF_SCOPE = "condition_not_met", "not_in_scope"  # of the step's `where`


def why(run: Run, key_or_id: str) -> str:
    """The story as text; a file's path or name will do. Raises QueryError where the run knows no such thing."""
    if run.thinned:
        return _of_thinned(run, key_or_id)
    samples = pool_rows(run, key_or_id)
    rejects = reject_rows(run, key_or_id)
    if not samples and not rejects:
        meant = keys_of_file(run, key_or_id)
        if len(meant) == 1:
            return why(run, meant[0])
        told = "" if not meant else f"; files of that name: {', '.join(map(visible, meant[:SHOWN_KEYS]))}"
        part = re.sub(r"[^\w .:-]", "_", key_or_id.rpartition("/")[2])
        both = "select key from pool union select key from rejects"
        raise QueryError(
            f"{key_or_id!r}: no key, id, file or reject of run {run.name!r}{told}. "
            f"Look for it: tamis sql {run.folder} \"select key from ({both}) where key like '%{part}%'\""
        )
    stories = [_sample_story(run, sample) for sample in samples]
    stories += [joined(_reject_lines(reject)) for reject in rejects]
    return "\n\n".join(stories)


def _of_thinned(run: Run, key_or_id: str) -> str:
    """Of a run whose ledger is gone: what its selection says, or by count what its steps dropped."""
    number = hex_number(key_or_id)
    wanted = pc.field("key") == key_or_id
    if number is not None:
        wanted = wanted | (pc.field("sample_id") == pa.scalar(number, pa.uint64()))
    rows = pq.read_table(run.folder / "selection.parquet", filters=wanted).to_pylist()
    gone = read_json(run.folder / THINNED)
    left = f"  thinned   {gone['at'][:10]}, so no step's decisions are left, but their counts"
    stages = [f"    {name:<24} {count:>11,}  {lost}".rstrip() for name, count, lost in funnel(_manifest(run))]
    if not rows:
        told = f"{visible(key_or_id)}  not in the selection of run {run.name}; of its pool nothing is left to tell"
        return joined([told, left, *stages])
    stories = []
    for row in rows:
        fields = {name: value for name, value in row.items() if name not in POOL.names and value is not None}
        stories += [
            f"{visible(row['key'])}  ({hex_id(row['sample_id'])})  SELECTED",
            "  selected  " + ", ".join(f"{name}={visible(str(value))}" for name, value in fields.items()),
            f"  text      {_shortened(row['text'])}",
        ]
    return joined([*stories, left, *stages])


def _manifest(run: Run) -> dict[str, Any]:
    found: dict[str, Any] = read_json(run.folder / "manifest.json")
    return found


def _reject_lines(reject: dict[str, Any]) -> list[str]:
    place = reject["source"] + (f":{reject['position']}" if reject["position"] is not None else "")
    lines = [f"{reject['key']}  (rejected row)", f"  from      {place}"]
    lines.append(f"  rejected  {reject['reason']}: {REJECT_REASONS[reject['reason']]}")
    if reject["detail"]:
        lines.append(f"            {reject['detail']}")
    if reject["related_id"] is not None:
        lines.append(f"            met sample {hex_id(reject['related_id'])}")
    return lines


def _sample_story(run: Run, sample: dict[str, Any]) -> str:
    decisions = ledger_rows(run, sample["sample_id"])
    kept = all(decision["kept"] for decision in decisions) and len(decisions) == len(run.recipe.steps)
    apart = None if run.recipe.steps else reasons_of(run, np.array([sample["sample_id"]], np.uint64))[0]
    kept = kept and apart is None  # without steps there is no ledger to say so
    lines = [f"{visible(sample['key'])}  ({hex_id(sample['sample_id'])})  {'SELECTED' if kept else 'NOT SELECTED'}"]
    place = sample["source"] if sample["uri"] == sample["source"] else f"{sample['source']}:{sample['position']}"
    lines.append(f"  from      {place}, {sample['n_bytes']:,} bytes")
    more = {name: value for name, value in sample.items() if name not in POOL.names and value is not None}
    if more:
        lines.append("  fields    " + ", ".join(f"{name}={visible(str(value))}" for name, value in more.items()))
    if sample["width"] is not None:
        lines.append(f"  image     {sample['width']} x {sample['height']} pixels, {sample['uri']}")
        lines += [f"  caption   {_shortened(caption['text'])}  ({caption['source']})" for caption in sample["captions"]]
    else:
        lines.append(f"  text      {_shortened(sample['text'])}")
    if apart is not None:
        lines.append(f"  set aside {apart} ({LEDGER_REASONS[apart]})")
    for told in (step_told(run, sample, decision) for decision in decisions):
        verdict = "kept" if told.kept else "dropped"
        head = f"  step {told.step}    {told.selector}: {verdict}, {told.reason}"
        lines.append(head + (f" ({told.meaning})" if told.meaning else ""))
        lines += [f"            {line}" for line in told.lines]
    return joined(lines)


def _shortened(text: str | None) -> str:
    text = visible(text or "")
    return text if len(text) <= SHOWN_CHARS else text[: SHOWN_CHARS - 1] + "…"


class StepTold(NamedTuple):
    """What one step made of a sample, and why."""

    step: int
    selector: str
    kept: bool
    reason: str
    meaning: str  # of the reason; empty where it says itself
    lines: list[str]


def step_told(run: Run, sample: dict[str, Any], decision: dict[str, Any]) -> StepTold:
    """`sample`: its row of the pool; `decision`: its row of the ledger."""
    summary = run.summary(decision["step"])
    numbers = []
    scored = decision["score"] is not None and decision["score"] == decision["score"]
    if scored and (summary["budget"] is not None or not decision["detail"]):
        numbers.append(f"score {decision['score'] + 0.0:.6g}")
    if decision["rank"] is not None and summary["budget"] is not None:
        numbers.append(f"rank {decision['rank']:,} of {summary['eligible']:,}")
    lines = [", ".join(numbers)] if numbers else []
    if decision["weight"] != 1:
        lines.append(f"counts {decision['weight']:g} times")
    if decision["detail"]:
        lines.append(visible(decision["detail"]))
    if decision["related_id"] is not None:
        lines += _winner(run, decision["related_id"])
    lines += _what_it_takes(run, decision, summary)
    if told_found := (summary.get("facts") or {}).get("found"):
        known_of = [*found_lines(told_found), *filter(None, [reach_line(told_found)])]
        lines += [f"{'the step ' if line.startswith('finds') else ''}{line}" for line in known_of]
    known = findable(decision["selector"]) is not None  # else it is code that the recipe names, which is not run here
    if known and run.step(decision["step"]).selector.explains:
        learned = fitted_of(run, decision["step"])
        told = decision["detail"] or ""
        target = int(told.split()[1].rstrip(";")) if told.startswith("target ") else 0
        lines += _parts(learned.explain(sample["text"] or "", target) or [])
    column = run.step(decision["step"]).selector.near_in if known else None
    if column is not None:
        near = nearest_targets(run, column, sample["sample_id"])
        named = ", ".join(f"{visible(one.key)} (cosine {one.cosine:.3f})" for one in near)
        lines.append(f"nearest of the target: {named or 'none, the sample has no vector'}")
    meaning = _meaning(decision["reason"], summary)
    return StepTold(decision["step"], decision["selector"], decision["kept"], decision["reason"], meaning, lines)


def _meaning(reason: str, summary: dict[str, Any]) -> str:
    if reason == "chosen":
        return "its rule keeps it" if summary["budget"] is None else "ranked within the budget"
    return LEDGER_REASONS.get(reason, "")


def _winner(run: Run, sample_id: int) -> list[str]:
    """The sample that decided: by key and text, or by key and picture; of the pool, or of what is read beside it."""
    found = pool_rows(run, hex_id(sample_id)) or [*of_ids(run.beside.parts if run.beside else [], [sample_id]).values()]
    if not found:
        return [f"decided by {hex_id(sample_id)}"]
    shown = found[0].get("uri") or _shortened(found[0]["text"])
    return [f"decided by {visible(found[0]['key'])} ({hex_id(sample_id)})", visible(shown)]


def _what_it_takes(run: Run, decision: dict[str, Any], summary: dict[str, Any]) -> list[str]:
    """The distance to the line between kept and dropped, for steps with a budget."""
    last, first = summary["last_kept"], summary["first_dropped"]
    unit = summary["unit"]
    budget = "the budget" if summary["budget"] is None else f"the budget of {shown(summary['budget'], unit)} {unit}"
    selector = run.step(decision["step"]).selector if findable(decision["selector"]) else None
    noise = " plus its noise" if selector is not None and selector.noisy else ""
    if decision["reason"] == "below_cut" and last:
        short = last["score"] - decision["score"]
        takes = f"it took a score{noise} of {last['score']:.6g}, rank {last['rank']:,}: {budget} ends there"
        return [f"{takes} ({abs(short):.4g} {'short' if short >= 0 else 'above, but for the noise'})"]
    if decision["reason"] == "below_cut":
        return [f"{budget} keeps none"]
    if decision["reason"] == "chosen" and first:
        return [f"the best that was dropped: score {first['score']:.6g}, rank {first['rank']:,}"]
    if decision["reason"] in (NOT_MET, OUT_OF_SCOPE):
        return [f"it took {visible(str(run.recipe.steps_given[decision['step']].where))}"]
    told = None if selector is None else selector.takes(decision["reason"])
    return [f"it took {told}"] if told else []


def _parts(parts: list[tuple[str, int, float]]) -> list[str]:
    if not parts:
        return []
    lines = []
    for title, rows in (("for", [p for p in parts if p[2] > 0]), ("against", [p for p in parts if p[2] < 0])):
        shown = ", ".join(
            f"{name!r}{f' x{count}' if count > 1 else ''} {value:+.4g}" for name, count, value in rows[:SHOWN_PARTS]
        )
        total = sum(value for _, _, value in rows)
        lines.append(f"{title:<8}{total:+.4g} from {len(rows):,} n-grams: {shown or 'none'}")
    return lines
