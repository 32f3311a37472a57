"""The page served on this machine alone, until it is stopped."""

import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tamis.pipeline.errors import RunError
from tamis.pipeline.view.app import App, application
from tamis.pipeline.view.guard import Guard
from tamis.pipeline.view.session import Session, Sessions

LOOPBACK = "127.0.0.1"
POLL = 0.02  # seconds


@contextmanager
def served(session: Session, port: int = 0) -> Iterator[str]:
    """The page's address with its token, answered while the block lasts. Raises RunError where the port is taken."""
    import uvicorn

    guarded = Guard(application(App(Sessions(session))), secrets.token_urlsafe(32))
    with _listening(port) as listener:
        guarded.port = listener.getsockname()[1]
        server = uvicorn.Server(
            uvicorn.Config(guarded, log_level="warning", access_log=False, lifespan="off", server_header=False)
        )
        answering = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        answering.start()
        while not server.started and answering.is_alive():
            time.sleep(POLL)
        try:
            yield f"http://{LOOPBACK}:{guarded.port}/#token={guarded.token}"
        finally:
            server.should_exit = server.force_exit = True  # a browser keeps its connections open
            answering.join()


def _listening(port: int) -> socket.socket:
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, port))
    except OSError as error:
        listener.close()
        raise RunError(f"view: port {port} can't be had ({error.strerror}); --port 0 takes a free one") from error
    return listener
