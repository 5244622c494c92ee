"""The client against real sockets: what goes out, how often, and what ends it."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from reconciler.api import client as module
from reconciler.api.client import ApiClient, check_url
from reconciler.api.dialects import Dialect
from reconciler.api.types import Created, DeploymentRequest, GitSource, Secret, StackRef
from reconciler.errors import LostError, RefusedError, UsageError

STACK = StackRef("acme", "web", "dev")
REQUEST: DeploymentRequest[Secret] = DeploymentRequest(
    source=GitSource(repo_url="https://example.com/r.git", branch="main")
)
TOKEN = "the-token"
LIMIT_S = 10.0


@dataclass
class Server:
    """Answers each request on a connection with the next of `answers`, as it is.

    A text is sent; a function is given the connection; None closes it.
    """

    answers: list[bytes | Callable[[socket.socket], None] | None] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    connections: int = 0
    current: socket.socket | None = None
    ended: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            if self.ended.is_set():
                connection.close()
                return
            self.connections += 1
            self.current = connection
            with connection:
                connection.settimeout(LIMIT_S)
                self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        try:
            while request := read_request(connection):
                self.requests.append(request)
                answer = self.answers.pop(0) if self.answers else None
                if answer is None:
                    return
                if not isinstance(answer, bytes):
                    answer(connection)
                    return
                connection.sendall(answer)
        except OSError:
            return  # the client has gone

    def end(self) -> None:
        self.ended.set()
        if self.current is not None:
            with suppress(OSError):  # a client that keeps its connection is not waited for
                self.current.shutdown(socket.SHUT_RDWR)
        with socket.create_connection(self.listener.getsockname()):
            self.thread.join(LIMIT_S)
        self.listener.close()


def read_request(connection: socket.socket) -> str:
    """Return one request, head and body; empty where the client has hung up."""
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = connection.recv(65536)
        if not chunk:
            return ""
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [
        int(line.split(b":")[1])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    ]
    while len(body) < sum(lengths):
        body += connection.recv(65536)
    return (head + b"\r\n\r\n" + body).decode()


def answer(status: int, body: object = None, *headers: str) -> bytes:
    content = b"" if body is None else json.dumps(body).encode()
    head = [f"HTTP/1.1 {status} Words", f"Content-Length: {len(content)}", *headers, "", ""]
    return "\r\n".join(head).encode("latin-1") + content


@pytest.fixture
def server() -> Iterator[Server]:
    served = Server()
    served.thread.start()
    yield served
    served.end()


def client(server: Server, token: str = TOKEN, dialect: Dialect = Dialect.TODAY) -> ApiClient:
    return ApiClient(server.url, lambda: Secret(token), dialect)


# ---------------------------------------------------------------- what goes out


def test_a_create_and_its_answer(server: Server) -> None:
    """One POST with the token and a JSON body; the answer is read."""
    server.answers = [answer(202, {"id": "x", "version": 3, "consoleUrl": "u"})]
    created = client(server).create(STACK, REQUEST)
    assert created == Created(id="x", version=3, console_url="u")
    (request,) = server.requests
    head, _, body = request.partition("\r\n\r\n")
    assert head.startswith("POST /api/stacks/acme/web/dev/deployments HTTP/1.1")
    assert "Authorization: token the-token" in head
    assert json.loads(body)["operation"] == "update"


def test_the_token_is_asked_for_at_each_call(server: Server) -> None:
    """A renewed token is used at once."""
    server.answers = [answer(404), answer(404)]
    tokens = iter(("one", "two"))
    api = ApiClient(server.url, lambda: Secret(next(tokens)))
    for _ in range(2):
        assert api.get(STACK, "x") is None
    assert "token one" in server.requests[0]
    assert "token two" in server.requests[1]
    assert server.connections == 1


def test_netrc_does_not_replace_the_token(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Credentials that the user keeps for the same host are not sent."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login ann password hunter2\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    server.answers = [answer(404)]
    client(server).get(STACK, "x")
    assert "Authorization: token the-token" in server.requests[0]
    assert "Basic" not in server.requests[0]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_not_followed(server: Server, status: int) -> None:
    """Neither the body with its secrets nor the token goes anywhere but where it was sent."""
    server.answers = [answer(status, None, f"Location: {server.url}/elsewhere")]
    with pytest.raises(LostError):
        client(server).create(STACK, REQUEST)
    assert len(server.requests) == 1


def test_an_id_cannot_leave_its_place_in_the_path(server: Server) -> None:
    """Whatever a status file holds as an id, it stays one part of the path."""
    server.answers = [answer(404)]
    assert client(server).get(STACK, "../../x?y#z") is None
    assert server.requests[0].startswith(
        "GET /api/stacks/acme/web/dev/deployments/..%2F..%2Fx%3Fy%23z HTTP/1.1"
    )


@pytest.mark.parametrize("token", ["a\nb", "a\r\nX-Other: 1", "a\u20acb", "a\0b"])
def test_a_token_that_is_none_is_refused_and_not_shown(server: Server, token: str) -> None:
    """A token that no header can hold is not sent, and the error does not show it."""
    with pytest.raises(RefusedError) as refused:
        client(server, token).get(STACK, "x")
    assert refused.value.status == 401
    assert token not in str(refused.value)
    assert refused.value.__context__ is None
    assert server.connections == 0


@pytest.mark.parametrize(
    "url",
    [
        *("http://127.0.0.1:1", "http://127.9.9.9", "http://[::1]:80", "http://localhost:8080/x"),
        *("https://api.example.com", "https://10.0.0.1"),
    ],
)
def test_urls_that_secrets_may_be_sent_to(url: str) -> None:
    """Plain http is for this machine, https for all others."""
    check_url(url)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://api.example.com", "plain http"),
        ("http://10.0.0.1", "plain http"),
        ("http://0.0.0.0", "plain http"),
        ("http://localhost.example.com", "plain http"),
        ("http://127.0.0.1.example.com", "plain http"),
        ("http://2130706433", "plain http"),
        ("https://ann:hunter2@api.example.com", "credentials"),
        ("ftp://x", "no URL"),
        ("api.example.com", "no URL"),
        ("https://", "no URL"),
        ("", "no URL"),
    ],
)
def test_urls_that_secrets_are_not_sent_to(url: str, words: str) -> None:
    """A client of such a URL is not even made, and a password in it is not repeated."""
    with pytest.raises(UsageError, match=words) as error:
        ApiClient(url, lambda: Secret("x"))
    assert "hunter2" not in str(error.value)


# ---------------------------------------------------------------- how often


@pytest.mark.parametrize(
    "given",
    [
        None,
        b"nonsense\r\n\r\n",
        answer(503, {"message": "later"}),
        answer(500),
        b"HTTP/1.1 202 Accepted\r\nContent-Length: 100\r\n\r\n{",
        answer(202, None),
        answer(202, []),
        answer(202, {"version": 1}),
        b"HTTP/1.1 202 Accepted\r\nContent-Length: 7\r\n\r\n<html/>",
        b"HTTP/1.1 202 Accepted\r\nContent-Length: 50000\r\n\r\n" + b"[" * 50000,
        b"HTTP/1.1 202 Accepted\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
    ],
    ids=lambda given: str(given)[:60],
)
def test_a_create_is_sent_once_whatever_comes_back(
    server: Server, given: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No usable answer is a lost one: whoever asked settles it, nothing is sent again."""
    monkeypatch.setattr(module, "CALL_TIMEOUT_S", 0.5)
    server.answers = [given, answer(202, {"id": "second"})]
    with pytest.raises(LostError):
        client(server).create(STACK, REQUEST)
    assert len(server.requests) == 1


