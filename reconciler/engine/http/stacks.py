"""The routes of stacks themselves."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from reconciler.api.types import StackRef
from reconciler.engine.http import body
from reconciler.engine.http.document import NUMBER, TEXT, Operation, Schema, mapped, record
from reconciler.engine.http.reading import caller_of, check_names, read_body, stack_of
from reconciler.engine.service import AnswerError, Service

__all__ = ["OPERATIONS", "routes"]

_NAME: Schema = {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"}

OPERATIONS = (
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
                    **dict.fromkeys(("id", "orgName", "projectName", "stackName"), TEXT),
                    "activeUpdate": TEXT,
                    "tags": mapped(TEXT),
                    "version": NUMBER,
                }
            )
        },
    ),
)


def routes(service: Service) -> list[Route]:
    """Return the routes of stacks."""
    api = _Stacks(service)
    return [
        Route("/api/stacks/{organization}/{project}", api.make, methods=["POST"]),
        Route("/api/stacks/{organization}/{project}/{stack}", api.get),
    ]


class _Stacks:
    """The endpoints."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def get(self, request: Request) -> Response:
        caller, stack = caller_of(self._service, request), stack_of(request)
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

    async def make(self, request: Request) -> Response:
        caller = await run_in_threadpool(caller_of, self._service, request)
        content = await read_body(request)
        asked = body.parse(content)
        name = asked.get("stackName") if isinstance(asked, dict) else None
        if not isinstance(name, str) or not StackRef.is_name(name):
            raise AnswerError(400, "stackName: is required: letters, digits, '_', '.' and '-'")
        stack = StackRef(request.path_params["organization"], request.path_params["project"], name)
        check_names(stack)
        await run_in_threadpool(self._service.stacks.make, caller, stack)
        return JSONResponse({})
