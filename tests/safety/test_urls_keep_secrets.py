"""Promise: what in a URL lets people in is stored, logged and printed nowhere; a web server's redirects lead to no
private address that the person did not name."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tamis.pipeline.errors import SourceError
from tamis.pipeline.files import web
from tamis.pipeline.files.urls import as_url, fetched, info_of_web, whole_url, without_secrets
from tamis.pipeline.progress import inert
from tests_support import Runner

LINES = b'{"id": "a", "text": "hello"}\n{"id": "b", "text": "there"}\n'
URLS = {
    "https://me:PASSWORD@host/x.jsonl": "https://host/x.jsonl",
    "https://host/x.jsonl?token=SECRET&page=2": "https://host/x.jsonl?token=***&page=2",
    "https://host/x?X-Amz-Signature=SECRET&X-Amz-Credential=AKIASECRET": "https://host/x?X-Amz-Signature=***&X-Amz-Credential=***",
    "https://h.blob/x?sv=2024&sig=SECRET%3D&se=2030": "https://h.blob/x?sv=***&sig=***&se=***",
    "https://host/x?api_key=SECRET": "https://host/x?api_key=***",
    "https://host/x?Signature=SECRET&Expires=1": "https://host/x?Signature=***&Expires=***",
    "s3://KEY:SECRET@bucket/x": "s3://bucket/x",
    "ftp://me:PASS@WORD@host/x": "ftp://host/x",
    "https://host/x?page=3#frag": "https://host/x?page=3",
    "s3://bucket/part-?.jsonl": "s3://bucket/part-?.jsonl",
}


@pytest.mark.parametrize("url", URLS)
def test_what_lets_people_in_is_taken_out_at_once(url: str) -> None:
    told = as_url(url)
    assert told == URLS[url] and as_url(told) == told
    assert told is not None and (whole_url(told) == url or told == url.partition("#")[0])


def test_long_words_of_a_url_tell_files_apart_and_are_not_told() -> None:
    first, second = (as_url(f"https://host/x?id={word * 30}") for word in ("a", "b"))
    assert first != second and "aaaa" not in str(first)


@pytest.mark.parametrize("said", [
    "GET https://me:PASSWORD@host/x.jsonl failed", "401 for token SECRETSECRET", "s3://KEYKEY:TOPTOP@bucket/x: no such key",
    "postgres://u:hidden@db/x", "https://elsewhere:also-hidden@host/y",
])  # fmt: skip
def test_nor_does_a_librarys_word_tell_it(said: str) -> None:
    as_url("https://me:PASSWORD@host/x.jsonl")
    as_url("https://host/x?token=SECRETSECRET")
    as_url("s3://KEYKEY:TOPTOP@bucket/x")
    for told in (without_secrets(said), inert(said)):
        assert not any(word in told for word in ("PASSWORD", "SECRETSECRET", "TOPTOP", "hidden")), told


@contextmanager
def server(answers: dict[str, Any]) -> Iterator[str]:
    """On loopback; a text answers with a redirect, bytes are sent, a number is a status."""

    class Handler(BaseHTTPRequestHandler):
        seen: list[tuple[str, str | None]] = []  # noqa: RUF012

        def do_GET(self) -> None:
            self.seen.append((self.path, self.headers.get("Authorization")))
            answer = answers.get(self.path, 404)
            body = answer if isinstance(answer, bytes) else b""
            self.send_response(200 if isinstance(answer, bytes) else 302 if isinstance(answer, str) else answer)
            if isinstance(answer, str):
                self.send_header("Location", answer)
            self.send_header("Content-Length", str(len(body) + (self.path == "/short") * 99))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    here = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Handler.seen = []
    threading.Thread(target=here.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{here.server_port}"
    finally:
        here.shutdown()
        answers["seen"] = Handler.seen


def test_a_pool_of_the_web_is_read_and_its_secrets_are_nowhere(
    run_in: Runner, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers: dict[str, Any] = {"/pool.jsonl?token=SECRETTOKEN": LINES}
    with server(answers) as address:
        place = address.replace("http://", "http://me:PASSWORD@")
        source = {"format": "jsonl", "path": f"{place}/pool.jsonl?token=SECRETTOKEN", "key": "id"}
        asked: dict[str, Any] = {"target": [], "steps": [{"random": {"budget": 1}}]}
        run = run_in(tmp_path, pool=[source], **asked)
        assert run.manifest["pool"]["samples"] == 2
        again = run_in(tmp_path, pool=[{**source, "path": source["path"].replace("PASSWORD", "NEWER")}], **asked)
        assert not again.fresh, "another password is no other pool"
        answers["/pool.jsonl?token=SECRETTOKEN"] = 403
        with pytest.raises(SourceError) as refused:
            run_in(tmp_path, name="other", store="other", pool=[source], **asked)
    assert "403" in str(refused.value)
    told = str(refused.value) + "".join(capsys.readouterr())
    for path in [*(tmp_path / "store").rglob("*"), *(tmp_path / "other").rglob("*"), *(tmp_path / "cache").rglob("*")]:
        told += f"\n{path.name}" + (path.read_bytes().decode("latin-1") if path.is_file() else "")
    assert "PASSWORD" not in told and "SECRETTOKEN" not in told and "NEWER" not in told
    assert ("/pool.jsonl?token=SECRETTOKEN", "Basic bWU6UEFTU1dPUkQ=") in answers["seen"]


LEADS = {
    "to another machine of the house": "http://10.0.0.1/x",
    "to the cloud's own address": "http://169.254.169.254/latest/meta-data/",
    "to this machine by another name": "http://localhost:1/x",
    "to this machine's other address": "http://127.0.0.2/x",
    "to an address of IPv6": "http://[::1]:1/x",
    "to an address in a number": "http://2130706433:1/x",
    "to no web address": "file:///etc/passwd",
    "to a mapped address": "http://[::ffff:127.0.0.1]:1/x",
}


@pytest.mark.parametrize("name", LEADS)
def test_a_redirect_reaches_no_private_address(name: str, tmp_path: Path) -> None:
    with server({"/x": LEADS[name]}) as address, pytest.raises(SourceError) as refused:
        web.download(f"{address}/x", f"{address}/x", tmp_path / "out")
    assert "no public address" in str(refused.value) or "no web address" in str(refused.value)
    assert not (tmp_path / "out").exists() or not (tmp_path / "out").read_bytes()


def test_a_few_redirects_of_the_named_host_are_followed_and_no_more(tmp_path: Path) -> None:
    chain: dict[str, Any] = {f"/{n}": f"/{n + 1}" for n in range(9)}
    with server(chain | {"/4": LINES}) as address:
        web.download(f"{address}/0", "told", tmp_path / "out")
        assert (tmp_path / "out").read_bytes() == LINES
    with server(chain) as address, pytest.raises(SourceError, match="redirect"):
        web.download(f"{address}/0", "told", tmp_path / "out")
    with server({"/x": "/x"}) as address, pytest.raises(SourceError, match="redirect"):
        web.look(f"{address}/x", "told")


@pytest.mark.parametrize("path", ["/short", "/absent", "/teapot"])
def test_what_does_not_come_whole_is_one_line(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "WAIT_S", 1.0)
    with server({"/short": LINES, "/teapot": 418}) as address:
        with pytest.raises(SourceError) as refused:
            fetched(f"{address}{path}", 1)
        assert "\n" not in str(refused.value)
    with pytest.raises(SourceError, match="can't be read"):
        info_of_web(f"{address}{path}")
