"""Several selections of one pool, side by side: what they share, what they are made of, how well they serve the target.

A part of the target is held out by content for every measure, always: each selection is made once more without it and
without its copies in the pool, and is judged by that part. Random of the same size is added, of what the steps before
the choice left and of the whole pool, and with `oracle` the samples of the true group. What is left to chance is drawn
DRAWS times, and told with its interval. Each measure reads pool and target once for all selections together: n-grams
for texts, a column of vectors where there is one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tamis.pipeline.columns.declared import by_name, vectors_of
from tamis.pipeline.comparing.heads import HeadTrials
from tamis.pipeline.comparing.measures import by_ngrams, by_vectors, duplicates, kind_found, overlap
from tamis.pipeline.comparing.texts import TextTrials, held_out_texts
from tamis.pipeline.comparing.training import interval, trained
from tamis.pipeline.errors import RecipeError
from tamis.pipeline.explain.report import data
from tamis.pipeline.files.atomic import fingerprint, read_json
from tamis.pipeline.progress import hushed, say
from tamis.pipeline.read.held_out import held_contents, holds
from tamis.pipeline.read.pool import current_pool
from tamis.pipeline.recipe.recipe import Recipe, load_recipe
from tamis.pipeline.starting import run_recipe
from tamis.pipeline.store.listing import OF_COMPARE
from tamis.pipeline.store.query import views
from tamis.pipeline.store.runs import Run, open_complete
from tamis.pipeline.store.set_aside import aside

RANDOM, OF_POOL, ORACLE = "random", "random of pool", "oracle"
HELD_OUT, DRAWS = 0.25, 3  # share of the target's contents; draws of what is left to chance
ORACLE_EPOCHS = 4  # it repeats a group smaller than the budget so often: nearly as good as new (Muennighoff 2023)
AT_THE_LINE = 2  # samples shown on each side of it


@dataclass(frozen=True)
class Member:
    """One selection."""

    name: str  # of a baseline what it is, else the run's
    run: Run
    ids: npt.NDArray[np.uint64]  # sorted
    judged: tuple[Run, ...]  # the same without the target's held part, drawn anew where chance chooses

    @property
    def size(self) -> int:
        return len(self.ids)


def comparison(
    asked: list[Path],
    store: Path | None,
    column: str | None,
    oracle: str | None,
    allow_code: bool = False,
    train: str | None = None,
    held_out: Path | None = None,
    seeds: int = 3,
    by: str | None = None,
) -> dict[str, Any]:
    """Everything that the page and the table show, as plain values. Raises RecipeError where the selections are not of
    one pool and target."""
    if seeds < 1:
        raise RecipeError(f"--seeds {seeds}: wanted 1 or more")
    apart = held_out_texts(held_out) if held_out else None
    members = gathered(asked, store, oracle, allow_code)
    first = members[0].run
    say(f"comparing {', '.join(member.name for member in members)}")
    vectors, declaring = vectors_in([member.run for member in members], column)
    held, contents = held_of(first)
    judged = {f"{place}/{draw}": run for place, member in enumerate(members) for draw, run in enumerate(member.judged)}
    draws = {name: selected(run) for name, run in judged.items()}
    times = {name: times_of(run) for name, run in judged.items()}
    copies = aside(members[0].judged[0])[0]
    ngrams = by_ngrams(first, draws, held, copies, times) if len(held) and not first.recipe.reads_images else {}
    nearness = by_vectors(declaring, vectors, draws, held) if vectors and len(held) else {}
    of_kind = [[kind_found(run) for run in member.judged] for member in members]
    figures = [
        with_found(
            averaged([ngrams.get(name, {}) | nearness.get(name, {}) for name in draws if name.startswith(f"{place}/")]),
            of_kind[place],
        )
        for place in range(len(members))
    ]
    chosen = {member.name: member.ids for member in members}
    repeats = duplicates(first, chosen)
    found: dict[str, Any] = {
        "pool": {"samples": first.pool.rows, "target": first.target.rows if first.target else 0},
        "held_out": {"samples": len(held), "contents": contents, "share": HELD_OUT, "draws": DRAWS},
        "column": vectors,
        "members": [_member(one, some, repeats) for one, some in zip(members, figures, strict=True)],
        "of_pool": {**ngrams.get("", {}), **nearness.get("", {})},
        "overlap": overlap(list(chosen.values())),
        "compositions": _compositions(members),
        "equal": len({member.size for member in members if member.name != ORACLE}) == 1,
    }
    if train is not None:
        runs = {one.name: [one.run] if apart else list(one.judged) for one in members if one.name != OF_POOL}
        among = _candidates(next(one for one in members if one.name == RANDOM).judged[0])
        if train == "head":
            if by is None or vectors is None:
                raise RecipeError("--train head: wanted --by FIELD with the classes, and a column of vectors")
            heads = HeadTrials(runs, declaring, vectors, by, held, among)
            told = {"what": f"head on {vectors}", "held_out": heads.held_out, "apart": True}
            found["trained"] = {**trained(heads, runs, seeds), **told}
        else:
            texts = apart or target_texts(first, held)
            told = {"what": f"{train} model", "held_out": len(texts), "apart": apart is not None}
            found["trained"] = {**trained(TextTrials(runs, train, texts, among), runs, seeds), **told}
    return found


def averaged(draws: list[dict[str, float]]) -> dict[str, Any]:
    """Means over draws, and half the width of their 95% intervals; None of one draw."""
    means = {name: float(np.mean([one[name] for one in draws])) for name in draws[0]}
    return {**means, "intervals": {name: interval([one[name] for one in draws]) for name in draws[0]}}


def with_found(figures: dict[str, Any], draws: list[dict[str, Any]]) -> dict[str, Any]:
    """The same with the share of the target's kind that was found, where all draws tell it: of its two intervals, by
    draws and by the held samples, the wider; number and curve are the first draw's."""
    if not draws or not all(draws):
        return figures
    shares = [one["share"] for one in draws]
    half = max(draws[0]["half"], interval(shares) or 0.0)
    more = {"found": {name: draws[0].get(name) for name in ("spikes", "number", "curve")}}
    intervals = {**figures.get("intervals", {}), "kind_found": half}
    return {**figures, **more, "kind_found": float(np.mean(shares)), "intervals": intervals}


