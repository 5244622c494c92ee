"""What an engine tells Prometheus of deployments that really ran."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.engine import server, tokens
from reconciler.engine.config import EngineConfig
from reconciler.metrics.of_engine import MEASURES
from tests.engine.harness import NO_INSTALL, Api
from tests.fakes.scrape import Scrape, scrape
from tests.waiting import eventually

SECRET = "canary-of-the-metrics"


@pytest.fixture
def measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[tuple[Api, str]]:
    """An engine with metrics, as a caller sees it, and where its metrics are."""
    config = EngineConfig(
        data=tmp_path / "engine",
        port=0,
        workers=3,
        local_repositories=True,
        metrics="127.0.0.1:0",
        runner="process",
    )
    with server.running(config) as engine:
        address = capsys.readouterr().out.removeprefix("metrics are at ").strip()
        token = tokens.create(
            config.data,
            organization="acme",
            user="norm",
            email="norm@example.com",
            role="admin",
            expires=None,
        )
        yield Api(engine.url, token), address


def ended(address: str, number: int) -> Scrape:
    def look() -> Scrape | None:
        found = scrape(address)
        done = found.total("reconciler_engine_deployments_ended_total")
        return found if done == number and not running(found) else None

    found = eventually(look, "the metrics tell of the ends")
    assert found is not None
    return found


def running(found: Scrape) -> float:
    return found.get("reconciler_engine_deployments_running_here")


@pytest.mark.real
def test_what_ran_is_told(measured: tuple[Api, str], repository: Path) -> None:
    """One deployment that succeeds and one that fails: ends, steps, times, logs and masks."""
    api, address = measured
    variables = {"PASSWORD": {"secret": SECRET}}
    for stack, command in (("acme/web/one", f"echo {SECRET}"), ("acme/web/two", "exit 3")):
        made = api.create(
            stack,
            repository,
            options=NO_INSTALL,
            environmentVariables=variables,
            preRunCommands=[command],
        )
        api.ended(stack, made["id"])
    found = ended(address, 2)
    total = "reconciler_engine_deployments_ended_total"
    assert found.get(total, operation="update", status="succeeded", ending="none") == 1
    assert found.get(total, operation="update", status="failed", ending="none") == 1
    steps = "reconciler_engine_step_duration_seconds_count"
    assert found.get(steps, step="source", status="succeeded") == 2
    assert found.get(steps, step="pre-run", status="failed") == 1
    assert found.get(steps, step="operation", status="succeeded") == 1
    assert found.get("reconciler_engine_deployment_duration_seconds_count", operation="update") == 2
    assert found.get("reconciler_engine_deployment_duration_seconds_sum", operation="update") > 0.1
    assert found.get("reconciler_engine_queue_wait_seconds_count") == 2
    assert found.get("reconciler_engine_log_bytes_total") > 500
    assert found.get("reconciler_engine_secrets_masked_total") >= 1
    assert found.get("reconciler_engine_places") == 3
    assert found.get("reconciler_engine_workers") == 1
    assert found.get("reconciler_engine_deployments_queued") == 0
    assert found.get("reconciler_engine_queue_age_seconds") == 0
    route = "/api/preview/{organization}/{project}/{stack}/deployments"
    requests = "reconciler_engine_http_requests_total"
    assert found.get(requests, method="POST", route=route, status="202") == 2
    assert found.get("reconciler_engine_http_request_duration_seconds_count", method="POST") == 2
    assert SECRET not in found.text
    assert "acme" not in found.text


@pytest.mark.real
def test_a_queue_and_refusals_are_told(measured: tuple[Api, str], repository: Path) -> None:
    """What waits in a pause is in the queue and grows older; a wrong token is a 401."""
    api, address = measured
    assert api.post("/api/orgs/acme/deployments/pause").status_code < 300
    made = api.create("acme/web/one", repository, options=NO_INSTALL)
    found = scrape(address)
    assert found.get("reconciler_engine_deployments_queued") == 1
    assert running(found) == 0
    age = found.get("reconciler_engine_queue_age_seconds")
    later = eventually(
        lambda: scrape(address).get("reconciler_engine_queue_age_seconds") > age, "it grows older"
    )
    assert later
    assert api.cancel("acme/web/one", made["id"]) < 300
    stranger = Api(api.url, "rct_nobody")
    assert stranger.session.get(f"{api.url}/api/user", timeout=30).status_code == 401
    found = ended(address, 1)
    total = "reconciler_engine_deployments_ended_total"
    assert found.get(total, operation="update", status="failed", ending="canceled") == 1
    refused = "reconciler_engine_http_requests_total"
    assert found.get(refused, method="GET", route="/api/user", status="401") == 1
    # Nothing ran, so nothing is said of how long it took.
    assert found.total("reconciler_engine_deployment_duration_seconds_count") == 0


@pytest.mark.real
def test_a_scrape_tells_of_every_measure(measured: tuple[Api, str]) -> None:
    """Each measure of the table is in a scrape, also when nothing has happened yet."""
    text = scrape(measured[1]).text
    assert [m.name for m in MEASURES if f"# TYPE {m.name} {m.kind}\n" not in text] == []
