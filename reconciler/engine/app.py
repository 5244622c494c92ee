"""The HTTP face of the engine: both dialects' routes, to the service and back.

Each endpoint reads its parameters, asks the service and writes the answer with `dialects`.
Every error is `{"code", "message"}`, made in one place.
"""

from __future__ import annotations

import logging
from functools import partial
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from reconciler.api.create_body import request_from_json, wire_secret
from reconciler.api.dialects import (
    Dialect,
    deployment_to_json,
    list_to_json,
    log_lines_to_json,
)
from reconciler.api.types import DeploymentRequest, Secret, StackRef
from reconciler.api.wire import pointer_text
from reconciler.engine import body
from reconciler.engine.logs import LogPage
from reconciler.engine.service import AnswerError, Service, StepWindow
from reconciler.engine.store import SORTS, PageQuery
from reconciler.engine.tokens import EVERY_ORGANIZATION, Caller
from reconciler.errors import NotDurableError

__all__ = ["build_app"]

_log = logging.getLogger(__name__)

_SCHEME = "token "

LARGEST_PAGE = 100
# Today's API says 499; the seed's names no limit, so a larger one keeps answers bounded.
LARGEST_COUNT = {Dialect.TODAY: 499, Dialect.PREVIEW: 1000}
# Beyond this no list and no log goes; SQLite's integers go further.
LARGEST_NUMBER = 2**53

# Faults beyond these say nothing new.
MOST_FAULTS_TOLD = 10

# Who asked by which program; only shown.
LONGEST_INITIATOR = 100


def build_app(service: Service) -> Starlette:
    """Return the application that serves both dialects."""
    api = _Api(service)
    routes = [
        Route("/healthz", _health, methods=["GET"]),
        Route("/api/user", api.user),
        Route("/api/user/organizations/default", api.default_organization),
        Route("/api/capabilities", api.capabilities),
        Route("/api/cli/version", api.cli_version),
        Route("/api/orgs/{organization}/deployments", api.organization_page),
        Route("/api/stacks/{organization}/{project}", api.make_stack, methods=["POST"]),
        Route("/api/stacks/{organization}/{project}/{stack}", api.stack),
    ]
    for dialect, prefix in ((Dialect.PREVIEW, "/api/preview"), (Dialect.TODAY, "/api/stacks")):
        base = prefix + "/{organization}/{project}/{stack}/deployments"
        one = base + "/{deployment}"
        logs = partial(api.logs, dialect)
        routes += [
            Route(base, partial(api.create, dialect), methods=["POST"]),
            Route(base, partial(api.page, dialect), methods=["GET"]),
            Route(base + "/version/{version}", partial(api.get_version, dialect)),
            Route(one, partial(api.get, dialect)),
            Route(one + "/logs", logs),
            Route(one + "/logs/", logs),
            Route(one + "/cancel", api.cancel, methods=["POST"]),
        ]
    app = Starlette(
        routes=routes,
        exception_handlers={
            AnswerError: _answer_error,
            NotDurableError: _not_durable,
            HTTPException: _http_error,
            Exception: _broken,
        },
    )
    # `/logs/` is an address of its own, and everything else has one spelling.
    app.router.redirect_slashes = False
    return app


