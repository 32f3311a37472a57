"""One sample, opened: all that is stored of it, what each step made of it, and those that it is to be seen beside.

Beside it stand the sample that decided against it, those that were dropped in its favour, and the nearest of the
target; of texts the words in which two differ are told."""

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tamis.pipeline.emit.proposals import objects_column, objects_of
from tamis.pipeline.errors import TamisError
from tamis.pipeline.explain.neighbours import Near, nearest_targets
from tamis.pipeline.explain.report.data import stored_of
from tamis.pipeline.explain.report.thumbnails import colour_of
from tamis.pipeline.explain.why import step_told
from tamis.pipeline.files.atomic import read_json
from tamis.pipeline.read.identity import hex_id
from tamis.pipeline.read.pool import Part
from tamis.pipeline.schemas import POOL
from tamis.pipeline.store.runs import Run
from tamis.pipeline.view.rows.fields import Words
from tamis.pipeline.view.rows.frame import Frame
from tamis.selectors.catalog import findable

MOST_CHARS = 200_000  # of a text that is shown whole
MOST_WORDS = 1500  # of two texts that are compared: a tenth of a second
DUPLICATES, NEAREST = 6, 3
EXACT = 2**53  # JavaScript's whole numbers end there
Row = dict[str, Any]


def opened(frame: Frame, row: int) -> Row:
    """Plain values for the page; ids are 16 hex digits."""
    number, place = frame.where(row)
    part = frame.seen.parts[number]
    sample = stored(part, place)
    run = frame.seen.run
    decisions = _decisions(run, part, sample["sample_id"]) if run else []
    told = [step_told(run, sample, one)._asdict() for one in decisions] if run else []
    return {
        **shown(sample), "row": row, "selected": None if run is None else not bool(frame.dropped[row]),
        "fields": {name: _plain(value) for name, value in sample.items() if name not in POOL.names},
        "values": _values(frame, part, place), "steps": told,
        "beside": _beside(frame, run, sample, decisions) if run else [],
        "boxes": _boxes(run, sample) if run else [],
        "elsewhere": [_elsewhere(other, part, sample["sample_id"]) for other in frame.seen.others],
    }  # fmt: skip


def stored(part: Part, place: int) -> Row:
    """One row of a shard, whole."""
    file = pq.ParquetFile(part.path)
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if place < rows:
            found: Row = file.read_row_group(group).slice(place, 1).to_pylist()[0]
            return found
        place -= rows
    raise IndexError(place)


def shown(sample: Row) -> Row:
    """What every sample shows, wherever it stands."""
    text = sample["text"] or ""
    place = sample["source"] if sample["uri"] == sample["source"] else f"{sample['source']}:{sample['position']}"
    return {
        "id": hex_id(sample["sample_id"]), "key": sample["key"], "place": place, "bytes": sample["n_bytes"],
        "text": text[:MOST_CHARS], "cut": len(text) > MOST_CHARS, "image": sample["width"] is not None,
        "width": sample["width"], "height": sample["height"],
        "captions": [one["text"] for one in sample["captions"] or ()],
    }  # fmt: skip


def _plain(value: Any) -> Any:
    if isinstance(value, int) and abs(value) > EXACT:
        return str(value)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)[:1000]


def _values(frame: Frame, part: Part, place: int) -> Row:
    """Plain values of its columns."""
    found: Row = {}
    for folder in dict.fromkeys(folder for folder, _ in frame.of_columns.values()):
        mine = {field: name for name, (other, field) in frame.of_columns.items() if other == folder}
        if (path := folder / part.name).exists():
            row = pq.read_table(path, columns=list(mine)).slice(place, 1).to_pylist()[0]
            found |= {mine[field]: _plain(value) for field, value in row.items()}
    return found


def _decisions(run: Run, part: Part, sample_id: int) -> list[Row]:
    """Its rows of the ledger, step by step."""
    mine = pc.field("sample_id") == pa.scalar(sample_id, pa.uint64())
    files = [run.ledger(step) / part.name for step in range(len(run.recipe.steps))]
    return [row for path in files for row in pq.read_table(path, filters=mine).to_pylist()]


