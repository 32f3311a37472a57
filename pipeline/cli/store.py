"""`tamis where`, `forget`, `verify`, `gc`, `compact`: a store looked after.

Heavy imports wait inside the verbs, so that --help answers at once."""

from pathlib import Path

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

    damage = check(open_complete(run))
    if damage:
        raise DamageFound("\n".join(damage))
    show(f"{run}: every file is as it was written, and every count adds up")


def gc(
    store: Path,
    *,
    delete: Flag = False,
    allow_code: Flag = False,
) -> None:
    """Tell what a store holds that none of its runs needs.

    Parameters
    ----------
    store
        the store
    delete
        take it away
    allow_code
        let the runs' recipes run the Python code that they name: without it, models stay where one names any

    Examples
    --------
    tamis gc my-store
    tamis gc my-store --delete
    """
    from tamis.pipeline.files.remote import working_copy
    from tamis.pipeline.store.garbage import collect

    with working_copy(store) as here:
        show(collect(here, delete, allow_code))


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
