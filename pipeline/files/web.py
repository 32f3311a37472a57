"""Files of web servers, by GET alone: a few redirects, from which no private address is reached that the person who
wrote the URL did not name.

A redirect is the server's word, not the person's: it may lead to a machine of the house (10.0.0.0/8, a cloud's
169.254.169.254, this one) that answers whoever asks from inside. So addresses are looked at where the connection is
made, after names are resolved."""

import http.client
import ipaddress
import os
import socket
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tamis.pipeline.errors import SourceError

WEB = ("http:", "https:")
MOST_REDIRECTS = 5
WAIT_S = 60.0  # for an answer, and for each piece of it
PIECE = 1 << 20
AGENT = {"User-Agent": "tamis", "Accept-Encoding": "identity"}


class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = MOST_REDIRECTS

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if not newurl.startswith(("http://", "https://")):
            raise urllib.error.URLError("it redirects to what is no web address")
        if req.full_url.startswith("https://") and newurl.startswith("http://"):
            raise urllib.error.URLError("it redirects from https to http")
        found = super().redirect_request(req, fp, code, msg, headers, newurl)
        if found is not None and urlsplit(newurl).netloc != urlsplit(req.full_url).netloc:
            found.headers.pop("Authorization", None)
        return found


def _connect(named: set[str], proxied: bool) -> Any:
    """Like socket.create_connection, to an address that is public, or of a host that the person named."""

    def connect(address: tuple[str, int], timeout: Any = WAIT_S, *_: Any, **__: Any) -> socket.socket:
        host, port = address
        told = "no address"
        for family, kind, protocol, _name, where in socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM):
            if not (proxied or host in named or ipaddress.ip_address(str(where[0]).partition("%")[0]).is_global):
                told = f"it leads to {where[0]}, which is no public address; name it in the recipe if it is meant"
                continue
            one = socket.socket(family, kind, protocol)
            one.settimeout(timeout)
            try:
                one.connect(where)
            except OSError as error:
                one.close()
                told = str(error)
            else:
                return one
        raise OSError(told)

    return connect


def _opener(url: str) -> urllib.request.OpenerDirector:
    parts = urlsplit(url)
    proxied = parts.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(parts.hostname or "")
    connect = _connect({(parts.hostname or "").lower()}, bool(proxied))

    class Plain(http.client.HTTPConnection):
        def __init__(self, *given: Any, **settings: Any) -> None:
            super().__init__(*given, **settings)
            self._create_connection = connect

    class Secure(http.client.HTTPSConnection):
        def __init__(self, *given: Any, **settings: Any) -> None:
            super().__init__(*given, **settings)
            self._create_connection = connect

    class ByHttp(urllib.request.HTTPHandler):
        def http_open(self, req: Any) -> Any:
            return self.do_open(Plain, req)

    class ByHttps(urllib.request.HTTPSHandler):
        def https_open(self, req: Any) -> Any:
            return self.do_open(Secure, req)

    opener = urllib.request.OpenerDirector()
    for handler in (urllib.request.ProxyHandler, ByHttp, ByHttps, _Redirects, urllib.request.HTTPErrorProcessor):
        opener.add_handler(handler())
    opener.add_handler(urllib.request.HTTPDefaultErrorHandler())
    return opener


def _opened(whole: str, told: str, method: str = "GET") -> Any:
    """An answer. Raises SourceError, in words that don't hold the whole URL."""
    parts = urlsplit(whole)
    headers = dict(AGENT)
    plain = whole
    if parts.username is not None:
        import base64
        from urllib.parse import unquote

        word = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {base64.b64encode(word.encode()).decode()}"
        plain = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    request = urllib.request.Request(plain.partition("#")[0], headers=headers, method=method)  # noqa: S310  http alone
    try:
        return _opener(plain).open(request, timeout=WAIT_S)
    except urllib.error.HTTPError as error:
        if error.code in (301, 302, 303, 307, 308):
            elsewhere = "is not allowed" in str(error)  # as the library says of other schemes
            what = "it redirects to what is no web address" if elsewhere else f"more than {MOST_REDIRECTS} redirects"
            raise SourceError(f"source {told}: {what}") from error
        raise SourceError(f"source {told}: the server says {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        kind = "" if isinstance(reason, str) or str(reason) else type(reason).__name__
        raise SourceError(f"source {told}: can't be read ({' '.join(str(reason).split())[:200]}{kind})") from error


def look(whole: str, told: str) -> dict[str, Any]:
    """Size, tag and time as the server says them, by HEAD, or by a GET that is not read. Raises SourceError."""
    try:
        answer = _opened(whole, told, "HEAD")
    except SourceError:
        answer = _opened(whole, told)
    with answer:
        size = answer.headers.get("Content-Length", "")
        return {
            "type": "file",
            "size": int(size) if size.isdecimal() else 0,
            "ETag": answer.headers.get("ETag"),
            "LastModified": answer.headers.get("Last-Modified"),
        }


def download(whole: str, told: str, path: Path) -> None:
    """All of it, to a file. Raises SourceError where less came than was said, OSError."""
    with _opened(whole, told) as answer, path.open("wb") as out:
        said = answer.headers.get("Content-Length", "")
        try:
            while piece := answer.read(PIECE):
                out.write(piece)
        except http.client.HTTPException as error:
            raise SourceError(f"source {told}: the connection ended in the middle") from error
        out.flush()
        os.fsync(out.fileno())
        if said.isdecimal() and out.tell() != int(said):
            raise SourceError(f"source {told}: {out.tell():,} bytes came of {int(said):,}; run the same command again")
