"""A log that goes on while a page is open: server-sent events, a batch of lines each."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from reconciler.console.ports import Gate, Source
from reconciler.console.runs import Line, lines_of
from reconciler.console.values import Shown, Viewer
from reconciler.engine.http import sse
from reconciler.engine.http.streams import Batch, StreamAnswer, Streams

__all__ = ["as_data", "find", "stream"]


def as_data(line: Line) -> list[object]:
    """Return a line as the script takes it: time, header, and pieces with their styles."""
    return [line.time, line.header, [[piece.text, piece.style] for piece in line.pieces]]


async def stream(
    request: Request, parts: tuple[Source, Gate, Streams], viewer: Viewer, shown: Shown
) -> Response:
    """Answer with what follows the token in `from`, or what the browser has seen last."""
    source, gate, streams = parts
    token = request.headers.get("last-event-id", "") or request.query_params.get("from", "")
    reader = _Reader(source, gate, viewer, (shown, token))
    key = f"console {viewer.organization}/{viewer.name}/{viewer.role}"
    found = streams.enter(key, reader, viewer.organization)
    try:
        # From here on nothing that comes is missed.
        found.at_end(source.hear(shown, found.wake))
        # What cannot be is refused before there is a stream.
        return StreamAnswer(found, await found.read())
    except BaseException:
        found.end()
        raise


class _Reader:
    """Reads a log from where the page has it."""

    def __init__(
        self, source: Source, gate: Gate, viewer: Viewer, begin: tuple[Shown, str]
    ) -> None:
        self._source = source
        self._gate = gate
        self._viewer = viewer
        self._shown, self._token = begin

    def read(self) -> Batch:
        """Return what came since the last read."""
        part = self._source.log(self._viewer, self._shown, self._token)
        events = []
        if part.lines:
            data = {"lines": [as_data(line) for line in lines_of(part.lines)]}
            events.append(sse.event(data, id=part.token))
        if not part.token:
            events.append(sse.event({}, name="end"))
        self._token = part.token or self._token
        return Batch(chunks=sse.in_chunks(events), last=not part.token, empty=not part.lines)

    def check(self) -> None:
        """Raise AnswerError where the viewer may no longer look."""
        self._gate.still(self._viewer)


async def find(source: Source, viewer: Viewer, name: str, version: int) -> Shown:
    """Look a deployment up, in a thread."""
    return await asyncio.to_thread(source.deployment, viewer, name, version)
