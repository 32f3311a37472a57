"""`tamis tune`: settings found by what they are worth, by successive halving, and an honest word where none is better.

Each variant of a recipe is run without the held-out part of the target and judged by that part: first all of them by
the measure of `compare` that goes along with training (target nats of texts, nearness of vectors), then, where it is
asked for, the best third by one small training each, and the best third of these by several, all on equal amounts. The
recipe as it stands is kept to the end: a setting is found only if it is better than that by more than chance. Runs and
losses are kept in the store, so a killed search goes on."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tamis.pipeline.comparing.measures import Judge, by_ngrams, nearest_of
from tamis.pipeline.comparing.members import DRAWS, HELD_OUT, held_of, judged_of, same_seen, selected, times_of
from tamis.pipeline.comparing.selections import judges_of, vectors_in
from tamis.pipeline.comparing.simplex import ROUNDS, next_trials, settled
from tamis.pipeline.comparing.texts import Trainer, chosen_texts, texts_of
from tamis.pipeline.comparing.training import interval
from tamis.pipeline.comparing.variants import AS_IT_STANDS, Variant, checked, search_of, tried_at, variants_of
from tamis.pipeline.errors import RecipeError
from tamis.pipeline.files.atomic import fingerprint
from tamis.pipeline.progress import Counter, hushed, say
from tamis.pipeline.recipe.recipe import Recipe
from tamis.pipeline.starting import run_recipe
from tamis.pipeline.store.listing import OF_COMPARE
from tamis.pipeline.store.runs import Run, open_complete
from tamis.pipeline.store.set_aside import aside

PARTS = 5  # of the held-out target: differences between them tell what chance does
KEPT = 3  # one of so many goes on to the next round


def tuned(
    path: Path,
    store: Path,
    over: list[str],
    others: list[Path],
    *,
    column: str | None = None,
    train: str | None = None,
    seeds: int = 3,
    allow_code: bool = False,
) -> dict[str, Any]:
    """All that was tried, the best first, as plain values; `changes` are those to make, none where nothing is better.
    Raises RecipeError."""
    variants = variants_of(path, over, others)
    checked(variants, column, train, seeds, allow_code)
    first = _whole(variants[0].recipe, path, store, allow_code)
    held, contents = held_of(first)
    place = search_of(over)
    parts = 2 * PARTS if place else PARTS
    if contents < 2 * parts:
        raise RecipeError(
            f"tune: {contents} contents are held out to judge by, a quarter of the target's; wanted {2 * parts} or "
            "more. Add samples to the target."
        )
    judge = judges_of(first, held)[""]
    judged = _judged(variants, first, allow_code)
    variants = [one for one in variants if one is variants[0] or not _same(judged, one, variants[0])]
    if len(variants) < 2:
        raise RecipeError("tune: nothing to try; all that was asked for is as it stands")
    _of_one_size(judged)
    measure, vectors = _measured(variants, judged, first, judge, column, parts)
    if place:
        for count in (*ROUNDS[1:], 0):
            if new := _further(path, place, variants, count):
                judged |= _judged(new, first, allow_code)
                _measured(new, judged, first, judge, column, parts)
                variants += new
    by_first = sorted(variants, key=lambda one: (_steered(one.values), variants.index(one)))
    if place:
        for one in variants:  # by the other half is told what was found by the first
            one.values = None if one.values is None else one.values[1::2]
    left = _kept(by_first, variants[0]) if train else by_first
    if train is not None:
        texts = texts_of(judge)
        if not texts:
            raise RecipeError("--train: judged is on the target's texts, and there are none")
        trainer = Trainer(judged[AS_IT_STANDS][0], train, texts)
        left = _trained(trainer, left, variants[0], judged, seeds)
    told = _told(variants, left, measure, vectors, len(held), contents, train)
    return {**told, "searched": place is not None}


def _further(path: Path, place: str, variants: list[Variant], count: int) -> list[Variant]:
    """The next trials of a search, by what those before were worth; with 0 the last one."""
    known = [(one.changes[place], _steered(one.values)) for one in variants if place in one.changes]
    tried, costs = np.array([weights for weights, _ in known]), np.array([cost for _, cost in known])
    tried = tried / tried.sum(1, keepdims=True)
    trials = next_trials(tried, costs, count) if count else settled(tried, costs)
    names = {one.name for one in variants}
    return [one for one in tried_at(path, place, trials) if one.name not in names]


def _whole(recipe: Recipe, path: Path, store: Path, allow_code: bool) -> Run:
    say(f"running {path.name} as it stands")
    name = f"{OF_COMPARE}tuned-{fingerprint(recipe.model_dump(mode='json'))[:8]}"
    changed = recipe.model_copy(update={"name": name, "publish": None, "emit": []})
    with hushed():
        return open_complete(run_recipe(changed, path.absolute().parent, store, name, allow_code).folder)


def _same(judged: dict[str, tuple[Run, ...]], one: Variant, stands: Variant) -> bool:
    """Whether a variant only says what is so already."""
    mine, other = (judged[some.name][0] for some in (one, stands))
    steps = [[(step.name, step.selector, step.where, str(step.budget)) for step in run.steps] for run in (mine, other)]
    return steps[0] == steps[1] and mine.columns == other.columns and mine.recipe.seed == other.recipe.seed


def _judged(variants: list[Variant], first: Run, allow_code: bool) -> dict[str, tuple[Run, ...]]:
    """Each variant's runs without the held part."""
    counter, found = Counter("variants", len(variants), "runs"), {}
    for variant in variants:
        found[variant.name] = judged_of(first, same_seen(first), "tuned", variant.recipe, allow_code)
        counter.add(1)
    counter.end()
    return found


