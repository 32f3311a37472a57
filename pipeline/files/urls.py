"""Files that lie elsewhere: any fsspec URL, such as s3://, gs://, az://, and http:// and https://. What is read from
there is fetched once, whole, to the cache folder, and goes when its rows are in the store.

What in a URL lets people in (a user's name and password, a token or signature among its settings) is taken out at once:
everything that is stored, told or compared has the URL without, and the whole one stays in this process's memory."""

import os
import re
import shutil
from hashlib import blake2b
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from tamis.pipeline.errors import SourceError
from tamis.pipeline.files.atomic import atomic_path, fingerprint
from tamis.pipeline.files.web import WEB, download, look
from tamis.pipeline.progress import told_without

URL = re.compile(r"([a-z][a-z0-9+]+):/+(.*)", re.DOTALL)  # a Path has made one slash of two
LETS_IN = re.compile(
    r"token|key|secret|sig|passw|pwd|auth|cred|session|jwt|expire|x-amz-|x-goog-|s[eprtvi]$|sr$|spr$|sk\w+$",
    re.IGNORECASE,
)  # the last ones are Azure's
OPAQUE = re.compile(r"[\w+/=.~-]{20,}")  # a word that may let in, or say which file: known by its digest
HIDDEN = "***"
USER = re.compile(r"(\b[a-z][a-z0-9+]+://)[^/\s@'\"]+@")
_whole: dict[str, str] = {}  # by what is shown of it


def as_url(place: Path | str) -> str | None:
    """The URL that was meant, without what lets people in; None where it is a path of this machine."""
    found = URL.fullmatch(str(place))
    if found is None:
        return None
    whole = f"{found[1]}://{found[2].rstrip('/')}"
    told = _told(whole)
    if told != whole:
        _whole[told] = whole
    return told


def _told(url: str) -> str:
    scheme, _, rest = url.partition("://")
    place, slash, path = rest.partition("/")
    path, question, settings = path.partition("?")
    shown = f"{scheme}://{place.rpartition('@')[2]}{slash}{path}"
    if not question or f"{scheme}:" not in WEB:  # a `?` of other systems is a pattern's
        return shown if not question else f"{shown}?{settings}"
    kept = [f"{quote(name)}={_setting(name, value)}" for name, value in parse_qsl(settings.partition("#")[0], True)]
    return f"{shown}?{'&'.join(kept)}"


def _setting(name: str, value: str) -> str:
    if LETS_IN.search(name):
        return HIDDEN
    opaque = OPAQUE.fullmatch(value) and not value.isdecimal()
    return f"~{blake2b(value.encode(), digest_size=4).hexdigest()}" if opaque else quote(value)


def whole_url(url: str) -> str:
    """With what lets people in, where this process was given it."""
    return _whole.get(url, url)


def known_urls() -> dict[str, str]:
    """Those of this process that let people in, for its children."""
    return dict(_whole)


def know_urls(urls: dict[str, str]) -> None:
    _whole.update(urls)


def without_secrets(text: str) -> str:
    """What a library said, with no URL in it that lets people in."""
    for told, whole in _whole.items():
        text = text.replace(whole, told)
        for secret in _secrets(whole):
            text = text.replace(secret, HIDDEN)
    return USER.sub(r"\1", text)


told_without.append(without_secrets)


def _secrets(url: str) -> list[str]:
    parts = urlsplit(url)
    settings = [value for name, value in parse_qsl(parts.query) if LETS_IN.search(name) or OPAQUE.fullmatch(value)]
    found = [one for one in (parts.password, *settings) if one and len(one) > 3]
    return [*found, *map(quote, found)]


def filesystem(url: str) -> tuple[Any, str]:
    """The file system of a URL, and its path there. Raises SourceError."""
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(whole_url(url))
    except (ImportError, ValueError) as error:
        raise SourceError(
            f"{url}: {without_secrets(str(error))}. Its file system is a package of its own: pip install s3fs, gcsfs, "
            "adlfs"
        ) from error
    return system, str(path)


def is_web(url: str) -> bool:
    return url.startswith(WEB)


def version_of(info: dict[str, Any]) -> str:
    """What changes when the object does: its entity tag, or its size and times."""
    tag = info.get("ETag") or info.get("etag")
    times = [str(info.get(name)) for name in ("LastModified", "mtime", "created")]
    return str(tag) if tag else fingerprint([info["size"], *times])


def info_of_web(url: str) -> dict[str, Any]:
    """Size, tag and time of what a web server holds. Raises SourceError."""
    return look(whole_url(url), url)


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
        try:
            with atomic_path(place, sealed=False) as beside:
                if is_web(url):
                    download(whole_url(url), url, beside)
                else:
                    system, there = filesystem(url)
                    system.get_file(there, str(beside))
        except OSError as error:
            told = " ".join(without_secrets(str(error)).split())[:200]
            raise SourceError(f"source {url}: can't be read ({told})") from error
    return place


def let_go(path: str, version: int) -> None:
    if (url := as_url(path)) is not None:
        shutil.rmtree(_place(url, version).parent, ignore_errors=True)


def _place(url: str, version: int) -> Path:
    """Where its copy lies; of its name only the endings count, which say how it is packed."""
    endings = re.findall(r"\.[A-Za-z0-9]{1,10}", url.partition("?")[0].rpartition("/")[2])
    return cache_folder() / "fetched" / fingerprint([url, version]) / f"data{''.join(endings[-2:])}"
