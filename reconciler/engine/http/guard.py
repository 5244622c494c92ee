"""Stands before every route: who asks, may they, and what is written down about it.

What a route needs, its entry in OPERATIONS says; one without an entry needs a token of role
admin. So a route that nobody thought of lets nobody in.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from inspect import iscoroutinefunction
from typing import cast

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, request_response

from reconciler.engine.http.document import Operation
from reconciler.engine.service import AnswerError, Service
from reconciler.engine.service.access import Asked, Refused
from reconciler.engine.service.errors import may
from reconciler.engine.store import AuditNote
from reconciler.engine.tokens import Caller, Role
from reconciler.errors import NotDurableError

__all__ = ["Guard"]

_log = logging.getLogger(__name__)

_SCHEME = "token "
_SAFE = frozenset({"GET", "HEAD"})
_REFUSALS = frozenset({401, 403, 429})

_Endpoint = Callable[[Request], Response]
_AsyncEndpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Visit:
    """A call that was let in; `note` tells of the change that it may make."""

    note: AuditNote | None
    asked: Asked
    caller: Caller


class Guard:
    """Lets callers through to the routes of one application."""

    def __init__(self, service: Service, operations: Iterable[Operation]) -> None:
        self._service = service
        self._operations = {(o.method, o.path): o for o in operations}

    def stand_before(self, routes: Iterable[Route]) -> None:
        """Have every call of these routes go through this guard."""
        for route in routes:
            operations = {
                method: self._operations.get(("GET" if method == "HEAD" else method, route.path))
                for method in route.methods or ()
            }
            route.app = request_response(_Guarded(self, route, operations).call)

    def require_caller(self, request: Request) -> None:
        """Have what no route answers ask for a token as well; AnswerError 401, 429."""
        if not hasattr(request.state, "caller"):
            self._admit(request, self._asked(request, "none", ""))

    def enter(self, request: Request, path: str, operation: Operation | None) -> Visit:
        """Let a caller in, as `request.state.caller`; AnswerError 401, 403, 404, 429."""
        organization = str(request.path_params.get("organization", ""))
        asked = self._asked(request, path, organization)
        caller = self._admit(request, asked)
        needed = Role.ADMIN if operation is None else Role(operation.role)
        access = self._service.access
        try:
            may(caller, organization or caller.organization, needed)
        except AnswerError as error:
            access.record(asked, caller, f"refused {error.status}")
            raise
        if "\0" in asked.target:
            # Nothing has such a name, and PostgreSQL takes none to look for.
            raise AnswerError(HTTPStatus.NOT_FOUND, "not found")
        changes = request.method not in _SAFE
        return Visit(access.note(asked, caller) if changes else None, asked, caller)

    def enter_at_once(self, request: Request, path: str, operation: Operation) -> Visit | None:
        """Do as `enter` without waiting for anything; None where only `enter` can say."""
        if not self._service.reads_at_once or request.method not in _SAFE:
            return None
        organization = str(request.path_params.get("organization", ""))
        asked = self._asked(request, path, organization)
        caller = self._service.access.admit_at_once(_presented(request), asked.address)
        if caller is None or "\0" in asked.target:
            return None
        if not (caller.sees(organization) and caller.role.covers(Role(operation.role))):
            return None
        request.state.caller = caller
        return Visit(None, asked, caller)

    def leave(self, visit: Visit, status: int) -> None:
        """Write down what came of a call, where that is to be known and was not yet written."""
        access, note = self._service.access, visit.note
        if status < HTTPStatus.BAD_REQUEST:
            if note is not None and not note.written:
                access.record(visit.asked, visit.caller, "done")
        elif note is not None or status in _REFUSALS:
            kind = "refused" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "failed"
            try:
                access.record(visit.asked, visit.caller, f"{kind} {status}")
            except NotDurableError as error:
                # Its caller is told of the refusal all the same.
                _log.error("a %s call is not in the audit log: %s", kind, error)

    def noting(self, visit: Visit) -> AbstractContextManager[None]:
        """Have the change that is made within take the visit's note along."""
        if visit.note is None:
            return nullcontext()
        return self._service.access.noting(visit.note)

    # ------------------------------------------------------------ inside

    def _asked(self, request: Request, path: str, organization: str) -> Asked:
        peer = "" if request.client is None else request.client.host
        forwarded = ",".join(request.headers.getlist("x-forwarded-for"))
        return Asked(
            action=f"{request.method} {path}",
            # As it is: of a URL that is made of it, what follows a `?` in a name is no path.
            target=str(request.scope["path"]),
            organization=organization,
            address=self._service.access.address(peer, forwarded),
        )

    def _admit(self, request: Request, asked: Asked) -> Caller:
        caller = self._service.access.admit(_presented(request), asked.address)
        if isinstance(caller, Refused):
            self._service.access.record_refused(asked, caller)
            raise AnswerError(caller.status, caller.message, caller.retry_after_s)
        request.state.caller = caller
        return caller


def _presented(request: Request) -> str:
    """Return the token that a call presents; empty: none."""
    header = request.headers.get("authorization", "")
    return header.removeprefix(_SCHEME).strip() if header.startswith(_SCHEME) else ""


class _Guarded:
    """One route behind the guard; an endpoint that waits is run in the thread of its check."""

    def __init__(self, guard: Guard, route: Route, operations: dict[str, Operation | None]) -> None:
        self._guard = guard
        self._path = route.path
        self._endpoint = route.endpoint
        self._operations = operations

    @property
    def call(self) -> _Endpoint | _AsyncEndpoint:
        """What is called instead of the endpoint."""
        inner = self._endpoint
        while isinstance(inner, partial):
            inner = inner.func
        if iscoroutinefunction(inner):
            return self._call_async
        quick = all(o is not None and o.quick for o in self._operations.values())
        return self._call_quick if quick else self._call

    async def _call_quick(self, request: Request) -> Response:
        """Answer in the server's loop, where nothing is waited for and nothing written down."""
        operation = self._operations.get(request.method)
        visit = operation and self._guard.enter_at_once(request, self._path, operation)
        if not visit:
            return await run_in_threadpool(self._call, request)
        try:
            return cast("_Endpoint", self._endpoint)(request)
        except Exception as error:
            await run_in_threadpool(self._guard.leave, visit, _status(error))
            raise

    def _call(self, request: Request) -> Response:
        operation = self._operations.get(request.method)
        endpoint = cast("_Endpoint", self._endpoint)
        if operation is not None and operation.public:
            return endpoint(request)
        visit = self._guard.enter(request, self._path, operation)
        try:
            with self._guard.noting(visit):
                response = endpoint(request)
        except Exception as error:
            self._guard.leave(visit, _status(error))
            raise
        self._guard.leave(visit, response.status_code)
        return response

    async def _call_async(self, request: Request) -> Response:
        operation = self._operations.get(request.method)
        endpoint = cast("_AsyncEndpoint", self._endpoint)
        if operation is not None and operation.public:
            return await endpoint(request)
        visit = await run_in_threadpool(self._guard.enter, request, self._path, operation)
        try:
            with self._guard.noting(visit):
                response = await endpoint(request)
        except Exception as error:
            await run_in_threadpool(self._guard.leave, visit, _status(error))
            raise
        await run_in_threadpool(self._guard.leave, visit, response.status_code)
        return response


def _status(error: Exception) -> int:
    """Return what an endpoint's error is answered with, as `answers` does."""
    if isinstance(error, AnswerError):
        return error.status
    if isinstance(error, HTTPException):
        return error.status_code
    return 503 if isinstance(error, NotDurableError) else 500
