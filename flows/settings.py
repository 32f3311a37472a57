"""Prefect's settings for a quiet embedded server; in place before Prefect is imported."""

import os
import secrets
from pathlib import Path

QUIET = {
    "PREFECT_LOGGING_LEVEL": "CRITICAL",  # what fails is told once, by the command line
    "PREFECT_LOGGING_LOGGERS_PREFECT_FLOW_RUNS_LEVEL": "INFO",  # a flow run's own log has its lines all the same
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",  # 7-26 s are usual; a loaded machine needs more
}


AUTH = "PREFECT_SERVER_API_AUTH_STRING"


def apply() -> None:
    """The user's own settings win. A server of our own answers who knows its word: this process and its children, by
    their environment, which other users can't read; a web page of elsewhere has no leave to read what it says."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if not api_configured():
        word = os.environ.setdefault(AUTH, f"tamis:{secrets.token_urlsafe(18)}")
        os.environ.setdefault("PREFECT_API_AUTH_STRING", word)
        os.environ.setdefault("PREFECT_SERVER_CORS_ALLOWED_ORIGINS", "http://127.0.0.1")


def api_configured() -> bool:
    """Whether the user has a Prefect API, by environment or in the active profile; Prefect itself is not imported."""
    if os.environ.get("PREFECT_API_URL"):
        return True
    home = Path(os.environ.get("PREFECT_HOME", "~/.prefect")).expanduser()
    profiles = home / "profiles.toml"
    if not profiles.exists():
        return False
    import tomllib

    try:
        known = tomllib.loads(profiles.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError):
        return False
    active = os.environ.get("PREFECT_PROFILE", known.get("active", ""))
    return "PREFECT_API_URL" in known.get("profiles", {}).get(active, {})
