"""The routes of deployments and their logs, in both dialects."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from typing import Any

from starlette.concurrency import run_in_threadpool
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
from reconciler.api.updates import updates_to_json
from reconciler.engine.http import body
from reconciler.engine.http.document import (
    FLAG,
    TEXT,
    Operation,
    Parameter,
    Schema,
    listed,
    one_of,
    ref,
)
from reconciler.engine.http.reading import (
    LARGEST_NUMBER,
    caller_of,
    number_in,
    read_body,
    stack_of,
    whole,
)
from reconciler.engine.logs import LogPage
from reconciler.engine.service import AnswerError, Service, StepWindow
from reconciler.engine.service.errors import refused
from reconciler.engine.store import SORTS, PageQuery

__all__ = ["OPERATIONS", "routes"]

LARGEST_PAGE = 100
# Today's API says 499; the seed's names no limit, so a larger one keeps answers bounded.
LARGEST_COUNT = {Dialect.TODAY: 499, Dialect.PREVIEW: 1000}

# Who asked by which program; only shown.
LONGEST_INITIATOR = 100


def _number(low: int, high: int) -> Schema:
    return {"type": "integer", "minimum": low, "maximum": high}


_PAGE = (
    Parameter(
        name="page",
        schema=_number(1, LARGEST_NUMBER // LARGEST_PAGE),
        about="which page, from 1 (1)",
    ),
    Parameter(name="pageSize", schema=_number(1, LARGEST_PAGE), about="how many to a page (10)"),
)
_ORDER = (
    Parameter(name="sort", schema=one_of(*SORTS), about="by what (created)"),
    Parameter(name="asc", schema=FLAG, about="the smallest first (false)"),
)


def _log_parameters(dialect: Dialect) -> tuple[Parameter, ...]:
    preview = dialect is Dialect.PREVIEW
    first = 1 if preview else 0
    token = "nextToken" if preview else "continuationToken"
    return (
        Parameter(name=token, schema=TEXT, about="the nextToken of the answer before"),
        Parameter(name="job", schema=_number(0, 0), about="which job (0)"),
        Parameter(
            name="step",
            schema=_number(first, LARGEST_NUMBER),
            about=f"the lines of this step alone, counted from {first}",
        ),
        Parameter(name="offset", schema=_number(0, LARGEST_NUMBER), about="from which line (0)"),
        Parameter(
            name="count", schema=_number(1, LARGEST_COUNT[dialect]), about="how many lines (100)"
        ),
    )


def _operations(dialect: Dialect) -> tuple[Operation, ...]:
    """Return what the routes of one dialect take and answer."""
    preview = dialect is Dialect.PREVIEW
    base = f"{_PREFIXES[dialect]}/{{organization}}/{{project}}/{{stack}}/deployments"
    suffix, tag = ("Preview", "Preview") if preview else ("", "Deployments")
    whole_one = {200: ref("DeploymentPreview" if preview else "Deployment")}

    def operation(id: str, method: str, path: str, about: str, **more: Any) -> Operation:  # noqa: A002 - the field's name
        return Operation(
            id=id + suffix, method=method, path=base + path, tag=tag, about=about, **more
        )

    logs: dict[str, Any] = {
        "query": _log_parameters(dialect),
        "answers": {200: ref("LogsPreview" if preview else "Logs")},
    }
    return (
        operation(
            "CreateAPIDeploymentHandlerV2",
            "POST",
            "",
            "Create a deployment",
            body=ref(f"CreateDeploymentRequest{suffix}"),
            answers={202: ref("CreatedDeployment")},
        ),
        operation(
            "ListStackDeploymentsHandlerV2",
            "GET",
            "",
            "List a stack's deployments",
            query=_PAGE if preview else (*_PAGE, *_ORDER),
            answers={200: listed(ref("DeploymentSummary")) if preview else ref("DeploymentList")},
        ),
        operation(
            "GetDeployment_version",
            "GET",
            "/version/{version}",
            "Get a deployment by its version",
            answers=whole_one,
            quick=True,
        ),
        operation(
            "GetDeployment",
            "GET",
            "/{deployment}",
            "Get a deployment",
            answers=whole_one,
            quick=True,
        ),
        operation("GetDeploymentLogs", "GET", "/{deployment}/logs", "Get its log", **logs),
        operation("GetDeploymentLogs_slash", "GET", "/{deployment}/logs/", "Get its log", **logs),
        operation("CancelDeployment", "POST", "/{deployment}/cancel", "Cancel a deployment"),
    )


_PREFIXES = {Dialect.PREVIEW: "/api/preview", Dialect.TODAY: "/api/stacks"}

OPERATIONS = (
    Operation(
        id="ListOrgDeployments",
        method="GET",
        path="/api/orgs/{organization}/deployments",
        tag="Deployments",
        about="List an organization's deployments",
        query=(*_PAGE, *_ORDER),
        answers={200: ref("DeploymentList")},
    ),
    Operation(
        id="GetDeploymentUpdates",
        method="GET",
        path="/api/stacks/{organization}/{project}/{stack}/deployments/{deployment}/updates",
        tag="Deployments",
        about="List a deployment's updates: one, from when its Pulumi operation begins",
        answers={200: listed(ref("UpdateInfo"))},
    ),
    *_operations(Dialect.PREVIEW),
    *_operations(Dialect.TODAY),
)


def routes(service: Service) -> list[Route]:
    """Return the routes below both dialects' paths."""
    api = _Deployments(service)
    found = [Route("/api/orgs/{organization}/deployments", api.organization_page)]
    for dialect, prefix in _PREFIXES.items():
        base = prefix + "/{organization}/{project}/{stack}/deployments"
        one = base + "/{deployment}"
        logs = partial(api.logs, dialect)
        found += [
            Route(base, partial(api.create, dialect), methods=["POST"]),
            Route(base, partial(api.page, dialect), methods=["GET"]),
            Route(base + "/version/{version}", partial(api.get_version, dialect)),
            Route(one, partial(api.get, dialect)),
            Route(one + "/logs", logs),
            Route(one + "/logs/", logs),
            Route(one + "/cancel", api.cancel, methods=["POST"]),
        ]
    found.append(Route(one + "/updates", api.updates))
    return found


