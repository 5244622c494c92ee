"""A Deployments API over HTTP in a process of its own, that keeps who called when.

It answers each call after `--answer-after` seconds and ends each deployment after `--duration`;
`--before` is how many stacks have one already, prod-0 and on. `GET /calls` gives the calls of then
on a monotonic clock that all processes of the machine share, `GET /created` the markers of each
stack's creates.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

from reconciler.api.dialects import Dialect, deployment_to_json, list_to_json
from reconciler.api.types import (
    MARKER_PREFIX,
    Deployment,
    JobStatus,
    Operation,
    ShownVariable,
    StackRef,
    User,
)

__all__ = ["Model"]

_TODAY = Dialect.TODAY


@dataclass
class Record:
    """A deployment that was asked for."""

    id: str
    stack: StackRef
    version: int
    created: datetime
    operation: Operation
    marker: str


@dataclass
class Model:
    """The API's state, and its answers."""

    duration: timedelta
    stacks: dict[StackRef, list[Record]] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)
    calls: list[tuple[int, str, str]] = field(default_factory=list)
    ids: Iterable[int] = field(default_factory=itertools.count)

    def answer(self, method: str, target: str, body: bytes) -> tuple[HTTPStatus, object]:
        """Return the code and the JSON of an answer."""
        url = urlsplit(target)
        parts = url.path.strip("/").split("/")
        if parts == ["calls"]:
            return HTTPStatus.OK, self.calls
        if parts == ["created"]:
            return HTTPStatus.OK, self._created()
        self.calls.append((time.monotonic_ns(), method, target))
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        if parts[1] == "orgs":
            return HTTPStatus.OK, self._page(self.records, query)
        stack, rest = StackRef(*parts[2:5]), parts[6:]
        if method == "POST" and not rest:
            return HTTPStatus.ACCEPTED, self._create(stack, json.loads(body))
        records = self.stacks.get(stack, [])
        match rest:
            case []:
                return HTTPStatus.OK, self._page(records, query)
            case ["version", version]:
                found = [r for r in records if r.version == int(version)]
            case [one]:
                found = [r for r in records if r.id == one]
            case _:
                return HTTPStatus.OK, {"lines": []}
        if not found:
            return HTTPStatus.NOT_FOUND, {"code": 404, "message": "not found"}
        return HTTPStatus.OK, deployment_to_json(self._shown(found[0]), _TODAY)

    def _created(self) -> dict[str, list[str]]:
        found = {str(s): [r.marker for r in rs if r.marker] for s, rs in self.stacks.items()}
        return {stack: markers for stack, markers in found.items() if markers}

    def have(self, count: int) -> None:
        """Let so many stacks have been deployed once, by somebody; each has ended by now."""
        begun = datetime.now(UTC) - self.duration
        for number in range(count):
            stack = StackRef("acme", "web", f"prod-{number}")
            record = Record(f"before-{number}", stack, 1, begun, Operation.UPDATE, "")
            self.stacks[stack] = [record]
            self.records.append(record)

    def _create(self, stack: StackRef, body: dict[str, Any]) -> object:
        records = self.stacks.setdefault(stack, [])
        variables = body["operationContext"]["environmentVariables"]
        record = Record(
            id=f"id-{next(iter(self.ids))}",
            stack=stack,
            version=len(records) + 1,
            created=datetime.now(UTC),
            operation=Operation(
                str(body.get("operation") or body["operationContext"]["operation"])
            ),
            marker=next(name for name in variables if name.startswith(MARKER_PREFIX)),
        )
        records.append(record)
        self.records.append(record)
        return {"id": record.id, "version": record.version, "consoleUrl": ""}

    def _page(self, records: list[Record], query: dict[str, str]) -> object:
        size, page = int(query["pageSize"]), int(query["page"])
        end = max(len(records) - (page - 1) * size, 0)
        newest = records[max(end - size, 0) : end][::-1]
        return list_to_json([self._shown(r) for r in newest], _TODAY, size, len(records))

    def _shown(self, record: Record) -> Deployment:
        ends = record.created + self.duration
        ended = datetime.now(UTC) >= ends
        return Deployment(
            id=record.id,
            version=record.version,
            status=JobStatus.SUCCEEDED if ended else JobStatus.RUNNING,
            created=record.created,
            modified=ends if ended else record.created,
            requested_by=User(name="ada"),
            operation=record.operation,
            stack=record.stack,
            environment=(ShownVariable(name=record.marker, value="1"),),
        )


async def serve(model: Model, answer_after_s: float, ready: Callable[[int], None]) -> None:
    """Answer on a port of loopback, which `ready` is told."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                method, target, _ = head.split(" ", 2)
                headers = dict(line.lower().split(": ", 1) for line in head.splitlines()[1:-1])
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                code, found = model.answer(method, target, body)
                await asyncio.sleep(answer_after_s)
                content = json.dumps(found).encode()
                length = f"Content-Length: {len(content)}\r\nContent-Type: application/json"
                writer.write(f"HTTP/1.1 {code} {code.phrase}\r\n{length}\r\n\r\n".encode())
                writer.write(content)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, backlog=1024)
    ready(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def main() -> None:
    """Serve until stopped; the port is the first line that is printed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--answer-after", type=float, default=0.0)
    parser.add_argument("--duration", type=float, default=2.0)
    parser.add_argument("--before", type=int, default=0)
    options = parser.parse_args()
    model = Model(duration=timedelta(seconds=options.duration))
    model.have(options.before)
    asyncio.run(serve(model, options.answer_after, lambda port: print(port, flush=True)))


if __name__ == "__main__":
    main()
