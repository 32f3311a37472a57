"""Several selections of one pool, side by side: what they share, what they are made of, how well they serve the target.

A part of the target is held out by content for every measure, always: each selection is made once more without it and
without its copies in the pool, and is judged by that part. Random of the same size is added, of what the steps before
the choice left and of the whole pool, and with `oracle` the samples of the true group. What is left to chance is drawn
DRAWS times, and told with its interval. Each measure reads pool and target once for all selections together: n-grams
for texts, a column of vectors where there is one."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tamis.pipeline.columns.declared import by_name, vectors_of
from tamis.pipeline.comparing.heads import HeadTrials
from tamis.pipeline.comparing.measures import Figures, Judge, by_ngrams, by_vectors, duplicates, kind_found, overlap
from tamis.pipeline.comparing.members import (
    DRAWS,
    HELD_OUT,
    OF_POOL,
    ORACLE,
    RANDOM,
    Member,
    gathered,
    held_of,
    selected,
    times_of,
)
from tamis.pipeline.comparing.texts import TextTrials, held_out_texts, texts_of
from tamis.pipeline.comparing.training import interval, trained
from tamis.pipeline.errors import RecipeError
from tamis.pipeline.explain.report import data
from tamis.pipeline.files.atomic import read_json
from tamis.pipeline.progress import say
from tamis.pipeline.store.query import views
from tamis.pipeline.store.runs import Run
from tamis.pipeline.store.set_aside import aside

OF_JUDGE = "judge_"  # before the names of measures by the recipe's judge
NO_JUDGE = Judge([], np.zeros(0, np.uint64))
AT_THE_LINE = 2  # samples shown on each side of it


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
    judges = judges_of(first, held)
    figured: Figures = {}
    for prefix, judge in judges.items():
        some: Figures = {} if first.recipe.reads_images else by_ngrams(first, judge, draws, copies, times)
        near = by_vectors(declaring, vectors, judges_of(declaring, held)[prefix], draws) if vectors else {}
        for name in ("", *draws):
            mine = {**some.get(name, {}), **near.get(name, {})}
            figured[name] = figured.get(name, {}) | {f"{prefix}{what}": value for what, value in mine.items()}
    of_kind = [[kind_found(run) for run in member.judged] for member in members]
    figures = [
        with_found(
            averaged([figured.get(name, {}) for name in draws if name.startswith(f"{place}/")]),
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
        "of_pool": figured.get("", {}),
        "judge": len(judges[OF_JUDGE].held) if OF_JUDGE in judges else 0,
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
            texts = apart or texts_of(judges.get("", NO_JUDGE))
            if not texts:
                raise RecipeError("--train: judged is on the target's texts, and there are none; add --held-out FILE")
            others = texts_of(judges.get(OF_JUDGE, NO_JUDGE))
            told = {"what": f"{train} model", "held_out": len(texts), "apart": apart is not None}
            found["trained"] = {**trained(TextTrials(runs, train, texts, others, among), runs, seeds), **told}
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


def _candidates(run: Run) -> npt.NDArray[np.uint64]:
    """What the last step could choose from."""
    found = [np.zeros(0, np.uint64)]
    for part in run.pool.parts:
        ledger = pq.read_table(run.ledger(len(run.steps) - 1) / part.name, columns=["sample_id", "reason"])
        mine = pc.is_in(ledger["reason"], value_set=pa.array(["chosen", "below_cut"]))
        found.append(ledger.filter(mine)["sample_id"].to_numpy())
    return np.sort(np.concatenate(found))


def judges_of(run: Run, held: npt.NDArray[np.uint64]) -> dict[str, Judge]:
    """The held part of the target, and by OF_JUDGE the recipe's judge, whichever there are."""
    judges = {"": Judge(run.target.parts, held)} if run.target and len(held) else {}
    if run.judge is not None:
        ids = [pq.read_table(part.path, columns=["sample_id"])["sample_id"].to_numpy() for part in run.judge.parts]
        judges[OF_JUDGE] = Judge(run.judge.parts, np.sort(np.concatenate(ids)))
    return judges


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
