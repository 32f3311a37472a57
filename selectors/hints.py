"""The nearest known word to one that is not known, for whoever mistyped it."""

import difflib
from collections.abc import Iterable


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """`, did you mean 'budget'?`, or nothing where no known word is near; upper and lower case are one."""
    folded = {one.casefold(): one for one in known}
    close = difflib.get_close_matches(str(word).casefold(), folded, n=1)
    return f", did you mean {folded[close[0]]!r}?" if close else ""