def held_of(run: Run) -> tuple[npt.NDArray[np.uint64], int]:
    """Ids of the target's samples that are held out, rising, and how many contents that are."""
    if run.target is None:
        return np.zeros(0, np.uint64), 0
    contents = held_contents(run.target, HELD_OUT, len(run.recipe.target))
    batches = (
        batch
        for part in run.target.parts
        for batch in pq.ParquetFile(part.path).iter_batches(columns=["sample_id", "content_hash"])
    )
    ids = [np.zeros(0, np.uint64), *(batch["sample_id"].to_numpy()[holds(batch, contents)] for batch in batches)]
    return np.sort(np.concatenate(ids)), len(contents)


def _candidates(run: Run) -> npt.NDArray[np.uint64]:
    """What the last step could choose from."""
    found = [np.zeros(0, np.uint64)]
    for part in run.pool.parts:
        ledger = pq.read_table(run.ledger(len(run.steps) - 1) / part.name, columns=["sample_id", "reason"])
        mine = pc.is_in(ledger["reason"], value_set=pa.array(["chosen", "below_cut"]))
        found.append(ledger.filter(mine)["sample_id"].to_numpy())
    return np.sort(np.concatenate(found))


def target_texts(run: Run, held: npt.NDArray[np.uint64]) -> list[str]:
    """Of the held part. Raises RecipeError where there are none."""
    parts = run.target.parts if run.target else []
    tables = [pq.read_table(part.path, columns=["sample_id", "text"]) for part in parts]
    apart = [table.filter(pa.array(np.isin(table["sample_id"].to_numpy(), held))) for table in tables]
    some = [table["text"].to_pylist() for table in apart]
    texts = [text for told in some for text in told if text]
    if not texts:
        raise RecipeError("--train: judged is on the target's texts, and there are none; add --held-out FILE")
    return texts


