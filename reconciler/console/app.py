"""The console's addresses: what each page is made of, and what a form does."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, unquote

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from reconciler.clock import Clock
from reconciler.console import log_stream, session, views
from reconciler.console.pages import BASE, STATIC, address, render
from reconciler.console.ports import Denied, Gate, Source
from reconciler.console.values import Act, Order
from reconciler.engine.http.streams import Streams
from reconciler.engine.service import AnswerError
from reconciler.errors import ReconcilerError

__all__ = ["Console"]

_log = logging.getLogger(__name__)

# Nothing but our own two files is run or drawn, and no other page may hold one of ours.
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    # With none at all, a browser would not say where one of our own forms comes from.
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_SAID = "reconciler-said"
_SAID_FOR_S = 30
_LONGEST_SAID = 500

_View = Callable[[views.Visit], tuple[str, Mapping[str, object]]]


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request of somebody who was let in."""

    request: Request
    session: session.Session
    form: Mapping[str, str]


class _Static(StaticFiles):
    """Our own files, which a browser may keep: their addresses change with them."""

    def file_response(self, *arguments: Any, **named: Any) -> Response:
        """Return a file."""
        response = super().file_response(*arguments, **named)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response


class Console:
    """The pages of one source."""

    def __init__(self, source: Source, gate: Gate, clock: Clock, streams: Streams) -> None:
        self._source = source
        self._gate = gate
        self._clock = clock
        self._streams = streams

    def routes(self) -> list[BaseRoute]:
        """Return the routes: all below /console, and two that lead there."""
        inside = Starlette(
            routes=[
                Route("/", self._page(views.overview)),
                Route("/timeline", self._page(views.timeline)),
                Route("/graph", self._page(views.graph)),
                Route("/plan", self._page(views.plan)),
                Route("/item/{name:path}", self._page(views.item)),
                Route("/run/{version:int}/{name:path}", self._page(views.run)),
                Route("/log/{version:int}/{name:path}", self._log),
                Route("/text/{version:int}/{name:path}", self._text),
                Route("/do", self._do, methods=["POST"]),
                Route("/login", self._login, methods=["POST"]),
                Route("/logout", self._logout, methods=["POST"]),
                Mount("/static", _Static(directory=STATIC)),
            ],
            exception_handlers={
                AnswerError: self._refused,
                ReconcilerError: self._failed,
                HTTPException: self._unknown,
                Exception: self._broken,
            },
        )
        return [
            Mount(BASE, app=inside),
            Route("/", _to_console),
            # Where the answer to a create says that its deployment can be looked at.
            Route("/{organization}/{project}/{stack}/deployments/{version:int}", _to_run),
        ]

    # ------------------------------------------------------------ pages

    def _page(self, view: _View) -> Callable[[Request], Response]:
        def answer(request: Request) -> Response:
            found = session.session_of(request, self._gate)
            if isinstance(found, Denied):
                return self._denied(request, found)
            visit = views.Visit(
                source=self._source,
                viewer=found.viewer,
                now=self._now(),
                query=dict(request.query_params),
                path=dict(request.path_params),
            )
            template, values = view(visit)
            said = unquote(request.cookies.get(_SAID, ""))[:_LONGEST_SAID]
            response = self._html(template, values, found, said=said)
            if said:
                response.delete_cookie(_SAID, path=BASE)
            return response

        return answer

    def _now(self) -> datetime:
        return self._clock.now()

    def _html(
        self,
        template: str,
        values: Mapping[str, object],
        found: session.Session | None,
        *,
        said: str = "",
        status: int = HTTPStatus.OK,
    ) -> Response:
        common: dict[str, object] = {
            "viewer": None if found is None else found.viewer,
            "proof": "" if found is None else found.proof,
            "said": said,
            "now": self._now(),
            "things": self._source.things,
            "plans_ahead": self._source.plans_ahead,
            "here": "",
            "places": (),
        }
        page = render(template, {**common, **values})
        return HTMLResponse(page, status, headers=_HEADERS)

    # ------------------------------------------------------------ logs

    async def _log(self, request: Request) -> Response:
        found, version = await self._let_in(request), request.path_params["version"]
        viewer, name = found.session.viewer, request.path_params["name"]
        shown = await log_stream.find(self._source, viewer, name, version)
        parts = (self._source, self._gate, self._streams)
        return await log_stream.stream(request, parts, viewer, shown)

    async def _text(self, request: Request) -> Response:
        """Answer with the whole log, as it was written."""
        found, version = await self._let_in(request), request.path_params["version"]
        viewer, name = found.session.viewer, request.path_params["name"]
        shown = await log_stream.find(self._source, viewer, name, version)

        def lines() -> Iterator[str]:
            token = before = ""
            while True:
                part = self._source.log(viewer, shown, token)
                for line in part.lines:
                    yield f"=== {line.header}\n" if line.header else line.line
                before, token = token, part.token
                if not token or token == before:
                    return

        file = f"{shown.item.stack.replace('/', '-')}-{version}.log"
        disposition = f"attachment; filename*=UTF-8''{quote(file)}"
        headers = {**_HEADERS, "Content-Disposition": disposition}
        return StreamingResponse(lines(), media_type="text/plain", headers=headers)

    # ------------------------------------------------------------ forms

    async def _do(self, request: Request) -> Response:
        asked = await self._let_in(request)
        form, viewer = asked.form, asked.session.viewer
        session.check_form(request, form, asked.session)
        if form.get("act") not in set(Act):
            raise AnswerError(400, "the console knows no such action")
        order = Order(
            act=Act(form["act"]),
            name=form.get("name", ""),
            operation=form.get("operation", ""),
            binds=form.get("binds", ""),
        )
        back = session.inside(form.get("back", ""))
        if _is_grave(order) and form.get("sure") != "yes" and viewer.may_act:
            values = {"order": order, "back": back}
            return self._html("confirm.html", values, asked.session)

        def act() -> str:
            target = f"{order.name or 'all'} {order.operation or order.binds}".strip()
            with self._gate.noting(viewer, str(order.act), target):
                if not viewer.may_act:
                    raise AnswerError(403, "this token's role is read: it can look at everything")
                return self._source.act(viewer, order)

        try:
            said = await run_in_threadpool(act)
        except AnswerError as error:
            if error.status != HTTPStatus.CONFLICT:
                raise
            # It stands otherwise than was shown: where it can be looked at is a step away.
            values = {"message": error.message, "status": 409, "places": self._places(order)}
            return self._html("error.html", values, asked.session, status=409)
        response = RedirectResponse(back, HTTPStatus.SEE_OTHER, headers=_HEADERS)
        response.set_cookie(
            _SAID,
            quote(said[:_LONGEST_SAID]),
            max_age=_SAID_FOR_S,
            path=BASE,
            httponly=True,
            samesite="strict",
        )
        return response

    def _places(self, order: Order) -> tuple[tuple[str, str], ...]:
        """Return where what an order was about can be looked at, each with what it is called."""
        found = ((address("item", order.name), f"Look at {order.name}"),) if order.name else ()
        plan = ((f"{BASE}/plan", "Look at the plan"),) if self._source.plans_ahead else ()
        return found + plan

    async def _login(self, request: Request) -> Response:
        form = await session.read_form(request)
        session.check_form(request, form, None)
        token = form.get("token", "").strip()
        found = await run_in_threadpool(session.enter, request, self._gate, token)
        back = session.inside(form.get("back", ""))
        if isinstance(found, Denied):
            tried = "this token is not good here" if token else ""
            message = tried if found.status == HTTPStatus.UNAUTHORIZED else found.message
            return self._login_page(back, message, found.status)
        response = RedirectResponse(back, HTTPStatus.SEE_OTHER, headers=_HEADERS)
        secure = self._gate.secure or request.url.scheme == "https"
        session.keep(response, token, secure=secure)
        return response

    async def _logout(self, request: Request) -> Response:
        asked = await self._let_in(request)
        session.check_form(request, asked.form, asked.session)
        response = RedirectResponse(f"{BASE}/", HTTPStatus.SEE_OTHER, headers=_HEADERS)
        session.leave(response)
        return response

    async def _let_in(self, request: Request) -> _Asked:
        found = await run_in_threadpool(session.session_of, request, self._gate)
        if isinstance(found, Denied):
            raise AnswerError(found.status, found.message, found.retry_after_s)
        form = await session.read_form(request) if request.method == "POST" else {}
        return _Asked(request, found, form)

    # ------------------------------------------------------------ refusals

    def _denied(self, request: Request, denied: Denied) -> Response:
        place = f"{request.url.path}?{request.url.query}".rstrip("?")
        if session.from_elsewhere(request):
            # The cookie is not sent along a link of another site; it is from our own page.
            return self._html("moment.html", {"place": session.inside(place)}, None)
        too_many = denied.status == HTTPStatus.TOO_MANY_REQUESTS
        message = denied.message if too_many else ""
        return self._login_page(session.inside(place), message, denied.status)

    def _login_page(self, back: str, message: str, status: int) -> Response:
        return self._html("login.html", {"back": back, "message": message}, None, status=status)

    def _error(self, request: Request, status: int, message: str) -> Response:
        values = {"message": message, "status": status}
        try:
            found = session.session_of(request, self._gate)
        except ReconcilerError as error:
            # Who looks cannot be said now, for a reason that is no secret.
            return self._html(
                "error.html", {"message": str(error), "status": 503}, None, status=503
            )
        if isinstance(found, Denied):
            return self._denied(request, found)
        return self._html("error.html", values, found, status=status)

    async def _refused(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, AnswerError)  # noqa: S101 - it is registered for these
        return await run_in_threadpool(self._error, request, error.status, error.message)

    async def _failed(self, request: Request, error: Exception) -> Response:
        _log.warning("a page cannot be shown: %s", error)
        return await run_in_threadpool(self._error, request, 503, str(error))

    async def _unknown(self, request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 404
        message = "there is no such page" if status == HTTPStatus.NOT_FOUND else str(error)
        return await run_in_threadpool(self._error, request, status, message)

    async def _broken(self, request: Request, error: Exception) -> Response:
        _log.error("a page broke", exc_info=error)
        message = "the console has a fault; the program's own log says which"
        return await run_in_threadpool(self._error, request, 500, message)


def _is_grave(order: Order) -> bool:
    """Whether a person is asked once more: it cannot be undone, or it is about all there is."""
    destroys = order.act is Act.TRIGGER and order.operation == "destroy"
    return destroys or (order.act is Act.SUSPEND and not order.name)


async def _to_console(_: Request) -> Response:
    return RedirectResponse(f"{BASE}/", HTTPStatus.SEE_OTHER)


async def _to_run(request: Request) -> Response:
    path = request.path_params
    name = "/".join(path[part] for part in ("organization", "project", "stack"))
    return RedirectResponse(address("run", name, path["version"]), HTTPStatus.SEE_OTHER)
