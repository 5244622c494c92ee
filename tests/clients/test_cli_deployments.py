"""`pulumi deployment`, as it comes, drives the engine."""

from __future__ import annotations

import pytest

from tests.clients.conftest import Cli
from tests.engine.harness import Gate
from tests.waiting import eventually

pytestmark = pytest.mark.real


def run(cli: Cli, operation: str, *more: str, code: int = 0) -> str:
    flags = ("--git-branch", "refs/heads/main", "--stack", cli.stack)
    url = f"file://{cli.folder}"
    return cli.run("deployment", "run", operation, url, *flags, *more, code=code)


def test_a_run_streams_its_logs(cli: Cli) -> None:
    """`run` shows each step's log as it comes and ends when the deployment has, without secrets."""
    shown = run(
        cli,
        "update",
        "--suppress-stream-logs=false",
        *("--env", "REGION=eu", "--env-secret", "KEY=canary-7312"),
        *("--pre-run-command", "echo region $REGION key $KEY"),
        "--skip-install-dependencies",
    )
    assert "Preparing deployment..." in shown
    assert shown.index("Get Source:") < shown.index("region eu key [secret]")
    assert shown.index("region eu") < shown.index("Pulumi operation:")
    assert "1 created" in shown
    assert "canary" not in shown


def test_a_failed_run_fails_the_cli(cli: Cli) -> None:
    """A deployment that fails ends the CLI with an error, after its log."""
    broken = ("--suppress-stream-logs=false", "--pre-run-command", "echo no luck; exit 3")
    flags = ("--git-branch", "main", "--stack", cli.stack, *broken)
    command = ("deployment", "run", "preview", f"file://{cli.folder}", *flags)
    with cli.start(*command) as process:
        shown = process.communicate(timeout=120)[0]
    assert process.returncode != 0
    assert "no luck" in shown
    assert "Pulumi operation" not in shown


def test_deployments_are_listed_and_shown(cli: Cli) -> None:
    """`list`, `get` and `log` tell of a deployment, by its id and by its version."""
    run(cli, "preview", "--skip-install-dependencies", "--suppress-stream-logs=false")
    run(cli, "refresh", "--skip-install-dependencies", "--suppress-stream-logs=false")
    listed = cli.json("deployment", "list", "--stack", cli.stack)["deployments"]
    assert [d["version"] for d in listed] == [2, 1]
    assert [d["pulumiOperation"] for d in listed] == ["refresh", "preview"]
    by_version = cli.json("deployment", "get", "1", "--stack", cli.stack)
    by_id = cli.json("deployment", "get", listed[1]["id"], "--stack", cli.stack)
    assert by_version == by_id
    assert by_id["status"] == "succeeded"
    log = cli.run("deployment", "log", "1", "--all", "--stack", cli.stack)
    assert "[Get Source]" in log
    assert "Previewing update" in log
    step = ("--job", "0", "--step", "1")
    of_step = cli.run("deployment", "log", listed[1]["id"], *step, "--stack", cli.stack)
    assert "Successfully cloned" in of_step
    assert "Previewing" not in of_step


def test_a_running_deployment_is_canceled(cli: Cli, cli_gate: Gate) -> None:
    """`cancel` ends what runs; canceling it again says that there is nothing to cancel."""
    name = cli.stack.rpartition("/")[2]
    run(cli, "update", "--pre-run-command", cli_gate.waits(name), "--skip-install-dependencies")
    cli_gate.begun(name)
    (made,) = cli.json("deployment", "list", "--stack", cli.stack)["deployments"]
    cli.run("deployment", "cancel", made["id"], "--yes", "--stack", cli.stack)
    assert cli.api.ended(cli.stack, made["id"])["ending"]["kind"] == "canceled"
    again = cli.run("deployment", "cancel", made["id"], "--yes", "--stack", cli.stack, code=1)
    assert "nothing to cancel" in again


def test_settings_are_edited_and_inherited(cli: Cli) -> None:
    """`settings edit` says what a run is given that names no repository; `get` hides secrets."""
    stack = ("--stack", cli.stack)
    cli.run(
        *("deployment", "settings", "edit", *stack),
        *("--git-url", f"file://{cli.folder}", "--branch", "refs/heads/main"),
        *("--env", "REGION=eu", "--secret-env", "KEY=canary-7312", "--skip-install-deps"),
        *("--pre-run-command", "echo region $REGION key $KEY"),
    )
    shown = cli.run("deployment", "settings", "get", *stack)
    assert "REGION:" in shown
    assert "canary" not in shown
    inherited = cli.run("deployment", "run", "preview", *stack, "--suppress-stream-logs=false")
    assert "region eu key [secret]" in inherited
    cli.run("deployment", "settings", "edit", *stack, "--shell", "sh")
    assert cli.api.get(f"{cli.api.path(cli.stack)}/settings")["operationContext"]["options"] == {
        "shell": "sh",
        "skipInstallDependencies": True,
    }


def test_what_is_paused_waits(cli: Cli) -> None:
    """The CLI has no verb for a pause; one over `pulumi api` holds what it runs."""
    names = dict(zip(("orgName", "projectName", "stackName"), cli.stack.split("/"), strict=True))
    fields = [flag for item in names.items() for flag in ("-F", "=".join(item))]
    cli.run("api", "PauseStackDeployments", *fields)
    run(cli, "preview", "--skip-install-dependencies")
    (made,) = cli.json("deployment", "list", "--stack", cli.stack)["deployments"]
    assert made["status"] == "not-started"
    cli.run("api", "ResumeStackDeployments", *fields)
    eventually(
        lambda: cli.api.deployment(cli.stack, made["id"])["status"] == "succeeded", "it runs"
    )
