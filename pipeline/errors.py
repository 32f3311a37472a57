"""What can go wrong, one line each: the thing, what was found, what was wanted, the next step.

A machine's own troubles (no room, no memory, no descriptors) come from anywhere and in every library's words: `said`
makes the one line of each."""

import errno
import re
from pathlib import Path


class TamisError(Exception):
    """Bad input; the command line prints the message and exits with `exit_code`."""

    exit_code = 2


class Unusable(Exception):
    """A row or image can't be used; args are (reason, detail) of its reject."""


class RecipeError(TamisError):
    """The recipe, or a file that it names, is not usable."""


class SourceError(TamisError):
    """A pool or target source is missing, empty, or (under `strict`) holds an unreadable row."""


class StoreError(TamisError):
    """The store can't be used: not writable, or it holds another pool."""


class RunError(TamisError):
    """The run's name is taken by another recipe, or the run is not there."""


class RunTaken(RunError):
    """The run is complete and answers for something else: another recipe, other files, samples since forgotten."""


class QueryError(TamisError):
    """A user's SQL is refused or wrong."""


class CodeNotAllowed(TamisError):
    """The recipe names Python code and `--allow-code` was not given."""


class DamageFound(TamisError):
    """A stored file is missing or is not what the manifest says."""

    exit_code = 1


class GuardFailed(TamisError):
    """Of a group less is left than the recipe's guard asks for; the ledger stands, and nothing was selected."""

    exit_code = 1


class NothingFound(TamisError):
    """The pool holds nothing of the target's kind, and how much to take was left to that."""

    exit_code = 1


class RunFailed(TamisError):
    """The machine failed us; the same command goes on from here."""

    exit_code = 1


class LimitMet(RunFailed):
    """The run spent what its recipe lets it spend at once; the same command goes on from here."""


class NoRoom(RunFailed):
    """No space on the disk, no inodes, or the quota is used up."""


class NoMemory(RunFailed):
    """No memory left."""


class TooManyFiles(RunFailed):
    """No file descriptors left."""


class ReadOnly(RunFailed):
    """What is to be written can't be."""


NO_ROOM = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
NO_FILES = (errno.EMFILE, errno.ENFILE)
WORDS = {  # as Arrow, DuckDB and others say it, who keep the number to themselves
    NoRoom: ("No space left", "File too large", "Disk quota exceeded", "max_temp_directory_size"),
    TooManyFiles: ("Too many open files",),
    ReadOnly: ("Read-only file system",),
    NoMemory: ("Out of Memory", "out of memory", "allocate memory", "malloc of size", "realloc of size", "bad_alloc"),
}
GOES_ON = "and run the same command: it goes on from here"


def said(error: Exception, store: Path | str) -> Exception:
    """The line for what a machine could not do; anything else as it is."""
    if isinstance(error, TamisError):
        return error
    kind = _kind(error)
    if kind is NoRoom:
        return NoRoom(f"no space left for {store} (or no more files may be made there). Free some {GOES_ON}.")
    if kind is NoMemory:
        told = " ".join(str(error).split())[:200]
        why = f" ({told})" if told else ""
        return NoMemory(f"no memory left{why}. Set TAMIS_MEMORY lower, or use a larger machine, {GOES_ON}.")
    if kind is TooManyFiles:
        return TooManyFiles(f"too many open files. Raise the limit (`ulimit -n 4096`) {GOES_ON}.")
    if kind is ReadOnly:
        return ReadOnly(f"{store}: can't be written (read-only file system). Choose another place.")
    quoted = re.search(r"'(/[^']+)'", str(error))  # Arrow names the file in its message alone
    name = str(getattr(error, "filename", None) or (quoted[1] if quoted else ""))
    inside = Path(name).is_absolute() and Path(name).is_relative_to(Path(store).absolute())
    if isinstance(error, PermissionError):
        return (StoreError if inside else SourceError)(
            f"{name or store}: no permission. Mend it, or choose another place."
        )
    if isinstance(error, FileNotFoundError) and inside:
        return DamageFound(f"{name}: missing from the store. Restore it, or begin a new --store.")
    if isinstance(error, UnicodeEncodeError) and "surrogates" in str(error):
        return StoreError(f"{store}: a path or name here is no UTF-8. Choose another place, or rename it.")
    if isinstance(error, OSError):
        told = " ".join(str(error).split())[:300]
        return RunFailed(f"{told}. Mend it {GOES_ON}.")
    return error


def _kind(error: Exception) -> type[TamisError] | None:
    number = getattr(error, "errno", None)
    if isinstance(error, MemoryError) or number == errno.ENOMEM:
        return NoMemory
    if number in NO_ROOM:
        return NoRoom
    if number in NO_FILES:
        return TooManyFiles
    if number == errno.EROFS:
        return ReadOnly
    told = str(error)
    return next((kind for kind, words in WORDS.items() if any(word in told for word in words)), None)