class _Api:
    """The endpoints. All but the create are run in threads, since they wait for the disk."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def create(self, dialect: Dialect, request: Request) -> Response:
        caller = await run_in_threadpool(self._caller, request)
        stack = _stack(request)
        content = await body.read(
            request.stream(),
            request.headers.get("content-length", ""),
            request.headers.get("content-encoding", ""),
        )
        asked = _read_create(content, dialect)
        initiator = request.headers.get("x-pulumi-deployment-initiator", "")
        initiator = initiator[:LONGEST_INITIATOR] if initiator.isprintable() else ""
        created = await run_in_threadpool(self._service.create, caller, stack, asked, initiator)
        answer = {
            "id": created.id,
            "version": created.version,
            "consoleUrl": created.console_url,
        }
        return JSONResponse(answer, HTTPStatus.ACCEPTED)

    def get(self, dialect: Dialect, request: Request) -> Response:
        caller, deployment_id = self._caller(request), request.path_params["deployment"]
        found = self._service.get(caller, _stack(request), deployment_id)
        return JSONResponse(deployment_to_json(found, dialect))

    def get_version(self, dialect: Dialect, request: Request) -> Response:
        caller, text = self._caller(request), request.path_params["version"]
        if not text.isdecimal() or not 1 <= int(text[:20]) <= LARGEST_NUMBER:
            raise AnswerError(404, f"deployment #{text[:20]} not found: versions count 1, 2, 3…")
        found = self._service.get_version(caller, _stack(request), int(text))
        return JSONResponse(deployment_to_json(found, dialect))

    def page(self, dialect: Dialect, request: Request) -> Response:
        caller, stack = self._caller(request), _stack(request)
        query = _page_query(request, dialect, stack.organization, stack)
        page = self._service.page(caller, query)
        return JSONResponse(list_to_json(page.deployments, dialect, query.page_size, page.total))

    def organization_page(self, request: Request) -> Response:
        caller, organization = self._caller(request), request.path_params["organization"]
        query = _page_query(request, Dialect.TODAY, organization, None)
        page = self._service.page(caller, query)
        shown = list_to_json(page.deployments, Dialect.TODAY, query.page_size, page.total)
        return JSONResponse(shown)

    def logs(self, dialect: Dialect, request: Request) -> Response:
        caller, stack = self._caller(request), _stack(request)
        deployment_id = request.path_params["deployment"]
        query = request.query_params
        if "step" not in query:
            token = query.get("nextToken", "") or query.get("continuationToken", "")
            return _log_answer(self._service.follow_log(caller, stack, deployment_id, token))
        # The preview API counts steps from 1, today's from 0.
        first = 1 if dialect is Dialect.PREVIEW else 0
        _whole(request, "job", 0, (0, 0))
        window = StepWindow(
            step=_whole(request, "step", first, (first, LARGEST_NUMBER)) - first,
            offset=_whole(request, "offset", 0, (0, LARGEST_NUMBER)),
            count=_whole(request, "count", 100, (1, LARGEST_COUNT[dialect])),
        )
        return _log_answer(self._service.step_log(caller, stack, deployment_id, window))

    def cancel(self, request: Request) -> Response:
        caller, deployment_id = self._caller(request), request.path_params["deployment"]
        self._service.cancel(caller, _stack(request), deployment_id)
        return Response(status_code=HTTPStatus.OK)

    # ------------------------------------------------------------ what the Pulumi CLI asks first

    def user(self, request: Request) -> Response:
        caller = self._caller(request)
        return JSONResponse(
            {
                "id": caller.user,
                "githubLogin": caller.user,
                "name": caller.user,
                "email": caller.email,
                "avatarUrl": "",
                "organizations": [
                    {"githubLogin": name, "name": name, "avatarUrl": ""}
                    for name in self._service.organizations(caller)
                ],
                "identities": [],
            }
        )

    def default_organization(self, request: Request) -> Response:
        caller = self._caller(request)
        every = caller.organization == EVERY_ORGANIZATION
        return JSONResponse({"GitHubLogin": "" if every else caller.organization})

    def capabilities(self, request: Request) -> Response:
        self._caller(request)
        return JSONResponse({"capabilities": []})

    def cli_version(self, request: Request) -> Response:
        self._caller(request)
        # Empty: this engine asks nobody to upgrade.
        return JSONResponse({"latestVersion": "", "oldestWithoutWarning": ""})

    def stack(self, request: Request) -> Response:
        caller, stack = self._caller(request), _stack(request)
        info = self._service.stack(caller, stack)
        return JSONResponse(
            {
                "id": str(stack),
                "orgName": stack.organization,
                "projectName": stack.project,
                "stackName": stack.stack,
                "activeUpdate": "",
                "tags": {},
                "version": info.latest_version,
            }
        )

    async def make_stack(self, request: Request) -> Response:
        caller = await run_in_threadpool(self._caller, request)
        content = await body.read(
            request.stream(),
            request.headers.get("content-length", ""),
            request.headers.get("content-encoding", ""),
        )
        asked = body.parse(content)
        name = asked.get("stackName") if isinstance(asked, dict) else None
        if not isinstance(name, str) or not StackRef.is_name(name):
            raise AnswerError(400, "stackName: is required: letters, digits, '_', '.' and '-'")
        stack = StackRef(request.path_params["organization"], request.path_params["project"], name)
        _check_names(stack)
        await run_in_threadpool(self._service.make_stack, caller, stack)
        return JSONResponse({})

    # ------------------------------------------------------------ inside

    def _caller(self, request: Request) -> Caller:
        """Return who asks; 401 for a token that is missing, malformed, unknown or expired."""
        header = request.headers.get("authorization", "")
        token = header.removeprefix(_SCHEME).strip() if header.startswith(_SCHEME) else ""
        caller = self._service.recognise(token) if token else None
        if caller is None:
            raise AnswerError(401, "give a valid token: `Authorization: token {token}`")
        return caller


async def _health(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


# ---------------------------------------------------------------- reading and writing


def _read_create(content: bytes, dialect: Dialect) -> DeploymentRequest[Secret]:
    value = body.parse(content)
    asked = request_from_json(value, wire_secret, dialect)
    if not isinstance(asked, tuple):
        return asked
    told = [
        f"{pointer_text(fault.pointer)}: {fault.message}" if fault.pointer else fault.message
        for fault in asked[:MOST_FAULTS_TOLD]
    ]
    if len(asked) > MOST_FAULTS_TOLD:
        told.append(f"and {len(asked) - MOST_FAULTS_TOLD} more")
    raise AnswerError(400, "; ".join(told))


def _stack(request: Request) -> StackRef:
    """Return the stack of the path; one with an impossible name does not exist."""
    path = request.path_params
    stack = StackRef(path["organization"], path["project"], path["stack"])
    _check_names(stack)
    return stack


def _check_names(stack: StackRef) -> None:
    if not all(map(StackRef.is_name, (stack.organization, stack.project, stack.stack))):
        raise AnswerError(404, "not found")


def _page_query(
    request: Request, dialect: Dialect, organization: str, stack: StackRef | None
) -> PageQuery:
    sort = request.query_params.get("sort") or "created"
    if dialect is Dialect.TODAY and sort not in SORTS:
        raise AnswerError(400, f"sort: {sort[:40]!r} is none of {', '.join(SORTS)}")
    asc = request.query_params.get("asc", "false").lower()
    if dialect is Dialect.TODAY and asc not in {"true", "false", "1", "0"}:
        raise AnswerError(400, f"asc: {asc[:40]!r} is neither true nor false")
    preview = dialect is Dialect.PREVIEW
    return PageQuery(
        organization=organization,
        stack=stack,
        page=_whole(request, "page", 1, (1, LARGEST_NUMBER // LARGEST_PAGE)),
        page_size=_whole(request, "pageSize", 10, (1, LARGEST_PAGE)),
        sort="created" if preview else sort,
        # The preview API's lists have the oldest first, today's the newest.
        ascending=preview or asc in {"true", "1"},
    )


def _whole(request: Request, name: str, default: int, bounds: tuple[int, int]) -> int:
    """Read a whole number from the query; 400 where it is none or out of bounds."""
    text = request.query_params.get(name)
    if text is None:
        return default
    low, high = bounds
    if text.isascii() and text.isdecimal() and low <= int(text[:20]) <= high:
        return int(text)
    wanted = f"{low}" if low == high else f"a whole number from {low} to {high}"
    raise AnswerError(400, f"{name}: {text[:40]!r} is not {wanted}")


def _log_answer(page: LogPage) -> Response:
    answer: dict[str, object] = {"lines": log_lines_to_json(page.lines)}
    if page.next_token is not None:
        answer["nextToken"] = page.next_token
    if page.next_offset is not None:
        answer["nextOffset"] = page.next_offset
    return JSONResponse(answer)


# ---------------------------------------------------------------- errors


def _error(status: int, message: str) -> Response:
    headers = {"WWW-Authenticate": "token"} if status == HTTPStatus.UNAUTHORIZED else None
    return JSONResponse({"code": status, "message": message}, status, headers=headers)


async def _answer_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, AnswerError):
        raise error
    return _error(error.status, error.message)


async def _not_durable(_: Request, error: Exception) -> Response:
    _log.error("%s", error)
    return _error(503, "the engine cannot write to its disk; nothing was done, try again later")


async def _http_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return _error(error.status_code, str(error.detail))


async def _broken(_: Request, error: Exception) -> Response:
    _log.error("a request broke the engine", exc_info=error)
    return _error(500, "the engine has a fault; its log says which")
