"""Server-sent events as text, as HTML's standard has them (9.2, "Server-sent events"). Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

__all__ = ["COMMENT", "closed", "event", "in_chunks"]

# What keeps a connection alive and says nothing.
COMMENT = b":\n\n"

# What is handed to the connection at once, but for one event that is longer.
CHUNK_BYTES = 32 * 1024


def event(data: object, *, name: str = "", id: str = "") -> bytes:  # noqa: A002 - the field's name
    """Return one event: its data as JSON, which has no end of line in it."""
    head = f"event: {name}\n" if name else ""
    number = f"id: {id}\n" if id else ""
    return f"{head}{number}data: {json.dumps(data)}\n\n".encode()


def closed(status: int, message: str) -> bytes:
    """Return the event that says why a stream ends though more may come."""
    return event({"code": status, "message": message}, name="closed")


def in_chunks(events: Iterable[bytes]) -> Iterator[bytes]:
    """Yield events together, as many as a chunk holds."""
    chunk = b""
    for each in events:
        if chunk and len(chunk) + len(each) > CHUNK_BYTES:
            yield chunk
            chunk = b""
        chunk += each
    if chunk:
        yield chunk
