"""What another setting would keep is what a run with that setting keeps, sample by sample."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from tamis.pipeline.errors import QueryError
from tamis.pipeline.store.runs import Run, open_complete
from tamis.pipeline.view.rows.frame import Frame
from tamis.pipeline.view.rows.seen import of_run
from tamis.pipeline.view.what_if import Try, WhatIf
from tests_support import OF_PHOTOS, Runner

READ = {"read": {"measure": "text"}}
RULES = {"text_quality": {"column": "read", "apply": ["gopher"]}}
TEXTS: dict[str, tuple[dict[str, Any], str, list[float | None]]] = {  # recipe's changes, setting, values to try
    "budget in rows": ({}, "budget", [0, 1, 37, 100, 250, 5000]),
    "fraction": ({"target": [], "steps": [{"random": {"fraction": 0.2}}]}, "budget", [10, 400]),
    "budget in bytes": (
        {"target": [], "steps": [{"exact_dedup": {}}, {"random": {"budget": {"bytes": 20_000}}}]}, "budget",
        [1, 700, 9_000, 50_000],
    ),
    "budget in tokens": (
        {"steps": [{"importance_resampling": {"budget": {"tokens": 3000}}}]}, "budget", [40, 1500, 20_000],
    ),
    "above": (
        {"target": [], "columns": READ, "steps": [{"threshold": {"column": "read_letter_share", "above": 0.7}}]},
        "above", [0.2, 0.75, 0.9],
    ),
    "below, where it is asked": (
        {
            "target": [], "columns": READ,
            "steps": [{"threshold": {"column": "read", "below": 30, "where": "n_bytes > 60", "outside": "keep"}}],
        }, "below", [5, 12, 80],
    ),
    "a rule of several": ({"target": [], "columns": READ, "steps": [RULES]}, "limits.gopher_word_count.0", [5, 30, 120]),
    "another of them": ({"target": [], "columns": READ, "steps": [RULES]}, "limits.gopher_stop_words.0", [0, 4, None]),
}  # fmt: skip
PHOTOS: dict[str, tuple[str, list[float | None]]] = {
    "least_side": ("least_side", [10, 64, 65, 181]), "most_aspect": ("most_aspect", [1.1, 1.3]),
    "sharpness": ("sharpness", [1, 500, 3000]), "contrast": ("contrast", [0.1, 0.3]),
}  # fmt: skip


def kept_by(run: Run, step: int) -> set[int]:
    tables = [pq.read_table(run.ledger(step) / part.name) for part in run.pool.parts]
    return {
        i
        for table in tables
        for i, kept in zip(table["sample_id"].to_pylist(), table["kept"].to_pylist(), strict=True)
        if kept
    }


def hold(run_in: Runner, folder: Path, changes: dict[str, Any], setting: str, values: list[float | None]) -> None:
    """The last step, tried at each value, against a run whose recipe has what the trial says."""
    run = open_complete(run_in(folder, "before", **changes).folder)
    step = len(run.steps) - 1
    frame = Frame(of_run(run))
    what_if = WhatIf(frame)
    knobs = {one["setting"] for one in what_if.knobs[step]["knobs"]}
    assert setting in knobs
    seen = set()
    for number, value in enumerate(values):
        told = what_if.tried(Try(step=step, setting=setting, value=value, by="part"))
        given = [*run.recipe.model_dump(exclude_defaults=True)["steps"][:-1], *yaml.safe_load(told["yaml"])]
        after = open_complete(run_in(folder, f"after-{number}", **{**changes, "steps": given}).folder)
        mine, theirs = kept_by(run, step), kept_by(after, step)
        assert (told["kept"], told["was"]) == (len(theirs), len(mine)), value
        assert (told["came"], told["went"]) == (len(theirs - mine), len(mine - theirs))
        shown = {int(frame.ids[row]) for row in told["edge"]["kept"]}
        assert shown <= theirs
        assert {int(frame.ids[row]) for row in told["edge"]["dropped"]}.isdisjoint(theirs)
        seen.add(len(theirs))
    assert len(seen) > 1


@pytest.mark.parametrize("case", TEXTS)
def test_a_trial_keeps_what_a_run_keeps(case: str, run_in: Runner, workplace: Path) -> None:
    changes, setting, values = TEXTS[case]
    hold(run_in, workplace, changes, setting, values)


@pytest.mark.parametrize("case", PHOTOS)
def test_a_trial_keeps_what_a_run_keeps_of_photos(case: str, run_in: Runner, photos: Path) -> None:
    changes = {
        **OF_PHOTOS,
        "columns": {"look": {"measure": "image"}},
        "steps": [{"image_quality": {"column": "look", "least_side": 70}}],
    }
    hold(run_in, photos.parent, changes, *PHOTOS[case])


def test_groups_add_up_and_earlier_steps_say_what_is_not_known(run_in: Runner, workplace: Path) -> None:
    steps = [{"random": {"budget": 600}}, {"importance_resampling": {"budget": 100}}]
    run = open_complete(run_in(workplace, steps=steps).folder)
    what_if = WhatIf(Frame(of_run(run)))
    told = what_if.tried(Try(step=0, setting="budget", value=300, by="part"))
    assert not told["last"]
    assert sum(one["was"] for one in told["groups"]) == 600
    assert sum(one["now"] for one in told["groups"]) == 300
    chosen = set(pq.read_table(run.folder / "selection.parquet")["sample_id"].to_pylist())
    fewer = open_complete(run_in(workplace, "fewer", steps=[{"random": {"budget": 300}}], target=[]).folder)
    assert told["stays"] == len(chosen & kept_by(fewer, 0))


def test_what_can_t_be_told_is_said(run_in: Runner, photos: Path) -> None:
    columns = {"look": {"embed": "classic"}}
    steps = [{"exact_dedup": {}}, {"cluster_balance": {"column": "look", "clusters": 4, "budget": 20}}]
    run = open_complete(run_in(photos.parent, **{**OF_PHOTOS, "columns": columns, "steps": steps}).folder)
    what_if = WhatIf(Frame(of_run(run)))
    reasons = [one["reason"] for one in what_if.knobs]
    assert ["run it to see" in one for one in reasons] == [True, True]
    for asked in (Try(step=1, setting="budget", value=3), Try(step=9, setting="budget"), Try(step=0, setting="x")):
        with pytest.raises(QueryError):
            what_if.tried(asked)


def test_the_nearest_to_a_line_are_the_nearest(run_in: Runner, workplace: Path) -> None:
    steps = [{"threshold": {"column": "read", "above": 20}}]
    frame = Frame(of_run(open_complete(run_in(workplace, target=[], columns=READ, steps=steps).folder)))
    told = WhatIf(frame).tried(Try(step=0, setting="above", value=40, shape=True))
    words = frame.field("read")
    values = np.asarray(words.values)  # type: ignore[union-attr]
    assert sorted(values[told["edge"]["dropped"]]) == sorted(np.sort(values[values <= 40])[::-1][:6])
    assert sorted(values[told["edge"]["kept"]]) == sorted(np.sort(values[values > 40])[:6])
    assert sum(told["shape"]["kept"]) + sum(told["shape"]["dropped"]) == np.isfinite(values).sum()
