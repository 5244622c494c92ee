"""`pulumi stack schedule`, as it comes, manages the engine's schedules."""

from __future__ import annotations

from typing import Any

import pytest

from tests.clients.conftest import Cli

pytestmark = pytest.mark.real


@pytest.fixture
def stack(cli: Cli) -> tuple[str, str]:
    """The flags of a stack whose program its settings name."""
    flags = ("--stack", cli.stack)
    source = ("--git-url", f"file://{cli.folder}", "--branch", "main")
    cli.run("deployment", "settings", "edit", *flags, *source)
    return flags


def new(cli: Cli, stack: tuple[str, str], kind: str, *more: str) -> dict[str, Any]:
    made: dict[str, Any] = cli.json("stack", "schedule", "new", "--kind", kind, *stack, *more)
    return made


def test_a_schedule_by_cron(cli: Cli, stack: tuple[str, str]) -> None:
    """A deployment by cron is made, shown, edited and removed, and then is not there."""
    made = new(cli, stack, "raw", "--operation", "refresh", "--cron", "0 3 * * mon-fri")
    assert (made["type"], made["settings"]) == ("raw", "pulumi refresh")
    assert made["schedule"] == "0 3 * * mon-fri"
    assert made["nextRun"].endswith("03:00:00.000")
    assert cli.json("stack", "schedule", "get", made["id"], *stack) == made
    change = ("--operation", "preview", "--cron", "5 4 * * *")
    edited = cli.json("stack", "schedule", "edit", made["id"], *change, *stack)
    assert (edited["settings"], edited["schedule"]) == ("pulumi preview", "5 4 * * *")
    assert cli.json("stack", "schedule", "list", *stack)["schedules"] == [edited]
    cli.run("stack", "schedule", "remove", made["id"], "--yes", *stack)
    assert cli.json("stack", "schedule", "list", *stack)["schedules"] == []


def test_a_schedule_for_once(cli: Cli, stack: tuple[str, str]) -> None:
    """A deployment at a time, in any zone, is made and moved."""
    when = "2098-12-31T23:30:00-01:00"
    made = new(cli, stack, "raw", "--operation", "destroy", "--once", when)
    assert (made["type"], made["schedule"]) == ("raw", "Once")
    assert made["nextRun"] == "2099-01-01 00:30:00.000"
    moved = cli.json(
        "stack", "schedule", "edit", made["id"], "--once", "2099-05-01T00:00:00Z", *stack
    )
    assert moved["nextRun"] == "2099-05-01 00:00:00.000"


def test_a_schedule_of_drift_detection(cli: Cli, stack: tuple[str, str]) -> None:
    """Drift detection by cron is made, and told to remediate what it finds."""
    made = new(cli, stack, "drift", "--cron", "0 */4 * * *")
    assert (made["type"], made["settings"]) == ("drift", "detect")
    edited = cli.json("stack", "schedule", "edit", made["id"], "--auto-remediate", *stack)
    assert edited["settings"] == "detect + auto-remediate"
    assert edited["schedule"] == "0 */4 * * *"


def test_the_end_of_a_stack_s_life(cli: Cli, stack: tuple[str, str]) -> None:
    """A time to live is made with the stack's end, and edited to leave it."""
    made = new(cli, stack, "ttl", "--once", "2099-01-01T00:00:00Z", "--delete-after-destroy")
    assert (made["type"], made["settings"]) == ("ttl", "destroy + delete stack")
    edited = cli.json(
        "stack", "schedule", "edit", made["id"], "--delete-after-destroy=false", *stack
    )
    assert edited["settings"] == "destroy"


def test_a_mistake_is_told(cli: Cli, stack: tuple[str, str]) -> None:
    """The CLI shows the engine's words for a schedule that cannot be."""
    raw = ("stack", "schedule", "new", "--kind", "raw", "--operation", "refresh", *stack)
    assert "the minute field '61'" in cli.run(*raw, "--cron", "61 3 * * *", code=1)
    assert "give a time to come" in cli.run(*raw, "--once", "2020-01-01T00:00:00Z", code=1)
    assert "not found" in cli.run("stack", "schedule", "get", "nothing", *stack, code=1)


def test_drift_of_a_stack_without_settings_is_refused(cli: Cli) -> None:
    """Where nothing says what the stack's program is, the CLI shows what to do."""
    flags = ("--kind", "drift", "--cron", "0 * * * *", "--stack", cli.stack)
    told = cli.run("stack", "schedule", "new", *flags, code=1)
    assert "has no deployment settings: set them first" in told
