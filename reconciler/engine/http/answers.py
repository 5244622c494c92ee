"""How every fault is answered: `{"code", "message"}`, made in one place."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ExceptionHandler

from reconciler.engine.http.guard import Guard
from reconciler.engine.service import AnswerError
from reconciler.engine.store import DatabaseLostError
from reconciler.errors import NotDurableError

__all__ = ["exception_handlers"]

_log = logging.getLogger(__name__)


def _error(status: int, message: str, retry_after_s: int = 0) -> Response:
    headers = {"WWW-Authenticate": "token"} if status == HTTPStatus.UNAUTHORIZED else {}
    if retry_after_s:
        headers["Retry-After"] = str(retry_after_s)
    return JSONResponse({"code": status, "message": message}, status, headers=headers)


async def _answer_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, AnswerError):
        raise error
    return _error(error.status, error.message, error.retry_after_s)


async def _not_durable(_: Request, error: Exception) -> Response:
    _log.error("%s", error)
    return _error(503, "the engine cannot write to its database; try again later")


async def _database_lost(_: Request, error: Exception) -> Response:
    _log.error("%s", error)
    return _error(503, "the engine's database cannot be reached; try again later")


async def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code != HTTPStatus.METHOD_NOT_ALLOWED:
        return _error(error.status_code, str(error.detail))
    allowed = _methods(request)
    answer = _error(error.status_code, f"this address is for {' and '.join(allowed)}")
    answer.headers["Allow"] = ", ".join(allowed)
    return answer


def _methods(request: Request) -> list[str]:
    """Return the methods of all routes of this address; a method has a route of its own."""
    path = request.scope["path"]
    routes = [route for route in request.app.routes if route.path_regex.match(path)]
    # `deployments/pause` fits `deployments/{deployment}` too, but is none.
    fewest = min(len(route.param_convertors) for route in routes)
    named = [route.methods for route in routes if len(route.param_convertors) == fewest]
    return sorted(set().union(*named))


async def _broken(_: Request, error: Exception) -> Response:
    _log.error("a request broke the engine", exc_info=error)
    return _error(500, "the engine has a fault; its log says which")


def exception_handlers(guard: Guard) -> Mapping[Any, ExceptionHandler]:
    """Return how each kind of fault is answered."""

    async def http_error(request: Request, error: Exception) -> Response:
        # An address without a route, too, tells nothing to those without a token.
        try:
            await run_in_threadpool(guard.require_caller, request)
        except AnswerError as refusal:
            return await _answer_error(request, refusal)
        return await _http_error(request, error)

    return {
        AnswerError: _answer_error,
        NotDurableError: _not_durable,
        DatabaseLostError: _database_lost,
        HTTPException: http_error,
        Exception: _broken,
    }
