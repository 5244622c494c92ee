"""Sending: to real servers, over failures, and with an end."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from reconciler.adapters.courier import Courier, NotSentError, Sender, Surroundings
from reconciler.adapters.news_apprise import Apprise
from reconciler.adapters.news_http import GitHub, GitLab, Webhook
from reconciler.adapters.news_texts import LONGEST_BODY, LONGEST_TITLE, WORDS, Texts, mistake_in
from reconciler.adapters.outbox import Outbox
from reconciler.api.types import Secret
from reconciler.clock import Clock, SystemClock
from reconciler.metrics import of_loop
from reconciler.metrics.prometheus import Registry
from reconciler.model import News, NewsKind
from tests.fakes.news import NOW, HurriedClock, Post, Receiver, make_news, receiving
from tests.fakes.scrape import Scrape

SECRET = "canary-of-the-webhook"
DRAIN = timedelta(seconds=60)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


def secret(value: str = SECRET) -> Callable[[], Secret]:
    return lambda: Secret(value)


def webhook(receiver: Receiver) -> Webhook:
    return Webhook(url=f"{receiver.url}/hook", secret=secret())


class Sending:
    """An outbox, and who sends what is in it."""

    def __init__(self, folder: Path, clock: Clock, **senders: Sender) -> None:
        self.outbox = Outbox(folder, clock)
        self.registry = Registry(of_loop.MEASURES, "1.0")
        around = Surroundings(
            outbox=self.outbox, clock=clock, meter=self.registry, jitter=lambda: 0.0
        )
        self.courier = Courier(senders, around)
        self.registry.ask(self.courier.readings)

    def scraped(self) -> Scrape:
        return Scrape(self.registry.text().decode())


@contextmanager
def sending(folder: Path, clock: Clock | None = None, **senders: Sender) -> Iterator[Sending]:
    found = Sending(folder, clock or SystemClock(), **senders)
    found.courier.start()
    try:
        yield found
    finally:
        found.courier.close()


# ---------------------------------------------------------------- webhooks and forges


def test_a_webhook_is_signed_as_pulumi_cloud_signs(tmp_path: Path, receiver: Receiver) -> None:
    """The body is JSON, its HMAC-SHA256 in hexadecimal a header, and its id another."""
    with sending(tmp_path, hook=webhook(receiver)) as it:
        it.outbox.put(make_news(), ("hook",))
        (post,) = receiver.wait(1)
        it.courier.close(DRAIN)
        assert it.outbox.pending() == ()
    expected = hmac.new(SECRET.encode(), post.body, hashlib.sha256).hexdigest()
    assert post.headers["pulumi-webhook-signature"] == expected
    assert post.headers["pulumi-webhook-id"] == make_news().id
    assert post.headers["pulumi-webhook-kind"] == "failed"
    body = json.loads(post.body)
    assert body["organization"] == {"name": "acme"}
    assert (body["projectName"], body["stackName"], body["version"]) == ("web", "prod", 7)
    assert SECRET.encode() not in post.body
    assert "authorization" not in post.headers


@pytest.mark.parametrize(
    ("kind", "github", "gitlab"),
    [
        (NewsKind.FAILED, "failure", "failed"),
        (NewsKind.STALLED, "error", "failed"),
        (NewsKind.APPROVAL, "pending", "pending"),
        (NewsKind.RECOVERED, "success", "success"),
        (NewsKind.SUCCEEDED, "success", "success"),
    ],
)
def test_commit_statuses(receiver: Receiver, kind: NewsKind, github: str, gitlab: str) -> None:
    """A commit's status says how its run ended, in each forge's words and at its address."""
    told = make_news(kind=kind, message="m" * 500)
    more = {"url": receiver.url, "token": secret("t-canary"), "context": "reconciler/$name"}
    GitHub(repository="", **more).send(told)  # type: ignore[arg-type]
    GitLab(repository="group/sub/infra", **more).send(told)  # type: ignore[arg-type]
    ours, theirs = receiver.posts
    assert ours.path == f"/repos/acme/infra/statuses/{'a' * 40}"
    assert theirs.path == f"/projects/group%2Fsub%2Finfra/statuses/{'a' * 40}"
    assert ours.headers["authorization"] == "Bearer t-canary"
    assert theirs.headers["private-token"] == "t-canary"
    bodies: list[dict[str, Any]] = [json.loads(p.body) for p in (ours, theirs)]
    assert [b["state"] for b in bodies] == [github, gitlab]
    assert bodies[0]["context"] == bodies[1]["name"] == "reconciler/team/web"
    assert all(len(b["description"]) <= 140 for b in bodies)
    assert all(b["target_url"].endswith("/deployments/7") for b in bodies)


def test_what_is_about_no_commit_is_no_status(receiver: Receiver) -> None:
    """Drift, and news without a commit or a repository, are none for a forge."""
    forge = GitHub(url=receiver.url, token=secret(), repository="", context="c")
    for told in (
        make_news(kind=NewsKind.DRIFT),
        make_news(commit=""),
        make_news(repository=""),
    ):
        forge.send(told)
    assert receiver.posts == []


def test_errors_tell_no_secret(receiver: Receiver) -> None:
    """Whatever goes wrong, neither a token nor what stands in a URL is in the message."""
    receiver.answer = lambda _: 500
    wrong = [
        GitHub(url=receiver.url, token=secret("t-canary"), repository="a/b", context="c"),
        GitHub(url=receiver.url, token=secret("t-canary\nX: y"), repository="a/b", context="c"),
        Webhook(url="http://127.0.0.1:1/canary", secret=secret("s-canary")),
        Apprise(url=secret("nonsense-canary"), texts=Texts()),
        Apprise(url=secret("json://user:canary@127.0.0.1:1/canary"), texts=Texts()),
    ]
    for sender in wrong:
        with pytest.raises(NotSentError) as caught:
            sender.send(make_news())  # type: ignore[attr-defined]
        assert "canary" not in repr(caught.value)
        assert caught.value.__cause__ is None


def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    """A signed body and a token go where the config says, and nowhere else."""
    receiver.answer = lambda _: 302
    with pytest.raises(NotSentError, match="it was answered 302") as caught:
        webhook(receiver).send(make_news())
    assert caught.value.final
    assert len(receiver.posts) == 1


# ---------------------------------------------------------------- mail, and all that apprise knows


class Mailbox:
    """An SMTP server, and what it has got."""

    def __init__(self) -> None:
        self.mails: list[Any] = []
        self.came = threading.Event()

    async def handle_DATA(self, _: object, __: object, envelope: Any) -> str:  # noqa: N802
        self.mails.append(message_from_bytes(envelope.content, policy=default))
        self.came.set()
        return "250 OK"


def test_a_mail_by_apprise(tmp_path: Path) -> None:
    """A real mail comes to a real SMTP server, with the host's own texts."""
    mailbox = Mailbox()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    controller = Controller(mailbox, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        url = f"mailto://127.0.0.1:{port}/?from=reconciler@example.com&to=ops@example.com"
        texts = Texts(title="[$state] $name", body="$message $$5 ($stack, $shortCommit)")
        with sending(tmp_path, mail=Apprise(url=secret(url), texts=texts)) as it:
            it.outbox.put(make_news(), ("mail",))
            assert mailbox.came.wait(60)
            it.courier.close(DRAIN)
            assert it.outbox.pending() == ()
    finally:
        controller.stop()
    (mail,) = mailbox.mails
    assert mail["Subject"] == "[Failed] team/web"
    assert "ops@example.com" in mail["To"]
    text = mail.get_body(("plain",)).get_content()
    assert "no such bucket $5 (acme/web/prod, aaaaaaaaaaaa)" in text


def test_texts_are_filled_and_cut() -> None:
    """A template names words; what comes out is bounded, and a title is one line."""
    told = make_news(message="first\nsecond " + "x" * 10_000)
    texts = Texts(title="$message", body="$message")
    assert texts.title_of(told).startswith("first second x")
    assert len(texts.title_of(told)) == LONGEST_TITLE
    assert len(texts.body_of(told)) == LONGEST_BODY
    usual = Texts().body_of(make_news())
    assert usual.startswith("step 'Pulumi operation' failed")
    assert make_news().id in usual


def test_a_value_is_no_template() -> None:
    """What a message holds is never filled in itself."""
    assert Texts(body="$message").body_of(make_news(message="$name ${stack}")) == "$name ${stack}"


@pytest.mark.parametrize(
    ("template", "wrong"),
    [
        ("$name: $kind $$", ""),
        ("${name}", ""),
        ("$what", "names $what; known are $id"),
        ("$name.__class__", ""),
        ("100 $ and more", "holds a $ that begins no word"),
        ("${name.x}", "holds a $ that begins no word"),
    ],
)
def test_a_mistake_in_a_template_is_told(template: str, wrong: str) -> None:
    """Only words are named, and nothing behind them is looked up."""
    assert mistake_in(template).startswith(wrong)
    assert bool(mistake_in(template)) is bool(wrong)
    assert len(WORDS) == 16


# ---------------------------------------------------------------- failures


def test_a_server_that_fails_is_asked_again(tmp_path: Path, receiver: Receiver) -> None:
    """Answers of 500 and 429 and a cut connection cost time, and nothing is lost or doubled."""
    statuses: Iterator[int | None] = iter([500, None, 429])
    receiver.answer = lambda _: next(statuses, 204)
    clock = HurriedClock(100)
    with sending(tmp_path, clock, hook=webhook(receiver)) as it:
        it.outbox.put(make_news(), ("hook",))
        posts = receiver.wait(4)
        it.courier.close(DRAIN)
        assert it.outbox.pending() == ()
        found = it.scraped()
    assert {p.headers["pulumi-webhook-id"] for p in posts} == {make_news().id}
    total = "reconciler_notifications_total"
    assert found.get(total, kind="failed", outcome="sent") == 1
    assert found.get(total, kind="failed", outcome="failed") == 3
    assert found.get("reconciler_notifications_pending") == 0


def test_one_that_fails_holds_up_no_other(tmp_path: Path, receiver: Receiver) -> None:
    """News that a server always refuses with 500 wait, and those behind them are sent."""
    poison = make_news(1).id

    def answer(post: Post) -> int:
        return 500 if post.headers["pulumi-webhook-id"] == poison else 204

    receiver.answer = answer
    clock = HurriedClock(100)
    with sending(tmp_path, clock, hook=webhook(receiver)) as it:
        for number in (1, 2, 3):
            it.outbox.put(make_news(number, at=NOW + timedelta(seconds=number)), ("hook",))
        receiver.wait(4)
        it.courier.close(timedelta(seconds=0.2))
        assert [e.news.id for e in it.outbox.pending()] == [poison]


def test_one_target_holds_up_no_other(tmp_path: Path, receiver: Receiver) -> None:
    """While one server hangs, another one is told."""
    let_go = threading.Event()

    class Hanging:
        def send(self, _: News) -> None:
            assert let_go.wait(60)

    with sending(tmp_path, slow=Hanging(), hook=webhook(receiver)) as it:
        it.outbox.put(make_news(), ("slow", "hook"))
        receiver.wait(1)
        let_go.set()
        it.courier.close(DRAIN)
        assert it.outbox.pending() == ()


def test_what_is_refused_is_given_up_at_once(
    tmp_path: Path, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    """A 404 will be one the next time too: it is told in the log, and not sent again."""
    receiver.answer = lambda _: 404
    with sending(tmp_path, hook=webhook(receiver)) as it:
        it.outbox.put(make_news(), ("hook",))
        it.courier.close(DRAIN)
        assert it.outbox.pending() == ()
        found = it.scraped()
    assert len(receiver.posts) == 1
    assert "for hook is refused, and is given up: it was answered 404" in caplog.text
    assert found.get("reconciler_notifications_total", kind="failed", outcome="given-up") == 1


def test_after_a_day_it_is_given_up_and_told(
    tmp_path: Path, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    """Retries come less and less often, and have an end."""
    receiver.answer = lambda _: 503
    clock = HurriedClock(40_000)
    with sending(tmp_path, clock, hook=webhook(receiver)) as it:
        it.outbox.put(make_news(), ("hook",))
        it.courier.close(DRAIN)
        assert it.outbox.pending() == ()
    assert 5 < len(receiver.posts) < 400
    assert "could not be sent in a day, and is given up: it was answered 503" in caplog.text


def test_what_a_stopped_process_left_is_sent_by_the_next(
    tmp_path: Path, receiver: Receiver
) -> None:
    """Put in without anybody who sends: the next process begins with it."""
    Outbox(tmp_path, SystemClock()).put(make_news(), ("hook",))
    with sending(tmp_path, hook=webhook(receiver)) as it:
        it.courier.close(DRAIN)
        assert it.outbox.pending() == ()
    assert len(receiver.posts) == 1
