"""A Prefect API for as long as it is needed: the configured one, or a server of our own on loopback."""

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_API_URL, temporary_settings

from tamis.flows.settings import api_configured
from tamis.pipeline.errors import RunFailed

START_S = 120  # a loaded machine needs most of a minute


@contextmanager
def server(port: int | None = None) -> Iterator[str]:
    """Yield its address; without a port, a free one is taken. Raises RunFailed."""
    if api_configured():
        yield PREFECT_API_URL.value()
        return
    port = port or _free_port()
    address = f"http://127.0.0.1:{port}/api"
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603  our own words
    try:
        _wait(child, address)
        with temporary_settings({PREFECT_API_URL: address}):
            try:
                yield address
            finally:
                _tell_the_last()
    finally:
        child.terminate()
        try:
            child.wait(30)
        except subprocess.TimeoutExpired:
            child.kill()


def _tell_the_last() -> None:
    """What is on its way to the server goes there while it listens; later it would be waited for in vain."""
    APILogWorker.drain_all(timeout=START_S)
    EventsWorker.drain_all(timeout=START_S)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _wait(child: "subprocess.Popen[bytes]", address: str) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        if child.poll() is not None:
            raise RunFailed(f"the Prefect server on {address} ended at once; is the port taken? Try --port")
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=2) as answer:  # noqa: S310  http alone
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise RunFailed(f"no answer from a Prefect server on {address} within {START_S} s")