def test_a_create_over_a_connection_that_dies_is_sent_once(server: Server) -> None:
    """A connection that is kept open, and is cut when the POST arrives, makes no second POST."""
    server.answers = [answer(404), None, answer(202, {"id": "second"})]
    api = client(server)
    assert api.get(STACK, "x") is None
    with pytest.raises(LostError):
        api.create(STACK, REQUEST)
    assert [r.split()[0] for r in server.requests] == ["GET", "POST"]


def test_nobody_there_is_lost_with_a_short_reason() -> None:
    """The reason is a person's words, without objects and addresses in memory."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(LostError, match="nothing listens there") as lost:
        ApiClient(f"http://127.0.0.1:{port}", lambda: Secret("x")).get(STACK, "x")
    told = f"http://127.0.0.1:{port} did not answer: nothing listens there (connection refused)"
    assert str(lost.value) == told


# ---------------------------------------------------------------- what comes back

DATE = "Date: Mon, 02 Mar 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        (["Retry-After: 7"], 7.0),
        (["Retry-After: 0"], 0.0),
        (["Retry-After: Mon, 02 Mar 2026 12:01:30 GMT", DATE], 90.0),
        (["Retry-After: Mon, 02 Mar 2026 11:00:00 GMT", DATE], 0.0),
        (["Retry-After: Mon, 02 Mar 2026 12:01:30 GMT"], None),
        (["Retry-After: Mon, 02 Mar 2026 12:01:30 -0000", DATE], None),
        (["Retry-After: soon", DATE], None),
        (["Retry-After: -5", DATE], None),
        (["Retry-After: \xb2", DATE], None),
        ([f"Retry-After: {'9' * 400}"], 999999999.0),
        ([], None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after(server: Server, status: int, headers: list[str], wait: float | None) -> None:
    """Seconds or, by the server's own clock, a date; what is neither is as if it were not there."""
    server.answers = [answer(status, {"message": "slow down"}, *headers)]
    with pytest.raises((RefusedError, LostError), match="slow down") as error:
        client(server).get(STACK, "x")
    assert isinstance(error.value, RefusedError) is (status == 429)
    assert getattr(error.value, "retry_after_s", -1) == wait


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"code": 400, "message": "branch:\\n  is   wrong"}', "branch: is wrong"),
        (b'{"message": "\\u001b[31mred\\ud800 \\u009bx"}', "[31mred x"),
        (b"<p>Bad   gateway</p>", "<p>Bad gateway</p>"),
        (b'{"message": 5}', "5"),
        (b"[1]", "Words"),
        (b"", "Words"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"x" * 5000, "x" * 500),
        (b"[" * 50000, "[" * 500),
    ],
    ids=["message", "escapes", "html", "number", "list", "empty", "bytes", "long", "deep"],
)
def test_a_refusal_has_the_servers_words(server: Server, body: bytes, message: str) -> None:
    """Their own words on one line, bounded; where there are none, what the status is called."""
    head = f"HTTP/1.1 400 Words\r\nContent-Length: {len(body)}\r\n\r\n"
    server.answers = [head.encode() + body]
    with pytest.raises(RefusedError) as refused:
        client(server).create(STACK, REQUEST)
    assert (refused.value.status, refused.value.message) == (400, message)


