"""Who is answered, and what is never: the page alone, at its own address, with its token."""

import http.client
import json
import socket
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tamis.pipeline.errors import RunError
from tamis.pipeline.store.runs import open_complete
from tamis.pipeline.view.guard import MOST_BYTES
from tamis.pipeline.view.marks import MOST_MARKED
from tamis.pipeline.view.rows.seen import of_run
from tamis.pipeline.view.serve import served
from tamis.pipeline.view.session import Session
from tests_support import OF_PHOTOS, Runner

API = ["about", "rows?view=1&from=0&to=5", "sample?row=0", "find?key=x", "picture?row=0&side=96", "map", "map/points",
       "map/codes?field=reason", "map/meaning?field=reason", "knobs", "export?kind=csv", "rejects"]  # fmt: skip
POSTED = ["ask", "try", "mark", "map/mask"]


class Page:
    """A client that says what it likes."""

    def __init__(self, address: str) -> None:
        parts = urllib.parse.urlsplit(address)
        self.port, self.token = parts.port or 0, parts.fragment.removeprefix("token=")

    def asked(
        self, path: str, method: str = "GET", body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        given = {"Host": f"127.0.0.1:{self.port}", **{name.replace("_", "-"): value for name, value in headers.items()}}
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in given.items():
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        found = answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        connection.close()
        return found

    def api(self, path: str, body: Any = None) -> tuple[int, Any]:
        sent = None if body is None else json.dumps(body).encode()
        status, headers, text = self.asked(
            f"/api/{path}", "GET" if body is None else "POST", sent, x_tamis_token=self.token
        )
        return status, json.loads(text) if headers.get("content-type") == "application/json" else text


@pytest.fixture
def page(run_in: Runner, workplace: Path) -> Iterator[Page]:
    run = open_complete(run_in(workplace).folder)
    with served(Session(of_run(run))) as address:
        yield Page(address)


def test_the_page_is_answered_and_says_what_it_may_load(page: Page) -> None:
    status, headers, text = page.asked("/")
    assert status == 200
    assert b"<script" in text
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")
    assert page.api("about")[0] == 200


@pytest.mark.parametrize("path", [*API, *POSTED])
def test_nothing_is_told_without_the_token(path: str, page: Page) -> None:
    for headers in ({}, {"x_tamis_token": "guess"}, {"x_tamis_token": page.token[:-1]}, {"x_tamis_token": ""}):
        method, body = ("POST", b"{}") if path in POSTED else ("GET", None)
        status, _, text = page.asked(f"/api/{path}", method, body, **headers)
        assert (status, b"token" in text) == (403, True)


@pytest.mark.parametrize("path", ["/", "/main.js", "/api/about"])
def test_a_name_that_leads_here_is_not_answered(path: str, page: Page) -> None:
    for host in (
        "evil.example",
        f"evil.example:{page.port}",
        "127.0.0.1",
        f"127.0.0.1:{page.port + 1}",
        f"127.0.0.1.evil.example:{page.port}",
    ):
        assert page.asked(path, x_tamis_token=page.token, Host=host)[0] == 403


def test_another_page_s_script_is_not_answered(page: Page) -> None:
    for origin in (
        "http://evil.example",
        "null",
        f"http://127.0.0.1:{page.port + 1}",
        f"https://127.0.0.1:{page.port}",
    ):
        assert page.asked("/api/about", x_tamis_token=page.token, Origin=origin)[0] == 403
        assert page.asked("/api/mark", "POST", b"{}", x_tamis_token=page.token, Origin=origin)[0] == 403
    assert page.asked("/api/about", x_tamis_token=page.token, Origin=f"http://127.0.0.1:{page.port}")[0] == 200
    headers = page.asked("/api/about", x_tamis_token=page.token)[1]
    assert not [name for name in headers if name.startswith("access-control")]


def test_a_token_in_the_address_reads_and_does_not_write(page: Page) -> None:
    assert page.asked(f"/api/about?token={page.token}")[0] == 200
    assert page.asked(f"/api/mark?token={page.token}", "POST", b"{}")[0] == 403


@pytest.mark.parametrize(
    "path",
    ["/../serve.py", "/..%2fserve.py", "/%2e%2e/serve.py", "/page/../../app.py", "//etc/passwd", "/serve.py", "/__init__.py",
     "/index.html/../../../../../../etc/passwd", "/C:/x", "/main.js%00.html"],
)  # fmt: skip
def test_no_path_leads_out_of_the_page(path: str, page: Page) -> None:
    status, _, text = page.asked(path)
    assert status in (403, 404)
    assert b"import" not in text


def test_keys_and_numbers_that_lead_nowhere_are_refused_in_a_line(page: Page) -> None:
    for path in ("sample?row=-1", "sample?row=1e9", "sample?row=99999999", "sample", "rows?view=77&from=0&to=9", "find?key=../../etc/passwd",
                 "about?run=../../x", "about?run=nosuch", "picture?row=0&side=5000", "picture?id=../../x&side=96", "export?kind=../x", "map/codes?field=nosuch"):  # fmt: skip
        status, told = page.api(path)
        assert status in (400, 404), path
        assert list(told) == ["error"]


def test_what_is_posted_is_checked(page: Page) -> None:
    wrong: list[tuple[str, Any]] = [
        ("ask", {"nosuch": 1}), ("ask", []), ("ask", {"condition": "1; drop table x"}), ("ask", {"sort": 5}),
        ("try", {"step": 99, "setting": "budget"}), ("try", {"step": 0, "setting": "__class__"}),
        ("mark", {"rows": [-1], "mark": "wrong_keep"}), ("mark", {"rows": [0], "mark": "other"}),
        ("mark", {"rows": list(range(MOST_MARKED + 1)), "mark": "none"}), ("mark", {"rows": 5}),
    ]  # fmt: skip
    for path, body in wrong:
        status, told = page.api(path, body)
        assert (status, list(told)) == (400, ["error"]), (path, body)
    assert page.asked("/api/ask", "POST", b"{", x_tamis_token=page.token)[0] == 400
    assert page.asked("/api/about", "DELETE", x_tamis_token=page.token)[0] in (403, 405)


def test_a_request_without_end_is_cut(page: Page) -> None:
    try:
        status = page.asked(
            "/api/ask", "POST", b'{"words": "' + b"x" * (MOST_BYTES + 10) + b'"}', x_tamis_token=page.token
        )[0]
    except (OSError, http.client.HTTPException):
        status = 400  # the connection was closed
    assert status == 400
    assert page.api("about")[0] == 200


def test_it_listens_on_this_machine_alone_and_says_when_a_port_is_taken(
    page: Page, run_in: Runner, workplace: Path
) -> None:
    with pytest.raises(OSError), socket.create_connection(("127.0.0.2", page.port), timeout=2):
        pass
    session = Session(of_run(open_complete(workplace / "store" / "runs" / "run")))
    with pytest.raises(RunError, match=f"port {page.port}"), served(session, page.port):
        pass


def test_a_mark_is_all_that_is_written(page: Page, workplace: Path) -> None:
    def files() -> dict[str, int]:
        return {
            str(path.relative_to(workplace)): path.stat().st_mtime_ns
            for path in workplace.rglob("*")
            if path.is_file() and ".tmp" not in path.parts
        }

    before = files()
    for path in API:
        if not path.startswith("export"):
            page.api(path)
    page.api("ask", {"words": "the", "condition": "n_bytes > 5"})
    page.api("try", {"step": 1, "setting": "budget", "value": 5})
    assert files() == before
    assert page.api("mark", {"rows": [0, 1], "mark": "wrong_drop"}) == (200, {"marks": 2, "marked": 2})
    assert {name for name in files() if name not in before} == {"store/runs/run/marks.json"}


def test_what_is_no_image_any_more_is_not_sent(run_in: Runner, photos: Path) -> None:
    run = open_complete(run_in(photos.parent, **{**OF_PHOTOS, "steps": [{"random": {"budget": 5}}]}).folder)
    session = Session(of_run(run))
    changed, cut, gone = (photos / "china" / f"{n:02d}.jpg" for n in range(3))
    rows = [session.find(f"china/{n:02d}") for n in range(3)]
    changed.write_bytes(b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>")
    cut.write_bytes(cut.read_bytes()[:900])
    gone.unlink()
    with served(session) as address:
        page = Page(address)
        for row in rows:
            status, told = page.api(f"picture?row={row}&side=192")
            assert (status, list(told)) == (404, ["error"])
            assert "svg" not in str(told)
        status, headers, picture = page.asked(
            f"/api/picture?row={session.find('china/05')}&side=192", x_tamis_token=page.token
        )
        assert (status, headers["content-type"], picture[:2]) == (200, "image/jpeg", b"\xff\xd8")
