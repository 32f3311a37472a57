"""Files on object storage: any fsspec URL, such as s3://, gs://, az://. What is read from there is fetched once, whole,
to the cache folder, and goes when its rows are in the store."""

import os
import re
import shutil
from pathlib import Path
from typing import Any

from tamis.pipeline.errors import SourceError
from tamis.pipeline.files.atomic import atomic_path, fingerprint

URL = re.compile(r"([a-z][a-z0-9+]+):/+(.*)", re.DOTALL)  # a Path has made one slash of two


def as_url(place: Path | str) -> str | None:
    """The URL that was meant, or None where it is a path of this machine."""
    found = URL.fullmatch(str(place))
    return f"{found[1]}://{found[2].rstrip('/')}" if found else None


def filesystem(url: str) -> tuple[Any, str]:
    """The file system of a URL, and its path there. Raises SourceError."""
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise SourceError(
            f"{url}: {error}. Its file system is a package of its own: pip install s3fs, gcsfs, adlfs"
        ) from error
    return system, str(path)


def version_of(info: dict[str, Any]) -> str:
    """What changes when the object does: its entity tag, or its size and times."""
    tag = info.get("ETag") or info.get("etag")
    times = [str(info.get(name)) for name in ("LastModified", "mtime", "created")]
    return str(tag) if tag else fingerprint([info["size"], *times])


def cache_folder() -> Path:
    named = os.environ.get("TAMIS_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "tamis"
    return Path(named).expanduser()


def fetched(path: str, version: int) -> Path:
    """The file on this machine: itself, or a copy of what the URL held. Raises SourceError."""
    url = as_url(path)
    if url is None:
        return Path(path)
    place = _place(url, version)
    if not place.exists():
        system, there = filesystem(url)
        try:
            with atomic_path(place) as beside:
                system.get_file(there, str(beside))
        except OSError as error:
            raise SourceError(f"source {url}: can't be read ({' '.join(str(error).split())[:200]})") from error
    return place


def let_go(path: str, version: int) -> None:
    if (url := as_url(path)) is not None:
        shutil.rmtree(_place(url, version).parent, ignore_errors=True)


def _place(url: str, version: int) -> Path:
    return cache_folder() / "fetched" / fingerprint([url, version]) / url.rpartition("/")[2]
