"""Several selections of one pool, side by side: what they share, what they are made of, how well they serve the target.

Random of the same size is added, and with `oracle` the samples of the true group. Each measure reads pool and target
once for all selections together: n-grams for texts, a column of vectors where there is one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from tamis.pipeline.columns.declared import by_name, vectors_of
from tamis.pipeline.comparing.heads import HeadTrials
from tamis.pipeline.comparing.measures import by_ngrams, by_vectors, duplicates, overlap
from tamis.pipeline.comparing.texts import TextTrials, held_out_texts
from tamis.pipeline.comparing.training import trained
from tamis.pipeline.errors import RecipeError
from tamis.pipeline.explain.report import data
from tamis.pipeline.files.atomic import fingerprint, read_json
from tamis.pipeline.progress import hushed, say
from tamis.pipeline.recipe.recipe import Recipe, load_recipe
from tamis.pipeline.starting import run_recipe
from tamis.pipeline.store.query import views
from tamis.pipeline.store.runs import Run, open_complete

RANDOM, ORACLE = "random", "oracle"
ORACLE_EPOCHS = 4  # it repeats a group smaller than the budget so often: nearly as good as new (Muennighoff 2023)
AT_THE_LINE = 2  # samples shown on each side of it


@dataclass(frozen=True)
class Member:
    """One selection."""

    name: str  # of a baseline what it is, else the run's
    run: Run
    ids: npt.NDArray[np.uint64]  # sorted

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
    chosen = {member.name: member.ids for member in members}
    vectors, declaring = _vectors(members, column)
    ngrams = by_ngrams(first, chosen) if first.target and not first.recipe.reads_images else None
    nearness = by_vectors(declaring, vectors, chosen) if vectors and first.target else None
    repeats = duplicates(first, chosen)
    found: dict[str, Any] = {
        "pool": {"samples": first.pool.rows, "target": first.target.rows if first.target else 0},
        "column": vectors,
        "members": [_member(member, ngrams, nearness, repeats) for member in members],
        "of_pool": {**(ngrams or {}).get("", {}), **(nearness or {}).get("", {})},
        "overlap": overlap(list(chosen.values())),
        "compositions": _compositions(members),
        "equal": len({member.size for member in members if member.name != ORACLE}) == 1,
    }
    if train is not None:
        runs = {member.name: member.run for member in members}
        if train == "head":
            if by is None or vectors is None:
                raise RecipeError("--train head: wanted --by FIELD with the classes, and a column of vectors")
            heads = HeadTrials(runs, declaring, vectors, by)
            told = {"what": f"head on {vectors}", "held_out": heads.held_out, "apart": True}
            found["trained"] = {**trained(heads, runs, seeds), **told}
        else:
            texts = apart or _target_texts(first)
            told = {"what": f"{train} model", "held_out": len(texts), "apart": apart is not None}
            found["trained"] = {**trained(TextTrials(runs, train, texts), runs, seeds), **told}
    return found


def _target_texts(run: Run) -> list[str]:
    """Raises RecipeError where there are none."""
    parts = run.target.parts if run.target else []
    tables = [pq.read_table(part.path, columns=["text"])["text"].to_pylist() for part in parts]
    texts = [text for some in tables for text in some if text]
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
    if taken := {RANDOM, ORACLE} & set(names):
        raise RecipeError(f"{taken.pop()}: that name is of a selection that compare adds; give the run another")
    members = [Member(run.name, run, _selected(run)) for run in runs]
    members.append(_beside(first, RANDOM, [{"random": {"budget": _budget(first)}}], allow_code))
    if oracle is not None:
        field, equals, value = oracle.partition("=")
        if not equals or field not in first.recipe.kept:
            kept = ", ".join(sorted(first.recipe.kept)) or "none"
            raise RecipeError(f"--oracle {oracle}: wanted FIELD=VALUE, of a kept field (there are: {kept})")
        budget = {"budget": members[0].size, "max_epochs": ORACLE_EPOCHS}
        members.append(_beside(first, ORACLE, [{"quota": {"by": field, "shares": {value: 1}, **budget}}], allow_code))
        if not members[-1].size:
            raise RecipeError(f"--oracle {oracle}: no sample has that value (there are: {_values(first, field)})")
    return members


def _values(run: Run, field: str) -> str:
    with views(run) as con:
        found = data.composition(con, field)
    return ", ".join(group["name"] for group in found["groups"][:8]) if found else "none"


def _run(path: Path, store: Path | None, allow_code: bool) -> Run:
    if path.suffix not in (".yaml", ".yml"):
        return open_complete(path)
    if store is None:
        raise RecipeError(f"{path}: a recipe is run on a store; add --store DIR")
    recipe = load_recipe(path)
    say(f"running {path.name}")
    with hushed():
        return open_complete(run_recipe(recipe, path.absolute().parent, store, None, allow_code).folder)


def _beside(first: Run, what: str, steps: list[dict[str, Any]], allow_code: bool) -> Member:
    """A run of the first one's pool with other steps; found again where it stands. Raises RecipeError."""
    recipe: Recipe = first.recipe.model_copy(update={"steps": steps, "emit": [], "against": None})
    seen = [first.pool.fingerprint, first.target.fingerprint if first.target else None]
    asked = recipe.model_dump(mode="json", exclude={"name", "engine"})
    name = f"{what}-{fingerprint([asked, seen])[:8]}"
    if (first.store / "runs" / name / "manifest.json").exists():
        run = open_complete(first.store / "runs" / name)
    else:
        with hushed():
            made = run_recipe(
                recipe.model_copy(update={"name": name}), first.recipe_folder, first.store, name, allow_code
            )
        run = open_complete(made.folder)
    if [run.pool.fingerprint, run.target.fingerprint if run.target else None] != seen:
        raise RecipeError(
            f"run {first.folder}: its pool or target has changed since, so a {what} selection would be of others. "
            "Run it again under another name and compare that."
        )
    return Member(what, run, _selected(run))


