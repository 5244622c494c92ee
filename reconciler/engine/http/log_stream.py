"""The route that streams a deployment's log, as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from reconciler.api.dialects import log_lines_to_json
from reconciler.engine.http import sse
from reconciler.engine.http.document import TEXT, Operation, Parameter
from reconciler.engine.http.reading import caller_of, stack_of
from reconciler.engine.http.streams import Batch, StreamAnswer, Streams
from reconciler.engine.logs import LogPage, tokens_after
from reconciler.engine.service import Service
from reconciler.engine.tokens import Caller

__all__ = ["OPERATIONS", "routes"]

_PATH = "/api/stacks/{organization}/{project}/{stack}/deployments/{deployment}/logs/stream"

OPERATIONS = (
    Operation(
        id="StreamDeploymentLogs",
        method="GET",
        path=_PATH,
        tag="Deployments",
        about="Follow its log, as server-sent events",
        headers=(
            Parameter(
                name="Last-Event-ID",
                schema=TEXT,
                about="the id of the last event that was received, or a nextToken of the log",
            ),
        ),
        answers={200: TEXT},
        media_type="text/event-stream",
    ),
)


def routes(service: Service, streams: Streams) -> list[Route]:
    """Return the route."""
    return [Route(_PATH, _LogStream(service, streams).stream)]


class _LogStream:
    """The endpoint; it waits in the server's loop, and reads in threads."""

    def __init__(self, service: Service, streams: Streams) -> None:
        self._service = service
        self._streams = streams

    async def stream(self, request: Request) -> Response:
        caller, stack = caller_of(request), stack_of(request)
        deployment_id = request.path_params["deployment"]
        reader = _LogReader(
            lambda token: self._service.logs.follow(caller, stack, deployment_id, token),
            lambda: self._service.access.look_again(caller),
            request.headers.get("last-event-id", ""),
        )
        if request.method == "HEAD":
            await asyncio.to_thread(reader.read)
            return Response(media_type="text/event-stream")
        stream = self._streams.enter(_key(caller), reader, caller.organization)
        try:
            # From here on nothing that comes is missed.
            stream.at_end(self._service.logs.hear(deployment_id, stream.wake))
            # What cannot be is refused before there is a stream.
            return StreamAnswer(stream, await stream.read())
        except BaseException:
            stream.end()
            raise


def _key(caller: Caller) -> str:
    return caller.token_id or f"{caller.organization}/{caller.user}"


class _LogReader:
    """Reads a log from where the client has it."""

    def __init__(
        self, follow: Callable[[str], LogPage], check: Callable[[], None], token: str
    ) -> None:
        self._follow = follow
        self._check = check
        self._token = token

    def read(self) -> Batch:
        """Return the events of the next page; AnswerError 400, 404."""
        page = self._follow(self._token)
        events = _events(self._token, page)
        self._token = page.next_token or self._token
        return Batch(
            chunks=sse.in_chunks(events), last=page.next_token is None, empty=not page.lines
        )

    def check(self) -> None:
        """Raise AnswerError where the token is no longer good."""
        self._check()


def _events(token: str, page: LogPage) -> Iterator[bytes]:
    shown = log_lines_to_json(page.lines)
    for line, after in zip(shown, tokens_after(token, page.lines), strict=True):
        yield sse.event(line, id=after)
    if page.next_token is None:
        yield sse.event({}, name="end")
