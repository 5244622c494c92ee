"""A deployment's log as server-sent events: while it is written, from where one was, to its end."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from reconciler.engine import server
from reconciler.engine.config import EngineConfig, HttpLimits
from reconciler.engine.server import Engine
from reconciler.engine.tokens import Caller, Role
from tests.engine.harness import LIMIT_S, Api, Gate
from tests.postgres.cluster import Cluster
from tests.postgres_server import PostgresServer
from tests.waiting import eventually

pytestmark = pytest.mark.real

ADMIN = Caller(organization="acme", user="ann", email="", role=Role.ADMIN)


@dataclass(frozen=True)
class Event:
    name: str
    id: str
    data: dict[str, Any]

    @property
    def text(self) -> str:
        """The event as `Api.log` shows it."""
        return f"# {self.data['header']}" if "header" in self.data else self.data["line"]


class Follower:
    """Reads a stream in a thread of its own."""

    def __init__(self, api: Api, stack: str, deployment_id: str, after: str = "") -> None:
        path = f"{api.speaking('today').path(stack)}/{deployment_id}/logs/stream"
        headers = {"Last-Event-ID": after} if after else {}
        self.answer = api.session.get(api.url + path, headers=headers, stream=True, timeout=LIMIT_S)
        self.events: list[Event] = []
        self.comments = 0
        self.over = threading.Event()
        self._thread = threading.Thread(target=self._read)
        if self.answer.ok:
            self._thread.start()

    def _read(self) -> None:
        fields: dict[str, str] = {}
        with contextlib.suppress(requests.RequestException, AttributeError, ValueError):
            for line in self.answer.iter_lines(chunk_size=None, decode_unicode=True):
                if line.startswith(":"):
                    self.comments += 1
                elif line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                elif fields:
                    data = json.loads(fields["data"])
                    found = Event(fields.get("event", ""), fields.get("id", ""), data)
                    self.events.append(found)
                    fields = {}
        self.over.set()

    @property
    def lines(self) -> list[str]:
        return [event.text for event in self.events if not event.name]

    def saw(self, text: str) -> None:
        """Wait until a line has come."""
        eventually(lambda: any(text in line for line in self.lines), f"{text!r} comes")

    def ended(self) -> Event:
        """Wait for the end of the stream, and return its last event."""
        assert self.over.wait(LIMIT_S), self.events[-3:]
        return self.events[-1]

    def close(self) -> None:
        """Hang up."""
        with contextlib.suppress(OSError, AttributeError):
            raw: Any = self.answer.raw
            raw._connection.sock.shutdown(socket.SHUT_RDWR)
        if self.answer.ok:
            self._thread.join(LIMIT_S)
        self.answer.close()


@pytest.fixture
def follow() -> Iterator[Callable[..., Follower]]:
    """Follows logs; all are hung up at the end."""
    with contextlib.ExitStack() as stack:

        def begin(*arguments: Any, **named: Any) -> Follower:
            follower = Follower(*arguments, **named)
            stack.callback(follower.close)
            return follower

        yield begin


@pytest.fixture(scope="module")
def waiting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Engine, str]]:
    """An engine that starts nothing and gives few streams, and a deployment that waits."""
    limits = HttpLimits(streams=6, streams_per_token=2)
    config = EngineConfig(data=tmp_path_factory.mktemp("waiting"), port=0, workers=0, http=limits)
    with server.running(config) as engine:
        api = Api(engine.url, engine.tokens.create(ADMIN, None))
        source = {"repoURL": "https://example.com/r.git", "branch": "main"}
        made = api.post(api.path("acme/web/dev"), api.body(source)).json()
        yield engine, made["id"]


def caller(engine: Engine, expires: timedelta | None = None) -> Api:
    return Api(engine.url, engine.tokens.create(ADMIN, expires))


def test_lines_come_while_it_runs_and_each_once(
    api: Api,
    gate: Gate,
    stack: str,
    repository: Path,
    follow: Callable[..., Follower],
) -> None:
    """What a deployment prints comes while it runs; from any event's id on, the rest comes once."""
    commands = [f"seq -f 'line %g' 3; {gate.waits('streamed')}; seq -f 'more %g' 2100"]
    made = api.create(stack, repository, preRunCommands=commands)["id"]
    first = follow(api, stack, made)
    assert first.answer.headers["Content-Type"].startswith("text/event-stream")
    assert first.answer.headers["Cache-Control"] == "no-store"
    first.saw("line 3")
    gate.begun("streamed")
    # One that hangs up in the middle, and comes again.
    half = follow(api, stack, made)
    half.saw("line 2")
    half.close()
    seen = [event for event in half.events if not event.name]
    again = follow(api, stack, made, after=seen[-1].id)
    gate.open("streamed")
    api.ended(stack, made)
    whole = api.log(stack, made)
    assert len(whole) > 2100
    assert (first.ended().name, first.lines) == ("end", whole)
    assert again.ended().name == "end"
    assert [event.text for event in seen] + again.lines == whole
    # From every place where a part, a step or a page ends or begins, and some in between.
    ids = [event.id for event in first.events if event.id]
    headers = [at for at, line in enumerate(whole) if line.startswith("# ")]
    places = {at + near for at in (*headers, 999, 1999, len(ids) - 1) for near in (-1, 0, 1)}
    for place in sorted(places & set(range(len(ids)))):
        late = follow(api, stack, made, after=ids[place])
        assert late.ended().name == "end"
        assert late.lines == whole[place + 1 :], place
        late.close()


