"""How long a time is, as people type it: 30m, 6h, 1d."""

from datetime import timedelta

from tamis.pipeline.errors import RecipeError

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def span_of(text: str, flag: str) -> timedelta:
    """Raises RecipeError."""
    if not (text[:-1].isdecimal() and int(text[:-1]) and text[-1] in UNITS):
        raise RecipeError(f"{flag} {text}: wanted a number and s, m, h or d, such as 6h")
    return timedelta(**{UNITS[text[-1]]: int(text[:-1])})