@pytest.mark.parametrize("dialect", Dialect)
def test_what_is_not_there(server: Server, dialect: Dialect) -> None:
    """Unknown is an answer, not an error: None, 0 versions, nothing cancelled."""
    server.answers = [answer(404, {"code": 404, "message": "not found"})] * 4
    api = client(server, dialect=dialect)
    assert api.get(STACK, "x") is None
    assert api.by_version(STACK, 7) is None
    assert api.latest_version(STACK) == 0
    assert api.cancel(STACK, "x") is False
    assert server.requests[3].startswith(f"POST {dialect.stack_path(STACK)}/x/cancel ")


def test_the_parameters_of_logs_in_both_dialects(server: Server) -> None:
    """Each dialect has its own name of the token, and its own first step."""
    page = answer(200, {"lines": [], "nextToken": "0.1.2", "nextOffset": 4})
    server.answers = [page] * 4
    for dialect in (Dialect.TODAY, Dialect.PREVIEW):
        api = client(server, dialect=dialect)
        assert api.logs(STACK, "x", "0.0.1").next_token == "0.1.2"
        assert api.step_logs(STACK, "x", 2, 4).next_offset == 4
    paths = [request.split()[1].partition("?")[2] for request in server.requests]
    assert paths == [
        "continuationToken=0.0.1",
        "job=0&step=2&offset=4&count=499",
        "nextToken=0.0.1",
        "job=0&step=3&offset=4&count=499",
    ]


# ---------------------------------------------------------------- what ends it


