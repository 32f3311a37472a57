"""What can go wrong, one line each: the thing, what was found, what was wanted, the next step."""


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
    """The machine failed us (no space left, for instance); the same command goes on from here."""

    exit_code = 1