def _beside(frame: Frame, run: Run, sample: Row, decisions: list[Row]) -> list[Row]:
    winners = [one["related_id"] for one in decisions if one["related_id"] is not None]
    fallen = _in_favour(run, sample["sample_id"])
    found = _known(frame, run, [*winners, *(one for one, _ in fallen)])
    stand: list[tuple[str, Row | None, float | None]] = [
        (f"kept instead of it by {one['selector']}", found.get(one["related_id"]), None) for one in decisions
    ]
    stand += [(f"dropped in its favour by {by}", found.get(one), None) for one, by in fallen]
    near = _near(frame, run, sample["sample_id"])
    targets = stored_of(run.target.parts, [one.sample_id for one in near]) if run.target else {}
    stand += [("nearest of the target", targets.get(one.sample_id), one.cosine) for one in near]
    return [
        {
            **shown(other), "title": title, "cosine": cosine, "row": _row_of(frame, other),
            "became": _became(frame, other), "differences": differences(sample["text"], other["text"]),
        }
        for title, other, cosine in stand
        if other is not None
    ]  # fmt: skip


def _row_of(frame: Frame, sample: Row) -> int | None:
    """None where it is not the pool's."""
    found = frame.rows_of(np.array([sample["sample_id"]], np.uint64))
    return int(found[0]) if len(found) else None


def _became(frame: Frame, sample: Row) -> str:
    """What the run decided of it in the end: `kept`, or why it was dropped."""
    row, reason = _row_of(frame, sample), frame.field("reason")
    if row is None or not isinstance(reason, Words):
        return ""
    return reason.names[reason.codes[row]] if frame.dropped[row] else "kept"


def _elsewhere(other: Run, part: Part, sample_id: int) -> Row:
    """What another run made of it, by its last step that saw it."""
    same = [one for one in other.pool.parts if one.name == part.name]  # else its shards are others since
    last = next(iter([*chain(*(_decisions(other, one, sample_id) for one in same or other.pool.parts))][::-1]), None)
    told = {} if last is None else {"kept": last["kept"], "selector": last["selector"], "reason": last["reason"]}
    return {"run": other.name, **told}


def _known(frame: Frame, run: Run, ids: Sequence[int]) -> dict[int, Row]:
    """Of the pool, or of what is read beside it."""
    places = [frame.where(int(row)) for row in frame.rows_of(np.array(ids, np.uint64))]
    rows = [stored(frame.seen.parts[number], place) for number, place in places]
    found = {row["sample_id"]: row for row in rows}
    left = [one for one in ids if one not in found]
    return found | (stored_of(run.beside.parts, left) if left and run.beside else {})


def _in_favour(run: Run, sample_id: int) -> list[tuple[int, str]]:
    """Some of those that were dropped since it stays, and by which step."""
    found: list[tuple[int, str]] = []
    mine = (pc.field("related_id") == pa.scalar(sample_id, pa.uint64())) & ~pc.field("kept")
    for step in range(len(run.recipe.steps)):
        for part in run.pool.parts:
            if len(found) < DUPLICATES:
                table = pq.read_table(run.ledger(step) / part.name, columns=["sample_id", "selector"], filters=mine)
                found += [(row["sample_id"], row["selector"]) for row in table.to_pylist()]
    return found[:DUPLICATES]


def _near(frame: Frame, run: Run, sample_id: int) -> list[Near]:
    """By the column in which a step compares with the target, else by the first that both have."""
    if run.target is None:
        return []
    given = enumerate(run.recipe.steps_given)
    asked = [run.step(number).selector.near_in for number, step in given if findable(step.name)]
    columns = read_json(run.folder / "manifest.json")["columns"]
    both = [one["name"] for one in columns if one.get("target_folder") and one["name"] in frame.seen.vectors]
    found = (nearest_targets(run, name, sample_id, NEAREST) for name in [*filter(None, asked), *both])
    return next(filter(None, found), [])


def _boxes(run: Run, sample: Row) -> list[Row]:
    """Proposed objects of a picture, in its pixels."""
    if sample["width"] is None:
        return []
    try:
        column = objects_column(run)
    except TamisError:  # it takes code of the user's to know the columns, which is not run here
        return []
    found = objects_of(run, column, [sample["sample_id"]]).get(sample["sample_id"], []) if column else []
    return [{**one, "colour": colour_of(one["class"])} for one in found]


def differences(mine: str | None, other: str | None) -> list[tuple[str, str]]:
    """What of the other text both have (`same`), it alone (`other`), and the first alone (`mine`); empty where one has
    no text, or they are too long to compare."""
    first, second = (re.findall(r"\S+", text or "")[: MOST_WORDS + 1] for text in (mine, other))
    if not first or not second or max(len(first), len(second)) > MOST_WORDS:
        return []
    found: list[tuple[str, str]] = []
    for tag, a, b, c, d in SequenceMatcher(a=first, b=second, autojunk=False).get_opcodes():
        if tag == "equal":
            found.append(("same", " ".join(second[c:d])))
            continue
        found += [("mine", " ".join(first[a:b]))] if b > a else []
        found += [("other", " ".join(second[c:d]))] if d > c else []
    return found
