"""The doors for Python: one function for each thing that people ask of tamis, and results that can be asked in turn.

`from tamis.pipeline import pick, run, plan, compare, open_run, why, published, diff, import_labels, export_tasks`. The
command line's verbs call the same library; what these functions need is loaded when they are called."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tamis.pipeline.results import Comparison, Difference, Result, Told

if TYPE_CHECKING:
    from tamis.pipeline.curate import Engine
    from tamis.pipeline.labels.rounds import Imported

Place = str | Path
Recipe = Place | dict[str, Any]


def pick(
    pool: Any,
    like: Any,
    n: int | None = None,
    out: Place | None = None,
    *,
    keep: Sequence[str] = (),
    seed: int = 0,
    form: str = "tamis",
    repeats: bool = False,
    known: bool = False,
) -> Result:
    """The n samples of a pool that are most like a target, without a recipe; without n, as many as are of its kind.

    Of equal samples one, unless `repeats`; none that is in the target, unless `known`.

    Pool and target are a file, a folder, a pattern, a list of Paths, a list of texts or of dicts, a data frame, or an
    Arrow table. `keep` names fields to carry along; "all" are all. With `out` (.jsonl, .parquet, .csv, or .txt for
    keys) the selection is written there, too. Raises TamisError, of these NothingFound where there is no n, and nothing
    of the kind.

    >>> picked = pick("pool.jsonl", like="target.jsonl", n=20)
    >>> picked.selection().num_rows
    20
    >>> pick(["red wine", "white wine", "a car"], like=["dry wine", "sweet wine"], n=2).selection()["text"].to_pylist()
    ['red wine', 'white wine']
    >>> as_found = pick("pool.jsonl", like="target.jsonl", known=True)
    >>> round(as_found.facts["1 importance_resampling"]["found"]["number"]["value"]) == as_found.selected
    True
    """
    from tamis.pipeline.given import as_paths
    from tamis.pipeline.quick import pick as pick_samples

    fields = (keep,) if isinstance(keep, str) else tuple(keep)
    where = None if out is None else _path(out)
    picked = pick_samples(
        as_paths(pool), as_paths(like), None if n is None else int(n), where,
        keep=fields, seed=seed, form=form, repeats=repeats, known=known,
    )  # fmt: skip
    return Result(picked.run, fresh=picked.outcome.fresh, out=picked.out)


def run(
    recipe: Recipe,
    *,
    store: Place,
    name: str | None = None,
    set: dict[str, Any] | None = None,
    allow_code: bool = False,
    engine: "Engine | Callable[[Path], Path] | None" = None,
    pool_of: str | None = None,
) -> Result:
    """Run a recipe, a YAML file or a dict, on a store; the same again changes nothing, a stopped one goes on.

    `set` overrides the recipe: {"seed": 1, "steps.0.random.budget": 10}. Paths in a dict are taken from the working
    folder. `engine`: a Prefect flow of tamis.flows, say; without one a plain loop. `pool_of`: the name of a run of the
    store whose pool this one is to see, whatever came since. Raises TamisError.

    >>> pool = [{"format": "jsonl", "path": "pool.jsonl", "key": "id"}]
    >>> recipe = {"pool": pool, "steps": [{"random": {"budget": 5}}]}
    >>> result = run(recipe, store="my-store", name="five")
    >>> result.funnel[-1]
    Stage(name='random', rows=5, lost='-395 below_cut')
    >>> result.sql("select count(*) as n from ledger where kept").to_pylist()
    [{'n': 5}]
    >>> run(recipe, store="my-store", name="six", set={"steps.0.random.budget": 6}).selected
    6
    """
    from tamis.pipeline.errors import RecipeError
    from tamis.pipeline.starting import run_recipe

    if isinstance(engine, str):
        raise RecipeError(f"engine: wanted a flow of tamis.flows or a function, found {engine!r}")
    loaded, folder = _loaded(recipe, set)
    outcome = run_recipe(loaded, folder, _path(store), name, allow_code, engine, pool_of=pool_of)
    return Result(outcome.folder, fresh=outcome.fresh)


def plan(
    recipe: Recipe,
    *,
    store: Place | None = None,
    set: dict[str, Any] | None = None,
    allow_code: bool = False,
) -> Told:
    """What a run of the recipe would do: rows, bytes, what is reused, and how long earlier runs took.

    >>> told = plan({"pool": [{"format": "jsonl", "path": "pool.jsonl"}], "steps": [{"random": {"budget": 5}}]})
    >>> told.splitlines()[0]
    'recipe   recipe, seed 0'
    """
    from tamis.pipeline.files.remote import readable
    from tamis.pipeline.forecast import forecast

    loaded, folder = _loaded(recipe, set)
    return Told(forecast(loaded, folder, None if store is None else readable(_path(store)), allow_code))


def compare(
    selections: Sequence[Place | Result],
    *,
    store: Place | None = None,
    column: str | None = None,
    oracle: str | None = None,
    train: str | None = None,
    by: str | None = None,
    held_out: Place | None = None,
    seeds: int = 3,
    allow_code: bool = False,
) -> Comparison:
    """Selections of one pool side by side, with a random one: runs, their folders, or recipes that are run on `store`.

    As `tamis compare`; docs/compare.md says what each figure means. Raises RecipeError.

    >>> pool = [{"format": "jsonl", "path": "pool.jsonl", "key": "id"}]
    >>> recipe = {"pool": pool, "steps": [{"random": {"budget": 9}}]}
    >>> some = [run(recipe, store="s", name=f"r{seed}", set={"seed": seed}) for seed in (1, 2)]
    >>> [member["name"] for member in compare(some).figures["members"]]
    ['r1', 'r2', 'random']
    """
    from tamis.pipeline.comparing.selections import comparison

    paths = [one.folder if isinstance(one, Result) else _path(one) for one in selections]
    apart = None if held_out is None else _path(held_out)
    where = None if store is None else _path(store)
    return Comparison(comparison(paths, where, column, oracle, allow_code, train, apart, seeds, by))


def open_run(folder: Place) -> Result:
    """A complete run by its folder, STORE/runs/NAME. Raises RunError.

    >>> _ = pick("pool.jsonl", like="target.jsonl", n=3)
    >>> open_run(_.folder).selected
    3
    """
    from tamis.pipeline.store.runs import open_complete

    return Result(open_complete(_path(folder), thinned_too=True).folder)


def why(of: Place | Result, key: str) -> Told:
    """One sample's story in a run: where it came from, each step's decision, and what it would have taken.

    >>> picked = pick("pool.jsonl", like="target.jsonl", n=3)
    >>> "SELECTED" in why(picked, picked.selection()["key"][0].as_py())
    True
    """
    return (of if isinstance(of, Result) else open_run(of)).why(key)


def published(store: Place, to: str = "current") -> Result:
    """The run of a store that is published: what to train on now. Raises StoreError where nothing is.

    >>> pool = [{"format": "jsonl", "path": "pool.jsonl", "key": "id"}]
    >>> recipe = {"pool": pool, "steps": [{"random": {"budget": 5}}], "publish": {"rows": 5}}
    >>> _ = run(recipe, store="nightly", name="first")
    >>> published("nightly").exports["selection.parquet"].name
    'selection.parquet'
    """
    from tamis.pipeline.store.current import published_place
    from tamis.pipeline.store.runs import open_complete

    return Result(open_complete(Path(published_place(_path(store), to=to))).folder)


def diff(before: Place | Result, after: Place | Result) -> Difference:
    """What changed between two runs of a store: who came in, who went out, and why each. Raises RunError.

    >>> pool = [{"format": "jsonl", "path": "pool.jsonl", "key": "id"}]
    >>> recipe = {"pool": pool, "steps": [{"random": {"budget": 5}}]}
    >>> five = run(recipe, store="some", name="five")
    >>> diff(five, run(recipe, store="some", name="seven", set={"steps.0.random.budget": 7})).came
    {'a setting changed': 2}
    """
    from tamis.pipeline.publish.changes import changes
    from tamis.pipeline.store.runs import open_complete

    folders = [one.folder if isinstance(one, Result) else _path(one) for one in (before, after)]
    return Difference(changes(*(open_complete(folder, thinned_too=True) for folder in folders)))


def import_labels(
    store: Place,
    file: Place,
    *,
    classes: Sequence[str] | None = None,
    control: str | None = None,
    held_out: bool = False,
    replace: bool = False,
) -> "Imported":
    r"""Add the answers of a labeling tool's export to a store, as one round; docs/active.md. Raises TamisError.

    >>> picked = pick("pool.jsonl", like="target.jsonl", n=2)
    >>> key = picked.selection()["key"][0].as_py()
    >>> _ = Path("answers.csv").write_text(f"key,label\n{key},good\n")
    >>> import_labels(picked.folder.parent.parent, "answers.csv", classes=["good", "bad"]).added
    1
    """
    from tamis.pipeline.files.remote import working_copy
    from tamis.pipeline.labels.files import read_answers
    from tamis.pipeline.labels.rounds import import_answers
    from tamis.pipeline.progress import say

    named = None if classes is None else list(classes)
    answers = read_answers(_path(file), control)
    with working_copy(_path(store)) as here:
        return import_answers(here, answers, Path(file).name, named, say, held_out=held_out, replace=replace)


def export_tasks(
    of: Place | Result,
    to: str,
    out: Place | None = None,
    *,
    classes: Sequence[str] | None = None,
    root: str | None = None,
    url: str | None = None,
    allow_code: bool = False,
) -> Path:
    """Write a run's selection as tasks for a labeling tool: label-studio, cvat, csv or coco; `classes` may be answered,
    `root` and `url` make addresses for Label Studio; `allow_code` lets the run's recipe run the Python that it names.
    Raises TamisError.

    >>> export_tasks(pick("pool.jsonl", like="target.jsonl", n=2), "csv", "tasks.csv").name
    'tasks.csv'
    """
    from tamis.pipeline.emit.tasks import TOOLS
    from tamis.pipeline.emit.tasks import export_tasks as export
    from tamis.pipeline.errors import RecipeError
    from tamis.pipeline.store.runs import open_complete

    if to not in TOOLS:
        raise RecipeError(f"export_tasks: no tool {to!r}; known: {', '.join(TOOLS)}")
    folder = of.folder if isinstance(of, Result) else _path(of)
    named = None if classes is None else list(classes)
    return export(open_complete(folder, allow_code), to, None if out is None else _path(out), named, root=root, url=url)


def _path(place: Place) -> Path:
    return Path(place).expanduser()


def _loaded(recipe: Recipe, changes: dict[str, Any] | None) -> Any:
    """The recipe, and the folder that its paths are relative to."""
    from tamis.pipeline.errors import RecipeError
    from tamis.pipeline.recipe.recipe import load_recipe, overridden, parse_recipe

    if not isinstance(recipe, str | Path | dict):
        raise RecipeError(f"recipe: wanted a YAML file's path or a dict, found {type(recipe).__name__}")
    if wrong := [place for place in changes or {} if not isinstance(place, str)]:
        raise RecipeError(f"set: wanted places such as 'steps.0.random.budget', found {wrong[0]!r}")
    if isinstance(recipe, dict):
        value = overridden({"name": "recipe", **recipe}, changes or {})
        return parse_recipe(value, Path.cwd()), Path.cwd()
    return load_recipe(_path(recipe), changes=changes), _path(recipe).absolute().parent
