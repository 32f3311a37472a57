"""Where a selector is tried: stores of the small pool, each read once, and decisions by key.

The same samples lie in one shard, and in reverse order in shards of 16 that are read in batches of 5; a third store has
a sample's twin. Steps are taken as in any run, up to the ledger."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from tamis.pipeline.choose import batches
from tamis.pipeline.conformance.pool import (
    IMAGES,
    LOSSES,
    MEASURES,
    OF_IMAGES,
    RECORDS,
    TEXTS,
    TWIN,
    VECTORS,
    place,
    place_images,
)
from tamis.pipeline.curate import Loop, Stages, fill, take_steps
from tamis.pipeline.progress import hushed
from tamis.pipeline.read import shards
from tamis.pipeline.read.images import blocks as image_blocks
from tamis.pipeline.recipe.recipe import parse_recipe
from tamis.pipeline.recipe.user_code import allow
from tamis.pipeline.starting import check, claim
from tamis.pipeline.store.learned import load_fitted
from tamis.selectors.catalog import find
from tamis.selectors.contract import Selector

SMALL = {  # what the second store is cut by
    (shards, "SHARD_ROWS"): 16,
    (shards, "SHARD_IMAGES"): 16,
    (image_blocks, "BLOCK_IMAGES"): 16,
    (batches, "BATCH_ROWS"): 5,
}
ORDERS = ("whole", "pieces", "twins")


class Decision(NamedTuple):
    """What a step made of a sample."""

    kept: bool
    score: float | None
    rank: int | None
    weight: float
    reason: str


class Case(NamedTuple):
    """A selector under test: its name in a recipe or MODULE:NAME, and its settings with `budget` where it takes one."""

    name: str
    settings: dict[str, Any]
    kind: Selector | None = None  # as built; None: it is a step of the catalog

    @property
    def is_(self) -> Selector | type[Selector]:
        """What tells of its kind."""
        return self.kind or find(self.name) or Selector

    @property
    def step(self) -> list[dict[str, Any]]:
        return [{self.name: self.settings}]

    def with_(self, **changes: Any) -> "Case":
        return self._replace(settings={**self.settings, **changes})


class Bench:
    """Stores below a folder, made when they are first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._numbers = count(1)
        self._known: dict[str, dict[str, Decision]] = {}

    @cached_property
    def _places(self) -> dict[str, Path]:
        orders = {"whole": RECORDS, "pieces": RECORDS[::-1], "twins": [*RECORDS, TWIN]}
        return {name: place(self.folder / name, records) for name, records in orders.items()}

    @cached_property
    def _with_images(self) -> set[str]:
        for name, folder in self._places.items():
            place_images(folder, [*RECORDS, TWIN] if name == "twins" else RECORDS)
        return set(self._places)

    def decisions(self, case: Case, order: str = "whole", *, anew: bool = False) -> dict[str, Decision]:
        """What the step made of each sample, by key; `anew`: nothing that was found or learned before is used."""
        asked = json.dumps([case.name, case.settings, order])
        if anew or asked not in self._known:
            self._known[asked] = self.decided(case, order, anew=anew)[0]
        return self._known[asked]

    def decided(
        self, case: Case, order: str = "whole", *, before: Any = (), anew: bool = False
    ) -> tuple[dict[str, Decision], dict[str, Any]]:
        """The same with the step's record; `before`: steps that come first."""
        asked = {**self.asked(case), "steps": [*before, *case.step], "emit": []}
        where = self._places[order]
        store = where / ("images" if asked["pool"] == IMAGES["pool"] else "texts")
        if store.name == "images":
            self._with_images  # noqa: B018  made once
        if anew:
            shutil.rmtree(store / "models", ignore_errors=True)
            load_fitted.cache_clear()
        recipe = parse_recipe({"name": f"run-{next(self._numbers):04d}", **asked}, where)
        folder = store / "runs" / recipe.name
        with hushed(), cut_small() if order == "pieces" else as_is():
            check(recipe, where, allow_code=True)
            allow(folder)
            claim(folder, recipe, where, allow_code=True)
            run = take_steps(folder, Stages(folder, Loop()), fill(folder, Stages(folder, Loop())))
        keys = pq.read_table([part.path for part in run.pool.parts], columns=["sample_id", "key"]).to_pydict()
        named = dict(zip(keys["sample_id"], keys["key"], strict=True))
        ledger = pq.read_table([run.ledger(len(before)) / part.name for part in run.pool.parts])
        fields = ledger.select(["sample_id", "kept", "score", "rank", "weight", "reason"]).to_pylist()
        found = {named[row.pop("sample_id")]: Decision(**{**row, "score": _rounded(row["score"])}) for row in fields}
        return found, run.summary(len(before))

    def asked(self, case: Case) -> dict[str, Any]:
        """Pool, columns and target that the case's settings and kind speak of."""
        given = case.settings.values()
        several = [value for values in given if isinstance(values, list) for value in values]
        spoken = {value.removeprefix("-") for value in (*given, *several) if isinstance(value, str)}
        if spoken & {*OF_IMAGES}:
            return {**IMAGES, "columns": {name: made for name, made in OF_IMAGES.items() if name in spoken}}
        known = {**VECTORS, **LOSSES, **MEASURES}
        named = {name: made for name, made in known.items() if any(word.startswith(name) for word in spoken)}
        asked: dict[str, Any] = {**TEXTS, "columns": named}
        if case.is_.needs_evaluation:
            return {**asked, "evaluation": TEXTS["target"], "target": []}
        return {**asked, "labels": "labels.csv"} if case.is_.needs_labels else asked


def _rounded(score: float | None) -> float | None:
    return None if score is None or score != score else round(score, 9)  # noqa: PLR0124  NaN


@contextmanager
def cut_small() -> Iterator[None]:
    """Many small shards and batches, inside."""
    before = {(module, name): getattr(module, name) for module, name in SMALL}
    for (module, name), size in SMALL.items():
        setattr(module, name, size)
    try:
        yield
    finally:
        for (module, name), size in before.items():
            setattr(module, name, size)


@contextmanager
def as_is() -> Iterator[None]:
    yield