class _Deployments:
    """The endpoints. All but the create are run in threads, since they may wait for the disk."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def create(self, dialect: Dialect, request: Request) -> Response:
        caller = caller_of(request)
        stack = stack_of(request)
        content = await read_body(request)
        value = body.parse(content)
        if dialect is Dialect.TODAY:
            value = await run_in_threadpool(self._service.settings.inherited, caller, stack, value)
        asked = _request(value, dialect)
        initiator = request.headers.get("x-pulumi-deployment-initiator", "")
        initiator = initiator[:LONGEST_INITIATOR] if initiator.isprintable() else ""
        created = await run_in_threadpool(
            self._service.deployments.create, caller, stack, asked, initiator
        )
        answer = {
            "id": created.id,
            "version": created.version,
            "consoleUrl": created.console_url,
        }
        return JSONResponse(answer, HTTPStatus.ACCEPTED)

    def get(self, dialect: Dialect, request: Request) -> Response:
        caller, deployment_id = caller_of(request), request.path_params["deployment"]
        found = self._service.deployments.get(caller, stack_of(request), deployment_id)
        return JSONResponse(deployment_to_json(found, dialect))

    def get_version(self, dialect: Dialect, request: Request) -> Response:
        caller, text = caller_of(request), request.path_params["version"]
        version = number_in(text, 1, LARGEST_NUMBER)
        if version is None:
            raise AnswerError(404, f"deployment #{text[:20]} not found: versions count 1, 2, 3…")
        found = self._service.deployments.get_version(caller, stack_of(request), version)
        return JSONResponse(deployment_to_json(found, dialect))

    def page(self, dialect: Dialect, request: Request) -> Response:
        caller, stack = caller_of(request), stack_of(request)
        query = _page_query(request, dialect, stack.organization, stack)
        page = self._service.deployments.page(caller, query)
        return JSONResponse(list_to_json(page.deployments, dialect, query.page_size, page.total))

    def organization_page(self, request: Request) -> Response:
        caller, organization = caller_of(request), request.path_params["organization"]
        query = _page_query(request, Dialect.TODAY, organization, None)
        page = self._service.deployments.page(caller, query)
        shown = list_to_json(page.deployments, Dialect.TODAY, query.page_size, page.total)
        return JSONResponse(shown)

    def logs(self, dialect: Dialect, request: Request) -> Response:
        caller, stack = caller_of(request), stack_of(request)
        deployment_id = request.path_params["deployment"]
        query = request.query_params
        offset = whole(request, "offset", 0, (0, LARGEST_NUMBER))
        count = whole(request, "count", 100, (1, LARGEST_COUNT[dialect]))
        whole(request, "job", 0, (0, 0))
        if "step" not in query:
            token = query.get("nextToken", "") or query.get("continuationToken", "")
            page = self._service.logs.follow(caller, stack, deployment_id, token)
            return _log_answer(page, dialect, "DeploymentLogs")
        # The preview API counts steps from 1, today's from 0.
        first = 1 if dialect is Dialect.PREVIEW else 0
        step = whole(request, "step", first, (first, LARGEST_NUMBER)) - first
        window = StepWindow(step=step, offset=offset, count=count)
        page = self._service.logs.of_step(caller, stack, deployment_id, window)
        return _log_answer(page, dialect, "DeploymentLogsStep")

    def updates(self, request: Request) -> Response:
        caller, deployment_id = caller_of(request), request.path_params["deployment"]
        found = self._service.deployments.get(caller, stack_of(request), deployment_id)
        return JSONResponse(updates_to_json(found))

    def cancel(self, request: Request) -> Response:
        caller, deployment_id = caller_of(request), request.path_params["deployment"]
        self._service.deployments.cancel(caller, stack_of(request), deployment_id)
        return Response(status_code=HTTPStatus.OK)


def _request(value: object, dialect: Dialect) -> DeploymentRequest[Secret]:
    asked = request_from_json(value, wire_secret, dialect)
    if isinstance(asked, tuple):
        raise refused(asked)
    return asked


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
        page=whole(request, "page", 1, (1, LARGEST_NUMBER // LARGEST_PAGE)),
        page_size=whole(request, "pageSize", 10, (1, LARGEST_PAGE)),
        sort="created" if preview else sort,
        # The preview API's lists have the oldest first, today's the newest.
        ascending=preview or asc in {"true", "1"},
    )


def _log_answer(page: LogPage, dialect: Dialect, kind: str) -> Response:
    answer: dict[str, object] = {"lines": log_lines_to_json(page.lines)}
    if dialect is Dialect.TODAY:
        # By this the official Python client knows which of two answers it is.
        answer["__type"] = kind
    if page.next_token is not None:
        answer["nextToken"] = page.next_token
    if page.next_offset is not None:
        answer["nextOffset"] = page.next_offset
    return JSONResponse(answer)