def _of_one_size(judged: dict[str, tuple[Run, ...]]) -> None:
    """Raises RecipeError where a variant has another budget than the recipe as it stands."""
    budgets = {name: [str(step.budget) for step in runs[0].steps if step.budget] for name, runs in judged.items()}
    for name, mine in budgets.items():
        if mine[-1:] != budgets[AS_IT_STANDS][-1:]:
            stands = "".join(budgets[AS_IT_STANDS][-1:]) or "none"
            raise RecipeError(
                f"tune: {name} has a budget of {''.join(mine[-1:]) or 'none'}, the recipe as it stands {stands}: "
                "selections of different sizes can't be held against each other"
            )


def _measured(
    variants: list[Variant], judged: dict[str, tuple[Run, ...]], first: Run, judge: Judge, column: str | None,
    parts: int,
) -> tuple[str, str | None]:  # fmt: skip
    """Give each variant its values; returns the measure, and the column of vectors that it is measured in."""
    draws = {f"{one.name}/{draw}": run for one in variants for draw, run in enumerate(judged[one.name])}
    chosen = {name: selected(run) for name, run in draws.items()}
    measure, vectors, run = "target_nats", None, first
    if column is not None or first.recipe.reads_images:
        measure = "nearness"
        vectors, run = vectors_in([first], column)
        if vectors is None:
            raise RecipeError("tune: pictures are judged by a column of vectors, and there is none; `embed:` makes one")
    if vectors is None:
        copies, times = aside(judged[AS_IT_STANDS][0])[0], {name: times_of(run) for name, run in draws.items()}
        split = [judge._replace(held=some) for some in np.array_split(judge.held, parts)]
        figures = [by_ngrams(first, one, chosen, copies, times) for one in split]
        told = {name: np.array([part[name][measure] for part in figures]) for name in draws}
    else:
        nearest = nearest_of(run, vectors, judge, chosen)[1]
        if len(nearest.get("", [])) < parts:
            raise RecipeError(f"tune: too few held-out samples of the target have a vector in {vectors!r} to judge by")
        told = {name: -np.array([some.mean() for some in np.array_split(nearest[name], parts)]) for name in draws}
    for variant in variants:
        mine = [told[f"{variant.name}/{draw}"] for draw in range(len(judged[variant.name]))]
        variant.values = np.mean(mine, axis=0).astype(np.float64)
        variant.chosen = len(chosen[f"{variant.name}/0"])
    return measure, vectors


