"""News of a real daemon: never lost and never told twice, killed at the worst moment too."""

from __future__ import annotations

import hashlib
import hmac
import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.acceptance.conftest import Place, eventually
from tests.fakes.news import Post, receiving

SECRET = "canary-of-the-hook"
CONFIG = """\
notifications:
  hook:
    webhook: {{url: "{url}/hook", secret: {{fromEnv: RECONCILER_SECRET_HOOK}}}}
    events: [failed, stalled, recovered]
"""


@contextmanager
def daemon(place: Place) -> Iterator[subprocess.Popen[bytes]]:
    """Run a daemon that is killed at the end of the block, as a crash would."""
    config = ("--config", str(place.root / "config.yaml"), "--poll-interval", "5s")
    arguments = ("run", "specs", *place.run_arguments(), *config)
    with (place.root / "said").open("ab") as output:
        process = subprocess.Popen(
            place.command(*arguments),
            cwd=place.root,
            env=place.full_environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait(60)


def told(posts: list[Post]) -> Counter[tuple[str, str]]:
    """Count the signed posts by kind and id."""
    found: Counter[tuple[str, str]] = Counter()
    for post in posts:
        expected = hmac.new(SECRET.encode(), post.body, hashlib.sha256).hexdigest()
        assert post.headers["pulumi-webhook-signature"] == expected
        body = json.loads(post.body)
        assert body["id"] == post.headers["pulumi-webhook-id"]
        found[body["kind"], body["id"]] += 1
    return found


def once(place: Place, *more: str, code: int = 0) -> str:
    done = place.reconciler("run", "--once", "specs", *place.run_arguments(), *more)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def pending(place: Place) -> int:
    return len(list(place.data.glob("directories/*/outbox/pending/*.json")))


@pytest.mark.real
def test_killed_between_the_write_and_the_sending(place: Place) -> None:
    """What happened before a kill -9 is told after it, once; what was told is not told again."""
    with receiving() as receiver:
        place.environment["RECONCILER_SECRET_HOOK"] = SECRET
        (place.root / "config.yaml").write_text(CONFIG.format(url=receiver.url))
        place.program(fails="boom")
        place.spec("one", "reconcile: {retry: {limit: 0}}\n")

        receiver.answer = lambda _: None  # it hears, and hangs up: nobody knows whether it came
        with daemon(place):
            eventually(lambda: pending(place) == 2, "a failure and its end wait to be told")
            receiver.wait(1)
        assert pending(place) == 2
        before = told(receiver.posts)
        receiver.posts.clear()

        receiver.answer = lambda _: 204
        with daemon(place):
            eventually(lambda: pending(place) == 0, "both are told")
            first = told(receiver.posts)
            assert sorted(kind for kind, _ in first) == ["failed", "stalled"]
            assert set(before) <= set(first)
            place.program()
            eventually(
                lambda: any(kind == "recovered" for kind, _ in told(receiver.posts)),
                "it is told to be over",
            )
            eventually(lambda: pending(place) == 0, "that is taken down")
        place.spec("one", "reconcile: {retry: {limit: 0}}\nlabels: {team: web}\n")
        done = once(place, "--config", str(place.root / "config.yaml"))
        every = told(receiver.posts)
    assert sorted(kind for kind, _ in every) == ["failed", "recovered", "stalled"]
    assert set(every.values()) == {1}
    assert SECRET not in done + (place.root / "said").read_text()


@pytest.mark.real
def test_a_run_once_tells_before_it_ends(place: Place) -> None:
    """`run --once` waits for what it has to tell; a command by hand does too."""
    with receiving() as receiver:
        place.environment["RECONCILER_SECRET_HOOK"] = SECRET
        (place.root / "config.yaml").write_text(CONFIG.format(url=receiver.url))
        place.program(fails="boom")
        place.spec("one", "reconcile: {retry: {limit: 0}}\n")
        config = ("--config", str(place.root / "config.yaml"))
        once(place, *config, code=1)
        assert sorted(kind for kind, _ in told(receiver.posts)) == ["failed", "stalled"]
        place.program()
        place.by_hand("trigger", "one", *config)
        kinds = sorted(kind for kind, _ in told(receiver.posts))
        assert kinds == ["failed", "recovered", "stalled"]
