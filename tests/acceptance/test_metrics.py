"""The daemon as its Prometheus sees it."""

from __future__ import annotations

import signal
import subprocess

import pytest

from tests.acceptance.conftest import Place, eventually
from tests.fakes.scrape import scrape


@pytest.mark.real
def test_a_daemon_tells_how_its_specs_stand(place: Place) -> None:
    """From the start of `run --metrics` until the specs are Ready, and after a new one came."""
    place.program()
    place.spec("one")
    said = place.root / "said"
    arguments = ("run", "specs", *place.run_arguments(), "--metrics", "127.0.0.1:0")
    with said.open("w") as output:
        daemon = subprocess.Popen(
            place.command(*arguments),
            cwd=place.root,
            env=place.full_environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        eventually(lambda: "metrics are at " in said.read_text(), "the address")
        address = said.read_text().partition("metrics are at ")[2].split()[0]

        def ready() -> float:
            return scrape(address).total("reconciler_specs", state="Ready", reason="UpToDate")

        eventually(lambda: ready() == 1, "one is Ready")
        place.spec("two")
        eventually(lambda: ready() == 2, "so is the other")
        found = scrape(address)
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(60)
    assert found.get("reconciler_creates_total", cause="new", outcome="accepted") == 2
    assert found.get("reconciler_change_to_create_seconds_count") == 2
    assert found.get("reconciler_runs_total", operation="update", end="succeeded") == 2
    assert found.get("reconciler_git_ask_duration_seconds_count", outcome="answered") >= 1
    assert found.get("reconciler_git_repositories", outcome="answered") == 1
    assert found.total("reconciler_api_calls_total", method="POST", status="202") == 2
    assert found.get("reconciler_scan_duration_seconds_count") >= 1
    assert found.get("reconciler_api_shut", scope="api") == 0
    assert "acme" not in found.text
    assert daemon.returncode == 0
