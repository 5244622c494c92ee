"""Traces: of a pass, to a receiver of their own protocol, and at no cost when nobody asks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from reconciler.errors import UsageError
from reconciler.pool import Pool
from reconciler.traces import NO_SPAN, OFF
from reconciler.traces.traced import traced
from tests.factories import spec
from tests.fakes.news import Receiver, receiving
from tests.fakes.spans import spans
from tests.fakes.world import World


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        found.answer = lambda _: 200
        yield found


def test_a_pass_is_a_trace(receiver: Receiver) -> None:
    """What is looked at, carried out and called is part of the pass, with the spec's name."""
    with traced(receiver.url, "reconciler") as tracer:
        it = World(specs={"web": spec("web")}, tracer=tracer)
        it.run_once()
    found = spans(receiver.posts)
    by_id = {span.id: span for span in found}
    assert {span.service for span in found} == {"reconciler"}
    assert {s.name for s in found} == {"pass", "look", "carry out", "API GET", "API POST"}
    create = next(s for s in found if s.name == "API POST")
    assert create.attributes["status"] == 202
    assert create.attributes["path"].endswith("/deployments")
    act = by_id[create.parent]
    assert (act.name, act.attributes["spec"]) == ("carry out", "web")
    whole = by_id[act.parent]
    assert (whole.name, whole.parent, whole.attributes["names"]) == ("pass", b"", 1)
    assert whole.took_ns >= act.took_ns >= create.took_ns
    roots = {s.name for s in found if not s.parent}
    assert roots == {"pass"}


def test_what_a_pool_does_is_part_of_its_caller(receiver: Receiver) -> None:
    """Spans of many threads are below the one that is around the call."""
    with traced(receiver.url, "reconciler") as tracer:

        def work(number: int) -> int:
            with tracer.span("work", {"number": number}):
                return number

        with tracer.span("whole"):
            assert Pool(4).map(work, range(20)) == list(range(20))
    found = spans(receiver.posts)
    whole = next(s for s in found if s.name == "whole")
    assert {s.parent for s in found if s.name == "work"} == {whole.id}
    assert sorted(s.attributes["number"] for s in found if s.name == "work") == list(range(20))


def test_an_error_is_told_by_its_kind_alone(receiver: Receiver) -> None:
    """An error's words may hold what no trace may."""
    with traced(receiver.url, "reconciler") as tracer:
        with pytest.raises(ValueError, match="canary"), tracer.span("breaks"):
            int("canary")
        with tracer.span("fails") as span:
            span.fail("x" * 10_000)
    breaks, fails = spans(receiver.posts)
    assert breaks.failed == "ValueError"
    assert len(fails.failed) == 300
    assert b"canary" not in b"".join(post.body for post in receiver.posts)


def test_a_receiver_that_is_gone_stops_nobody() -> None:
    """Spans that nobody takes are lost, within a bound, and nothing else is."""
    with traced("http://127.0.0.1:9", "reconciler") as tracer, tracer.span("one"):
        pass


@pytest.mark.parametrize(
    "url", ["127.0.0.1:4318", "ftp://x", "http://", "http://a:b@c", "http://["]
)
def test_a_url_that_is_none_is_told(url: str) -> None:
    """What is no URL is refused with an example of one."""
    message = r"no URL such as http://127\.0\.0\.1:4318"
    with pytest.raises(UsageError, match=message), traced(url, "reconciler"):
        pass


def test_without_a_url_nothing_is_loaded() -> None:
    """No URL: spans go nowhere, and OpenTelemetry stays out of the process."""
    code = (
        "import sys\n"
        "from reconciler.traces import OFF\n"
        "from reconciler.traces.traced import traced\n"
        "with traced('', 'reconciler') as tracer:\n"
        "    assert tracer is OFF\n"
        "    with tracer.span('pass', {'names': 1}) as span:\n"
        "        span.set('a', 1); span.fail('b')\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with OFF.span("pass") as span:
        assert span is NO_SPAN


def test_what_is_not_installed_is_told() -> None:
    """Without the extra the message says what to install."""
    code = (
        "import sys\n"
        "sys.modules['opentelemetry'] = None\n"
        "from reconciler.traces.traced import traced\n"
        "from reconciler.errors import UsageError\n"
        "try:\n"
        "    with traced('http://127.0.0.1:4318', 'reconciler'): pass\n"
        "except UsageError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "install reconciler[otel]" in done.stdout
