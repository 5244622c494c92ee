"""The registry and the address that its numbers are served at."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
import requests

from reconciler.errors import UsageError
from reconciler.metrics import OFF, Reading, of_engine, of_loop
from reconciler.metrics.metered import metered
from reconciler.metrics.prometheus import Registry
from tests.fakes.scrape import Scrape, scrape


@pytest.fixture
def said() -> list[str]:
    return []


def address(said: list[str]) -> str:
    return said[0].removeprefix("metrics are at ")


def test_what_is_taken_is_told(said: list[str]) -> None:
    """Counters, histograms and what is asked for come out as Prometheus reads them."""
    with metered("127.0.0.1:0", of_loop.MEASURES, said.append) as meter:
        meter.count(of_loop.CREATES, "retry", "accepted")
        meter.observe(of_loop.PASS_NAMES, 7)
        with meter.timed(of_loop.API_DURATION, "GET"):
            pass
        meter.ask(lambda: [Reading(of_loop.SPECS, 3, ("Ready", "UpToDate"))])
        found = scrape(address(said))
    assert found.get("reconciler_creates_total", cause="retry", outcome="accepted") == 1
    assert found.get("reconciler_creates_total", cause="new", outcome="lost") == 0
    assert found.get("reconciler_pass_names_bucket", le="10.0") == 1
    assert found.get("reconciler_pass_names_bucket", le="3.0") == 0
    assert found.get("reconciler_api_call_duration_seconds_count", method="GET") == 1
    assert found.get("reconciler_specs", state="Ready", reason="UpToDate") == 3
    assert found.get("process_resident_memory_bytes") > 1_000_000
    assert not [name for name, _ in found.samples if name.endswith("_created")]


def test_what_cannot_be_asked_is_left_out(said: list[str]) -> None:
    """A look that breaks costs its own readings, and no others; those before it broke stay."""

    def broken() -> Iterator[Reading]:
        yield Reading(of_engine.PLACES, 2)
        raise OSError("the database is gone")

    with metered("127.0.0.1:0", of_engine.MEASURES, said.append) as meter:
        meter.ask(broken)
        meter.ask(lambda: [Reading(of_engine.QUEUED, 4)])
        found = scrape(address(said))
    assert found.get("reconciler_engine_deployments_queued") == 4
    assert found.get("reconciler_engine_places") == 2


def test_a_time_that_ran_backwards_counts_as_none() -> None:
    """After a clock was set back a wait is 0, and no error."""
    registry = Registry(of_loop.MEASURES, "1.0")
    registry.observe(of_loop.CHANGE_TO_CREATE, -5.0)
    found = Scrape(registry.text().decode())
    assert found.get("reconciler_change_to_create_seconds_sum") == 0


def test_two_registries_share_nothing() -> None:
    """What one meter takes, another one does not tell."""
    one, other = Registry(of_loop.MEASURES, "1.0"), Registry(of_loop.MEASURES, "1.0")
    one.count(of_loop.NOT_DURABLE)
    found = Scrape(other.text().decode())
    assert found.get("reconciler_status_write_failures_total") == 0


@pytest.mark.parametrize("path", ["/", "/metrics/x", "/api/user"])
def test_nothing_else_is_served(said: list[str], path: str) -> None:
    """Another path is answered with 404 and not a word."""
    with metered("127.0.0.1:0", of_loop.MEASURES, said.append):
        url = address(said).removesuffix("/metrics") + path
        answer = requests.get(url, timeout=30)
    assert (answer.status_code, answer.content) == (404, b"")


@pytest.mark.parametrize("text", ["9464", "localhost:9464", "127.0.0.1", "127.0.0.1:99999", ":1"])
def test_an_address_that_is_none_is_told(text: str) -> None:
    """What is no address and port is refused with an example of one."""
    with pytest.raises(UsageError, match=r"127\.0\.0\.1:9464"), metered(text, (), print):
        pass


def test_an_address_that_is_taken_is_told() -> None:
    """Where somebody else listens, the message says so."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        message = f"--metrics cannot listen on {taken}: Address already in use"
        with pytest.raises(UsageError, match=message), metered(taken, (), print):
            pass


def test_an_open_address_is_warned_of(said: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Numbers that more than this machine can read are said to be."""
    with metered("0.0.0.0:0", of_loop.MEASURES, said.append):
        assert "guard their network" in capsys.readouterr().err


def test_without_an_address_nothing_is_loaded() -> None:
    """No address: the meter takes nothing, and Prometheus's client stays out of the process."""
    code = (
        "import sys\n"
        "from reconciler.metrics import OFF, of_loop\n"
        "from reconciler.metrics.metered import metered\n"
        "with metered('', of_loop.MEASURES, print) as meter:\n"
        "    assert meter is OFF\n"
        "    meter.count(of_loop.NOT_DURABLE)\n"
        "assert not {'prometheus_client', 'http.server'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with OFF.timed(of_loop.PASS):
        OFF.observe(of_loop.PASS_NAMES, 1)
        OFF.ask(lambda: ())
