"""The page's questions and their answers, over HTTP: a route each, and none that reads a path which was asked for.

Nothing is written but marks, and their exports beside the run."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from typing import Any, Literal, TypeVar

import numpy as np
from pydantic import Field, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from tamis.pipeline.errors import QueryError, TamisError, Unusable
from tamis.pipeline.read.identity import hex_id
from tamis.pipeline.store.runs import open_complete
from tamis.pipeline.view.marks import FILES, MOST_MARKED, Export, Kind
from tamis.pipeline.view.pictures import SIDES
from tamis.pipeline.view.rows.fields import BINS, Numbers
from tamis.pipeline.view.rows.filters import Ask, Model
from tamis.pipeline.view.rows.frame import RANK
from tamis.pipeline.view.rows.seen import of_run
from tamis.pipeline.view.session import Session
from tamis.pipeline.view.what_if import Try

KINDS = {"html": "text/html", "js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
Asked = TypeVar("Asked", bound=Model)


class Marked(Model):
    """Marks for rows, or for all that match."""

    rows: list[int] = Field([], max_length=MOST_MARKED)
    ask: Ask | None = None
    mark: Kind | None = None
    label: str | None = Field(None, max_length=200)
    note: str | None = Field(None, max_length=2000)


class Opened(Model):
    run: str = Field(max_length=500)


class App:
    """Answers for one session, or for the next one that the page opens."""

    def __init__(self, session: Session) -> None:
        self.session = session
        page = files("tamis.pipeline.view") / "page"
        self._page = {one.name: one.read_bytes() for one in page.iterdir() if one.name.rpartition(".")[2] in KINDS}

    def routes(self) -> list[Route]:
        return [
            Route("/", self.file),
            Route("/api/about", _get(lambda _: self.session.about())),
            Route("/api/open", _post(Opened, self.open), methods=["POST"]),
            Route("/api/ask", _post(Ask, lambda ask: self.session.filters.answer(ask).model_dump()), methods=["POST"]),
            Route("/api/rows", _get(self.rows)),
            Route("/api/row", _get(self.row)),
            Route("/api/sample", _get(lambda asked: self.session.sample(_number(asked, "row")))),
            Route("/api/find", _get(lambda asked: {"row": self.session.find(asked.get("key", ""))})),
            Route("/api/picture", _get(self.picture)),
            Route("/api/map", _get(lambda _: self.session.places.told())),
            Route("/api/map/points", _get(self.points)),
            Route("/api/map/codes", _get(self.codes)),
            Route("/api/map/meaning", _get(self.meaning)),
            Route("/api/map/mask", _post(Ask, self.mask), methods=["POST"]),
            Route("/api/knobs", _get(lambda _: {"steps": self.session.what_if.knobs})),
            Route("/api/try", _post(Try, self.tried), methods=["POST"]),
            Route("/api/mark", _post(Marked, self.mark), methods=["POST"]),
            Route("/api/export", _get(self.export)),
            Route("/api/rejects", _get(lambda _: self.session.rejects())),
            Route("/{name}", self.file),
        ]

    async def file(self, request: Request) -> Response:
        """One of the page's own files, by a name that is looked up among them."""
        name = request.path_params.get("name", "index.html")
        if name not in self._page:
            return Response("no such page\n", 404, media_type="text/plain")
        kind = KINDS[name.rpartition(".")[2]]
        return Response(self._page[name], media_type=kind, headers={"cache-control": "no-cache"})

    def open(self, asked: Opened) -> Any:
        """Another run of the same store."""
        runs = self.session.seen.store / "runs"
        if asked.run not in [one.name for one in runs.iterdir()]:
            raise QueryError(f"the store has no run {asked.run!r}")
        self.session = Session(replace(of_run(open_complete(runs / asked.run)), url=self.session.seen.url))
        return self.session.about()

    def rows(self, asked: dict[str, str]) -> Any:
        first, end = _number(asked, "from"), _number(asked, "to")
        return self.session.rows(_number(asked, "view"), first, end, asked.get("sort", RANK))

    def row(self, asked: dict[str, str]) -> Any:
        """One row as lists show it."""
        row = _number(asked, "row")
        if row >= self.session.frame.rows:
            raise QueryError(f"there is no row {row}")
        return self.session.row(row)

    def picture(self, asked: dict[str, str]) -> Response:
        side = _number(asked, "side")
        if side not in SIDES:
            raise QueryError(f"side: one of {', '.join(map(str, SIDES))}")
        row = _number(asked, "row") if "row" in asked else None
        made = self.session.picture(row, asked.get("id", ""), side)
        return Response(made, media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})

    def points(self, asked: dict[str, str]) -> Response:
        """float32 x, y of the drawn points, then int32 their rows."""
        places = self.session.places
        return _bytes(places.points[places.drawn].astype("<f4"), places.drawn.astype("<i4"))

    def codes(self, asked: dict[str, str]) -> Response:
        """uint16 of the drawn points, as `meaning` tells them."""
        field = self._colouring(asked)
        return _bytes(field.codes[self.session.places.drawn].astype("<u2"))

    def meaning(self, asked: dict[str, str]) -> Any:
        """What codes stand for: of words each one's name and how many have it, by code."""
        field = self._colouring(asked)
        if isinstance(field, Numbers):
            return {"kind": "numbers", "low": field.low, "high": field.high, "bins": BINS}
        return {"kind": "words", "names": field.names, "sizes": np.bincount(field.codes, minlength=field.size).tolist()}

    def _colouring(self, asked: dict[str, str]) -> Any:
        field = self.session.frame.field(asked.get("field", ""))
        if field is None:
            raise QueryError("it has too many values to colour by")
        return field

    def mask(self, ask: Ask) -> Response:
        """A bit for each drawn point, least first."""
        mask = self.session.filters.mask(ask)[self.session.places.drawn]
        return _bytes(np.packbits(mask, bitorder="little"))

    def tried(self, asked: Try) -> Any:
        return self.session.tried(asked)

    def mark(self, asked: Marked) -> Any:
        """Raises QueryError where too many would be marked at once."""
        rows = asked.rows if asked.ask is None else self.session.matching(asked.ask)
        if len(rows) > MOST_MARKED:
            raise QueryError(f"{len(rows):,} at once; at most {MOST_MARKED:,}: filter them further")
        if not all(0 <= row < self.session.frame.rows for row in rows):
            raise QueryError("there is no such row")
        frame = self.session.frame
        some = [(hex_id(int(frame.ids[row])), self.session.brief[frame.where(row)]["key"]) for row in rows]
        changes = {name: value for name in ("mark", "label", "note") if (value := getattr(asked, name)) is not None}
        return {"marks": self.session.marks.set(some, changes), "marked": len(some)}

    def export(self, asked: dict[str, str]) -> Any:
        kind: Export | None = next((one for one in FILES if one == asked.get("kind")), None)
        if kind is None:
            raise QueryError(f"kind: one of {', '.join(FILES)}")
        path, text = self.session.marks.export(kind)
        seen = self.session.seen
        next_step = {
            "csv": "",
            "forget": f"tamis forget {_quoted(seen.store)} --file {_quoted(path)}",
            "labels": f"tamis label import {_quoted(seen.store)} {_quoted(path)}",
        }[kind]
        return {"path": str(path), "name": path.name, "text": text, "lines": len(text.splitlines()), "next": next_step}


