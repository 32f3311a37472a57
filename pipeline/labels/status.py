"""`tamis label status`: rounds, budgets, classes, and how accurate a head is that learns from the labels so far."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tamis.pipeline.columns.detect.rounds import round_rows, rounds
from tamis.pipeline.emit.tasks import asked_ids
from tamis.pipeline.errors import RecipeError
from tamis.pipeline.files.atomic import read_json
from tamis.pipeline.progress import inert, joined
from tamis.pipeline.store.query import column_folders
from tamis.pipeline.store.runs import Run, open_run
from tamis.selectors.budget import shown
from tamis.selectors.chance import uniform
from tamis.selectors.learners.folds import alike
from tamis.selectors.learners.heads import fit_head
from tamis.selectors.vectors.columns import as_array

ASKING = ("active", "self_paced", "label_errors")  # steps whose picks people label
FIFTH = 0.2  # of the labels, set aside for measuring where no round is held out
Row = dict[str, Any]


def status(store: Path, column: str | None) -> str:
    """All of it as text. Raises RecipeError where there are no labels, or no such column of vectors."""
    found = round_rows(store / "labels")
    if not found:
        raise RecipeError(f"store {store}: no labels yet; `tamis label import {store} FILE` adds a round")
    runs = sorted(_asking(store), key=lambda run: (run.folder / "manifest.json").stat().st_mtime_ns)
    last = {row["sample_id"]: row for rows in found for row in rows}
    blocks = [_rounds(store, found), _budgets(store, runs), _classes(last), _curve(store, found, runs, column)]
    return "\n\n".join(joined(map(inert, block)) for block in blocks if block)


def _asking(store: Path) -> Iterator[Run]:
    """Complete runs with a step whose picks people label."""
    for folder in store.glob("runs/*"):
        if (folder / "manifest.json").exists():
            run = open_run(folder)
            if any(step.name in ASKING for step in run.recipe.steps_given):
                yield run


def _rounds(store: Path, found: list[list[Row]]) -> list[str]:
    lines = ["round   labels     cost  from"]
    cost = [sum(row["cost"] or 0.0 for row in rows) for rows in found]
    for number, (rows, spent) in enumerate(zip(found, cost, strict=True), 1):
        note = ", held out for measuring" if rows[0]["held_out"] else ""
        lines.append(f"{number:>5}  {len(rows):>7,}  {spent:>7,.2f}  {rows[0]['source']}{note}")
    assert len(lines) == len(rounds(store / "labels")) + 1
    return [*lines, f"  all  {sum(map(len, found)):>7,}  {sum(cost):>7,.2f}"]


def _budgets(store: Path, runs: list[Run]) -> list[str]:
    """What each run asked within which budget, and how much of it was answered since."""
    lines = []
    for run in runs:
        number = max(place for place, step in enumerate(run.recipe.steps_given) if step.name in ASKING)
        asked, answered = asked_and_answered(store, run)
        step, money = read_json(run.step_record(number)), ""
        if step["budget"] is not None:
            whole, left = shown(step["budget"], step["unit"]), shown(step["budget"] - step["spent"], step["unit"])
            money = f"{whole} {step['unit']}, {left} left"
        lines.append(f"{run.name[:24]:<24}  {len(asked):>6,}  {answered:>8,}  {len(asked) - answered:>6,}  {money}")
    return [f"{'run':<24}   asked  answered    open  budget", *lines] if lines else []


def asked_and_answered(store: Path, run: Run) -> tuple[set[int], int]:
    """Samples that a run asked, and how many of them were answered since."""
    asked = asked_ids(run)
    if asked is None:
        asked = set(pq.read_table(run.folder / "selection.parquet", columns=["sample_id"])["sample_id"].to_pylist())
    ended = (run.folder / "manifest.json").stat().st_mtime_ns
    after = [path for path in rounds(store / "labels") if path.stat().st_mtime_ns > ended]
    found = {sample for path in after for sample in pq.read_table(path, columns=["sample_id"])["sample_id"].to_pylist()}
    return asked, len(asked & found)


def _classes(last: dict[int, Row]) -> list[str]:
    classes = Counter(row["label"] for row in last.values())
    width, most = max(5, *map(len, classes), len("(no one class)") if "" in classes else 0), max(classes.values())
    return [
        f"  {name or '(no one class)':<{width}}  {count:>6,}  {'█' * max(1, round(24 * count / most))}"
        for name, count in sorted(classes.items(), key=lambda pair: (-pair[1], pair[0]))
    ]


def _curve(store: Path, found: list[list[Row]], runs: list[Run], column: str | None) -> list[str]:
    """Accuracy round by round of a head that learns from all rounds up to it, on labels that it never sees."""
    place = _column(store, runs, column)
    if place is None:
        return []
    column, folder = place
    last = {row["sample_id"]: row for rows in found for row in rows}
    held = {sample_id: row["label"] for sample_id, row in last.items() if row["held_out"] and row["label"]}
    note = f"on {len(held):,} labels held out for measuring"
    if not held:
        ids = np.array(sorted(last), np.uint64)
        some = ids[uniform(ids, 0, 0, "held_out") < FIFTH].tolist()
        held = {sample_id: last[sample_id]["label"] for sample_id in some if last[sample_id]["label"]}
        note = f"on {len(held):,} labels, a fifth: they were picked, not drawn, so compare rounds alone"
    vectors = _vectors(folder, {*last})
    test = [sample_id for sample_id in held if sample_id in vectors]
    if not test:
        return []
    same = alike(np.stack([vectors[sample_id] for sample_id in vectors]))
    held_out = dict(zip(vectors, np.isin(same, same[np.isin([*vectors], test)]).tolist(), strict=True))
    lines = [f"accuracy of a head on {column}, {note}", "round  learned from  accuracy  averaged over classes"]
    known: dict[int, str] = {}
    for number, rows in enumerate(found, 1):
        for row in rows:
            known.pop(row["sample_id"], None)  # what was said before doesn't count any more
            if row["label"] and not row["held_out"] and not held_out.get(row["sample_id"], True):
                known[row["sample_id"]] = row["label"]
        said = "        -  (wants two classes)"
        if len(set(known.values())) > 1:
            right = _right(known, held, test, vectors)
            truth = np.array([held[sample_id] for sample_id in test])
            even = np.mean([right[truth == kind].mean() for kind in np.unique(truth)])
            said = f"{right.mean():>9.3f}  {even:>9.3f}  {'█' * round(24 * float(right.mean()))}"
        lines.append(f"{number:>5}  {len(known):>12,} {said}")
    return lines


def _right(
    known: dict[int, str], held: dict[int, str], test: list[int], vectors: dict[int, npt.NDArray[np.float32]]
) -> npt.NDArray[np.bool_]:
    """[test] whether the head says what people say."""
    ids = sorted(known)
    taught = np.stack([vectors[sample_id] for sample_id in ids])
    head = fit_head(taught, [known[sample_id] for sample_id in ids], np.array(ids, np.uint64), "gda")
    shares = head.probabilities(np.stack([vectors[sample_id] for sample_id in test]))
    said = np.array(head.classes)[shares.argmax(1)]
    return said == np.array([held[sample_id] for sample_id in test])


def _column(store: Path, runs: list[Run], asked: str | None) -> tuple[str, Path] | None:
    """Name and folder of the vectors: as the last run that asked had them, else the store's only ones. Raises
    RecipeError where there is no such column."""
    for run in reversed(runs):
        folders = column_folders(run)
        for step in run.recipe.steps_given:
            name = asked or step.settings.get("column")
            found = folders.get(str(name)) or folders.get(f"{name}.image")
            if step.name in ASKING and found is not None and found.is_dir():
                return str(name), found
    every = _folders(store)
    if asked is not None:
        if asked not in every:
            known = ", ".join(every) or "none"
            raise RecipeError(f"store {store}: no column of vectors {asked!r} (there are: {known})")
        return asked, every[asked]
    return next(iter(every.items())) if len(set(every.values())) == 1 else None


def _folders(store: Path) -> dict[str, Path]:
    """Columns of vectors by the names that recipes use."""
    found = {}
    for record in sorted((store / "columns").rglob("column.json")):
        part = next(iter(sorted(record.parent.glob("part-*.parquet"))), None)
        if part is not None and pa.types.is_fixed_size_list(pq.read_schema(part).field(1).type):
            name = ".".join(record.parent.relative_to(store / "columns").parts)
            found[name] = record.parent
            found.setdefault(name.partition(".")[0], record.parent)
    return found


def _vectors(folder: Path, ids: set[int]) -> dict[int, npt.NDArray[np.float32]]:
    """Vectors of these samples."""
    found: dict[int, npt.NDArray[np.float32]] = {}
    wanted = pa.array(sorted(ids), pa.uint64())
    for part in sorted(folder.glob("part-*.parquet")):
        for batch in pq.ParquetFile(part).iter_batches(batch_size=8192):
            some = batch.filter(pc.is_in(batch["sample_id"], wanted))
            vectors, there = as_array(some.column(1))
            found |= {
                sample_id: vector
                for sample_id, vector, has in zip(some["sample_id"].to_pylist(), vectors, there.tolist(), strict=True)
                if has
            }
    return found
