"""The page's questions and their answers, over HTTP: a route each, and none that reads a path which was asked for.

Nothing is written but marks, and their exports beside the run."""

import json
import shlex
import traceback
from collections.abc import Callable
from importlib.resources import files
from typing import Any, Literal, TypeVar

import numpy as np
from pydantic import Field, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from tamis.pipeline.errors import QueryError, TamisError, Unusable, said
from tamis.pipeline.files.plain_json import plain
from tamis.pipeline.view.marks import FILES, MOST_MARKED, Export, Kind
from tamis.pipeline.view.pictures import SIDES
from tamis.pipeline.view.rows.fields import BINS, Numbers
from tamis.pipeline.view.rows.filters import Ask, Model
from tamis.pipeline.view.rows.frame import RANK
from tamis.pipeline.view.session import Session, Sessions
from tamis.pipeline.view.what_if import Try

KINDS = {"html": "text/html", "js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
Asked = TypeVar("Asked", bound=Model)


class Marked(Model):
    """Marks for rows; `wrong`: a wrong keep or a wrong drop, by what the run decided."""

    rows: list[int] = Field(max_length=MOST_MARKED)
    mark: Kind | Literal["wrong"] | None = None
    label: str | None = Field(None, max_length=200)
    note: str | None = Field(None, max_length=2000)


class App:
    """Answers; each question names the run that it is about, so that two pages may look at two."""

    def __init__(self, sessions: Sessions) -> None:
        self.sessions = sessions
        page = files("tamis.pipeline.view") / "page"
        self._page = {one.name: one.read_bytes() for one in page.iterdir() if one.name.rpartition(".")[2] in KINDS}

    def routes(self) -> list[Route]:
        get, post = self._get, self._post
        return [
            Route("/", self.file),
            Route("/api/about", get(lambda on, _: on.about())),
            Route("/api/ask", post(Ask, lambda on, ask: on.filters.answer(ask).model_dump()), methods=["POST"]),
            Route("/api/rows", get(rows)),
            Route("/api/row", get(lambda on, asked: on.row(_number(asked, "row")))),
            Route("/api/sample", get(lambda on, asked: on.sample(_number(asked, "row")))),
            Route("/api/find", get(lambda on, asked: {"row": on.find(asked.get("key", ""))})),
            Route("/api/picture", get(picture)),
            Route("/api/map", get(lambda on, _: on.places.told())),
            Route("/api/map/points", get(points)),
            Route("/api/map/codes", get(codes)),
            Route("/api/map/meaning", get(meaning)),
            Route("/api/map/mask", post(Ask, mask), methods=["POST"]),
            Route("/api/knobs", get(lambda on, _: {"steps": on.what_if.knobs})),
            Route("/api/try", post(Try, lambda on, asked: on.tried(asked)), methods=["POST"]),
            Route("/api/mark", post(Marked, mark), methods=["POST"]),
            Route("/api/export", get(export)),
            Route("/api/rejects", get(lambda on, _: on.rejects())),
            Route("/api/nights", get(lambda on, _: on.nights())),
            Route("/api/changed", get(lambda on, asked: on.changed(asked.get("before", ""), asked.get("after", "")))),
            Route("/{name}", self.file),
        ]

    async def file(self, request: Request) -> Response:
        """One of the page's own files, by a name that is looked up among them."""
        name = request.path_params.get("name", "index.html")
        if name not in self._page:
            return Response("no such page\n", 404, media_type="text/plain")
        kind = KINDS[name.rpartition(".")[2]]
        return Response(self._page[name], media_type=kind, headers={"cache-control": "no-cache"})

    def _get(self, answer: Callable[[Session, dict[str, str]], Any]) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            return await run_in_threadpool(self._answered, request, answer, dict(request.query_params))

        return endpoint

    def _post(self, model: type[Asked], answer: Callable[[Session, Asked], Any]) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            try:
                asked = model.model_validate_json(await request.body())
            except ClientDisconnect:
                return _error("the request is too large")
            except ValidationError as error:
                problem = error.errors()[0]
                return _error(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}")
            return await run_in_threadpool(self._answered, request, answer, asked)

        return endpoint

    def _answered(self, request: Request, answer: Callable[[Session, Any], Any], asked: Any) -> Response:
        try:
            found = answer(self.sessions.of(request.query_params.get("run", "")), asked)
        except TamisError as error:
            return _error(str(error))
        except Unusable as error:
            return _error(": ".join(map(str, error.args)), 404)
        except Exception as error:  # noqa: BLE001  the page says it in a line, the terminal has the rest
            told = said(error, str(self.sessions.of("").seen.store))
            if not isinstance(told, TamisError):
                traceback.print_exception(error)
            return _error(f"this failed: {' '.join(str(told).split())[:300]}", 500)
        return found if isinstance(found, Response) else _json(found)


def rows(on: Session, asked: dict[str, str]) -> Any:
    first, end = _number(asked, "from"), _number(asked, "to")
    return on.rows(_number(asked, "view"), first, end, asked.get("sort", RANK))


def picture(on: Session, asked: dict[str, str]) -> Response:
    side = _number(asked, "side")
    if side not in SIDES:
        raise QueryError(f"side: one of {', '.join(map(str, SIDES))}")
    row = _number(asked, "row") if "row" in asked else None
    made = on.picture(row, asked.get("id", ""), side)
    return Response(made, media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})