def gathered(asked: list[Path], store: Path | None, oracle: str | None, allow_code: bool) -> list[Member]:
    """The selections: runs as they stand, recipes run now, random and the oracle last."""
    runs = [_run(path, store, allow_code) for path in asked]
    first = runs[0]
    for run in runs[1:]:
        if run.store != first.store or run.pool.fingerprint != first.pool.fingerprint:
            raise RecipeError(f"run {run.folder}: another pool than that of {first.folder}; compare runs of one pool")
        if (run.target and run.target.fingerprint) != (first.target and first.target.fingerprint):
            raise RecipeError(f"run {run.folder}: another target than that of {first.folder}")
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        raise RecipeError(f"{next(name for name in names if names.count(name) > 1)}: given twice")
    if taken := {RANDOM, OF_POOL, ORACLE} & set(names):
        raise RecipeError(f"{taken.pop()}: that name is of a selection that compare adds; give the run another")
    if any(run.recipe.hold_out for run in runs):
        raise RecipeError("hold_out: compare holds a part of the target out itself; compare runs of the whole target")
    whole = same_seen(first)
    members = [
        Member(run.name, run, selected(run), judged_of(run, whole, f"{run.name}-judged", run.recipe, allow_code))
        for run in runs
    ]
    before = _before_the_choice(first)
    by_chance = {"random": {"budget": _budget(first)}}
    members.append(_beside(first, whole, RANDOM, [*before, by_chance], allow_code))
    if before:
        members.append(_beside(first, whole, OF_POOL, [by_chance], allow_code))
    if oracle is not None:
        field, equals, value = oracle.partition("=")
        if not equals or field not in first.recipe.kept:
            kept = ", ".join(sorted(first.recipe.kept)) or "none"
            raise RecipeError(f"--oracle {oracle}: wanted FIELD=VALUE, of a kept field (there are: {kept})")
        budget = {"budget": members[0].size, "max_epochs": ORACLE_EPOCHS}
        quota = {"quota": {"by": field, "shares": {value: 1}, **budget}}
        members.append(_beside(first, whole, ORACLE, [quota], allow_code))
        if not members[-1].size:
            raise RecipeError(f"--oracle {oracle}: no sample has that value (there are: {_values(first, field)})")
    return members


def _before_the_choice(run: Run) -> list[dict[str, Any]]:
    """Its steps before the last one that chooses: what all candidates of the choice have behind them."""
    choices = [step.number for step in run.steps if step.budget is not None]
    return run.recipe.steps[: choices[-1]] if choices else []


def judged_of(run: Run, whole: list[str | None], what: str, recipe: Recipe, allow_code: bool) -> tuple[Run, ...]:
    """What a recipe chooses of a run's pool without the target's held part; several times where its steps leave it to
    chance."""
    first = _made(run, whole, what, recipe, recipe.steps, allow_code, 0)
    noisy = any(step.selector.noisy or step.name == "random" for step in first.steps)
    more = (_made(run, whole, what, recipe, recipe.steps, allow_code, draw) for draw in range(1, DRAWS if noisy else 1))
    return first, *more


def same_seen(run: Run) -> list[str | None]:
    return [run.pool.fingerprint, run.target.fingerprint if run.target else None]


def _values(run: Run, field: str) -> str:
    with views(run) as con:
        found = data.composition(con, field)
    return ", ".join(group["name"] for group in found["groups"][:8]) if found else "none"


def _run(path: Path, store: Path | None, allow_code: bool) -> Run:
    if path.suffix not in (".yaml", ".yml"):
        return open_complete(path, allow_code)
    if store is None:
        raise RecipeError(f"{path}: a recipe is run on a store; add --store DIR")
    recipe = load_recipe(path)
    say(f"running {path.name}")
    with hushed():
        return open_complete(run_recipe(recipe, path.absolute().parent, store, None, allow_code).folder)


def _beside(first: Run, whole: list[str | None], what: str, steps: list[dict[str, Any]], allow_code: bool) -> Member:
    """A selection that compare adds. Raises RecipeError."""
    draws = 1 if what == ORACLE else DRAWS
    made = tuple(
        _made(first, whole, what.replace(" ", "-"), first.recipe, steps, allow_code, draw) for draw in range(draws)
    )
    return Member(what, made[0], selected(made[0]), made)


def _made(
    of: Run, whole: list[str | None], what: str, given: Recipe, steps: list[dict[str, Any]], allow_code: bool, draw: int
) -> Run:
    """A run of another one's pool, of a recipe with these steps and without the target's held part, found again where
    it stands. Raises RecipeError."""
    share = HELD_OUT if of.recipe.target else None
    changed = {
        "steps": steps,
        "emit": [],
        "against": None,
        "guard": None,
        "hold_out": share,
        "seed": given.seed + draw,
    }
    recipe: Recipe = given.model_copy(update=changed)
    asked = recipe.model_dump(mode="json", exclude={"name", "engine"})
    name = f"{OF_COMPARE}{what}-{fingerprint([asked, whole])[:8]}"
    if not (of.store / "runs" / name / "manifest.json").exists():
        with hushed():
            run_recipe(recipe.model_copy(update={"name": name}), of.recipe_folder, of.store, name, allow_code)
    run = open_complete(of.store / "runs" / name)
    seen = current_pool(run.whole_target_folder, run.inputs["target"]) if run.inputs["target"] else None
    parts = [part.digest for part in seen.parts if part.origin < len(of.recipe.target)] if seen else []
    if [run.pool.fingerprint, fingerprint(parts) if of.recipe.target else None] != whole:
        raise RecipeError(
            f"run {of.folder}: its pool or target has changed since, so a {what} selection would be of others. "
            "Run it again under another name and compare that."
        )
    return run


