"""The page served on this machine alone, until it is stopped."""

import asyncio
import secrets
import socket
import webbrowser
from collections.abc import Callable
from contextlib import suppress

from tamis.pipeline.errors import RunError
from tamis.pipeline.progress import say, show
from tamis.pipeline.view.app import App, application
from tamis.pipeline.view.guard import Guard
from tamis.pipeline.view.session import Session

LOOPBACK = "127.0.0.1"


def serve(session: Session, port: int, *, browse: bool, ready: Callable[[str], None] | None = None) -> None:
    """Blocks until Ctrl-C. `ready` is told the address once it is answered. Raises RunError where the port is taken."""
    import uvicorn

    guarded = Guard(application(App(session)), secrets.token_urlsafe(32))
    with _listening(port) as listener:
        guarded.port = listener.getsockname()[1]
        address = f"http://{LOOPBACK}:{guarded.port}/#token={guarded.token}"
        server = uvicorn.Server(
            uvicorn.Config(guarded, log_level="warning", access_log=False, lifespan="off", server_header=False)
        )
        show(address)
        say("open it in a browser of this machine; Ctrl-C ends it")
        if browse:
            webbrowser.open(address)
        if ready is not None:
            ready(address)
        with suppress(KeyboardInterrupt):
            asyncio.run(server.serve([listener]))


def _listening(port: int) -> socket.socket:
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, port))
    except OSError as error:
        listener.close()
        raise RunError(f"view: port {port} can't be had ({error.strerror}); --port 0 takes a free one") from error
    return listener