def points(on: Session, _: dict[str, str]) -> Response:
    """float32 x, y of the drawn points, then int32 their rows."""
    places = on.places
    return _bytes(places.points[places.drawn].astype("<f4"), places.drawn.astype("<i4"))


def codes(on: Session, asked: dict[str, str]) -> Response:
    """uint16 of the drawn points, as `meaning` tells them."""
    return _bytes(_colouring(on, asked).codes[on.places.drawn].astype("<u2"))


def meaning(on: Session, asked: dict[str, str]) -> Any:
    """What codes stand for: of words each one's name and how many have it, by code."""
    field = _colouring(on, asked)
    if isinstance(field, Numbers):
        return {"kind": "numbers", "low": field.low, "high": field.high, "bins": BINS}
    return {"kind": "words", "names": field.names, "sizes": np.bincount(field.codes, minlength=field.size).tolist()}


def _colouring(on: Session, asked: dict[str, str]) -> Any:
    field = on.frame.field(asked.get("field", ""))
    if field is None:
        raise QueryError("it has too many values to colour by")
    return field


def mask(on: Session, ask: Ask) -> Response:
    """A bit for each drawn point, least first."""
    return _bytes(np.packbits(on.filters.mask(ask)[on.places.drawn], bitorder="little"))


def mark(on: Session, asked: Marked) -> Any:
    """Raises QueryError where there is no such row."""
    changes = {name: value for name in ("mark", "label", "note") if (value := getattr(asked, name)) is not None}
    return {"marks": on.mark(asked.rows, changes), "marked": len(asked.rows)}


def export(on: Session, asked: dict[str, str]) -> Any:
    kind: Export | None = next((one for one in FILES if one == asked.get("kind")), None)
    if kind is None:
        raise QueryError(f"kind: one of {', '.join(FILES)}")
    path, text, count = on.marks.export(kind)
    store = shlex.quote(str(on.seen.store))
    commands = {
        "csv": "",
        "forget": f"tamis forget {store} --file {shlex.quote(str(path))}",
        "labels": f"tamis label import {store} {shlex.quote(str(path))}",
    }
    left_out = on.marks.left_out if kind == "forget" else 0
    told = {"path": str(path), "name": path.name, "text": text, "count": count, "left_out": left_out}
    return {**told, "next": commands[kind]}


def application(app: App) -> Starlette:
    return Starlette(routes=app.routes())


def _bytes(*arrays: Any) -> Response:
    return Response(b"".join(one.tobytes() for one in arrays), media_type="application/octet-stream")


def _number(asked: dict[str, str], name: str) -> int:
    """Raises QueryError."""
    text = asked.get(name, "")
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise QueryError(f"{name}: wanted a number")
    return int(text)


def _error(told: str, status: Literal[400, 404, 500] = 400) -> Response:
    return _json({"error": told}, status)


def _json(value: Any, status: int = 200) -> Response:
    try:
        text = json.dumps(value, allow_nan=False)
    except ValueError:
        text = json.dumps(plain(value), allow_nan=False)
    return Response(text, status, media_type="application/json", headers={"cache-control": "no-store"})
