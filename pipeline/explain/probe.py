"""`tamis probe`: does this column of vectors carry your classes, or your target? Asked before labels are paid for.

Of at most 5,000 samples, by hash. Classes: how often the nearest neighbours bear the same class, against how often
chance would; and how often a closed-form head (heads.py) tells samples right that it did not see. Target: how often a
target sample lies among the nearest of another target sample, with as many of the pool beside them. The page shows
some samples with their neighbours: what the column holds to be alike."""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from tamis.pipeline.choose.batches import side_by_side
from tamis.pipeline.choose.drawn import Drawn
from tamis.pipeline.columns.declared import by_name, vectors_of
from tamis.pipeline.columns.parts import stands
from tamis.pipeline.errors import RecipeError
from tamis.pipeline.explain.pages import write_page
from tamis.pipeline.explain.report.data import of_ids
from tamis.pipeline.progress import joined, visible
from tamis.pipeline.read.pool import Part
from tamis.pipeline.store.runs import Run
from tamis.selectors.active.label_errors import neighbour_votes
from tamis.selectors.contract import Inputs
from tamis.selectors.learners.folds import alike
from tamis.selectors.learners.heads import unseen_shares
from tamis.selectors.rows import contents_of, hashes_of
from tamis.selectors.vectors.columns import as_array

MOST, NEIGHBOURS, FEWEST = 5000, 10, 5  # samples, neighbours of each, samples of a class that counts
SHOWN, NEAR = 12, 6  # rows of the sheet, and neighbours of each
WELL, IN_PART = 0.8, 0.15  # accuracy averaged over classes; share of what purity could be above chance


@dataclass(frozen=True)
class Sampled:
    """Vectors [rows, dim] with ids, contents and classes (None: unknown)."""

    ids: npt.NDArray[np.uint64]
    contents: npt.NDArray[np.uint64]
    vectors: npt.NDArray[np.float32]
    classes: Sequence[str | None]


@dataclass(frozen=True)
class Told:
    """What was asked of the column: lines for the terminal, the last one the verdict, and rows of a sheet."""

    what: str
    lines: list[str]
    rows: list["Row"]

    @property
    def verdict(self) -> str:
        return self.lines[-1].strip()


@dataclass(frozen=True)
class Row:
    """One sample and its nearest, each with what is said of it."""

    sample: dict[str, Any]
    nearest: list[dict[str, Any]]


def probe(run: Run, column: str, field: str | None, page: Path | None = None) -> str:
    """What the column is worth, as text; and with `page` as HTML. Raises RecipeError where the run has no such column
    or field."""
    told = asked(run, column, field)
    if page is not None:
        write_page("probe.html", page, sealed=False, column=column, run=run, told=told, most=MOST)
    return joined([f"{column}, at most {MOST:,} samples", *(line for one in told for line in one.lines)])


def asked(run: Run, column: str, field: str | None) -> list[Told]:
    """Classes, and the target, as far as there are any. Raises RecipeError."""
    vectors_of(run.declared, column)
    fields = (
        [field]
        if field
        else [name for name in ("labels", "label", "class", *sorted(run.recipe.kept)) if name in _known(run)]
    )
    told = []
    for name in dict.fromkeys(fields):
        if name not in _known(run):
            raise RecipeError(f"probe: the pool has no field {name!r} (there are: {', '.join(sorted(_known(run)))})")
        some = counted(_sampled(run, run.pool.parts, column, name, of_target=False))
        if lines := of_classes(some, name):
            told.append(Told(name, lines, sheet(some, run.pool.parts)))
            break
    if run.target is not None and by_name(run.declared)[column].maker.of_target:
        mine = _sampled(run, run.target.parts, column, None, of_target=True)
        others = _sampled(run, run.pool.parts, column, None, of_target=False)
        both = beside(mine, others)
        if lines := of_target(both):
            told.append(Told("target", lines, sheet(both, [*run.target.parts, *run.pool.parts], ("target",))))
    if not told:
        raise RecipeError("probe: no field with classes and no target to ask by; name a field with --by")
    return told


def counted(some: Sampled) -> Sampled:
    """Those of classes with FEWEST samples or more."""
    sizes = Counter(some.classes)
    rows = [place for place, name in enumerate(some.classes) if name and sizes[name] >= FEWEST]
    return Sampled(some.ids[rows], some.contents[rows], some.vectors[rows], [some.classes[place] for place in rows])


def of_classes(some: Sampled, field: str) -> list[str]:
    """Lines on how well the vectors tell a field's classes; none where it has fewer than two."""
    classes = sorted({name for name in some.classes if name})
    if len(classes) < 2 or len(classes) > MOST // FEWEST:
        return []
    label = np.array([classes.index(name or "") for name in some.classes])
    found = figures(some.vectors, label, some.contents, len(classes))
    gain = (found["purity"] - found["chance"]) / (1 - found["chance"])
    if found["balanced"] >= WELL:
        verdict = "carries these classes well"
    elif found["balanced"] >= 2 / len(classes) and gain >= IN_PART:
        verdict = "carries these classes in part"
    else:
        verdict = "does not carry these classes: choose another embedding before you pay for labels"
    own, head = found["purity"], f"{found['accuracy']:.1%} right that it did not see"
    return [
        f"{visible(field)}: {len(classes)} classes of {len(label):,} samples",
        f"  of the {NEIGHBOURS} nearest neighbours {own:.1%} are of the same class, by chance {found['chance']:.1%}",
        f"  a head tells {head}, {found['balanced']:.1%} averaged over classes; the largest is {found['largest']:.1%}",
        f"  the column {verdict}",
    ]