def _kept(ordered: list[Variant], stands: Variant) -> list[Variant]:
    """The best third, two at least, and the recipe as it stands."""
    best = ordered[: max(2, -(-len(ordered) // KEPT))]
    return best if stands in best else [*best, stands]


def _trained(
    trainer: Trainer, left: list[Variant], stands: Variant, judged: dict[str, tuple[Run, ...]], seeds: int
) -> list[Variant]:
    """Round after round, on equal amounts; returns them by loss, those of the last round first."""
    texts = {one.name: [chosen_texts(run) for run in judged[one.name]] for one in left}
    if empty := [name for name, draws in texts.items() if not all(draws)]:
        raise RecipeError(f"--train: {empty[0]} holds no texts to train on")
    amount = min(trainer.count(some) for draws in texts.values() for some in draws)
    out: list[Variant] = []
    for tries in (1, seeds):
        counter = Counter("train", len(left) * tries, "models")
        for variant in left:
            draws = texts[variant.name]
            variant.losses = []
            for seed in range(tries):
                variant.losses.append(trainer.loss(draws[seed % len(draws)], amount, seed))
                counter.add(1)
            variant.rounds += 1
        counter.end()
        left = sorted(left, key=lambda one: float(np.mean(one.losses or [np.inf])))
        if tries == 1:
            best = _kept(left, stands)
            out = [one for one in left if one not in best]
            left = best
    return [*left, *out]


def _told(
    variants: list[Variant], ordered: list[Variant], measure: str, vectors: str | None, held: int, contents: int,
    train: str | None,
) -> dict[str, Any]:  # fmt: skip
    stands, best = variants[0], ordered[0]
    rest = [one for one in sorted(variants, key=lambda one: _mean(one.values)) if one not in ordered]
    better, half = _loss_gain(stands, best) or _gain(stands, best)
    found = best is not stands and half is not None and better > half
    rows = [
        {
            "name": one.name, "changes": one.changes, "value": abs(_mean(one.values)), "losses": one.losses,
            "rounds": one.rounds, "chosen": one.chosen, "gain": None if one is stands else _gain(stands, one),
            "loss_gain": None if one is stands else _loss_gain(stands, one),
        }
        for one in [*ordered, *rest]
    ]  # fmt: skip
    return {
        "measure": measure, "column": vectors, "train": train, "tried": rows, "best": best.name, "gain": better,
        "half": half, "better": found, "draws": DRAWS,
        "recipe": str((best if found else stands).path), "changes": best.changes if found else {},
        "held_out": {"samples": held, "contents": contents, "share": HELD_OUT, "parts": PARTS},
    }  # fmt: skip


def _gain(stands: Variant, one: Variant) -> tuple[float, float | None]:
    """By how much it is better than the recipe as it stands by the first round's measure, and half of the 95% interval,
    of differences by pairs."""
    apart = np.asarray(stands.values) - np.asarray(one.values)
    return float(apart.mean()), interval(apart.tolist())


def _loss_gain(stands: Variant, one: Variant) -> tuple[float, float | None] | None:
    """The same by training; None of one that was not trained on as often."""
    if not stands.losses or not one.losses or len(stands.losses) != len(one.losses):
        return None
    apart = np.array(stands.losses) - np.array(one.losses)
    return float(apart.mean()), interval(apart.tolist())


def _steered(values: npt.NDArray[np.float64] | None) -> float:
    """The mean that variants are chosen by; in a search of every other part: the rest tell what was found."""
    return _mean(values if values is None or len(values) <= PARTS else values[::2])


def _mean(values: npt.NDArray[np.float64] | None) -> float:
    return float("inf") if values is None or not len(values) else float(values.mean())