def application(app: App) -> Starlette:
    return Starlette(routes=app.routes())


def _quoted(path: object) -> str:
    import shlex

    return shlex.quote(str(path))


def _bytes(*arrays: Any) -> Response:
    return Response(b"".join(one.tobytes() for one in arrays), media_type="application/octet-stream")


def _number(asked: dict[str, str], name: str) -> int:
    """Raises QueryError."""
    text = asked.get(name, "")
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise QueryError(f"{name}: wanted a number")
    return int(text)


def _get(answer: Callable[[dict[str, str]], Any]) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        return await run_in_threadpool(_answered, answer, dict(request.query_params))

    return endpoint


def _post(model: type[Asked], answer: Callable[[Asked], Any]) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        try:
            body = await request.body()
            asked = model.model_validate_json(body)
        except ClientDisconnect:
            return _error("the request is too large")
        except ValidationError as error:
            problem = error.errors()[0]
            return _error(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}")
        return await run_in_threadpool(_answered, answer, asked)

    return endpoint


def _answered(answer: Callable[[Any], Any], asked: Any) -> Response:
    try:
        found = answer(asked)
    except TamisError as error:
        return _error(str(error))
    except Unusable as error:
        return _error(": ".join(map(str, error.args)), 404)
    return found if isinstance(found, Response) else _json(found)


def _error(told: str, status: Literal[400, 404] = 400) -> Response:
    return _json({"error": told}, status)


def _json(value: Any, status: int = 200) -> Response:
    try:
        text = json.dumps(value, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(value), allow_nan=False)
    return Response(text, status, media_type="application/json", headers={"cache-control": "no-store"})


def _finite(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
