from __future__ import annotations

import hashlib
import hmac
import http.client
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from reconciler import bounded_server
from reconciler.adapters import webhook
from reconciler.adapters.webhook import Webhook, read_secrets
from reconciler.errors import UsageError

SECRET = b"0123456789abcdef-canary"
BODY = b'{"repository": {"clone_url": "https://example.com/acme/infra.git"}}'
GITHUB = {"X-Hub-Signature-256": "sha256=" + hmac.new(SECRET, BODY, hashlib.sha256).hexdigest()}
LIMIT_S = 30.0


class Hook:
    """A webhook, what it has heard, and how it answers."""

    def __init__(self) -> None:
        self.heard: list[frozenset[str]] = []
        self.webhook = Webhook("127.0.0.1", 0, (SECRET,), self.heard.append)
        parts = urlsplit(self.webhook.url)
        self.address = (parts.hostname or "", parts.port or 0)

    def send(
        self, headers: dict[str, str], body: bytes = BODY, path: str = "/webhook",
        method: str = "POST",
    ) -> tuple[int, bytes, dict[str, str]]:  # fmt: skip
        connection = http.client.HTTPConnection(*self.address, timeout=LIMIT_S)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read(), dict(answer.getheaders())
        finally:
            connection.close()


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()
    yield made
    made.webhook.close()


def test_signed_events_are_heard(hook: Hook) -> None:
    """GitHub's, Gitea's and GitLab's way to sign are taken; the answer says nothing."""
    digest = GITHUB["X-Hub-Signature-256"].removeprefix("sha256=")
    ways = [GITHUB, {"X-Gitea-Signature": digest}, {"X-Gitlab-Token": SECRET.decode()}]
    for headers in ways:
        status, body, answered = hook.send(headers)
        assert (status, body) == (202, b"")
        assert "python" not in str(answered).lower()
    assert hook.heard == [frozenset({"example.com/acme/infra"})] * 3


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Hub-Signature-256": "sha256=" + "0" * 64},
        {"X-Gitea-Signature": hmac.new(b"other", BODY, hashlib.sha256).hexdigest()},
        {"X-Gitlab-Token": "wrong"},
        {"X-Hub-Signature": GITHUB["X-Hub-Signature-256"]},
    ],
)
def test_who_cannot_sign_learns_nothing(hook: Hook, headers: dict[str, str]) -> None:
    """A wrong signature, or none, is 401 without a word, and does nothing."""
    assert hook.send(headers)[:2] == (401, b"")
    assert hook.send(headers, b"{}")[:2] == (401, b"")
    assert hook.send(GITHUB, BODY + b" ")[:2] == (401, b"")
    assert hook.heard == []


def test_other_requests(hook: Hook) -> None:
    """Only a POST to the one path with a length is taken; odd requests get a bare answer."""
    assert hook.send(GITHUB, path="/")[:2] == (404, b"")
    assert hook.send(GITHUB, path="/webhook/../x")[:2] == (404, b"")
    assert hook.send({}, b"", method="GET")[:2] == (405, b"")
    assert hook.send({}, b"", path="/other", method="DELETE")[:2] == (404, b"")
    assert hook.send({}, b"", method="BREW")[:2] == (501, b"")
    assert hook.send({**GITHUB, "Content-Length": "x"})[0] == 411
    assert hook.send({**GITHUB, "Content-Length": "-1"})[0] == 411
    assert hook.send({**GITHUB, "Content-Length": "1" * 5000})[0] == 413
    assert hook.heard == []


def test_a_large_body_is_not_read(hook: Hook) -> None:
    """More than 1 MiB is refused before a byte of it is read; exactly so much is read."""
    with socket.create_connection(hook.address, timeout=LIMIT_S) as connection:
        connection.sendall(b"POST /webhook HTTP/1.1\r\nContent-Length: 1048577\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.0 413 ")
    body = b" " * ((1 << 20) - len(BODY)) + BODY
    signature = hmac.new(SECRET, body, hashlib.sha256).hexdigest()
    assert hook.send({"X-Gitea-Signature": signature}, body)[0] == 202
    assert len(hook.heard) == 1


