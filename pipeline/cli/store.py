"""`tamis where`, `forget`, `verify`, `gc`, `compact`: a store looked after.

Heavy imports wait inside the verbs, so that --help answers at once."""

from pathlib import Path
from typing import Literal

from tamis.pipeline.cli.families import Flag
from tamis.pipeline.progress import show


def where(store: Path, key: str) -> None:
    """Tell everything that a store holds of a key: its samples, what every run made of them, their labels.

    Parameters
    ----------
    store
        the store
    key
        the sample's key

    Examples
    --------
    tamis where my-store 'doc-17'
    """
    from tamis.pipeline.files.remote import readable
    from tamis.pipeline.store.whereabouts import LEDGERS
    from tamis.pipeline.store.whereabouts import where as tell

    show(tell(readable(store, LEDGERS).absolute(), key))


def forget(store: Path, *keys: str, file: Path | None = None) -> None:
    """Never choose these keys again, and say which runs hold them: a takedown.

    Parameters
    ----------
    store
        the store
    keys
        keys of samples; those that are not in the pool yet are remembered
    file
        more keys, one a line

    Examples
    --------
    tamis forget my-store 'doc-17' 'doc-18'
    tamis forget my-store --file takedown.txt
    """
    from tamis.pipeline.errors import RecipeError
    from tamis.pipeline.files.remote import working_copy
    from tamis.pipeline.store.whereabouts import INDEXES
    from tamis.pipeline.store.whereabouts import forget as take_out

    try:
        more = [] if file is None else file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"--file {file}: can't be read ({error})") from error
    wanted = [key for key in (*keys, *more) if key]
    if not wanted:
        raise RecipeError("forget: name keys, or a --file with one a line")
    with working_copy(store, also=INDEXES) as here:
        show(take_out(here, wanted))


def verify(run: Path) -> None:
    """Check every digest and every sum of a run; exit 1 on damage.

    Examples
    --------
    tamis verify my-store/runs/recipe
    """
    from tamis.pipeline.errors import DamageFound
    from tamis.pipeline.store.manifest import verify as check
    from tamis.pipeline.store.runs import open_complete

    damage = check(open_complete(run, thinned_too=True))
    if damage:
        raise DamageFound("\n".join(damage))
    show(f"{run}: every file is as it was written, and every count adds up")


def gc(
    store: Path,
    *,
    delete: Flag = False,
    keep_runs: int | None = None,
    older_than: str | None = None,
    old: Literal["thin", "remove"] = "thin",
    pin: str | None = None,
    unpin: str | None = None,
    allow_code: Flag = False,
) -> None:
    """Tell what a store holds that none of its runs needs; old runs among it, where you say which are.

    Parameters
    ----------
    store
        the store
    delete
        take it away
    keep_runs
        of each recipe so many of the newest runs are not old, the others are
    older_than
        runs that ended so long ago are old: 30d, 12h
    old
        what becomes of old runs: thin leaves manifest, selection, report and counts, remove nothing. What is published,
        was so before, or is pinned stays as it is
    pin
        a run that no rule takes away
    unpin
        a run that is not pinned any more
    allow_code
        let the runs' recipes run the Python code that they name: without it, models stay where one names any

    Examples
    --------
    tamis gc my-store
    tamis gc my-store --keep-runs 7 --delete
    tamis gc my-store --older-than 30d --old remove --delete
    tamis gc my-store --pin nightly-0012
    """
    from tamis.pipeline.cli.spans import span_of
    from tamis.pipeline.errors import RecipeError
    from tamis.pipeline.files.remote import working_copy
    from tamis.pipeline.store.garbage import collect
    from tamis.pipeline.store.old_runs import OF_OLD, Old
    from tamis.pipeline.store.old_runs import pin as set_pin

    if old == "remove" and keep_runs is None and older_than is None:
        raise RecipeError("--old remove: which runs are old? Say --keep-runs N, or --older-than 30d")
    span = None if older_than is None else span_of(older_than, "--older-than")
    which = None if keep_runs is None and span is None else Old(keep_runs, span, old)
    with working_copy(store, also=OF_OLD if which else ()) as here:
        for name, pinned in ((pin, True), (unpin, False)):
            if name is not None:
                show(set_pin(here, name, pinned=pinned))
        if (pin, unpin) == (None, None) or delete or which is not None:
            show(collect(here, delete, allow_code, which))


def compact(store: Path) -> None:
    """Merge the small shards that many small additions left, with their columns.

    Parameters
    ----------
    store
        the store

    Examples
    --------
    tamis compact my-store
    """
    from tamis.pipeline.files.remote import working_copy
    from tamis.pipeline.store.compact import compact as merge

    with working_copy(store) as here:
        show(merge(here))
