"""The route of the OpenAPI document, where the Pulumi CLI's `pulumi api` looks for it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cached_property

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from reconciler import __version__
from reconciler.engine.http.document import Operation, build
from reconciler.engine.http.schemas import SCHEMAS

__all__ = ["OPERATIONS", "routes"]

OPERATIONS = (
    Operation(
        id="GetOpenAPI",
        method="GET",
        path="/api/openapi/pulumi-spec.json",
        tag="Engine",
        about="This document",
        answers={200: {"type": "object"}},
    ),
)


def routes(operations: Iterable[Operation]) -> list[Route]:
    """Return the route of the document that tells of all `operations`."""
    api = _OpenAPI(operations)
    return [Route("/api/openapi/pulumi-spec.json", api.document)]


class _OpenAPI:
    """The endpoint; the document is written when it is first asked for."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        self._operations = tuple(operations)

    @cached_property
    def _content(self) -> bytes:
        return json.dumps(build(self._operations, SCHEMAS, __version__)).encode()

    def document(self, _: Request) -> Response:
        return Response(self._content, media_type="application/json")