def test_slow_connections_hold_nobody_up(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    """With 200 that send nothing, a real event is answered; all of them are cut off in time."""
    slow = [socket.create_connection(hook.address, timeout=LIMIT_S) for _ in range(200)]
    try:
        for connection in slow[:100]:
            connection.sendall(b"POST /webhook HTTP/1.1\r\nContent-Length: 100\r\n\r\n{")
        begun = time.monotonic()
        assert hook.send(GITHUB)[0] == 202
        assert time.monotonic() - begun < bounded_server.LONGEST_CONNECTION_S / 2
        monkeypatch.setattr(bounded_server, "LONGEST_CONNECTION_S", 0.1)
        for connection in slow:
            while connection.recv(1000):
                pass
    finally:
        for connection in slow:
            connection.close()
    assert hook.send(GITHUB)[0] == 202


def test_no_more_connections_than_there_may_be(hook: Hook) -> None:
    """One more than the most is closed at once, and room comes back."""
    hook.webhook._server.most = 2
    slow = [socket.create_connection(hook.address, timeout=LIMIT_S) for _ in range(2)]
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        hook.send(GITHUB)
    for connection in slow:
        connection.close()
    end = time.monotonic() + LIMIT_S
    while True:
        try:
            assert hook.send(GITHUB)[0] == 202
        except (ConnectionError, http.client.HTTPException):
            assert time.monotonic() < end
            threading.Event().wait(0.01)
        else:
            break


def test_bodies_have_a_limit_together(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where bodies that are being read take all the room, another is refused for now."""
    monkeypatch.setattr(webhook, "LARGEST_BODIES", 100)
    assert hook.send(GITHUB)[0] == 202
    with socket.create_connection(hook.address, timeout=LIMIT_S) as connection:
        connection.sendall(b"POST /webhook HTTP/1.1\r\nContent-Length: 90\r\n\r\n{")
        end = time.monotonic() + LIMIT_S
        while (status := hook.send(GITHUB)[0]) == 202:
            assert time.monotonic() < end
        assert status == 503
    while hook.send(GITHUB)[0] == 503:
        assert time.monotonic() < end


def test_many_requests_are_put_off(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sends much, or replays what was signed, is answered 429 from some number on."""
    monkeypatch.setattr(webhook, "PER_SECOND", 0.0)
    monkeypatch.setattr(webhook, "BURST", 20)
    found = [hook.send(GITHUB)[0] for _ in range(30)]
    assert found[-1] == 429
    assert found.count(202) == len(hook.heard)
    assert 15 <= len(hook.heard) <= 25


def test_secrets_are_read_strictly(tmp_path: Path) -> None:
    """A secret that others can read, that is short or not there is refused, and never shown."""
    path = tmp_path / "secret"
    with pytest.raises(UsageError, match="cannot be read"):
        read_secrets(path)
    path.write_bytes(SECRET + b"\n\nsecond-secret-of-ours\r\n")
    path.chmod(0o640)
    with pytest.raises(UsageError, match="can be read by others; `chmod 600` it"):
        read_secrets(path)
    assert read_secrets(path, credential=True) == (SECRET, b"second-secret-of-ours")
    path.chmod(0o600)
    assert read_secrets(path) == (SECRET, b"second-secret-of-ours")
    for content in (b"", b"short", SECRET + b"\nshort"):
        path.write_bytes(content)
        with pytest.raises(UsageError, match="holds no secret for a webhook") as refused:
            read_secrets(path)
        assert "canary" not in str(refused.value)


def test_an_address_that_is_taken(hook: Hook) -> None:
    """A second one at the same address says so."""
    with pytest.raises(UsageError, match="cannot listen"):
        Webhook(*hook.address, (SECRET,), hook.heard.append)
