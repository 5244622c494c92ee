"""The routes of stacks themselves."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from reconciler.api.types import StackRef
from reconciler.engine.http import body
from reconciler.engine.http.reading import caller_of, check_names, read_body, stack_of
from reconciler.engine.service import AnswerError, Service

__all__ = ["routes"]


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
