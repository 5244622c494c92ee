"""The routes of stacks themselves."""

from __future__ import annotations

from http import HTTPStatus

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from reconciler.api.types import StackRef
from reconciler.engine.http import body
from reconciler.engine.http.document import (
    FLAG,
    NUMBER,
    TEXT,
    Operation,
    Parameter,
    Schema,
    listed,
    mapped,
    record,
)
from reconciler.engine.http.reading import caller_of, check_names, read_body, stack_of
from reconciler.engine.service import AnswerError, Service
from reconciler.engine.store import ListedStack

__all__ = ["OPERATIONS", "routes"]

_CACHE = "/api/stacks/{organization}/{project}/{stack}/deployments/cache"

_NAME: Schema = {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"}

_STACK_NAMES = ("id", "orgName", "projectName", "stackName")

OPERATIONS = (
    Operation(
        id="ClearProjectCache",
        method="DELETE",
        path=_CACHE,
        tag="Deployments",
        about="Delete what the organization's deployments have downloaded",
        refusals=(409,),
    ),
    Operation(
        id="CreateStack",
        method="POST",
        path="/api/stacks/{organization}/{project}",
        tag="Stacks",
        about="Make a stack known",
        body=record({"stackName": _NAME}),
        answers={200: record({})},
        refusals=(409,),
    ),
    Operation(
        id="GetStack",
        method="GET",
        path="/api/stacks/{organization}/{project}/{stack}",
        tag="Stacks",
        about="Get a stack",
        answers={
            200: record(
                {
                    **dict.fromkeys(_STACK_NAMES, TEXT),
                    "activeUpdate": TEXT,
                    "tags": mapped(TEXT),
                    "version": NUMBER,
                }
            )
        },
    ),
    Operation(
        id="DeleteStack",
        method="DELETE",
        path="/api/stacks/{organization}/{project}/{stack}",
        tag="Stacks",
        about="Delete a stack and its state",
        query=(
            Parameter(
                name="force", schema=FLAG, about="also one that has resources, which stay (false)"
            ),
        ),
        answers={204: {}},
        refusals=(409,),
    ),
    Operation(
        id="ListUserStacks",
        method="GET",
        path="/api/user/stacks",
        tag="Stacks",
        about="List the stacks that the token sees",
        query=(
            Parameter(name="organization", schema=TEXT, about="those of one organization"),
            Parameter(name="project", schema=TEXT, about="those of one project"),
            Parameter(name="tagName", schema=TEXT, about="those with a tag: none has"),
            Parameter(name="tagValue", schema=TEXT, about="the tag's value"),
            Parameter(
                name="continuationToken", schema=TEXT, about="that of the answer before this one"
            ),
        ),
        answers={
            200: record(
                {"stacks": listed(record(dict.fromkeys(_STACK_NAMES, TEXT), {"links": {}}))},
                {"continuationToken": TEXT},
            )
        },
    ),
)


def routes(service: Service) -> list[Route]:
    """Return the routes of stacks."""
    api = _Stacks(service)
    return [
        Route(_CACHE, api.clear_cache, methods=["DELETE"]),
        Route("/api/stacks/{organization}/{project}", api.make, methods=["POST"]),
        Route("/api/stacks/{organization}/{project}/{stack}", api.get, methods=["GET"]),
        Route("/api/stacks/{organization}/{project}/{stack}", api.delete, methods=["DELETE"]),
        Route("/api/user/stacks", api.page),
    ]


class _Stacks:
    """The endpoints."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def clear_cache(self, request: Request) -> Response:
        caller, stack = caller_of(request), stack_of(request)
        self._service.caches.clear(caller, stack)
        return Response()

    def get(self, request: Request) -> Response:
        caller, stack = caller_of(request), stack_of(request)
        info = self._service.stacks.get(caller, stack)
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

    def page(self, request: Request) -> Response:
        caller, query = caller_of(request), request.query_params
        found: tuple[ListedStack, ...] = ()
        token = ""
        # A stack here has no tags, so that none fits a filter by one.
        if not query.get("tagName"):
            names = (query.get("organization", ""), query.get("project", ""))
            found, token = self._service.stacks.page(
                caller, *names, query.get("continuationToken", "")
            )
        stacks = [
            {
                "id": str(entry.stack),
                "orgName": entry.stack.organization,
                "projectName": entry.stack.project,
                "stackName": entry.stack.stack,
                "links": {"self": f"{self._service.base_url}/{entry.stack}"},
            }
            for entry in found
        ]
        return JSONResponse({"stacks": stacks, **({"continuationToken": token} if token else {})})

    def delete(self, request: Request) -> Response:
        caller, stack = caller_of(request), stack_of(request)
        force = request.query_params.get("force", "false").lower()
        if force not in {"true", "false"}:
            raise AnswerError(400, f"force: {force[:40]!r} is neither true nor false")
        self._service.stacks.delete(caller, stack, force=force == "true")
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def make(self, request: Request) -> Response:
        caller = caller_of(request)
        content = await read_body(request)
        asked = body.parse(content)
        name = asked.get("stackName") if isinstance(asked, dict) else None
        if not isinstance(name, str) or not StackRef.is_name(name):
            raise AnswerError(400, "stackName: is required: letters, digits, '_', '.' and '-'")
        stack = StackRef(request.path_params["organization"], request.path_params["project"], name)
        check_names(stack)
        await run_in_threadpool(self._service.stacks.make, caller, stack)
        return JSONResponse({})
