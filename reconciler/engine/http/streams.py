"""Answers that go on: how many there may be, what wakes one, and what ends it. No thread waits.

A stream reads when something happened, and by itself now and then. It ends when there is nothing
more to come, when its token is no longer good, when its client takes nothing, and with the
server. All of this is for the thread of the server's loop, but for `Stream.wake`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from reconciler.engine.config import HttpLimits
from reconciler.engine.http.sse import COMMENT, closed
from reconciler.engine.service import AnswerError
from reconciler.errors import ReconcilerError

__all__ = ["Batch", "Reader", "Stream", "StreamAnswer", "Streams"]

_log = logging.getLogger(__name__)

# A proxy that closes what is silent does so after half a minute or later.
HEARTBEAT_S = 15.0

# What is read when no signal came: one may be lost with a connection to the database.
LOOK_EVERY_S = 5.0

# Lines that come one by one are read together.
PACE_S = 0.1

# A token that was revoked ends its streams after both of them, at the latest.
CHECK_EVERY_S = 2.0
LAST_WORD_S = 1.0

# A client that takes nothing for so long is given up.
SLOW_S = 30.0

RETRY_AFTER_S = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one read found, in bounded chunks; `last`: nothing comes after it."""

    chunks: Iterator[bytes]
    last: bool
    empty: bool


class Reader(Protocol):
    """Reads what a stream gives; each method is called in a thread."""

    def read(self) -> Batch:
        """Return what came since the last read; ReconcilerError."""

    def check(self) -> None:
        """Raise AnswerError when the caller may not go on reading."""


class Streams:
    """The streams of one server."""

    def __init__(self, limits: HttpLimits) -> None:
        self._limits = limits
        self._open: set[Stream] = set()
        # Of tokens and of organizations, whose names are no token's id.
        self._of: Counter[str] = Counter()
        self._closing = False

    def enter(self, token_id: str, reader: Reader, organization: str = "") -> Stream:
        """Take a place for a stream, until its `end`; AnswerError 429, 503 where there is none.

        One organization takes no more than half of all, however many tokens it has.
        """
        if self._closing:
            raise AnswerError(503, "the engine ends; ask again", RETRY_AFTER_S)
        of_token, in_all = self._limits.streams_per_token, self._limits.streams
        if self._of[token_id] >= of_token:
            message = f"this token has {of_token} streams, which is the most; end one of them"
            raise AnswerError(429, message, RETRY_AFTER_S)
        of_organization, owners = max(1, in_all // 2), (token_id, f"{organization}/")
        if self._of[owners[1]] >= of_organization:
            message = f"{organization} has {of_organization} streams, the most of one organization"
            raise AnswerError(429, message, RETRY_AFTER_S)
        if len(self._open) >= in_all:
            message = f"there are {in_all} streams, which is the most; try again, or ask for /logs"
            raise AnswerError(503, message, RETRY_AFTER_S)
        stream = Stream(reader, lambda: self._leave(owners, stream))
        self._open.add(stream)
        self._of.update(owners)
        return stream

    def close(self) -> None:
        """End all of them: the server ends."""
        self._closing = True
        for stream in self._open:
            stream.stop(AnswerError(503, "the engine ends; go on by Last-Event-ID"))

    def _leave(self, owners: tuple[str, ...], stream: Stream) -> None:
        self._open.discard(stream)
        self._of.subtract(owners)
        for owner in owners:
            if not self._of[owner]:
                del self._of[owner]


class Stream:
    """One stream, from before its first read to its end."""

    def __init__(self, reader: Reader, leave: Callable[[], None]) -> None:
        self._reader = reader
        self._leaving = [leave]
        self._loop = asyncio.get_running_loop()
        self._woken = asyncio.Event()
        self._stopped = asyncio.Event()
        self._reason = AnswerError(500, "")

    def at_end(self, do: Callable[[], None]) -> None:
        """Have something done when the stream ends."""
        self._leaving.append(do)

    def wake(self) -> None:
        """Have the stream read: there may be something new. From any thread."""
        # Set means: a read is still to come, and it will find what this is about.
        if not self._woken.is_set():
            self._loop.call_soon_threadsafe(self._woken.set)

    def stop(self, reason: AnswerError) -> None:
        """Have the stream tell why it ends, and end."""
        if not self._stopped.is_set():
            self._reason = reason
            self._stopped.set()
            self._woken.set()

    def end(self) -> None:
        """Give the place back."""
        while self._leaving:
            self._leaving.pop()()

    async def read(self) -> Batch:
        """Read what is new."""
        # The loop's own few threads: calls that wait for an answer have others.
        return await asyncio.to_thread(self._reader.read)

    async def chunks(self, first: Batch) -> AsyncIterator[bytes]:
        """Give all that comes, from a first batch on, and why it ends where it has to."""
        batch, given_s = first, self._loop.time()
        try:
            while not self._stopped.is_set():
                for chunk in batch.chunks:
                    yield chunk
                    given_s = self._loop.time()
                    if self._stopped.is_set():
                        break
                else:
                    if batch.last:
                        return
                    await self._wait(batch)
                    if self._loop.time() - given_s >= HEARTBEAT_S:
                        yield COMMENT
                        given_s = self._loop.time()
                    self._woken.clear()
                    if not self._stopped.is_set():
                        batch = await self.read()
        except AnswerError as error:
            self.stop(error)
        except ReconcilerError as error:
            _log.error("a stream ends: %s", error)
            self.stop(AnswerError(503, "the engine's database cannot be read; try again later"))
        except Exception:  # noqa: BLE001 - its client is told, as of every fault
            _log.exception("a stream broke")
            self.stop(AnswerError(500, "the engine has a fault; its log says which"))
        yield closed(self._reason.status, self._reason.message)

    async def watch(self) -> None:
        """Return when the stream is to be cut off: it was stopped, and did not end by itself."""
        while not self._stopped.is_set():
            if await _within(self._stopped, CHECK_EVERY_S):
                break
            try:
                # Not behind the reads of other streams.
                await run_in_threadpool(self._reader.check)
            except AnswerError as error:
                self.stop(error)
            except ReconcilerError as error:
                _log.error("whether a stream may go on cannot be said: %s", error)
                self.stop(AnswerError(503, "the engine's database cannot be read; try again later"))
        await asyncio.sleep(LAST_WORD_S)

    async def _wait(self, batch: Batch) -> None:
        """Wait for something new, for as long as is good without looking."""
        if batch.empty:
            await _within(self._woken, LOOK_EVERY_S)
        else:
            # There may be more already: a batch is bounded.
            await _within(self._stopped, PACE_S)


async def _within(event: asyncio.Event, limit_s: float) -> bool:
    """Wait for an event; whether it came in time."""
    try:
        await asyncio.wait_for(event.wait(), limit_s)
    except TimeoutError:
        return False
    return True


class StreamAnswer(StreamingResponse):
    """Sends a stream, and gives its place back whatever becomes of it."""

    def __init__(self, stream: Stream, first: Batch) -> None:
        super().__init__(stream.chunks(first), media_type="text/event-stream")
        # A proxy that collects answers before it passes them on is told not to.
        self.headers["X-Accel-Buffering"] = "no"
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it all."""

        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(SLOW_S):
                await send(message)

        sending = asyncio.create_task(super().__call__(scope, receive, send_in_time))
        watching = asyncio.create_task(self._stream.watch())
        try:
            await asyncio.wait({sending, watching}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, watching):
                task.cancel()
            await asyncio.gather(sending, watching, return_exceptions=True)
            self._stream.end()
