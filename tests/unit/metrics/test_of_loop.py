"""What the loop tells its meter, over a world in memory."""

from __future__ import annotations

from datetime import timedelta

from reconciler.metrics import of_loop
from reconciler.metrics.prometheus import Registry
from reconciler.model import State
from tests.factories import spec
from tests.fakes.deployments_api import Fault, Outcome
from tests.fakes.scrape import Scrape
from tests.fakes.world import World


def metered_world(*names: str) -> tuple[World, Registry]:
    registry = Registry(of_loop.MEASURES, "1.0")
    return World(specs={n: spec(n) for n in names}, meter=registry), registry


def read(registry: Registry) -> Scrape:
    return Scrape(registry.text().decode())


def test_a_first_pass_is_counted_through() -> None:
    """Specs, creates, runs, calls and passes of a first pass are told as they were."""
    it, registry = metered_world("net", "web")
    it.run_once()
    found = read(registry)
    assert found.get("reconciler_specs", state="Ready", reason="UpToDate") == 2
    assert found.get("reconciler_deployments_in_flight") == 0
    assert found.get("reconciler_creates_total", cause="new", outcome="accepted") == 2
    assert found.get("reconciler_runs_total", operation="update", end="succeeded") == 2
    assert found.get("reconciler_run_duration_seconds_count", operation="update") == 2
    assert found.get("reconciler_change_to_create_seconds_count") == 2
    assert found.total("reconciler_api_calls_total", method="POST", status="202") == 2
    assert found.get("reconciler_pass_duration_seconds_count") >= 2
    assert found.get("reconciler_last_pass_timestamp_seconds") > 0


def test_a_change_is_timed_from_when_it_was_heard() -> None:
    """The wait is from the event to the create, and passes that find nothing do not count."""
    it, registry = metered_world("web")
    daemon = it.run_once()
    before = read(registry)
    it.heads["web"] = "b" * 40
    daemon.mark(["web"])
    it.clock.time += timedelta(seconds=40)
    daemon.tick()
    found = read(registry)
    count, total = (
        "reconciler_change_to_create_seconds_count",
        "reconciler_change_to_create_seconds_sum",
    )
    assert found.get(count) - before.get(count) == 1
    assert 40 <= found.get(total) - before.get(total) < 41
    assert found.get("reconciler_creates_total", cause="source", outcome="accepted") == 1


def test_an_api_that_is_down_is_told() -> None:
    """What the breaker has shut, and how calls ended without an answer."""
    it, registry = metered_world("web")
    it.api.faults = lambda *_: Fault.SERVER_ERROR
    daemon = it.daemon()
    daemon.tick()
    found = read(registry)
    assert found.get("reconciler_api_shut", scope="api") == 1
    assert found.get("reconciler_api_failures_total", scope="api") >= 1
    assert found.total("reconciler_specs") == 1


def test_retries_are_creates_of_their_own_cause() -> None:
    """A run that fails and is tried again counts once as failed, and once as a retry."""
    it, registry = metered_world("web")
    ends = iter([Outcome.FAIL])
    it.api.outcome = lambda *_: next(ends, Outcome.SUCCEED)
    it.run_once()
    assert it.disk["web"].state is State.READY
    found = read(registry)
    assert found.get("reconciler_runs_total", operation="update", end="failed") == 1
    assert found.get("reconciler_creates_total", cause="retry", outcome="accepted") == 1


def test_ten_thousand_specs_have_as_many_series_as_ten() -> None:
    """What is served does not grow with the number of specs."""
    few, registry_of_few = metered_world(*(f"s{n}" for n in range(10)))
    few.run_once()
    many, registry_of_many = metered_world(*(f"s{n}" for n in range(10_000)))
    # As they stand after one look, without running anything: limits hold most of them.
    many.daemon().survey()
    found = read(registry_of_many)
    assert found.total("reconciler_specs") == 10_000
    assert len(found.samples) <= len(read(registry_of_few).samples) + 5
    assert len(found.samples) < 700
