"""The common case without a recipe: the n samples of a pool that are most like a target, in one file."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tamis.pipeline.draft import Paths, reads_images, several, sources_for
from tamis.pipeline.emit.outputs import export
from tamis.pipeline.errors import NothingFound, RecipeError
from tamis.pipeline.explain.show import found_lines, shortest
from tamis.pipeline.files.atomic import fingerprint
from tamis.pipeline.files.urls import cache_folder
from tamis.pipeline.read.sources import find_files
from tamis.pipeline.recipe.recipe import parse_recipe
from tamis.pipeline.starting import Outcome, run_recipe

OUT_FORMATS = {".jsonl": "jsonl", ".parquet": "parquet", ".csv": "csv", ".txt": "keys"}


@dataclass(frozen=True)
class Picked:
    out: Path | None
    outcome: Outcome

    @property
    def run(self) -> Path:
        return self.outcome.folder


def pick(
    pool: Paths,
    like: Paths,
    n: int | None = None,
    out: str | Path | None = None,
    *,
    keep: tuple[str, ...] = (),
    seed: int = 0,
    form: str = "tamis",
    repeats: bool = False,
    known: bool = False,
) -> Picked:
    """Choose the n samples of `pool` most like `like`, or as many as there are of its kind, and write them to `out`
    (.jsonl, .parquet, .csv, or .txt for keys), best first. Both are files, folders or patterns. Of equal samples one,
    unless `repeats`; none that is in the target, unless `known`.

    Works in a store in the cache folder (TAMIS_CACHE, else ~/.cache/tamis), so that `tamis why` can tell each
    sample's story afterwards, and the same pool is not read twice. Raises TamisError; of these NothingFound where there
    is no `n` and nothing of the kind: the run stands, and nothing is written."""
    if n is not None and n < 1:
        raise RecipeError(f"-n {n}: wanted a number of samples, 1 or more")
    out = None if out is None else Path(out)
    if out is not None and out.suffix not in OUT_FORMATS:
        raise RecipeError(f"-o {out}: can't tell the format; end it in {', '.join(OUT_FORMATS)}")
    if out is not None and not os.access(out.absolute().parent, os.W_OK):
        raise RecipeError(f"-o {out}: can't write in {out.absolute().parent}")
    sources = {"pool": sources_for(pool, keep), "target": sources_for(like)}
    own = "mark" if known else "exclude"
    budget = "auto" if n is None else n
    step: dict[str, Any] = {"importance_resampling": {"form": form, "budget": budget, "in_target": own}}
    asked = {**sources, "seed": seed, "steps": [*([] if repeats else [{"exact_dedup": {}}]), step]}
    of_images = all(reads_images(source) for some in sources.values() for source in some)
    if of_images:
        step["importance_resampling"] = {"features": "look", "budget": budget, "in_target": own}
        asked["columns"] = {"look": {"embed": "classic"}}
    elif any(reads_images(source) for some in sources.values() for source in some):
        raise RecipeError(f"{_named(pool)} and {_named(like)}: some hold images, others texts")
    if of_images and form != "tamis":
        raise RecipeError("--form is of n-grams; images are compared by their look")
    recipe = parse_recipe({"name": "pick", **asked, "emit": []}, Path.cwd())
    files = [file.record() for source in [*recipe.pool, *recipe.beside] for file in find_files(source)]
    recipe = recipe.model_copy(update={"name": f"pick-{fingerprint([asked, files])[:10]}"})
    outcome = run_recipe(recipe, Path.cwd(), cache_store(sources["pool"]))
    if n is None and not outcome.selected:
        raise NothingFound(_nothing(pool, like, outcome))
    if out is not None:
        export(outcome.folder / "selection.parquet", out, OUT_FORMATS[out.suffix], sealed=False)
    return Picked(out, outcome)


def _named(paths: Paths) -> str:
    some = several(paths)
    return ", ".join(map(str, some[:3])) + (f" and {len(some) - 3:,} more" if len(some) > 3 else "")


def _nothing(pool: Paths, like: Paths, outcome: Outcome) -> str:
    said, *nearest = found_lines(outcome.manifest["steps"][-1]["facts"].get("found"))
    more = f"-n N takes the nearest N all the same; tamis why {shortest(outcome.folder)} KEY tells of each"
    return "\n  ".join([f"{_named(pool)}, {_named(like)}: {said}", *nearest, more])


def cache_store(sources: list[dict[str, Any]]) -> Path:
    """One store for each pool and way of reading it."""
    given = [[path] if isinstance(path := source["path"], str) else path for source in sources]
    paths = [[str(Path(path).absolute()) for path in some] for some in given]
    return cache_folder() / fingerprint([sources, paths])
