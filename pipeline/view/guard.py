"""Who is answered: the page of this address alone, with the token that stands in it.

A name that another page resolved to this machine is refused by its Host, another page's script by token and origin, and
another user of the machine by the token. A page may load and run what lies beside it, and nothing else."""

import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

TOKEN = b"x-tamis-token"
MOST_BYTES = 4 << 20  # of a request
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; font-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
]


class Guard:
    """Before the app; `port` is known once it listens."""

    def __init__(self, app: App, token: str) -> None:
        self.app, self.token, self.port = app, token, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            return
        refused = self._refused(scope)
        if refused:
            await _plain(send, 403, refused)
            return
        await self.app(scope, _bounded(receive), _with_headers(send))

    def _refused(self, scope: Scope) -> str:
        """Why this request is not answered; empty: it is."""
        headers = dict(scope["headers"])
        own = {f"{name}:{self.port}".encode() for name in ("127.0.0.1", "localhost")}
        if headers.get(b"host") not in own:
            return "this page answers at its own address alone"
        if (origin := headers.get(b"origin")) is not None and origin.removeprefix(b"http://") not in own:
            return "another page may not ask"
        if scope["method"] not in ("GET", "HEAD", "POST"):
            return "this can't be asked"
        if not scope["path"].startswith("/api/"):
            return "" if scope["method"] != "POST" else "this can't be asked"
        given = headers.get(TOKEN, b"").decode("latin-1")
        if not given and scope["method"] == "GET":
            given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        return (
            "" if secrets.compare_digest(given.encode(), self.token.encode()) else "the token is not that of this page"
        )


def _bounded(receive: Receive) -> Receive:
    seen = 0

    async def bounded() -> MutableMapping[str, Any]:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        return message if seen <= MOST_BYTES else {"type": "http.disconnect"}

    return bounded


def _with_headers(send: Send) -> Send:
    async def sent(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *HEADERS]
        await send(message)

    return sent


async def _plain(send: Send, status: int, text: str) -> None:
    await _with_headers(send)(
        {"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain; charset=utf-8")]}
    )
    await send({"type": "http.response.body", "body": f"tamis view: {text}\n".encode()})
