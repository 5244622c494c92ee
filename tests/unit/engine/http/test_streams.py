from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from reconciler.engine.config import HttpLimits
from reconciler.engine.http import sse, streams
from reconciler.engine.http.streams import Batch, StreamAnswer, Streams
from reconciler.engine.service import AnswerError
from reconciler.errors import NotDurableError

# What is waited for here happens at once; the limit is for a machine under load.
LIMIT_S = 30.0


class Pages:
    """Gives these batches, one a read, then empty ones; `good` says whether its caller is."""

    def __init__(self, *batches: Batch | Exception) -> None:
        self._batches = list(batches)
        self.reads = 0
        self.good = True

    def read(self) -> Batch:
        self.reads += 1
        if not self._batches:
            return batch()
        found = self._batches.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    def check(self) -> None:
        if not self.good:
            raise AnswerError(401, "revoked")


def batch(*chunks: bytes, last: bool = False) -> Batch:
    return Batch(chunks=iter(chunks), last=last, empty=not chunks)


class Client:
    """One that takes what it is sent while it is `free`, and hangs up when told to."""

    def __init__(self) -> None:
        self.got = b""
        self.free = asyncio.Event()
        self.free.set()
        self.gone = asyncio.Event()
        self._more = asyncio.Condition()

    async def send(self, message: Any) -> None:
        await self.free.wait()
        async with self._more:
            self.got += message.get("body", b"")
            self._more.notify_all()

    async def took(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(LIMIT_S), self._more:
            await self._more.wait_for(condition)

    async def receive(self) -> Any:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def takes(self, answer: StreamAnswer) -> None:
        async with asyncio.timeout(LIMIT_S):
            await answer({"type": "http"}, self.receive, self.send)


async def begin(all_of_them: Streams, pages: Pages) -> StreamAnswer:
    stream = all_of_them.enter("t", pages)
    return StreamAnswer(stream, await stream.read())


def test_a_signal_of_another_thread_wakes_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that waits reads when it is woken, and nothing without that."""
    monkeypatch.setattr(streams, "LOOK_EVERY_S", LIMIT_S)

    async def run() -> None:
        pages, client = Pages(batch(), batch(b"a"), batch(b"b", last=True)), Client()
        stream = Streams(HttpLimits()).enter("t", pages)
        ended: list[str] = []
        stream.at_end(lambda: ended.append("heard"))
        taking = asyncio.create_task(client.takes(StreamAnswer(stream, await stream.read())))
        waking = threading.Thread(target=stream.wake)
        waking.start()
        await taking
        waking.join()
        assert client.got == b"ab"
        assert ended == ["heard"]

    asyncio.run(run())


def test_a_stream_looks_by_itself_and_gives_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a signal a stream reads now and then, and what is silent sends comments."""
    monkeypatch.setattr(streams, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(streams, "HEARTBEAT_S", 0.02)

    async def run() -> None:
        pages, client, all_of_them = Pages(), Client(), Streams(HttpLimits(streams=1))
        taking = asyncio.create_task(client.takes(await begin(all_of_them, pages)))
        await client.took(lambda: client.got.count(sse.COMMENT) > 2 and pages.reads > 3)
        client.gone.set()
        await taking
        # The place is free again.
        await begin(all_of_them, pages)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (AnswerError(404, "forgotten"), 404),
        (NotDurableError("canary"), 503),
        (ValueError("canary"), 500),
    ],
)
def test_a_fault_is_the_last_word(fault: Exception, status: int) -> None:
    """What cannot be read ends a stream with its status, and without what a log is to say."""

    async def run() -> None:
        client = Client()
        await client.takes(await begin(Streams(HttpLimits()), Pages(batch(b"a"), fault)))
        assert client.got.startswith(b'aevent: closed\ndata: {"code": %d' % status)
        assert b"canary" not in client.got

    asyncio.run(run())


@pytest.mark.parametrize("why", ["revoked", "slow", "closed"])
def test_who_takes_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    """A client that is stuck holds no stream: not after a while, a revocation, or the end."""
    monkeypatch.setattr(streams, "CHECK_EVERY_S", 0.02 if why == "revoked" else LIMIT_S)
    monkeypatch.setattr(streams, "LAST_WORD_S", 0.02)
    monkeypatch.setattr(streams, "SLOW_S", 0.05 if why == "slow" else LIMIT_S)

    async def run() -> None:
        pages, client = Pages(batch(b"a"), batch(b"b", b"c")), Client()
        all_of_them = Streams(HttpLimits(streams=1))
        client.free.clear()
        taking = asyncio.create_task(client.takes(await begin(all_of_them, pages)))
        if why == "closed":
            await asyncio.sleep(0)
            all_of_them.close()
        pages.good = why != "revoked"
        await taking
        assert client.got == b""
        if why != "closed":
            await begin(all_of_them, pages)

    asyncio.run(run())


def test_one_organization_leaves_places_to_others() -> None:
    """However many tokens it has, it takes no more than half of all; what it gives back counts."""

    async def run() -> None:
        all_of_them = Streams(HttpLimits(streams=6))
        made = [all_of_them.enter(f"t{n}", Pages(), "acme") for n in range(3)]
        with pytest.raises(AnswerError, match="acme has 3 streams") as refused:
            all_of_them.enter("t9", Pages(), "acme")
        assert refused.value.status == 429
        others = [all_of_them.enter(f"o{n}", Pages(), "other") for n in range(3)]
        made[0].end()
        made[0] = all_of_them.enter("t9", Pages(), "acme")
        with pytest.raises(AnswerError, match="there are 6 streams") as refused:
            all_of_them.enter("x", Pages(), "third")
        assert refused.value.status == 503
        for stream in (*made, *others):
            stream.end()

    asyncio.run(run())


def test_nothing_begins_while_the_server_ends() -> None:
    """A stream that is asked for while the others end is refused with 503."""
    all_of_them = Streams(HttpLimits())
    all_of_them.close()
    with pytest.raises(AnswerError) as refused:
        all_of_them.enter("t", Pages())
    assert refused.value.status == 503


def test_events_are_bounded_together_and_hold_any_text() -> None:
    """No text ends an event early, and a chunk is one long event or many short ones."""
    one = sse.event({"line": "a\r\n\ndata: x\u2028"}, id="0.1.2", name="n")
    assert one == b'event: n\nid: 0.1.2\ndata: {"line": "a\\r\\n\\ndata: x\\u2028"}\n\n'
    events = [b"x" * 1000] * 100 + [b"y" * 100_000] + [b"z"]
    chunks = list(sse.in_chunks(events))
    assert b"".join(chunks) == b"".join(events)
    assert max(len(c) for c in chunks if b"y" not in c) <= sse.CHUNK_BYTES
    assert len(chunks) < 8