def _budget(run: Run) -> Any:
    """As the last step has it where it counts something else than samples; else as many as it chose."""
    last = run.recipe.steps_given[-1].settings.get("budget") if run.recipe.steps_given else None
    return last if isinstance(last, dict) and "rows" not in last else len(_selected(run))


def _selected(run: Run) -> npt.NDArray[np.uint64]:
    table = pq.read_table(run.folder / "selection.parquet", columns=["sample_id"])
    return np.sort(table["sample_id"].to_numpy())


def _vectors(members: list[Member], column: str | None) -> tuple[str | None, Run]:
    """The column of vectors that was asked for, or else the first one, and a run that has it. Raises RecipeError."""
    for member in members:
        for maker in member.run.declared:
            if column is None and maker.output.vectors:
                return maker.name, member.run
        if column in by_name(member.run.declared):
            vectors_of(member.run.declared, column)
            return column, member.run
    if column is not None:
        raise RecipeError(f"--column {column}: none of the runs has it")
    return None, members[0].run


def _member(
    member: Member,
    ngrams: dict[str, dict[str, float]] | None,
    nearness: dict[str, dict[str, float]] | None,
    repeats: dict[str, int],
) -> dict[str, Any]:
    manifest = read_json(member.run.folder / "manifest.json")
    steps = [member.run.summary(step.number) for step in member.run.steps]
    facts = [step["facts"] for step in steps if step.get("facts")]
    weights = pq.read_table(member.run.folder / "selection.parquet", columns=["weight"])["weight"].to_numpy()
    of_scores = next((fact["effective_sample_size"] for fact in facts if fact.get("effective_sample_size")), None)
    return {
        "name": member.name,
        "run": str(member.run.folder),
        "steps": [step["selector"] for step in steps],
        "chosen": member.size,
        "duplicates": repeats[member.name],
        "effective_sample_size": of_scores or (float(weights.sum() ** 2 / (weights**2).sum()) if len(weights) else 0.0),
        "seconds": round(sum(manifest["seconds"].values()), 1),
        "peak_bytes": manifest.get("peak_bytes"),
        "last_kept": steps[-1]["last_kept"] if steps else None,
        "line": _line(member.run),
        **(ngrams or {}).get(member.name, {}),
        **(nearness or {}).get(member.name, {}),
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