def figures(
    vectors: npt.NDArray[np.float32], label: npt.NDArray[np.int64], contents: npt.NDArray[np.uint64], classes: int
) -> dict[str, float]:
    """Purity of neighbours, and by chance; accuracy of a head out of folds, averaged over classes, of the largest.

    Copies of a sample are no neighbours of it, and stand in its fold."""
    shares = np.bincount(label, minlength=classes) / len(label)
    votes = neighbour_votes(vectors, label, classes, NEIGHBOURS, alike(vectors, contents))
    right = unseen_shares(vectors.astype(np.float64), label, classes, contents, "gda").argmax(1) == label
    return {
        "purity": float(votes[np.arange(len(label)), label].mean()),
        "chance": float((shares**2).sum()),
        "accuracy": float(right.mean()),
        "balanced": float(np.mean([right[label == kind].mean() for kind in range(classes)])),
        "largest": float(shares.max()),
    }


def beside(target: Sampled, pool: Sampled) -> Sampled:
    """As many of the pool as of the target, those without the target's."""
    apart = ~np.isin(pool.contents, target.contents)
    count = min(len(target.ids), int(apart.sum()))
    return Sampled(
        np.concatenate([target.ids[:count], pool.ids[apart][:count]]),
        np.concatenate([target.contents[:count], pool.contents[apart][:count]]),
        np.concatenate([target.vectors[:count], pool.vectors[apart][:count]]),
        ["target"] * count + ["pool"] * count,
    )


def of_target(both: Sampled) -> list[str]:
    """Lines on how well the vectors tell the target from the pool."""
    count = len(both.ids) // 2
    if count < FEWEST:
        return []
    found = figures(both.vectors, np.repeat([0, 1], count), both.contents, 2)
    verdict = (
        "tells the target from the pool"
        if found["balanced"] >= 0.75
        else "hardly tells the target from the pool: what is chosen by it will be near to chance"
    )
    return [
        f"target: {count:,} samples of it and as many of the pool",
        f"  of the {NEIGHBOURS} nearest neighbours {found['purity']:.1%} are of the same side, by chance 50.0%",
        f"  a head tells {found['accuracy']:.1%} right that it did not see",
        f"  the column {verdict}",
    ]


def sheet(some: Sampled, parts: list[Part], of: tuple[str, ...] = ()) -> list[Row]:
    """SHOWN samples, of each class (or of those named) in turn, each with its NEAR nearest others."""
    places: dict[str, list[int]] = {}
    for place, name in enumerate(some.classes):
        if name and (not of or name in of):
            places.setdefault(name, []).append(place)
    turns = itertools.zip_longest(*(places[name] for name in sorted(places)))
    chosen = [place for turn in turns for place in turn if place is not None][:SHOWN]
    close = some.vectors[chosen] @ some.vectors.T
    close[np.arange(len(chosen)), chosen] = -np.inf
    near = np.argsort(-close, axis=1, kind="stable")[:, :NEAR]
    shown = of_ids(parts, some.ids[np.unique([*chosen, *near.ravel().tolist()])].tolist())

    def told(place: int, cosine: float | None) -> dict[str, Any]:
        name = some.classes[place] or "no class"
        row = shown[int(some.ids[place])]
        return {**row, "note": name if cosine is None else f"{name} · {cosine:.2f}", "class": name}

    return [
        Row(told(place, None), [told(other, float(close[row, other])) for other in near[row].tolist()])
        for row, place in enumerate(chosen)
    ]


def _known(run: Run) -> set[str]:
    """Fields with classes; `labels` as long as they are those that the run saw."""
    labels = by_name(run.declared).get("labels")
    there = labels is not None and stands(run.column(labels.maker), run.pool.parts[0])
    return run.recipe.kept | ({"labels"} if there else set())


def _sampled(run: Run, parts: list[Part], column: str, field: str | None, *, of_target: bool) -> Sampled:
    """At most MOST samples with a vector, those with the smallest hashes, by rising id."""
    drawn = Drawn(MOST, "probe")
    fields = (column, "content_hash", *([field] if field else []))
    for part in parts:
        for batch in side_by_side(run, part, Inputs(fields=fields), of_target):
            some, there = as_array(batch[column])
            if field is not None:
                there &= batch[field].is_valid().to_numpy(zero_copy_only=False)
            named: list[Any] = [None] * len(there) if field is None else pc.cast(batch[field], "string").to_pylist()
            arrays = (contents_of(hashes_of(batch)), some.astype(np.float16), np.array(named, object))
            drawn.add(batch["sample_id"].to_numpy()[there], *(array[there] for array in arrays))
    none = np.zeros(0, np.uint64)
    ids, contents, vectors, classes = drawn.rows() or (none, none, np.zeros((0, 1), np.float16), np.zeros(0, object))
    order = np.argsort(ids)
    return Sampled(ids[order], contents[order], vectors[order].astype(np.float32), classes[order].tolist())
