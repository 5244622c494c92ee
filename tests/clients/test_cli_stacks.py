"""`pulumi whoami` and `pulumi stack`, as they come, know the engine's stacks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.clients.conftest import Cli
from tests.engine.harness import Gate, make_slow_repository

pytestmark = pytest.mark.real


def test_the_cli_knows_whose_token_it_has(cli: Cli) -> None:
    """`whoami` shows the token's owner and organization."""
    assert cli.run("whoami").strip() == "ann"
    assert "Organizations: acme" in cli.run("whoami", "--verbose")


def test_stacks_are_listed(cli: Cli) -> None:
    """`stack ls` shows the project's stacks; making one again is refused."""
    name = cli.stack.rpartition("/")[2]
    listed = json.loads(cli.run("stack", "ls", "--json"))
    assert name in [stack["name"] for stack in listed]
    assert "already exists" in cli.run("stack", "init", cli.stack, code=1)


def test_a_stack_is_removed(cli: Cli, cli_gate: Gate, tmp_path: Path) -> None:
    """`stack rm` deletes a stack and its state; with resources only when forced."""
    stack = ("--stack", cli.stack)
    flags = ("--git-branch", "main", "--skip-install-dependencies", *stack)
    name = cli.stack.rpartition("/")[2]
    where = f"file://{make_slow_repository(tmp_path / 'slow', cli_gate, name)}"
    cli_gate.open(name)
    watched = ("--suppress-stream-logs=false", *flags)
    cli.run("deployment", "run", "update", where, *watched)
    refused = cli.run("stack", "rm", cli.stack, "--yes", code=1)
    assert "still has resources" in refused
    cli.run("stack", "rm", cli.stack, "--yes", "--force")
    assert "no stack named" in cli.run("stack", "rm", cli.stack, "--yes", code=6)
    # A new stack of the name is another one: its state is empty, and its versions go on.
    cli.run("stack", "init", cli.stack)
    again = cli.run("deployment", "run", "update", where, *watched)
    assert "2 created" in again
    listed = cli.json("deployment", "list", *stack)["deployments"]
    assert [d["version"] for d in listed] == [2, 1]
