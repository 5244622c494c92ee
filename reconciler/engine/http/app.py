"""The application: all routes, and how faults are answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from reconciler.engine.config import HttpLimits
from reconciler.engine.http import (
    access,
    accounts,
    deployments,
    drift,
    issuer,
    log_stream,
    openapi,
    pauses,
    schedules,
    settings,
    stacks,
)
from reconciler.engine.http.answers import exception_handlers
from reconciler.engine.http.document import Operation, one_of, record
from reconciler.engine.http.guard import Guard
from reconciler.engine.http.headers import SafeHeaders
from reconciler.engine.http.measured import Measured
from reconciler.engine.http.streams import Streams
from reconciler.engine.service import Service
from reconciler.metrics import OFF, Meter

__all__ = ["OPERATIONS", "Pages", "build_app", "no_pages"]

# All that is served, for the document: an entry for each method of each route.
OPERATIONS = (
    Operation(
        id="GetHealth",
        method="GET",
        path="/healthz",
        tag="Engine",
        about="Whether the engine answers",
        answers={200: record({"status": one_of("ok")})},
        public=True,
    ),
    *openapi.OPERATIONS,
    *accounts.OPERATIONS,
    *access.OPERATIONS,
    *stacks.OPERATIONS,
    *pauses.OPERATIONS,
    *settings.OPERATIONS,
    *schedules.OPERATIONS,
    *drift.OPERATIONS,
    *deployments.OPERATIONS,
    *log_stream.OPERATIONS,
    *issuer.OPERATIONS,
)


# What is served beside the API, made of the same use cases and within the same limits.
Pages = Callable[[Service, Streams], Sequence[BaseRoute]]


def no_pages(_: Service, __: Streams) -> Sequence[BaseRoute]:
    """Serve nothing beside the API."""
    return ()


def build_app(
    service: Service,
    limits: HttpLimits | None = None,
    meter: Meter = OFF,
    pages: Pages = no_pages,
) -> Starlette:
    """Return the application that serves both dialects; `state.streams` are to be closed first."""
    streams = Streams(limits or HttpLimits())
    routes = [
        Route("/healthz", _health, methods=["GET"]),
        *openapi.routes(OPERATIONS),
        *accounts.routes(service),
        *access.routes(service),
        *stacks.routes(service),
        *pauses.routes(service),
        *settings.routes(service),
        *schedules.routes(service),
        *drift.routes(service),
        *deployments.routes(service),
        *log_stream.routes(service, streams),
        *issuer.routes(service),
    ]
    guard = Guard(service, OPERATIONS)
    guard.stand_before(routes)
    for route in routes if meter is not OFF else ():
        route.app = Measured(route.app, route.path, meter)
    app = Starlette(
        routes=[*routes, *pages(service, streams)],
        middleware=[Middleware(SafeHeaders)],
        exception_handlers=exception_handlers(guard),
    )
    app.state.streams = streams
    # `/logs/` is an address of its own, and everything else has one spelling.
    app.router.redirect_slashes = False
    return app


async def _health(_: Request) -> Response:
    return JSONResponse({"status": "ok"})