def test_an_id_is_a_token_of_the_log(
    api: Api, stack: str, repository: Path, follow: Callable[..., Follower]
) -> None:
    """The pages of the log go on from an event's id, and the stream from a page's token."""
    made = api.create(stack, repository, operation="preview")["id"]
    api.ended(stack, made)
    follower = follow(api, stack, made)
    assert follower.ended().name == "end"
    path = f"{api.path(stack)}/{made}/logs"
    for number, event in enumerate(follower.events[:-1], start=1):
        page = api.get(path, nextToken=event.id)
        assert [line.get("line") for line in page["lines"]] == [
            later.data.get("line") for later in follower.events[number:-1]
        ]
    assert api.refused(f"{api.speaking('today').path(stack)}/{made}x/logs/stream")[0] == 404
    for wrong in ("0.9999.1", "nonsense", "-1"):
        refused = follow(api, stack, made, after=wrong)
        assert refused.answer.status_code == 400
    head = api.session.head(
        f"{api.url}{api.speaking('today').path(stack)}/{made}/logs/stream", timeout=LIMIT_S
    )
    assert head.status_code == 200


def test_a_token_that_is_revoked_or_expires_ends_its_streams(
    waiting: tuple[Engine, str], follow: Callable[..., Follower]
) -> None:
    """Within 5 s a stream says 401 and ends; one of another token goes on."""
    engine, made = waiting
    short = follow(caller(engine, timedelta(seconds=3)), "acme/web/dev", made)
    began = time.monotonic()
    other = follow(caller(engine), "acme/web/dev", made)
    api = caller(engine)
    token = api.post("/api/user/tokens", {"description": "to be revoked"}).json()
    revoked = follow(Api(engine.url, token["tokenValue"]), "acme/web/dev", made)
    assert revoked.answer.status_code == 200
    gone = api.session.delete(f"{engine.url}/api/user/tokens/{token['id']}", timeout=LIMIT_S)
    assert gone.status_code == 204
    at = time.monotonic()
    assert revoked.ended().data["code"] == 401
    assert time.monotonic() - at < 5
    assert short.ended().name == "closed"
    assert short.ended().data["code"] == 401
    assert time.monotonic() - began < 3 + 5
    assert not other.over.is_set()
    other.close()


def test_there_are_only_so_many_streams(
    waiting: tuple[Engine, str], follow: Callable[..., Follower]
) -> None:
    """A token has so many and an organization; who hangs up makes room for the next."""
    engine, made = waiting
    where = ("acme/web/dev", made)
    ann, bob, eve = (caller(engine) for _ in range(3))

    def let_in(api: Api) -> Follower:
        found: list[Follower] = []

        def try_it() -> bool:
            found.append(follow(api, *where))
            return found[-1].answer.status_code == 200

        eventually(try_it, "there is room")
        return found[-1]

    held = [let_in(ann), let_in(ann)]
    refused = follow(ann, *where).answer
    assert refused.status_code == 429
    assert "2 streams" in refused.json()["message"]
    assert int(refused.headers["Retry-After"]) > 0
    held.append(let_in(bob))
    refused = follow(eve, *where).answer
    assert refused.status_code == 429
    assert "acme has 3 streams" in refused.json()["message"]
    # A stream that is none takes no place, and calls of other kinds are answered.
    assert follow(eve, "acme/web/dev", "nothing").answer.status_code in {404, 429}
    assert eve.deployment(*where)["status"] == "not-started"
    held[0].close()
    held.append(let_in(eve))
    for follower in held:
        follower.close()


def test_an_engine_that_ends_ends_its_streams(
    tmp_path: Path, follow: Callable[..., Follower]
) -> None:
    """The end of an engine is told to those who follow, and not held up by them."""
    with server.running(EngineConfig(data=tmp_path / "data", port=0, workers=0)) as engine:
        api = caller(engine)
        source = {"repoURL": "https://example.com/r.git", "branch": "main"}
        made = api.post(api.path("acme/web/dev"), api.body(source)).json()["id"]
        followers = [follow(api, "acme/web/dev", made) for _ in range(3)]
    for follower in followers:
        assert follower.ended().name == "closed"
        assert follower.ended().data["code"] == 503


def test_a_log_of_another_process(
    tmp_path: Path,
    postgres: PostgresServer,
    repository: Path,
    follow: Callable[..., Follower],
) -> None:
    """With a shared database a server streams what a worker prints, while it prints it."""
    (tmp_path / "gate").mkdir()
    gate = Gate(tmp_path / "gate")
    cluster = Cluster(tmp_path, postgres.make_database())
    try:
        api = cluster.api()
        cluster.worker()
        commands = [f"echo begun; {gate.waits('far')}; echo done"]
        stack = "acme/web/far"
        made = api.create(stack, repository, preRunCommands=commands)["id"]
        follower = follow(api, stack, made)
        follower.saw("begun")
        gate.open("far")
        assert follower.ended().name == "end"
        assert follower.lines == api.log(stack, made)
    finally:
        cluster.stop()
