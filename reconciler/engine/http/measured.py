"""Counts and times the requests of a route."""

from __future__ import annotations

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reconciler.metrics import Meter, of_engine

__all__ = ["Measured"]

# What the server answers where an endpoint breaks.
_BROKEN = 500


class Measured:
    """A route's application: a request counts once its answer begins, or breaks off."""

    def __init__(self, app: ASGIApp, path: str, meter: Meter) -> None:
        self._app = app
        self._path = path
        self._meter = meter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        begun, method = time.perf_counter(), scope["method"]
        answered = False

        def take_down(status: int) -> None:
            nonlocal answered
            answered = True
            self._meter.observe(of_engine.HTTP_DURATION, time.perf_counter() - begun, method)
            self._meter.count(of_engine.HTTP_REQUESTS, method, self._path, str(status))

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                take_down(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception:
            if not answered:
                take_down(_BROKEN)
            raise