def drip(head: bytes, piece: bytes) -> Callable[[socket.socket], None]:
    """Return an answer that never pauses for long, and never ends."""

    def send(connection: socket.socket) -> None:
        pause = threading.Event()
        connection.sendall(head)
        while not pause.wait(0.02):
            connection.sendall(piece)

    return send


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (OK + b"Content-Length: 1000000\r\n\r\n", b" "),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        (OK + b"\r\n", b" "),
        (OK + b"X-Long: ", b"x"),
        (b"", b"H"),
    ],
    ids=["length", "chunked", "to the end", "header", "status"],
)
def test_a_dripping_answer_is_lost_in_time(
    server: Server, head: bytes, piece: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A byte now and then keeps no call alive beyond its limit."""
    monkeypatch.setattr(module, "CALL_TIMEOUT_S", 0.3)
    server.answers = [drip(head, piece)]
    started = time.monotonic()
    with pytest.raises(LostError):
        client(server).get(STACK, "x")
    assert time.monotonic() - started < LIMIT_S / 3


def test_silence_is_lost_in_time(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes the request and says nothing is given up."""
    monkeypatch.setattr(module, "CALL_TIMEOUT_S", 0.3)
    gone = threading.Event()

    def wait(_: socket.socket) -> None:
        gone.wait(LIMIT_S)

    server.answers = [wait]
    started = time.monotonic()
    with pytest.raises(LostError):
        client(server).create(STACK, REQUEST)
    gone.set()
    assert time.monotonic() - started < LIMIT_S / 3
    assert len(server.requests) == 1


@pytest.mark.parametrize("compressed", [False, True])
def test_an_oversize_answer_is_not_read_to_its_end(
    server: Server, monkeypatch: pytest.MonkeyPatch, *, compressed: bool
) -> None:
    """An answer is read up to a limit, by its size after decompression."""
    import gzip  # noqa: PLC0415 - of this test only

    monkeypatch.setattr(module, "LARGEST_ANSWER", 1024 * 1024)
    content = b" " * (4 * 1024 * 1024)
    head = OK
    if compressed:
        content, head = gzip.compress(content), OK + b"Content-Encoding: gzip\r\n"
    server.answers = [head + f"Content-Length: {len(content)}\r\n\r\n".encode() + content]
    with pytest.raises(LostError, match="larger than 1048576 bytes"):
        client(server).get(STACK, "x")


def shown(version: int, status: str = "running") -> dict[str, object]:
    at = "2026-03-02 12:00:00.000"
    return {
        "id": f"d{version}",
        "version": version,
        "status": status,
        "created": at,
        "modified": at,
        "requestedBy": {"name": "ada"},
        "jobs": [],
        "projectName": "web",
        "stackName": "dev",
    }


def test_an_answer_that_is_the_same_again_is_read_once(server: Server) -> None:
    """Of an unchanged list nothing is read anew; a changed one is, and so is an old one again."""
    bodies = [{"deployments": [shown(n, state)]} for n, state in ((1, "running"), (2, "failed"))]
    server.answers = [answer(200, body) for body in (bodies[0], bodies[0], bodies[1], bodies[0])]
    with_lists = client(server)
    first, again, other, back = (with_lists.list_stack(STACK, 10) for _ in range(4))
    assert again is first
    assert [d.version for d in other] == [2]
    assert back == first


def test_the_same_body_of_two_organizations_tells_of_two(server: Server) -> None:
    """The API leaves out the organization, so it is kept beside what was read."""
    body = {"deployments": [shown(1)]}
    server.answers = [answer(200, body), answer(200, body)]
    lists = client(server)
    found = [lists.list_organization(name, 1, 10)[0].stack for name in ("acme", "other")]
    assert found == [StackRef("acme", "web", "dev"), StackRef("other", "web", "dev")]


def test_a_large_answer_is_not_kept(server: Server) -> None:
    """What is kept is bounded: a page larger than that is read each time."""
    many = {"deployments": [shown(n) for n in range(1, 400)]}
    server.answers = [answer(200, many), answer(200, many)]
    lists = client(server)
    first, again = (lists.list_organization("acme", 1, 100) for _ in range(2))
    assert first == again
    assert first is not again


@pytest.mark.parametrize("body", [b"<html>", b"[" * 100_000, b'{"id": 1}', b"[]", b"3"])
def test_what_is_no_deployment_is_lost_each_time(server: Server, body: bytes) -> None:
    """A mistake is not kept: the same body is refused again, and the next good one is read."""
    plain = b"HTTP/1.1 200 OK\r\nContent-Length: " + str(len(body)).encode() + b"\r\n\r\n" + body
    server.answers = [plain, plain, answer(200, shown(1))]
    one = client(server)
    for _ in range(2):
        with pytest.raises(LostError, match="the API"):
            one.get(STACK, "d1")
    found = one.get(STACK, "d1")
    assert found is not None
    assert found.id == "d1"