def _budget(run: Run) -> Any:
    """As the last step has it where it counts something else than samples, of which any step can tell; else as many as
    it chose, repeats counted. What chance chooses is all different."""
    last = run.recipe.steps_given[-1].settings.get("budget") if run.recipe.steps_given else None
    if not isinstance(last, dict) or "rows" in last or ("tokens" in last and "by" not in last):
        weights = pq.read_table(run.folder / "selection.parquet", columns=["weight"])["weight"].to_numpy()
        stands_for = any(step.selector.weighs for step in run.steps)  # what a sample stands for is no repeat
        return len(weights) if stands_for else round(float(weights.sum()))
    return {name: value for name, value in last.items() if name != "max_epochs"}


def selected(run: Run) -> npt.NDArray[np.uint64]:
    table = pq.read_table(run.folder / "selection.parquet", columns=["sample_id"])
    return np.sort(table["sample_id"].to_numpy())


def times_of(run: Run) -> npt.NDArray[np.int64]:
    """How often each counts, in the order of `selected`."""
    table = pq.read_table(run.folder / "selection.parquet", columns=["sample_id", "weight"])
    order = np.argsort(table["sample_id"].to_numpy())
    if any(step.selector.weighs for step in run.steps):  # what a sample stands for is no repeat
        return np.ones(len(order), np.int64)
    return np.maximum(1, np.rint(table["weight"].to_numpy()[order])).astype(np.int64)


def vectors_in(runs: list[Run], column: str | None) -> tuple[str | None, Run]:
    """The column of vectors that was asked for, or else the first one, and a run that has it. Raises RecipeError."""
    for run in runs:
        for maker in run.declared:
            if column is None and maker.output.vectors:
                return maker.name, run
        if column in by_name(run.declared):
            vectors_of(run.declared, column)
            return column, run
    if column is not None:
        raise RecipeError(f"--column {column}: none of the runs has it")
    return None, runs[0]


def _member(member: Member, figures: dict[str, Any], repeats: dict[str, int]) -> dict[str, Any]:
    manifest = read_json(member.run.folder / "manifest.json")
    steps = [member.run.summary(step.number) for step in member.run.steps]
    weights = pq.read_table(member.run.folder / "selection.parquet", columns=["weight"])["weight"].to_numpy()
    return {
        "name": member.name,
        "run": str(member.run.folder),
        "judged": [str(run.folder) for run in member.judged],
        "steps": [step["selector"] for step in steps],
        "chosen": member.size,
        "duplicates": repeats[member.name],
        "effective_sample_size": float(weights.sum() ** 2 / (weights**2).sum()) if len(weights) else 0.0,
        "seconds": round(sum(manifest["seconds"].values()), 1),
        "peak_bytes": manifest.get("peak_bytes"),
        "last_kept": steps[-1]["last_kept"] if steps else None,
        "line": _line(member.run),
        **figures,
    }


def _line(run: Run) -> dict[str, list[dict[str, Any]]]:
    """The last samples that were chosen and the first that were not, as far as the last step ranked them."""
    if not run.recipe.steps:
        return {"kept": [], "dropped": []}
    with views(run) as con:
        found = data.boundary(con, len(run.recipe.steps) - 1, AT_THE_LINE)
    shown = ("key", "text", "score", "rank", "thumbnail")
    return {side: [{name: row[name] for name in shown} for row in rows] for side, rows in found.items()}


def _compositions(members: list[Member]) -> list[dict[str, Any]]:
    """Of each kept field the groups, with each selection's keep rate and its interval."""
    found = []
    for field in data.kept_fields(members[0].run):
        rows = {}
        for member in members:
            with views(member.run) as con:
                rows[member.name] = data.composition(con, field)
        if all(rows.values()):
            first = rows[members[0].name]
            assert first is not None
            groups = [
                {
                    "name": group["name"],
                    "pool": group["pool"],
                    "by": [_rate(rows[member.name], group["name"]) for member in members],
                }
                for group in first["groups"]
            ]
            found.append({"field": field, "groups": groups})
    return found


def _rate(composition: dict[str, Any] | None, name: str) -> dict[str, Any]:
    groups = composition["groups"] if composition else []
    group = next((group for group in groups if group["name"] == name), None)
    wanted = ("selection", "share", "rate", "low", "high")
    return {key: group[key] for key in wanted} if group else dict.fromkeys(wanted, 0)
