"""A Prefect API for as long as it is needed: the configured one, or a server of our own on loopback."""

import base64
import os
import random
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_API_URL, temporary_settings

from tamis.flows.settings import AUTH, api_configured
from tamis.pipeline.errors import RunFailed

START = "runpy.run_module('prefect', run_name='__main__')"
START_S = 120  # a loaded machine needs most of a minute


@contextmanager
def server(port: int | None = None) -> Iterator[str]:
    """Yield its address; without a port, a free one is taken. Raises RunFailed."""
    if api_configured():
        yield PREFECT_API_URL.value()
        return
    if port is not None and _taken(port):
        raise RunFailed(f"port {port} is taken, and what answers there is none of ours. Try --port")
    port = port or _free_port()
    address = f"http://127.0.0.1:{port}/api"
    begin = f"import runpy; from tamis.pipeline import machine; machine.end_with({os.getpid()}); {START}"
    command = [sys.executable, "-c", begin, "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    its = {**os.environ, "PREFECT_UI_API_URL": address, "PREFECT_SERVER_UI_API_URL": address}  # what its page asks
    silent = subprocess.DEVNULL
    child = subprocess.Popen(command, env=its, stdout=silent, stderr=silent)  # noqa: S603  our own words
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


def _taken(port: int) -> bool:
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what an ended server leaves is no server
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def _knows_the_word(address: str) -> bool:
    """Whether what answers there refuses who doesn't give our word, or gives another, and answers who gives it: a
    server that another user put there in the meantime can't tell one from the other."""
    word = os.environ.get(AUTH)
    given = [secrets.token_hex(12) for _ in range(8)] + ([word] if word else [])
    random.SystemRandom().shuffle(given)
    return all((_answer(address, one) == HTTPStatus.OK) == (one == word) for one in given)


def _answer(address: str, word: str) -> int | None:
    proof = base64.b64encode(word.encode()).decode()
    request = urllib.request.Request(f"{address}/admin/version", headers={"Authorization": f"Basic {proof}"})  # noqa: S310  http alone
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310  http alone
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def _wait(child: "subprocess.Popen[bytes]", address: str) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        if child.poll() is not None:
            raise RunFailed(f"the Prefect server on {address} ended at once; is the port taken? Try --port")
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=2) as answer:  # noqa: S310  http alone
                if answer.status == HTTPStatus.OK:
                    if not _knows_the_word(address):
                        raise RunFailed(f"what answers on {address} is no server of ours. Try --port")
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise RunFailed(f"no answer from a Prefect server on {address} within {START_S} s")
